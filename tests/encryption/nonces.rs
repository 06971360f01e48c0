//! No key and nonce for two texts: of all that a journal ever hands to its disk, written or not.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use raft_journal::io::Fs;
use raft_journal::io::sim::{Fault, OperationKind, SimFs};
use raft_journal::{LogStore, StableStore};

use crate::common::{Disk, entries};
use crate::generate::{self, Trouble};
use crate::history::Run;
use crate::model::{Op, Shape};
use crate::recorder::{Recorder, Seen, found};
use crate::ring;

/// Runs a history; what was encrypted in it.
fn run(disk: SimFs, shape: Shape, queued: bool, ops: &[Op]) -> Arc<Mutex<Seen>> {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let mut run = Run::new(disk, Shape { encrypted: true, ..shape });
    let noting = Arc::clone(&seen);
    run.wrap = Arc::new(move |fs| -> Arc<dyn Fs> { Arc::new(Recorder(fs, Arc::clone(&noting))) });
    run.fs.queue_tasks(queued);
    run.open();
    ops.iter().for_each(|op| run.take(op));
    drop(run);
    seen
}

#[test]
fn no_history_repeats_a_key_and_a_nonce() {
    let (mut texts, mut shared) = (0, 0);
    for seed in 0..1000 {
        for trouble in Trouble::ALL {
            let history = generate::history(seed, trouble);
            let seen = run(trouble.disk(seed), history.shape, history.queued, &history.ops);
            let found = found(&seen);
            assert_eq!(found.broken, [""; 0], "{history:#?}");
            texts += found.texts;
            shared += found.shared;
        }
    }
    println!("{texts} texts, at {shared} places more than one");
    assert!(texts > 10_000 && shared > 0, "{texts} {shared}");
}

#[test]
fn an_append_that_a_full_disk_refused_shares_no_nonce_with_the_next_one() {
    for written in [0, 72, 200, 350] {
        let (disk, seen) = (Disk::simulated(), Arc::new(Mutex::new(Seen::default())));
        let recorder = Arc::new(Recorder(disk.sim().clone(), Arc::clone(&seen)));
        let journal = crate::options(&disk, ring(1)).file_system(recorder).open(&disk.dir).unwrap();
        journal.append(&entries(1..=3, 1)).unwrap();
        disk.sim().inject(Fault::new(OperationKind::Write, ErrorKind::StorageFull).at_most(written).in_path(".seg"));
        assert!(journal.append(&entries(4..=5, 1)).unwrap_err().is_no_space());
        journal.append(&entries(4..=5, 2)).unwrap();
        let found = found(&seen);
        assert_eq!(found.broken, [""; 0]);
        assert_eq!(found.shared, 2, "both entries were tried twice at their places, in one life");
    }
}

#[test]
fn a_copy_that_is_written_to_shares_no_nonce_with_its_original() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let open = |sim: SimFs| {
        let disk = Disk::of(sim.clone());
        let recorder = Arc::new(Recorder(sim, Arc::clone(&seen)));
        crate::options(&disk, ring(1)).file_system(recorder).open(&disk.dir).unwrap()
    };
    let original = Disk::simulated();
    let journal = open(original.sim().clone());
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.close().unwrap();
    // The same bytes on another disk, whose random numbers are others.
    let copy = SimFs::with_seed(8);
    copy.create_dir(&original.dir).unwrap();
    for (name, bytes) in original.contents() {
        copy.write_file(original.path(&name), &bytes).unwrap();
    }
    for (sim, term) in [(original.sim().clone(), 2), (copy, 3)] {
        let journal = open(sim);
        journal.append(&entries(4..=5, term)).unwrap();
        journal.set_u64(b"term", term).unwrap();
    }
    let found = found(&seen);
    assert_eq!(found.broken, [""; 0]);
    assert!(found.shared > 2, "each wrote at the same places, in the same life: {}", found.shared);
}

#[test]
fn a_checkpoint_that_is_written_to_shares_no_nonce_with_its_journal() {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let disk = Disk::simulated();
    let recorder = Arc::new(Recorder(disk.sim().clone(), Arc::clone(&seen)));
    let open = |disk: &Disk| crate::options(disk, ring(1)).file_system(recorder.clone()).open(&disk.dir).unwrap();
    let journal = open(&disk);
    journal.append(&entries(1..=3, 1)).unwrap();
    journal.set_u64(b"term", 1).unwrap();
    let copy = disk.beside("copy");
    journal.checkpoint(&copy.dir).unwrap();
    journal.close().unwrap();
    for (disk, term) in [(&disk, 2), (&copy, 3)] {
        let journal = open(disk);
        journal.append(&entries(4..=5, term)).unwrap();
        journal.set_u64(b"term", term).unwrap();
    }
    let found = found(&seen);
    assert_eq!(found.broken, [""; 0]);
    assert!(found.shared > 2, "each wrote at the same places, in the same life: {}", found.shared);
}
