//! How far the hunt is: a bar for those who watch, a line a minute for those who look later.

use std::io::IsTerminal;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often those who watch are told, and how often those who look later.
const WATCHED: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(60);

/// Runs `work`, and tells meanwhile how many states there were, of so many if that is its end.
pub fn watched<T>(states_max: Option<u64>, states: impl Fn() -> u64 + Send, work: impl FnOnce() -> T) -> T {
    let (end, is_over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || tell(states_max, states, &is_over));
        let result = work();
        drop(end);
        result
    })
}

fn tell(states_max: Option<u64>, states: impl Fn() -> u64, is_over: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let bar = states_max.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let bar = std::io::stderr().is_terminal().then_some(bar);
    let style = ProgressStyle::with_template(match states_max {
        Some(_) => "{wide_bar} {pos}/{len} states, {per_sec}, {eta} left",
        None => "{spinner} {pos} states, {per_sec}, {elapsed} so far",
    });
    if let (Some(bar), Ok(style)) = (&bar, style) {
        bar.set_style(style);
    }
    let every = if bar.is_some() { WATCHED } else { SILENCE };
    while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        let (states, seconds) = (states(), begun.elapsed().as_secs_f64());
        match &bar {
            Some(bar) => bar.set_position(states),
            None => eprintln!("{states} states in {seconds:.0} s: {:.0} a second", states as f64 / seconds),
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}
