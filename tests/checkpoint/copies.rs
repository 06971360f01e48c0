//! What is in a copy, and what becomes of it.

use raft_journal::{Error, Journal, LogStore, OnDamage, Position, StableStore};

use crate::common::{Disk, append_each, entries, log, on_both};
use crate::{assert_same, churn, filled};

#[test]
fn a_copy_holds_what_was_durable_and_both_go_on_apart() {
    on_both(|disk| {
        let journal = filled(disk);
        let backup = disk.beside("backup");
        let made = journal.checkpoint(&backup.dir).unwrap();
        assert_eq!(made.last, Some(Position::new(60, 1)));
        assert_eq!((made.kept, made.copied, made.removed), (0, 1, 0));
        assert_eq!(made.linked, made.segments - 1, "{made:?}");
        assert!(made.linked >= 3, "{made:?}");
        let copy = backup.open();
        assert_same(&copy, &journal);
        let report = copy.recovery_report();
        assert!(report.clean && report.suspect.is_none() && report.torn.is_none(), "{report:?}");
        assert!(report.reindexed.is_empty(), "{report:?}");
        append_each(&journal, &entries(61..=80, 2));
        copy.replace_tail(&entries(50..=70, 3)).unwrap();
        copy.set(b"vote", b"node-3").unwrap();
        assert_eq!(log(&journal)[55..], entries(61..=80, 2));
        assert_eq!(log(&copy)[44..], entries(50..=70, 3));
        assert_eq!(journal.get(b"vote").unwrap().as_deref(), Some(&b"node-2"[..]));
        copy.close().unwrap();
        drop(copy);
        assert_eq!(log(&backup.open())[44..], entries(50..=70, 3));
    });
}

#[test]
fn a_file_with_a_second_name_is_never_written_to_again_by_either_journal() {
    on_both(|disk| {
        let journal = filled(disk);
        let (backup, second) = (disk.beside("backup"), disk.beside("second"));
        journal.checkpoint(&backup.dir).unwrap();
        journal.checkpoint(&second.dir).unwrap();
        let expected = log(&journal);
        churn(disk, &journal);
        assert_eq!(log(&backup.open_read_only()), expected);
        // The copy gives up its files, which are the second copy's, too.
        let copy = backup.open();
        assert_eq!(log(&copy), expected);
        churn(&backup, &copy);
        assert_eq!(log(&second.open()), expected);
    });
}

#[test]
fn a_journal_that_was_opened_again_does_not_use_linked_files_anew() {
    on_both(|disk| {
        let journal = filled(disk);
        let backup = disk.beside("backup");
        journal.checkpoint(&backup.dir).unwrap();
        let expected = log(&journal);
        journal.close().unwrap();
        drop(journal);
        let journal = disk.open();
        churn(disk, &journal);
        assert_eq!(log(&backup.open()), expected);
    });
}

#[test]
fn files_are_used_anew_where_no_checkpoint_has_them() {
    let disk = Disk::simulated();
    let journal = filled(&disk);
    churn(&disk, &journal);
    let backup = disk.beside("backup");
    let recycled = |journal: &Journal| journal.segments().unwrap().iter().any(|segment| segment.recycled);
    assert!(recycled(&journal));
    // The first file that is given up after it is the copy's, too; those made later are not.
    journal.checkpoint(&backup.dir).unwrap();
    churn(&disk, &journal);
    assert!(recycled(&journal));
}

#[test]
fn an_older_checkpoint_is_brought_forward_without_copying_what_it_has() {
    on_both(|disk| {
        let journal = filled(disk);
        let backup = disk.beside("backup");
        let first = journal.checkpoint(&backup.dir).unwrap();
        append_each(&journal, &entries(61..=90, 2));
        journal.replace_tail(&entries(85..=87, 3)).unwrap();
        journal.truncate_head(Position::new(30, 1)).unwrap();
        let second = journal.checkpoint(&backup.dir).unwrap();
        // Its newest file was not sealed then: that one is replaced.
        assert_eq!(second.kept + second.removed, first.linked, "{first:?} {second:?}");
        assert!(second.kept > 0 && second.linked > 0 && second.removed > 0, "{second:?}");
        assert_eq!((second.copied, second.kept + second.linked + 1), (1, second.segments));
        assert_same(&backup.open_read_only(), &journal);
        let third = journal.checkpoint(&backup.dir).unwrap();
        assert_eq!((third.kept, third.copied, third.linked, third.removed), (third.segments - 1, 1, 0, 0));
        assert_same(&backup.open(), &journal);
    });
}

/// Fills a journal.
type Make = fn(&Journal);

#[test]
fn journals_of_every_shape_can_be_copied() {
    on_both(|disk| {
        let shapes: [(&str, Make); 5] = [
            ("fresh", |_| {}),
            ("a vote alone", |journal| journal.set_u64(b"term", 7).unwrap()),
            ("one entry", |journal| append_each(journal, &entries(4..=4, 1))),
            ("a snapshot", |journal| {
                append_each(journal, &entries(1..=40, 1));
                journal.truncate_head(Position::new(1000, 7)).unwrap();
            }),
            ("a replaced tail", |journal| {
                append_each(journal, &entries(1..=60, 1));
                journal.replace_tail(&entries(20..=22, 2)).unwrap();
            }),
        ];
        for (name, make) in shapes {
            let disk = disk.beside(name);
            let backup = disk.beside(&format!("copy of {name}"));
            let journal = disk.open();
            make(&journal);
            journal.checkpoint(&backup.dir).unwrap();
            assert_same(&backup.open(), &journal);
        }
    });
}

