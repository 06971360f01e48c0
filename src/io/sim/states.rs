//! All that power loss can leave, and all moments at which it can come.

use super::SimFs;
use super::choices::Choices;
use super::survival::{Fates, Kinds};

/// The states of [`SimFs::crash_states`].
#[derive(Debug)]
pub struct CrashStates {
    disk: SimFs,
    kinds: Kinds,
    choices: Choices,
    /// The state that the choices stand at, made already.
    next: Option<SimFs>,
}

impl CrashStates {
    /// How many things power loss decides in the state that comes next: the part of an unsynced write in one sector, the size
    /// of a file, a name. What makes no difference does not count. Another state may have more of them: where a name does not
    /// survive, an older file with unsynced bytes of its own may.
    pub fn units(&self) -> usize {
        self.choices.count()
    }

    fn make(&mut self) -> SimFs {
        let state = self.disk.shared.state.lock();
        let disk = state.disk.after_power_cut(&mut Fates::chosen(self.kinds, &mut self.choices, state.sectors));
        SimFs::from_state(state.successor(disk), self.disk.shared.tasks.mode())
    }
}

impl Iterator for CrashStates {
    type Item = SimFs;

    fn next(&mut self) -> Option<SimFs> {
        let state = self.next.take()?;
        if self.choices.advance() {
            self.next = Some(self.make());
        }
        Some(state)
    }
}

/// Visiting every state.
impl SimFs {
    /// Every state that power loss may leave when it comes now, or when it came: each combination of what survives, beginning
    /// with everything. Each is at rest, as [`after_power_cut`](Self::after_power_cut) gives it.
    ///
    /// There are exponentially many: look at [`CrashStates::units`] first, and take no more of them than you have time for.
    ///
    /// ```
    /// use raft_journal::io::sim::{Kinds, SimFs};
    /// use raft_journal::io::{Fs, Mode};
    /// use std::path::Path;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let disk = SimFs::new();
    /// disk.write_file("/log", b"old")?;
    /// disk.open(Path::new("/log"), Mode::Write)?.write_at(b"new", 0)?;
    /// let states = disk.crash_states(Kinds::OldOrNew);
    /// assert_eq!(states.units(), 1);
    /// let found: Vec<Vec<u8>> = states.map(|state| state.read_file("/log")).collect::<Result<_, _>>()?;
    /// assert_eq!(found, [b"new", b"old"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn crash_states(&self, kinds: Kinds) -> CrashStates {
        // A copy: the states are those of this moment, whatever happens to the disk while they are visited.
        let mut states = CrashStates { disk: self.snapshot(), kinds, choices: Choices::default(), next: None };
        let first = states.make();
        states.next = Some(first);
        states
    }

    /// Begins to keep the disk as it is before each operation that changes it, or stops to.
    pub fn record(&self, recording: bool) {
        self.shared.state.lock().recorded = recording.then(Vec::new);
    }

    /// The disks that were kept since the last call, oldest first, and the one of now: at each of them power could be lost.
    pub fn take_recorded(&self) -> Vec<SimFs> {
        let mut state = self.shared.state.lock();
        let mut disks = state.recorded.as_mut().map(std::mem::take).unwrap_or_default();
        disks.push(state.disk.clone());
        let mode = self.shared.tasks.mode();
        disks.into_iter().map(|disk| SimFs::from_state(state.successor(disk.without_handles()), mode)).collect()
    }

    /// A digest of all names and contents as they are seen now: equal for equal disks.
    pub fn digest(&self) -> u64 {
        self.shared.state.lock().disk.digest()
    }
}
