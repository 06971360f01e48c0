//! How far the hunt is: a bar for those who watch, a line a minute for those who look later.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long nothing is said where nobody watches.
const SILENCE: Duration = Duration::from_secs(60);

pub struct Progress {
    begun: Instant,
    /// Where standard error is a terminal.
    bar: Option<ProgressBar>,
    told: Mutex<Instant>,
}

impl Progress {
    pub fn begin(states_max: u64) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(states_max));
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} states, {per_sec}, {eta} left");
        if let (Some(bar), Ok(style)) = (&bar, style) {
            bar.set_style(style);
        }
        Progress { begun: Instant::now(), bar, told: Mutex::new(Instant::now()) }
    }

    pub fn tell(&self, states: u64) {
        if let Some(bar) = &self.bar {
            return bar.set_position(states);
        }
        let mut told = self.told.lock().expect("no worker panics here");
        if told.elapsed() >= SILENCE {
            *told = Instant::now();
            let seconds = self.begun.elapsed().as_secs_f64();
            eprintln!("{states} states in {seconds:.0} s: {:.0} a second", states as f64 / seconds);
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
