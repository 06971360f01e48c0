//! Small state that is too large, or not what was asked for.

use raft_journal::{Changes, Error, KEY_BYTES_MAX, LogStore, Position, StableStore, VALUE_BYTES_MAX};

use crate::common::on_both;
use crate::refused;

#[test]
fn a_key_or_a_value_above_its_bound_is_refused() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(16 << 10).open(&disk.dir).unwrap();
        let (key, value) = ([b'k'; KEY_BYTES_MAX + 1], [1; VALUE_BYTES_MAX + 1]);
        journal.set(&key[1..], &value[1..]).unwrap();
        let text = assert_refused!(disk, &journal, |j| j.set(b"vote", &value),
            Error::ValueTooLarge { what: "value", key, bytes: 4097, bytes_max: 4096 } if key == "vote");
        assert!(text.contains("\"vote\""), "{text}");
        assert_refused!(
            disk,
            &journal,
            |j| j.set(&key, b"v"),
            Error::ValueTooLarge { what: "key", bytes: 256, bytes_max: 255, .. }
        );
        assert_refused!(disk, &journal, |j| j.set_lazy(b"vote", &value), Error::ValueTooLarge { .. });
        let changes = Changes::new().set("term", "1").set("vote", value);
        assert_refused!(disk, &journal, |j| j.commit(&changes), Error::ValueTooLarge { .. });
        assert_eq!((journal.get(b"term").unwrap(), journal.get(b"vote").unwrap()), (None, None));
        assert_eq!(journal.get(&key[1..]).unwrap().as_deref(), Some(&value[1..]));
    });
}

#[test]
fn a_store_above_its_bound_is_refused_and_removing_still_works() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(512).open(&disk.dir).unwrap();
        journal.set(b"a", &[1; 250]).unwrap();
        journal.set(b"b", &[2; 254]).unwrap();
        let full = |error: &Error| matches!(error, Error::StoreFull { bytes: 516, bytes_max: 512 });
        let error = refused(disk, &journal, |j| j.set(b"c", b""));
        assert!(full(&error) && error.to_string().contains("meta_bytes_max"), "{error:?}");
        assert!(full(&refused(disk, &journal, |j| j.set_lazy(b"c", b""))));
        let changes = Changes::new().remove("nothing").set("c", "").truncate_head(Position::new(5, 1));
        assert!(full(&refused(disk, &journal, |j| j.commit(&changes))));
        assert_eq!(journal.state().purged, None);
        // Exchanging one for another of the same size, overwriting and removing need no room.
        journal.commit(&Changes::new().remove("a").set("c", [3; 250])).unwrap();
        journal.set(b"b", &[4; 254]).unwrap();
        journal.remove(b"b").unwrap();
        journal.set(b"d", &[5; 200]).unwrap();
        journal.close().unwrap();

        let journal = disk.options().meta_bytes_max(4096).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"c").unwrap().as_deref(), Some(&[3; 250][..]));
        journal.set(b"e", &[6; 3000]).unwrap();
        journal.close().unwrap();
        let journal = disk.options().meta_bytes_max(4096).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"e").unwrap().as_deref(), Some(&[6; 3000][..]));
    });
}

#[test]
fn a_bound_too_small_for_what_is_there_is_refused_at_open() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(20 << 10).open(&disk.dir).unwrap();
        for key in [b"a", b"b", b"c", b"d"] {
            journal.set(key, &[1; 4000]).unwrap();
        }
        journal.close().unwrap();
        // In steps of whole copies of the file, and within one.
        for bytes_max in [256, 15_000, 16_000] {
            let error = disk.options().meta_bytes_max(bytes_max).open(&disk.dir).unwrap_err();
            assert!(matches!(error, Error::StoreFull { bytes: 16_016, bytes_max: b } if b == bytes_max), "{error:?}");
        }
        let journal = disk.options().meta_bytes_max(16_016).open(&disk.dir).unwrap();
        assert_eq!(journal.get(b"d").unwrap().as_deref(), Some(&[1; 4000][..]));
    });
}

#[test]
fn a_bound_a_little_too_small_for_what_is_there_is_refused_at_open() {
    on_both(|disk| {
        let journal = disk.options().meta_bytes_max(512).open(&disk.dir).unwrap();
        journal.set(b"a", &[1; 400]).unwrap();
        journal.close().unwrap();
        let error = disk.options().meta_bytes_max(256).open(&disk.dir).unwrap_err();
        assert!(matches!(error, Error::StoreFull { bytes: 404, bytes_max: 256 }), "{error:?}");
    });
}

#[test]
fn a_number_asked_of_another_value_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.set(b"name", b"seven").unwrap();
        journal.set_u64(b"term", 7).unwrap();
        let error = journal.get_u64(b"name").unwrap_err();
        assert!(matches!(&error, Error::NotU64 { key, bytes: 5 } if key == "name"), "{error:?}");
        assert_eq!(journal.get_u64(b"term").unwrap(), Some(7));
        assert_eq!(journal.get_u64(b"nothing").unwrap(), None);
    });
}
