//! Spans for those who trace: nothing without the feature `tracing`.

use std::path::Path;
use std::time::Duration;

#[cfg(feature = "tracing")]
use crate::contained::contained;

/// A span that lasts as long as this is held.
#[must_use]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    entered: Option<tracing::span::EnteredSpan>,
}

#[cfg(feature = "tracing")]
impl Span {
    fn enter(span: impl FnOnce() -> tracing::Span) -> Span {
        let mut entered = None;
        contained(|| entered = Some(span().entered()));
        Span { entered }
    }
}

#[cfg(feature = "tracing")]
impl Drop for Span {
    fn drop(&mut self) {
        contained(|| drop(self.entered.take()));
    }
}

/// Opening a journal.
pub(crate) fn open(dir: &Path) -> Span {
    #[cfg(not(feature = "tracing"))]
    {
        let _ = dir;
        Span {}
    }
    #[cfg(feature = "tracing")]
    Span::enter(|| tracing::info_span!("raft_journal.open", dir = %dir.display()))
}

/// Following the chain of segments, at open.
pub(crate) fn recover(dir: &Path) -> Span {
    #[cfg(not(feature = "tracing"))]
    {
        let _ = dir;
        Span {}
    }
    #[cfg(feature = "tracing")]
    Span::enter(|| tracing::info_span!("raft_journal.recover", dir = %dir.display()))
}

/// Going on in the next file.
pub(crate) fn rotate(dir: &Path, sequence: u64) -> Span {
    #[cfg(not(feature = "tracing"))]
    {
        let _ = (dir, sequence);
        Span {}
    }
    #[cfg(feature = "tracing")]
    Span::enter(|| tracing::debug_span!("raft_journal.rotate", dir = %dir.display(), sequence))
}

/// A sync that took long, of the log or of `meta`.
pub(crate) fn slow_sync(dir: &Path, took: Duration, of: &'static str) {
    #[cfg(not(feature = "tracing"))]
    let _ = (dir, took, of);
    #[cfg(feature = "tracing")]
    contained(|| {
        let micros = took.as_micros() as u64;
        tracing::warn_span!("raft_journal.slow_sync", dir = %dir.display(), of, micros)
            .in_scope(|| tracing::warn!("a sync took {took:?}"));
    });
}
