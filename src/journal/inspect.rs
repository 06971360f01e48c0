//! What a journal consists of, for those who look into one: its segment files and its pairs.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::view::{Sealed, Slots, View};
use super::{Core, Journal};
use crate::error::{Error, Result};
use crate::io::Mode;
use crate::segment::format::{BATCH_BYTES, VERSION};
use crate::segment::window::Window;
use crate::segment::{self, Opened, Segment};

/// One segment file, as [`Journal::segments`] found it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The number in its name.
    pub sequence: u64,
    /// The file.
    pub path: PathBuf,
    /// What it is to the log.
    pub role: SegmentRole,
    /// The file's size, bytes.
    pub bytes: u64,
    /// How many of them are in use: up to the end of the last batch, or of the seal.
    pub used_bytes: u64,
    /// The entries of the log that stand in it, half-open; empty where there are none.
    pub indexes: Range<u64>,
    /// The terms of the first and the last of them; `None` where there are none, or where they cannot be read.
    pub terms: Option<(u64, u64)>,
    /// The version of its format; 0 where no header can be read.
    pub version: u32,
    /// The key that it is encrypted with; 0 for none.
    pub key_id: u32,
    /// Behind the bytes in use stand others that are no batch of this file: what is left of its earlier use, if it was
    /// recycled, or of a torn write. Where no room is left it cannot be told, and is `false`.
    pub recycled: bool,
}

/// What a segment file is to the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SegmentRole {
    /// Part of the log, and not written to any more.
    Sealed,
    /// Part of the log: the file that is appended to.
    Active,
    /// Prepared to come next.
    Spare,
    /// Ours, and not needed any more: it goes when its readers are done, or soon after the next open.
    Retired,
    /// Ours, and holds what the log does not lead to, or is cut short: left alone, because it may be what is missing. Beside a
    /// live writer, the file that the log has gone on in since.
    Unreached,
    /// Another journal's, of a newer version, or unreadable: left alone.
    Foreign,
}

