//! One opener at a time, and nobody after the close.

use raft_journal::{Changes, Error, Journal, LogStore, Position, Result, StableStore};

use crate::common::{Disk, entries, log, names_file, on_both};

#[test]
fn a_second_opener_in_this_process_is_refused() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        let files = disk.contents();
        let error = disk.try_open().unwrap_err();
        assert!(matches!(&error, Error::Locked { path } if *path == disk.path("LOCK")), "{error:?}");
        assert!(names_file(&error, &disk.path("LOCK")) && error.to_string().contains("close"), "{error}");
        assert!(disk.contents() == files);
        journal.append(&entries(4..=4, 1)).unwrap();
        let clone = journal.clone();
        drop(journal);
        assert!(matches!(disk.try_open(), Err(Error::Locked { .. })), "a clone still holds it");
        drop(clone);
        assert_eq!(log(&disk.open()), entries(1..=4, 1));
    });
}

#[test]
fn a_second_opener_in_another_process_is_refused() {
    const DIR: &str = "RAFT_JOURNAL_TEST_OTHER_PROCESS";
    const LOCKED: i32 = 17;
    const OPENED: i32 = 18;
    if let Some(dir) = std::env::var_os(DIR) {
        let code = match Journal::open(dir) {
            Err(Error::Locked { .. }) => LOCKED,
            Ok(_) => OPENED,
            Err(_) => 1,
        };
        std::process::exit(code);
    }
    let disk = Disk::real();
    let other = || {
        let name = "handles::a_second_opener_in_another_process_is_refused";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name]).env(DIR, &disk.dir).output().unwrap();
        output.status.code()
    };
    let journal = disk.open();
    journal.append(&entries(1..=3, 1)).unwrap();
    assert_eq!(other(), Some(LOCKED));
    journal.append(&entries(4..=4, 1)).unwrap();
    journal.close().unwrap();
    assert_eq!(other(), Some(OPENED));
    assert_eq!(log(&disk.open()), entries(1..=4, 1));
}

#[test]
fn every_call_after_close_answers_closed_on_every_clone() {
    on_both(|disk| {
        let journal = disk.open();
        let clone = journal.clone();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"term", 1).unwrap();
        journal.close().unwrap();
        let files = disk.contents();
        for journal in [&journal, &clone] {
            let closed = |result: Result<()>| assert!(matches!(result, Err(Error::Closed)), "{result:?}");
            closed(journal.append(&entries(4..=4, 1)).map(drop));
            closed(journal.append(&[]).map(drop));
            closed(journal.append_pending(&entries(4..=4, 1)).map(drop));
            closed(journal.replace_tail(&entries(3..=3, 1)).map(drop));
            closed(journal.truncate_tail(3));
            closed(journal.truncate_head(Position::new(1, 1)));
            closed(journal.sync());
            closed(journal.entry(1).map(drop));
            closed(journal.entries(1..2, 1).map(drop));
            closed(journal.term(1).map(drop));
            closed(journal.get(b"term").map(drop));
            closed(journal.get_u64(b"term").map(drop));
            closed(journal.set(b"term", b"2"));
            closed(journal.set_lazy(b"term", b"2"));
            closed(journal.remove(b"term"));
            closed(journal.commit(&Changes::new()));
            closed(journal.close());
            assert_eq!(journal.state().last, Some(Position::new(3, 1)), "the last state stays known");
        }
        assert!(disk.contents() == files);
        // The lock is given up although handles are still there.
        assert_eq!(log(&disk.open()), entries(1..=3, 1));
    });
}