#[test]
fn what_was_put_back_here_is_there() {
    on_both(|disk| {
        let journal = filled(disk);
        let expected = log(&journal);
        journal.close().unwrap();
        drop(journal);
        let (name, at) = disk.find(&entries(20..=20, 1)[0].data);
        disk.flip(&name, at);
        let journal = disk.open();
        assert!(matches!(journal.entry(20), Err(Error::Damaged(_))));
        journal.repair(&entries(20..=20, 1)).unwrap();
        let (backup, second) = (disk.beside("backup"), disk.beside("second"));
        let made = journal.checkpoint(&backup.dir).unwrap();
        assert_eq!(made.linked, made.segments, "all but the newest, and the repair file");
        assert_eq!(journal.checkpoint(&backup.dir).unwrap().kept, made.segments);
        disk.open_read_only().checkpoint(&second.dir).unwrap();
        assert_eq!(log(&backup.open()), expected);
        // When the head has passed it, the file goes from both.
        journal.truncate_head(Position::new(60, 1)).unwrap();
        churn(disk, &journal);
        journal.checkpoint(&second.dir).unwrap();
        assert!(!second.names().iter().any(|name| name.ends_with(".rep")), "{:?}", second.names());
        assert_same(&second.open(), &journal);
        assert_eq!(log(&backup.open()), expected);
    });
}

#[test]
fn what_is_lost_and_accepted_here_is_lost_and_accepted_there() {
    on_both(|disk| {
        let journal = filled(disk);
        journal.close().unwrap();
        drop(journal);
        let lost = disk.chain()[2].clone();
        for spoil in [0, 1] {
            let disk = disk.killed();
            match spoil {
                0 => disk.remove(&lost),
                _ => [0, disk.bytes(&lost).len() - 512].into_iter().for_each(|at| disk.flip(&lost, at)),
            }
            let journal = disk.open_accepting();
            let backup = disk.beside("backup");
            let next = journal.state().next_index().unwrap();
            append_each(&journal, &entries(next..=next + 3, 4));
            journal.checkpoint(&backup.dir).unwrap();
            let copy = backup.open();
            assert_eq!(copy.state().purged, journal.state().purged);
            let lost = |journal: &Journal| {
                let damaged = &journal.recovery_report().damaged;
                damaged.iter().map(|damage| (damage.offset, damage.indexes)).collect::<Vec<_>>()
            };
            assert!(!lost(&journal).is_empty());
            assert_eq!(lost(&copy), lost(&journal));
            for index in 6..next + 4 {
                assert_eq!(copy.entry(index).ok(), journal.entry(index).ok(), "entry {index}");
            }
        }
    });
}

// Guards: the newest `meta` was lost, the journal said that a vote may be missing, and its copy did not, for good.
#[test]
fn a_vote_that_may_be_lost_here_may_be_lost_there() {
    on_both(|disk| {
        let journal = filled(disk);
        journal.set(b"vote", b"node-3").unwrap();
        drop(journal);
        let disk = disk.killed();
        let meta = disk.bytes("meta");
        let copy_bytes = meta.len() / 4;
        let generation = |copy: usize| meta[copy * copy_bytes + 24];
        let newest = [0, 2].into_iter().max_by_key(|copy| generation(*copy)).unwrap();
        (newest..newest + 2).for_each(|copy| disk.flip("meta", copy * copy_bytes + 100));
        let in_doubt = |journal: &Journal| journal.recovery_report().suspect.is_some_and(|suspect| suspect.vote);
        let assert_in_doubt = |journal: &Journal, name: &str| {
            assert!(in_doubt(journal), "{name}: {:?}", journal.recovery_report());
            let copy = disk.beside(name);
            journal.checkpoint(&copy.dir).unwrap();
            assert!(in_doubt(&copy.open_read_only()), "{name}: {:?}", copy.open_read_only().recovery_report());
            assert!(in_doubt(&copy.open()));
        };
        assert_in_doubt(&disk.open_read_only(), "of-a-reader");
        let journal = disk.open();
        assert_in_doubt(&journal, "of-a-writer");
        // Until the next vote.
        journal.set(b"vote", b"node-4").unwrap();
        let copy = disk.beside("later");
        journal.checkpoint(&copy.dir).unwrap();
        assert_eq!(copy.open().recovery_report().suspect, None);
    });
}

// Guards: a reader that had accepted the loss of a repair file copied `meta` with the record of it, and the copy was refused.
#[test]
fn a_repair_that_is_lost_and_accepted_here_is_so_there() {
    on_both(|disk| {
        let journal = filled(disk);
        let (name, at) = disk.find(&entries(20..=20, 1)[0].data);
        journal.close().unwrap();
        drop(journal);
        disk.flip(&name, at);
        let journal = disk.open();
        journal.entry(20).unwrap_err();
        journal.repair(&entries(20..=20, 1)).unwrap();
        journal.close().unwrap();
        drop(journal);
        let repair = disk.names().into_iter().find(|name| name.ends_with(".rep")).unwrap();
        disk.remove(&repair);
        disk.try_open().unwrap_err();
        let options = disk.options().on_damage(OnDamage::Accept);
        for (read_only, name) in [(true, "of-a-reader"), (false, "of-a-writer")] {
            let journal = options.clone().read_only(read_only).open(&disk.dir).unwrap();
            let copy = disk.beside(name);
            journal.checkpoint(&copy.dir).unwrap();
            let copy = copy.open();
            assert!(copy.entry(20).is_err());
            assert_eq!(copy.entries(21..61, u64::MAX).unwrap(), entries(21..=60, 1));
        }
    });
}
