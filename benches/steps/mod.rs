//! For benches that take a call apart: its steps, in turn, round by round, in one process, and the table of them.

use std::fs::File;
use std::io::Write;
use std::path::Path;

/// A file of at least so many zeros, in pieces, as the journal's files are filled: how a file was filled shows in the cache's folios.
pub fn file_of_zeros(path: &Path, bytes: u64) -> File {
    let mut file = File::options().read(true).write(true).create_new(true).open(path).expect("a file");
    let zeros = vec![0; 256 << 10];
    (0..bytes.div_ceil(zeros.len() as u64)).for_each(|_| file.write_all(&zeros).expect("zeros"));
    file.sync_all().expect("a sync");
    file
}

/// How long to measure.
pub struct Plan {
    /// `cargo test` calls a bench without `--bench`: then only see that it works.
    pub is_quick: bool,
    pub rounds: usize,
}

impl Plan {
    /// As the arguments of the process say.
    pub fn of_arguments() -> Plan {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let is_quick = !arguments.iter().any(|argument| argument == "--bench");
        let asked = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
        let usual = if is_quick { 1 } else { 9 };
        Plan { is_quick, rounds: asked.map_or(usual, |rounds| rounds.parse().expect("a number of rounds")) }
    }

    /// Runs all steps in each round, another one first each time, and prints what they took. A step is given its number and that
    /// of the round, and says how long it took.
    pub fn run(&self, unit: &str, steps: &[&str], mut step: impl FnMut(usize, usize) -> f64) {
        let mut times = vec![Vec::new(); steps.len()];
        // One round more than counted: the first one warms up.
        for round in 0..=self.rounds {
            for turn in 0..steps.len() {
                let number = (round + turn) % steps.len();
                let took = step(number, round);
                if round > 0 {
                    times[number].push(took);
                }
            }
        }
        println!("medians of {} rounds; ratios round by round, lowest and highest in brackets\n", self.rounds);
        println!("| | {unit} | beside the first |");
        println!("|---|---|---|");
        for (name, step) in steps.iter().zip(&times) {
            let ratios = sorted(step.iter().zip(&times[0]).map(|(step, first)| step / first).collect());
            let (low, high) = (ratios[0], ratios[ratios.len() - 1]);
            println!("| {name} | {:.0} | {:.2} ({low:.2}–{high:.2}) |", median(step.clone()), median(ratios));
        }
    }
}

/// The one in the middle.
pub fn median(all: Vec<f64>) -> f64 {
    let sorted = sorted(all);
    sorted[sorted.len() / 2]
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}
