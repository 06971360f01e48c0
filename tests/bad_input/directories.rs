//! Directories and options with which no journal can be opened.

use raft_journal::Error;

use crate::common::{names_file, on_both};

#[test]
fn a_path_that_is_a_file_is_no_journal_and_stays_as_it_is() {
    on_both(|disk| {
        let inside = disk.beside("parent");
        inside.put("file", b"precious");
        for options in [disk.options(), disk.options().read_only(true)] {
            let error = options.open(inside.path("file")).unwrap_err();
            assert!(matches!(&error, Error::NotAJournal { dir, .. } if *dir == inside.path("file")), "{error:?}");
            assert!(names_file(&error, &inside.path("file")), "{error}");
        }
        assert_eq!(inside.bytes("file"), b"precious");
        assert_eq!(inside.names(), ["file"]);
    });
}

#[test]
fn a_directory_with_other_files_is_no_journal_and_stays_as_it_is() {
    on_both(|disk| {
        disk.put("photo.jpg", b"precious");
        for options in [disk.options(), disk.options().read_only(true)] {
            let error = options.open(&disk.dir).unwrap_err();
            assert!(matches!(&error, Error::NotAJournal { dir, why } if *dir == disk.dir && why.contains("photo.jpg")));
        }
        assert_eq!(disk.names(), ["photo.jpg"]);
        assert_eq!(disk.bytes("photo.jpg"), b"precious");
    });
}

#[test]
fn a_directory_whose_parent_is_missing_is_not_made() {
    on_both(|disk| {
        let nested = disk.path("journal");
        let error = disk.options().open(&nested).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == nested), "{error:?}");
        assert!(disk.fs.list(&disk.dir).is_err());
    });
}

#[test]
fn an_option_out_of_bounds_is_refused_by_name() {
    on_both(|disk| {
        let cases = [
            ("segment_bytes", disk.options().segment_bytes(8191)),
            ("segment_bytes", disk.options().segment_bytes(u64::MAX)),
            ("segment_bytes", disk.options().align_4k(true)),
            ("entry_bytes_max", disk.options().entry_bytes_max(u64::MAX)),
            ("meta_bytes_max", disk.options().meta_bytes_max(0)),
        ];
        for (option, options) in cases {
            let error = options.open(&disk.dir).unwrap_err();
            assert!(matches!(&error, Error::InvalidOption { name, .. } if *name == option), "{error:?}");
        }
        assert!(disk.fs.list(&disk.dir).is_err(), "made in spite of bad options");
    });
}
