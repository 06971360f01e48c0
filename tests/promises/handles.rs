//! Who may hold a journal: readers beside its writer, and a node that knows only the traits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use raft_journal::io::{Fs, Lane, OsFs};
use raft_journal::{Entry, Journal, LogStore, StableStore};

use crate::common::{append_each, entries, log, on_both};
use crate::history::Model;

#[test]
fn a_read_only_open_beside_a_live_writer_sees_what_was_there_and_writes_nothing() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.set_u64(b"vote", 3).unwrap();
        let mutations = disk.sim.as_ref().map(|sim| sim.mutations());
        let reader = disk.open_read_only();
        assert_eq!(disk.sim.as_ref().map(|sim| sim.mutations()), mutations);
        assert_eq!(log(&reader), entries(1..=40, 1));
        assert_eq!(reader.get_u64(b"vote").unwrap(), Some(3));
        append_each(&journal, &entries(41..=60, 1));
        journal.set_u64(b"vote", 4).unwrap();
        assert_eq!((log(&reader), reader.get_u64(b"vote").unwrap()), (entries(1..=40, 1), Some(3)), "as it was");
        let later = disk.open_read_only();
        assert_eq!((log(&later), later.get_u64(b"vote").unwrap()), (entries(1..=60, 1), Some(4)));
        drop((reader, later));
        append_each(&journal, &entries(61..=62, 1));
        journal.close().unwrap();
        assert_eq!(log(&disk.open()), entries(1..=62, 1));
    });
}

#[test]
fn read_only_opens_beside_a_busy_writer_always_succeed() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut opens = 0;
                while !done.load(Ordering::Relaxed) || opens == 0 {
                    let reader = disk.open_read_only();
                    assert!(reader.state().last_index() >= Some(5));
                    opens += 1;
                }
            });
            (6..=120).for_each(|index| append_each(&journal, &entries(index..=index, 1)));
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    });
}

#[test]
fn a_node_can_hold_a_journal_as_trait_objects() {
    on_both(|disk| {
        let journal = disk.open();
        let (log, state): (Arc<dyn LogStore>, Arc<dyn StableStore>) = (Arc::new(journal.clone()), Arc::new(journal));
        std::thread::spawn(move || {
            log.append(&entries(1..=3, 1)).unwrap();
            state.set_u64(b"vote", 1).unwrap();
        })
        .join()
        .unwrap();
        assert_eq!(Model::of(&disk.open()).log.entries.len(), 3);
    });
}

#[test]
fn journals_whose_last_handles_all_threads_for_callbacks_drop_are_closed() {
    // As many as the lane has threads: a callback of theirs has to wait for one of them.
    const THREADS: usize = 4;
    let dir = tempfile::tempdir().unwrap();
    let (sender, closed) = mpsc::channel();
    let all = Arc::new(Barrier::new(THREADS));
    for number in 0..THREADS {
        let journal = Journal::open(dir.path().join(number.to_string())).unwrap();
        let (sender, all) = (sender.clone(), Arc::clone(&all));
        let job = move || {
            all.wait();
            let pending = journal.append_pending(&[Entry::new(1, 1, "set x")]).unwrap();
            pending.on_durable(Box::new(move |durable| sender.send(durable).unwrap()));
            all.wait();
            drop(journal);
        };
        OsFs.tasks().submit(Lane::Urgent, Box::new(job));
    }
    drop(sender);
    for _ in 0..THREADS {
        // However slow the machine is: without an end, this is a deadlock.
        closed.recv_timeout(Duration::from_secs(300)).expect("a callback").unwrap();
    }
}