impl Journal {
    /// The segment files in the journal's directory, in the order of their sequences. Reads the headers, and of each
    /// file what stands at its end; beside a live writer, a read-only handle shows the log as it was when it was opened.
    ///
    /// ```
    /// use raft_journal::{Entry, Journal, LogStore, SegmentRole};
    ///
    /// # fn main() -> Result<(), raft_journal::Error> {
    /// # let temporary = tempfile::tempdir().expect("a temporary directory");
    /// # let dir = temporary.path().join("node-1");
    /// let journal = Journal::open(&dir)?;
    /// journal.append(&[Entry::new(1, 1, "set x"), Entry::new(2, 3, "set y")])?;
    /// let segments = journal.segments()?;
    /// assert_eq!((segments[0].role, segments[0].indexes.clone()), (SegmentRole::Active, 1..3));
    /// assert_eq!(segments[0].terms, Some((1, 3)));
    /// # journal.close()
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and [`Error::Closed`].
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.core().check_open()?;
        self.core().segments()
    }

    /// All pairs of the stable store, in the order of their keys; lazy ones included.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub fn pairs(&self) -> Result<Vec<(Bytes, Bytes)>> {
        self.core().check_open()?;
        Ok(self.core().pairs.read().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

impl Core {
    fn segments(&self) -> Result<Vec<SegmentInfo>> {
        let mut found = self.chain_segments()?;
        let first = found.first().map_or(0, |first| first.sequence);
        let active = found.last().map_or(0, |active| active.sequence);
        let names = self.fs.list(&self.dir).map_err(|error| Error::io("list", &self.dir, None, error))?;
        for sequence in names.iter().filter_map(|name| segment::sequence_of(name)) {
            if found.iter().all(|known| known.sequence != sequence) {
                found.extend(self.outside_segment(sequence, first, active)?);
            }
        }
        found.sort_unstable_by_key(|segment| segment.sequence);
        Ok(found)
    }

    /// The log's own segments, in chain order.
    fn chain_segments(&self) -> Result<Vec<SegmentInfo>> {
        let (sealed, active, used, range) = {
            let view = self.view.read();
            let sealed: Vec<(Sealed, Range<u64>)> =
                view.sealed.iter().map(|sealed| (sealed.clone(), view.live(sealed.first..sealed.live_end))).collect();
            let range = view.live(view.fold.run.first..view.next());
            (sealed, Arc::clone(&view.active), view.fold.end, range)
        };
        let mut found = Vec::with_capacity(sealed.len() + 1);
        for (sealed, indexes) in sealed {
            let segment = &sealed.segment;
            let end = match sealed.slots {
                Slots::Sealed { offset, .. } => {
                    Window::new(segment).header(offset)?.and_then(|seal| seal.end(segment.align))
                }
                Slots::Scanned(_) => None,
            };
            found.push(self.describe_segment(segment, SegmentRole::Sealed, end.unwrap_or(sealed.data_end), indexes)?);
        }
        found.push(self.describe_segment(&active, SegmentRole::Active, used, range)?);
        Ok(found)
    }

    fn describe_segment(
        &self,
        segment: &Segment,
        role: SegmentRole,
        end: u32,
        indexes: Range<u64>,
    ) -> Result<SegmentInfo> {
        let mut window = Window::new(segment);
        let has_room = u64::from(end) + BATCH_BYTES as u64 <= u64::from(segment.data_end());
        let recycled = has_room && !window.is_blank(end)? && window.header(end)?.is_none();
        let term = |index: u64| self.read_term(index).ok();
        let terms = (!indexes.is_empty()).then(|| term(indexes.start).zip(term(indexes.end - 1))).flatten();
        Ok(SegmentInfo {
            sequence: segment.sequence,
            path: segment.path.clone(),
            role,
            bytes: u64::from(segment.size_bytes),
            used_bytes: u64::from(end),
            indexes,
            terms,
            version: VERSION,
            key_id: segment.key_id,
            recycled,
        })
    }

    /// A file with a segment's name that the log does not have; nothing if it went meanwhile.
    fn outside_segment(&self, sequence: u64, first: u64, active: u64) -> Result<Option<SegmentInfo>> {
        let keys = self.options.keys.as_ref();
        let opened = match Segment::open(&*self.fs, &self.dir, sequence, self.journal_id, Mode::Read, keys) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let (role, version) = match opened {
            Opened::Whole(segment) => {
                let is_blank = Window::new(&segment).header(segment.data_start())?.is_none();
                let role = match is_blank {
                    true if sequence > active => SegmentRole::Spare,
                    false if sequence > first => SegmentRole::Unreached,
                    _ => SegmentRole::Retired,
                };
                return self.describe_segment(&segment, role, segment.data_start(), 0..0).map(Some);
            }
            Opened::Short if sequence > first => (SegmentRole::Unreached, VERSION),
            Opened::Short | Opened::Misnamed => (SegmentRole::Retired, VERSION),
            Opened::Newer(version) => (SegmentRole::Foreign, version),
            Opened::Foreign(_) => (SegmentRole::Foreign, VERSION),
            Opened::Unreadable => (SegmentRole::Foreign, 0),
        };
        let path = self.dir.join(segment::file_name(sequence));
        let bytes = match self.fs.open(&path, Mode::Read).and_then(|file| file.len()) {
            Ok(bytes) => bytes,
            // Removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("size", &path, None, error)),
        };
        let (indexes, terms) = (0..0, None);
        Ok(Some(SegmentInfo {
            sequence,
            path,
            role,
            bytes,
            used_bytes: 0,
            indexes,
            terms,
            version,
            key_id: 0,
            recycled: false,
        }))
    }
}

impl View {
    /// The part of a range that the log still has.
    fn live(&self, range: Range<u64>) -> Range<u64> {
        let first = self.first().unwrap_or(u64::MAX).max(range.start);
        if first < range.end { first..range.end } else { range.end..range.end }
    }
}
