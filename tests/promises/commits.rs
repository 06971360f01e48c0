//! Small state: what a commit takes along, and what it waits for.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use raft_journal::io::sim::{Schedule, Survival};
use raft_journal::io::{File, Fs, Mode};
use raft_journal::{Changes, Error, Journal, LogStore, Position, StableStore};

use crate::common::{Disk, append_each, entries, log};
use crate::pass_on::pass_on;

#[test]
fn a_durable_set_is_a_barrier_for_the_appends_before_it() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let _pending = journal.append_pending(&entries(1..=3, 1)).unwrap();
    journal.set_u64(b"vote", 1).unwrap();
    assert_eq!(journal.state().durable, Some(Position::new(3, 1)));
    let journal = disk.after_power_cut(Survival::Nothing).open();
    assert_eq!((log(&journal), journal.get_u64(b"vote").unwrap()), (entries(1..=3, 1), Some(1)));
}

#[test]
fn a_lazy_value_is_seen_at_once_and_durable_with_the_next_commit() {
    let disk = Disk::simulated();
    let journal = disk.open();
    let after_cut = || {
        let journal = disk.after_power_cut(Survival::Nothing).open();
        journal.get(b"committed").unwrap().map(|value| value.to_vec())
    };
    let before = disk.sim().counts();
    journal.set_lazy(b"committed", b"1").unwrap();
    assert_eq!(disk.sim().counts(), before, "no I/O");
    assert_eq!(journal.get(b"committed").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(after_cut(), None);
    journal.set(b"vote", b"me").unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"1"[..]));
    journal.set_lazy(b"committed", b"2").unwrap();
    journal.truncate_head(Position::new(5, 1)).unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"2"[..]));
    journal.set_lazy(b"committed", b"3").unwrap();
    journal.set_lazy(b"vote", b"nobody").unwrap();
    journal.remove(b"vote").unwrap();
    assert_eq!((after_cut().as_deref(), journal.get(b"vote").unwrap()), (Some(&b"3"[..]), None));
    journal.set_lazy(b"committed", b"4").unwrap();
    journal.close().unwrap();
    assert_eq!(after_cut().as_deref(), Some(&b"4"[..]), "at the latest at close");
}

#[test]
fn several_changes_and_a_head_truncation_become_durable_in_one_step() {
    let commit = |journal: &Journal| {
        let changes =
            Changes::new().set_u64("vote", 2).set("name", "me").remove("old").truncate_head(Position::new(7, 1));
        journal.commit(&changes)
    };
    let prepared = || {
        let disk = Disk::simulated();
        let journal = disk.open();
        append_each(&journal, &entries(1..=9, 1));
        journal.set(b"old", b"1").unwrap();
        (disk, journal)
    };
    let look = |journal: &Journal| {
        let get = |key: &[u8]| journal.get(key).unwrap().map(|value| value.to_vec());
        (journal.get_u64(b"vote").unwrap(), get(b"name"), get(b"old"), journal.state().purged, log(journal))
    };
    let (_disk, journal) = prepared();
    let before = look(&journal);
    commit(&journal).unwrap();
    let after = look(&journal);
    assert_ne!(before, after);
    let mut seen = [0; 2];
    for cut in 0.. {
        let (disk, journal) = prepared();
        disk.sim().cut_power_at(disk.sim().mutations() + cut);
        let acknowledged = commit(&journal).is_ok();
        if !disk.sim().is_power_off() {
            break;
        }
        for seed in 0..30 {
            let found = look(&disk.after_power_cut(Survival::Random(seed)).open());
            assert!(found == after || (found == before && !acknowledged), "cut {cut}, seed {seed}: {found:?}");
            seen[usize::from(found == after)] += 1;
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
}

/// One thread appends and says lazily how far it has come, another one votes; then the power goes.
fn lazy_beside_votes(seed: u64) -> Disk {
    let disk = Disk::simulated();
    let journal = disk.open();
    disk.sim().cut_power_at(disk.sim().mutations() + seed % 150);
    let other = journal.clone();
    let append = move || {
        for index in 1..=20_u64 {
            let appended = journal.append_pending(&entries(index..=index, 1)).map(drop);
            if appended.and_then(|()| journal.set_lazy(b"committed", &index.to_le_bytes())).is_err() {
                return;
            }
        }
    };
    let vote = move || _ = (1..=20).try_for_each(|vote| other.set_u64(b"vote", vote));
    Schedule::new(seed).thread("append", append).thread("vote", vote).run().unwrap();
    disk
}

// A commit syncs the log, then writes `meta`: what comes in between must wait for the next one.
#[test]
fn a_lazy_value_never_speaks_of_entries_that_power_loss_took() {
    let mut found = 0;
    for seed in 0..3000 {
        let journal = lazy_beside_votes(seed).after_power_cut(Survival::Nothing).open();
        let (committed, last) = (journal.get_u64(b"committed").unwrap(), journal.state().last_index());
        assert!(committed <= last, "seed {seed}: committed {committed:?}, and the log ends at {last:?}");
        found += u64::from(committed.is_some());
    }
    assert!(found > 300, "only {found} with a lazy value");
}

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A disk on which something happens in the middle of a sync.
struct Hooked(Arc<dyn Fs>, Hook);

struct HookedFile(Arc<dyn File>, Hook);

impl Debug for Hooked {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Debug for HookedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Fs for Hooked {
    pass_on!(0: create_dir kind list rename remove sync_dir lock entropy tasks);

    fn open(&self, path: &Path, mode: Mode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(HookedFile(self.0.open(path, mode)?, Arc::clone(&self.1))))
    }
}

impl File for HookedFile {
    pass_on!(0: read_at write_at len set_len allocate drop_cache);

    fn sync_data(&self) -> io::Result<()> {
        let hook = self.1.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        self.0.sync_data()
    }
}

// Each of the two fits, and both do not: what passed then would have been refused by the next open.
#[test]
fn a_lazy_value_beside_a_commit_counts_what_the_commit_brings() {
    for (bytes, fits) in [(200, true), (300, false)] {
        let (disk, hook) = (Disk::simulated(), Hook::default());
        let fs: Arc<dyn Fs> = Arc::new(Hooked(Arc::clone(&disk.fs), Arc::clone(&hook)));
        let journal = disk.options().file_system(fs).open(&disk.dir).unwrap();
        let (lazy, result) = (journal.clone(), Arc::new(Mutex::new(None)));
        let told = Arc::clone(&result);
        let set = move || *told.lock().unwrap() = Some(lazy.set_lazy(b"lazy", &vec![1; bytes]));
        *hook.lock().unwrap() = Some(Box::new(set));
        journal.commit(&Changes::new().set("vote", vec![2; 250])).unwrap();
        let result = result.lock().unwrap().take().unwrap();
        assert_eq!(result.is_ok(), fits, "{bytes}: {result:?}");
        if !fits {
            assert!(matches!(result, Err(Error::StoreFull { bytes_max: 512, .. })));
            // Nothing is on its way any more.
            journal.commit(&Changes::new().remove("vote")).unwrap();
            journal.set_lazy(b"lazy", &vec![1; bytes]).unwrap();
        }
        journal.close().unwrap();
        assert_eq!(disk.open().get(b"lazy").unwrap().map(|value| value.len()), Some(bytes));
    }
}
