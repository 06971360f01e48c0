//! Every state that power loss may leave, and every moment.

use std::collections::BTreeSet;
use std::path::Path;

use raft_journal::io::sim::{Kinds, SimFs, Survival};
use raft_journal::io::{Fs, Mode};

fn contents(disk: &SimFs) -> Vec<(String, Vec<u8>)> {
    let paths = disk.paths().into_iter();
    paths.map(|path| (path.display().to_string(), disk.read_file(path).unwrap())).collect()
}

#[test]
fn every_combination_of_old_and_new_comes_once_beginning_with_all_new() {
    let disk = SimFs::new();
    disk.write_file("/a", &[1; 1024]).unwrap();
    let file = disk.open(Path::new("/a"), Mode::Write).unwrap();
    file.write_at(&[2; 300], 400).unwrap(); // in two sectors
    disk.open(Path::new("/b"), Mode::Create).unwrap(); // a name
    let states = disk.crash_states(Kinds::OldOrNew);
    assert_eq!(states.units(), 3);
    let found: Vec<_> = states.map(|state| contents(&state)).collect();
    assert_eq!(found.len(), 8);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(found[0], contents(&disk.after_power_cut(Survival::Everything)));
    assert!(found.contains(&contents(&disk.after_power_cut(Survival::Nothing))));
}

#[test]
fn what_is_drawn_is_among_what_is_visited() {
    for kinds in [Kinds::OldOrNew, Kinds::All] {
        let disk = SimFs::new();
        disk.write_file("/a", &[1; 600]).unwrap();
        let file = disk.open(Path::new("/a"), Mode::Write).unwrap();
        file.write_at(&[2; 200], 450).unwrap();
        file.set_len(700).unwrap();
        file.write_at(&[3; 10], 690).unwrap();
        let all: BTreeSet<u64> = disk.crash_states(kinds).map(|state| state.digest()).collect();
        let survival = |seed| if kinds == Kinds::All { Survival::Random(seed) } else { Survival::OldOrNew(seed) };
        let drawn: BTreeSet<u64> = (0..3000).map(|seed| disk.after_power_cut(survival(seed)).digest()).collect();
        assert!(
            drawn.is_subset(&all),
            "{} of {} drawn are not among {}",
            drawn.difference(&all).count(),
            drawn.len(),
            all.len()
        );
        assert!(drawn.len() * 2 > all.len(), "{} of {}", drawn.len(), all.len());
    }
}

#[test]
fn contents_of_a_file_whose_name_is_lost_make_no_difference() {
    let disk = SimFs::new();
    let file = disk.open(Path::new("/a"), Mode::Create).unwrap();
    file.write_at(&[1; 512], 0).unwrap();
    // With the name: size and bytes each survive or not, and bytes beyond the size do not show. Without: nothing is left.
    let found: BTreeSet<_> = disk.crash_states(Kinds::OldOrNew).map(|state| contents(&state)).collect();
    assert_eq!(found.len(), 4);
    assert!(found.contains(&Vec::new()));
}

#[test]
fn stale_bytes_are_those_of_the_past_and_damage_stays_where_it_was_written() {
    let disk = SimFs::new();
    let file = disk.open(Path::new("/a"), Mode::Create).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    for byte in [1, 2] {
        file.write_at(&[byte; 512], 0).unwrap();
        file.sync_data().unwrap();
    }
    file.write_at(&[3; 100], 50).unwrap();
    let moment = disk.snapshot();
    file.write_at(&[4; 100], 50).unwrap();
    let firsts: BTreeSet<u8> = moment
        .crash_states(Kinds::All)
        .map(|state| {
            let bytes = state.read_file("/a").unwrap();
            assert!(bytes[..50].iter().chain(&bytes[150..]).all(|byte| *byte == 2), "damage beside the write");
            bytes[50]
        })
        .collect();
    assert!(firsts.contains(&0) && firsts.contains(&1) && firsts.contains(&2) && firsts.contains(&3));
    assert!(!firsts.contains(&4), "bytes from the future");
    assert_eq!(firsts.len(), 5, "{firsts:?}");
}

#[test]
fn each_moment_is_kept_as_it_was_before_an_operation() {
    let disk = SimFs::new();
    disk.write_file("/a", b"old").unwrap();
    disk.record(true);
    let file = disk.open(Path::new("/a"), Mode::Write).unwrap();
    file.write_at(b"n", 0).unwrap();
    file.sync_data().unwrap();
    let moments = disk.take_recorded();
    let durable = moments.iter().map(|moment| moment.after_power_cut(Survival::Nothing).read_file("/a").unwrap());
    assert_eq!(durable.collect::<Vec<_>>(), [b"old", b"old", b"nld"]);
    assert_eq!(disk.take_recorded().len(), 1, "only the one of now");
    // Equal disks have equal digests, however they came to be.
    let other = SimFs::with_seed(9);
    other.write_file("/a", b"nld").unwrap();
    assert_eq!(disk.digest(), other.digest());
    other.corrupt("/a", 2, b"x").unwrap();
    assert_ne!(disk.digest(), other.digest());
}
