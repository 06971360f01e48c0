//! Files that are missing, too short, of another journal or of a newer build.

use raft_journal::{DamageKind, Error, LogStore, Position};

use crate::common::{Disk, append_each, entries, log, names_file, on_both, set_segment_version, unsalted_check};
use crate::open_refused;

#[test]
fn foreign_files_among_the_segments_are_left_alone_and_reported() {
    on_both(|disk| {
        let other = disk.beside("other");
        append_each(&other.open(), &entries(1..=40, 9));
        append_each(&disk.open(), &entries(1..=40, 1));
        let first_foreign = "00000000000000009000.seg";
        let foreign = [
            ("notes.txt", b"precious".to_vec()),
            (first_foreign, other.bytes(&other.segments()[0])),
            ("00000000000000009001.seg", b"no header at all".to_vec()),
        ];
        foreign.iter().for_each(|(name, bytes)| disk.put(name, bytes));
        let journal = disk.open();
        assert_eq!(log(&journal), entries(1..=40, 1));
        let reported = &journal.recovery_report().foreign;
        assert_eq!(*reported, [disk.path(first_foreign), disk.path("00000000000000009001.seg")]);
        // Still there when the log has rotated and forgotten its head many times over.
        append_each(&journal, &entries(41..=120, 1));
        journal.truncate_head(Position::new(100, 1)).unwrap();
        journal.close().unwrap();
        drop(disk.open());
        foreign.iter().for_each(|(name, bytes)| assert!(disk.bytes(name) == *bytes, "{name}"));
    });
}

#[test]
fn segments_without_meta_are_never_a_fresh_start() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=40, 1));
        journal.close().unwrap();
        disk.remove("meta");
        let first = disk.segments()[0].clone();
        let error = open_refused(disk);
        assert!(
            matches!(&error, Error::SegmentsWithoutMeta { dir, first_segment } if *dir == disk.dir && *first_segment == first),
            "{error:?}"
        );
        assert!(names_file(&error, &disk.dir) && error.to_string().contains("rejoin"), "{error}");
    });
}

#[test]
fn meta_of_another_journal_is_refused() {
    on_both(|disk| {
        let other = disk.beside("other");
        let (journal, others) = (disk.open(), other.open());
        let (id, others_id) = (journal.id(), others.id());
        assert_ne!(id, others_id);
        append_each(&journal, &entries(1..=40, 1));
        append_each(&others, &entries(1..=40, 1));
        journal.close().unwrap();
        others.close().unwrap();
        disk.put("meta", &other.bytes("meta"));
        let error = open_refused(disk);
        let Error::ForeignFile { path, expected, found } = &error else { panic!("{error:?}") };
        assert_eq!((*expected, *found), (others_id, id));
        assert_eq!(*path, disk.path(&disk.segments()[0]));
        assert!(names_file(&error, path), "{error}");
    });
}

#[test]
fn a_segment_of_another_journal_in_the_chain_is_refused() {
    on_both(|disk| {
        let other = disk.beside("other");
        let (journal, others) = (disk.open(), other.open());
        let (id, others_id) = (journal.id(), others.id());
        append_each(&journal, &entries(1..=60, 1));
        append_each(&others, &entries(1..=60, 1));
        journal.close().unwrap();
        others.close().unwrap();
        let files = disk.contents();
        for name in disk.segments().iter().take(3) {
            disk.put(name, &other.bytes(name));
            let error = open_refused(disk);
            let Error::ForeignFile { path, expected, found } = &error else { panic!("{error:?}") };
            assert_eq!((*expected, *found), (id, others_id));
            assert_eq!(*path, disk.path(name));
            disk.put(name, &files[name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}

#[test]
fn a_newer_format_of_a_segment_is_not_damage() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        journal.close().unwrap();
        let files = disk.contents();
        for name in disk.segments().iter().take(3) {
            let mut bytes = disk.bytes(name);
            set_segment_version(&mut bytes, 2);
            disk.put(name, &bytes);
            let error = open_refused(disk);
            let Error::UnsupportedVersion { path, found: 2, supported: 1 } = &error else { panic!("{error:?}") };
            assert_eq!(*path, disk.path(name));
            assert!(names_file(&error, path) && error.to_string().contains("newer build"), "{error}");
            disk.put(name, &files[name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}

#[test]
fn a_newer_format_of_meta_is_not_damage() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        journal.close().unwrap();
        let whole = disk.bytes("meta");
        let copy_bytes = whole.len() / 4;
        for slots in [&[0, 1][..], &[2, 3], &[0, 1, 2, 3]] {
            let mut bytes = whole.clone();
            for copy in slots {
                let content = &mut bytes[copy * copy_bytes..];
                let len = u32::from_le_bytes(content[16..20].try_into().unwrap()) as usize;
                content[8..12].copy_from_slice(&9u32.to_le_bytes());
                let check = unsalted_check(&[&content[..12], &content[16..len]]);
                content[12..16].copy_from_slice(&check.to_le_bytes());
            }
            disk.put("meta", &bytes);
            let error = open_refused(disk);
            let Error::UnsupportedVersion { path, found: 9, supported: 4 } = &error else { panic!("{error:?}") };
            assert_eq!(*path, disk.path("meta"));
        }
        disk.put("meta", &whole);
        assert_eq!(log(&disk.open()), entries(1..=5, 1));
    });
}

/// The segments that hold batches: not the spare.
fn chain(disk: &Disk) -> Vec<String> {
    disk.segments().into_iter().filter(|name| disk.bytes(name)[512..584] != [0; 72]).collect()
}

/// The first index of a segment's first batch.
fn first_index_in(segment: &[u8]) -> u64 {
    u64::from_le_bytes(segment[512 + 24..512 + 32].try_into().unwrap())
}

#[test]
fn a_missing_segment_is_named_wherever_in_the_chain_it_was() {
    for is_clean in [true, false] {
        on_both(|disk| {
            let journal = disk.open();
            append_each(&journal, &entries(1..=60, 1));
            let killed = disk.killed();
            journal.close().unwrap();
            let disk = if is_clean { disk } else { &killed };
            let (segments, files) = (chain(disk), disk.contents());
            assert!(segments.len() >= 4, "{segments:?}");
            for name in &segments {
                disk.remove(name);
                let error = open_refused(disk);
                let Error::Damaged(damage) = &error else { panic!("{name}: {error:?}") };
                assert_eq!((&damage.path, damage.why), (&disk.path(name), DamageKind::MissingFile));
                assert!(names_file(&error, &disk.path(name)) && error.to_string().contains("missing"), "{error}");
                assert!(damage.indexes.first <= first_index_in(&files[name]), "{error}");
                disk.put(name, &files[name]);
            }
            assert_eq!(log(&disk.open()), entries(1..=60, 1));
        });
    }
}

#[test]
fn a_short_segment_is_named() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=60, 1));
        journal.close().unwrap();
        let files = disk.contents();
        for name in chain(disk) {
            for len in [64, 4096, 8191] {
                disk.put(&name, &files[&name][..len]);
                let error = open_refused(disk);
                let Error::Damaged(damage) = &error else { panic!("{name}: {error:?}") };
                assert_eq!((&damage.path, damage.why), (&disk.path(&name), DamageKind::ShortFile), "{len}");
                assert!(error.to_string().contains("shorter"), "{error}");
            }
            disk.put(&name, &files[&name]);
        }
        assert_eq!(log(&disk.open()), entries(1..=60, 1));
    });
}
