//! Promise 4: a vote is never lost silently.

use raft_journal::io::sim::Survival;
use raft_journal::{Error, Journal, LogStore, OnDamage, StableStore};

use crate::common::{Disk, FIRST_PAYLOAD_AT, append_each, entries, entry, log, names_file, on_both};
use crate::history::Model;

#[test]
fn one_damaged_block_of_meta_costs_nothing_and_is_healed() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        (1..=4).for_each(|term| journal.set_u64(b"vote", term).unwrap());
        let whole = disk.killed().bytes("meta");
        assert_eq!(whole.len(), 4 * 4096);
        for block in 0..4 {
            for noise in [0, 0xa5] {
                let damaged = disk.killed();
                let mut bytes = whole.clone();
                bytes[block * 4096..][..4096].fill(noise);
                damaged.put("meta", &bytes);
                let journal = damaged.open();
                assert_eq!(Model::of(&journal).vote, Some(4), "block {block}");
                assert_eq!(log(&journal), entries(1..=5, 1));
                let report = journal.recovery_report();
                assert!(report.meta_healed && report.suspect.is_none_or(|suspect| !suspect.vote), "{report:?}");
                // The slot that the next commit goes to is healed by it, so two commits heal both.
                journal.set_u64(b"other", 1).unwrap();
                journal.close().unwrap();
                let journal = damaged.open();
                assert!(!journal.recovery_report().meta_healed, "block {block} is not healed");
                assert_eq!(journal.get_u64(b"vote").unwrap(), Some(4));
            }
        }
    });
}

#[test]
fn both_slots_of_meta_unreadable_is_an_error_and_never_a_default() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=5, 1));
        journal.set_u64(b"vote", 1).unwrap();
        journal.close().unwrap();
        let whole = disk.bytes("meta");
        let mut flipped = whole.clone();
        (0..4).for_each(|copy| flipped[copy * 4096 + 40] ^= 1);
        for bytes in [vec![0; whole.len()], flipped, Vec::new(), whole[..100].to_vec()] {
            disk.put("meta", &bytes);
            for on_damage in [OnDamage::Refuse, OnDamage::Accept] {
                let error = disk.options().on_damage(on_damage).open(&disk.dir).unwrap_err();
                assert!(
                    matches!(&error, Error::MetaUnreadable { path, .. } if *path == disk.path("meta")),
                    "{error:?}"
                );
                assert!(names_file(&error, &disk.path("meta")) && error.to_string().contains("rejoin"), "{error}");
                assert!(disk.bytes("meta") == bytes);
            }
        }
        disk.put("meta", &whole);
        assert_eq!(Model::of(&disk.open()).vote, Some(1));
    });
}

#[test]
fn a_meta_older_than_the_log_knows_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.set_u64(b"vote", 1).unwrap();
        let old = disk.bytes("meta");
        journal.set_u64(b"vote", 2).unwrap();
        journal.append(&entries(4..=6, 1)).unwrap();
        let killed = disk.killed();
        let (name, at) = killed.find(&entry(4, 1, 300).data);
        killed.put("meta", &old);
        for on_damage in [OnDamage::Refuse, OnDamage::Accept] {
            let error = killed.options().on_damage(on_damage).open(&killed.dir).unwrap_err();
            let Error::MetaOutdated { path, found_generation, generation, witness, offset, .. } = &error else {
                panic!("{error:?}")
            };
            assert_eq!((path, witness), (&killed.path("meta"), &killed.path(&name)));
            assert_eq!((*generation, *offset), (found_generation + 1, (at - FIRST_PAYLOAD_AT) as u64));
            assert!(error.to_string().contains("a vote may be lost"), "{error}");
        }
        assert!(killed.bytes("meta") == old);
    });
}

#[test]
fn a_meta_of_an_earlier_life_than_the_log_knows_is_an_error() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        journal.close().unwrap();
        let old = disk.bytes("meta");
        let journal = disk.open();
        journal.append(&entries(4..=6, 1)).unwrap();
        let killed = disk.killed();
        killed.put("meta", &old);
        let error = killed.try_open().unwrap_err();
        let Error::MetaOutdated { found_life, life, .. } = &error else { panic!("{error:?}") };
        assert_eq!((*found_life, *life), (1, 2));
    });
}

/// Both copies of the newest state are gone.
fn lose_newest(disk: &Disk) {
    let mut bytes = disk.bytes("meta");
    let generation = |copy: usize| u64::from_le_bytes(bytes[copy * 4096 + 24..][..8].try_into().unwrap());
    let newest = if generation(0) > generation(2) { 0 } else { 2 };
    bytes[newest * 4096..][..2 * 4096].fill(0);
    disk.put("meta", &bytes);
}

// An open heals the slot before it can tell anybody: if power fails in between, the next one has to.
#[test]
fn a_vote_that_may_be_lost_is_told_by_the_open_that_follows_one_that_was_cut_short() {
    let disk = Disk::simulated();
    let journal = disk.open();
    (1..=4).for_each(|vote| journal.set_u64(b"vote", vote).unwrap());
    let disk = disk.killed();
    lose_newest(&disk);
    let probe = disk.killed();
    let begun = probe.sim().mutations();
    let opened = probe.open();
    let last = probe.sim().mutations() - begun;
    drop(opened);
    let mut healed = 0;
    for at in 0..last {
        let disk = disk.killed();
        disk.sim().cut_power_at(disk.sim().mutations() + at);
        _ = disk.try_open();
        let disk = disk.after_power_cut(Survival::Everything);
        healed += usize::from(disk.bytes("meta")[..4].iter().any(|&byte| byte != 0));
        let journal = disk.open();
        let told = |journal: &Journal| journal.recovery_report().suspect.as_ref().is_some_and(|suspect| suspect.vote);
        assert!(told(&journal), "cut at {at}");
        // Told once, and something was committed since.
        journal.set_u64(b"vote", 9).unwrap();
        let journal = disk.killed().open();
        assert!(!told(&journal) && journal.get_u64(b"vote").unwrap() == Some(9), "cut at {at}");
    }
    assert!(healed > 0);
}

#[test]
fn a_lost_slot_of_meta_is_an_error_where_the_log_knows_of_it_and_suspect_where_nothing_does() {
    on_both(|disk| {
        let journal = disk.open();
        journal.append(&entries(1..=3, 1)).unwrap();
        (1..=4).for_each(|vote| journal.set_u64(b"vote", vote).unwrap());
        let unwitnessed = disk.killed();
        lose_newest(&unwitnessed);
        let opened = unwitnessed.open();
        assert_eq!(opened.get_u64(b"vote").unwrap(), Some(3));
        assert!(opened.recovery_report().suspect.is_some_and(|suspect| suspect.vote));
        journal.append(&entries(4..=4, 1)).unwrap();
        let witnessed = disk.killed();
        lose_newest(&witnessed);
        assert!(matches!(witnessed.try_open(), Err(Error::MetaOutdated { .. })));
    });
}
