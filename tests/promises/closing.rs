//! Closing, in spite of callbacks and threads that end.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_journal::{Entry, Error, Journal, LogStore};

use crate::common::{Disk, entries, log, on_both};

/// Far more than come about before a close, however busy the machine is.
const MOST: u64 = 1_000_000;

/// Appends the next entry, and once more whenever one is durable.
fn go_on(journal: &Journal, index: u64, written: &Arc<AtomicU64>) {
    let pending = match journal.append_pending(&[Entry::new(index, 1, "on and on")]) {
        Err(Error::Closed) => return,
        pending => pending.unwrap(),
    };
    written.store(index, Ordering::SeqCst);
    let (journal, written) = (journal.clone(), Arc::clone(written));
    if index < MOST {
        pending.on_durable(Box::new(move |_| go_on(&journal, index + 1, &written)));
    }
}

// Guards: a close waited until no callback was due, and each of them brought the next one about.
#[test]
fn a_close_ends_though_each_callback_appends_once_more() {
    let test = |disk: &Disk| {
        disk.threaded_tasks();
        let journal = disk.options().segment_bytes(64 << 20).open(&disk.dir).unwrap();
        let written = Arc::new(AtomicU64::new(0));
        go_on(&journal, 1, &written);
        while written.load(Ordering::SeqCst) < 20 {
            std::thread::yield_now();
        }
        journal.close().unwrap();
        let last = written.load(Ordering::SeqCst);
        assert!(last < MOST, "{last}");
        assert_eq!(disk.open().state().last_index(), Some(last));
    };
    on_both(test);
}

thread_local! {
    static KEPT: RefCell<Option<Journal>> = const { RefCell::new(None) };
}

// Guards: a journal that a thread's own values hold is closed when the thread's other values are gone already.
#[test]
fn a_thread_may_keep_a_journal_to_its_end() {
    on_both(|disk| {
        std::thread::scope(|threads| {
            let keeper = threads.spawn(|| {
                // Before the journal has values of its own in this thread.
                KEPT.with(|kept| assert!(kept.borrow().is_none()));
                let journal = disk.open();
                journal.append(&entries(1..=3, 1)).unwrap();
                KEPT.set(Some(journal));
            });
            // Its end, and not only that of what it runs.
            keeper.join().unwrap();
        });
        let journal = disk.open();
        assert!(journal.recovery_report().clean);
        assert_eq!(log(&journal), entries(1..=3, 1));
    });
}

// Guards: a close waited for a job that stood behind the work of another journal, whose disk hung.
#[test]
fn a_close_does_not_wait_for_the_disk_of_another_journal() {
    let [hung, ours] = [(); 2].map(|()| Disk::simulated());
    [&hung, &ours].iter().for_each(|disk| disk.threaded_tasks());
    let other = hung.open();
    let hold = hung.sim().hold_syncs();
    // More than half a file: the next one is being made, on the one thread that does that for all journals.
    drop(other.append_pending(&entries(1..=15, 1)).unwrap());
    hung.sim().wait_for_held_syncs(1);
    let journal = ours.open();
    journal.append(&entries(1..=15, 1)).unwrap();
    let (told, closed) = std::sync::mpsc::channel();
    let closer = std::thread::spawn(move || {
        journal.close().unwrap();
        told.send(()).unwrap();
    });
    let is_closed = closed.recv_timeout(std::time::Duration::from_secs(60));
    drop(hold);
    closer.join().unwrap();
    is_closed.expect("it was closed while the other disk hung");
    assert!(ours.try_open().is_ok());
}
