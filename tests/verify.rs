//! A pass over all files: what is whole passes, what is not is found and located, and nobody is disturbed.

mod common;

use std::io::ErrorKind;
use std::ops::{ControlFlow, Range};
use std::time::Duration;

use common::{DATA_AT, Disk, FIRST_PAYLOAD_AT, append_each, entries, log, on_both};
use raft_journal::io::sim::{AtRest, Fault as Failing, OperationKind, Schedule, SimFs};
use raft_journal::{
    Changes, Compression, DamageKind, Error, Fault, FaultCause, FaultPart, Journal, LogStore, OpenOptions, Position,
    StableStore, VerifyOptions, VerifyReport,
};

fn verify(journal: &Journal) -> VerifyReport {
    journal.verify(&VerifyOptions::new(), |_| ControlFlow::Continue(())).unwrap()
}

fn is_sound(report: &VerifyReport) -> bool {
    report.complete && report.faults.is_empty() && report.skipped.is_empty()
}

/// The one fault of a report.
fn only(report: &VerifyReport) -> &Fault {
    assert_eq!(report.faults.len(), 1, "{:#?}", report.faults);
    &report.faults[0]
}

fn damage(fault: &Fault) -> Option<DamageKind> {
    match fault.cause {
        FaultCause::Damaged(why) => Some(why),
        _ => None,
    }
}

/// The indexes and the term that a fault costs.
fn loss(fault: &Fault) -> Option<(Range<u64>, Option<u64>)> {
    fault.indexes.map(|range| (range.first..range.end.unwrap(), fault.term))
}

/// Several files, two lives, tails replaced over more than one file and truncated, a head that took a file with it.
fn history(options: &OpenOptions, disk: &Disk) -> Journal {
    let journal = options.open(&disk.dir).unwrap();
    journal.set_u64(b"term", 1).unwrap();
    append_each(&journal, &entries(1..=40, 1));
    journal.replace_tail(&entries(35..=38, 2)).unwrap();
    journal.truncate_head(Position::new(3, 1)).unwrap();
    journal.close().unwrap();
    let journal = options.open(&disk.dir).unwrap();
    append_each(&journal, &entries(39..=60, 3));
    journal.append(&entries(61..=75, 3)).unwrap();
    journal.truncate_tail(70).unwrap();
    journal.replace_tail(&entries(66..=68, 4)).unwrap();
    journal.set(b"vote", b"me").unwrap();
    journal
}

#[test]
fn a_whole_journal_passes_and_is_counted() {
    on_both(|disk| {
        for compression in [Compression::None, Compression::Lz4 { threshold_bytes: 64 }] {
            for aligned in [false, true] {
                let disk = disk.beside(&format!("{compression:?}-{aligned}"));
                let segment_bytes = if aligned { 64 << 10 } else { 8 << 10 };
                let options = disk.options().segment_bytes(segment_bytes).align_4k(aligned).compression(compression);
                let journal = history(&options, &disk);
                let held = log(&journal);
                let report = verify(&journal);
                assert!(is_sound(&report), "{report:#?}");
                assert!(report.entries >= held.len() as u64 && report.batches > 20, "{report:#?}");
                // All segments and `meta`. On a real disk, a file may be about to come or to go.
                assert!(disk.sim.is_none() || report.files == disk.segments().len() as u64 + 1, "{report:#?}");
                let beside = options.clone().read_only(true).open(&disk.dir).unwrap();
                let report = verify(&beside);
                assert!(is_sound(&report) && report.entries >= held.len() as u64, "{report:#?}");
                journal.close().unwrap();
                let report = verify(&options.open(&disk.dir).unwrap());
                assert!(is_sound(&report), "{report:#?}");
            }
        }
    });
}

#[test]
fn a_fresh_journal_passes() {
    on_both(|disk| {
        let report = verify(&disk.open());
        assert!(is_sound(&report) && (report.files, report.batches, report.entries) == (2, 0, 0), "{report:#?}");
    });
}

#[test]
fn a_damaged_entry_is_located_and_no_other_is_named() {
    on_both(|disk| {
        let journal = disk.options().tail_cache_bytes(0).open(&disk.dir).unwrap();
        append_each(&journal, &entries(1..=40, 1));
        append_each(&journal, &entries(41..=80, 2));
        for (index, term) in [(30, 1), (79, 2)] {
            let (name, at) = disk.find(&entries(index..=index, term)[0].data);
            disk.flip(&name, at + 17);
            let report = verify(&journal);
            let fault = only(&report);
            assert_eq!((fault.path.clone(), fault.offset), (disk.path(&name), at as u64 - 20));
            assert_eq!((fault.part, damage(fault)), (FaultPart::Entry, Some(DamageKind::Checksum)));
            assert_eq!(loss(fault), Some((index..index + 1, Some(term))));
            assert_eq!(report.losses().count(), 1);
            let text = fault.to_string();
            assert!(text.contains(&format!("entry {index} is lost")) && text.contains(&name), "{text}");
            assert!(matches!(journal.entry(index), Err(Error::Damaged(_))));
            disk.flip(&name, at + 17);
        }
        assert!(is_sound(&verify(&journal)));
    });
}

#[test]
fn neighbours_that_are_lost_together_are_one_fault() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    journal.append(&entries(1..=30, 1)).unwrap();
    let [(name, from), (_, to)] = [8, 12].map(|index| disk.find(&entries(index..=index, 1)[0].data));
    disk.sim().corrupt(disk.path(&name), from as u64 - 20, &vec![0x5a; to - from]).unwrap();
    let report = verify(&journal);
    let fault = only(&report);
    assert_eq!((loss(fault), fault.offset), (Some((8..12, Some(1))), from as u64 - 20));
}

#[test]
fn a_damaged_batch_header_costs_no_entry_that_is_known_otherwise() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    for (index, both) in [(20, false), (20, true), (60, false), (60, true)] {
        let (name, at) = disk.find(&entries(index..=index, 1)[0].data);
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        if both {
            disk.flip(&name, at);
        }
        let report = verify(&journal);
        let batch = &report.faults[0];
        assert_eq!((batch.part, batch.offset), (FaultPart::Batch, (at - FIRST_PAYLOAD_AT) as u64));
        assert!(batch.indexes.is_none());
        let lost: Vec<_> = report.losses().map(|fault| loss(fault).unwrap().0).collect();
        assert!(lost.iter().cloned().eq(both.then_some(index..index + 1)), "{lost:?}");
        disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
        if both {
            disk.flip(&name, at);
        }
    }
}

#[test]
fn damage_to_what_was_replaced_or_purged_costs_no_entry() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=10, 1));
    journal.replace_tail(&entries(8..=9, 2)).unwrap();
    journal.truncate_head(Position::new(2, 1)).unwrap();
    for index in [1, 9] {
        let (name, at) = disk.find(&entries(index..=index, 1)[0].data);
        disk.flip(&name, at);
        let report = verify(&journal);
        assert_eq!((only(&report).part, report.losses().count()), (FaultPart::Entry, 0));
        disk.flip(&name, at);
    }
}

#[test]
fn a_lost_index_with_a_lost_batch_costs_the_segment() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    let (name, at) = disk.find(&entries(20..=20, 1)[0].data);
    let bytes = disk.bytes(&name);
    let seal = u32::from_le_bytes(bytes[bytes.len() - 1024 + 4..][..4].try_into().unwrap()) as usize;
    disk.flip(&name, at - FIRST_PAYLOAD_AT + 30);
    // The slots of the index.
    disk.flip(&name, seal + 72 + 56 + 16 + 12);
    let report = verify(&journal);
    let lost: Vec<_> = report.losses().map(|fault| loss(fault).unwrap().0).collect();
    assert!(matches!(&lost[..], [range] if range.contains(&20) && range.end - range.start < 30), "{report:#?}");
    assert!(report.faults.iter().any(|fault| fault.part == FaultPart::Index), "{report:#?}");
}

/// The bytes of a file that mean something: all but padding, and what was never written.
fn meaningful(disk: &Disk, name: &str, is_sealed: bool) -> Vec<Range<usize>> {
    let bytes = disk.bytes(name);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    if name == "meta" {
        let copy = bytes.len() / 4;
        return (0..4).map(|slot| slot * copy..slot * copy + number(slot * copy + 16)).collect();
    }
    let mut found = vec![0..64, bytes.len() - 512..bytes.len() - 512 + 64];
    if is_sealed {
        found.push(bytes.len() - 1024..bytes.len() - 1024 + 20);
    }
    let mut at = DATA_AT;
    while number(at + 20) == at {
        let end = at + 72 + number(at + 16);
        found.push(at..end);
        at = end.next_multiple_of(8);
    }
    found
}

#[test]
fn a_flip_of_any_byte_that_means_something_is_found() {
    let disk = Disk::simulated();
    let journal = history(&disk.options(), &disk);
    let beside = disk.open_read_only();
    let (mut flipped, mut missed) = (0, Vec::new());
    let chain = disk.chain();
    for name in disk.names() {
        if name == "LOCK" || (name.ends_with(".seg") && !chain.contains(&name)) {
            continue;
        }
        let path = disk.path(&name);
        let original = disk.bytes(&name);
        for at in meaningful(&disk, &name, chain.last() != Some(&name)).into_iter().flatten() {
            flipped += 1;
            disk.sim().corrupt(&path, at as u64, &[original[at] ^ (1 << (at % 8))]).unwrap();
            for (who, journal) in [("the writer", &journal), ("a reader", &beside)] {
                let report = verify(journal);
                // Where it is found: in this file, at or before the byte.
                let is_found = |fault: &Fault| fault.path == path && fault.offset <= at as u64;
                // A header that was overwritten looks to a reader like a file that its writer has used again.
                if !report.faults.iter().any(is_found) {
                    missed.push((who, name.clone(), at));
                }
            }
            disk.sim().corrupt(&path, at as u64, &original[at..=at]).unwrap();
        }
    }
    assert!(missed.is_empty(), "{} of {flipped}: {:?}", missed.len(), &missed[..missed.len().min(9)]);
    assert!(flipped > 20_000, "{flipped}");
    assert!(is_sound(&verify(&journal)));
}

/// Every file as it is, and which of its bytes mean something.
fn meaning(disk: &Disk) -> Vec<(String, Vec<u8>, Vec<Range<usize>>)> {
    let chain = disk.chain();
    let names = disk.names().into_iter().filter(|name| name != "LOCK");
    let of = |name: String| {
        let bytes = disk.bytes(&name);
        let is_spare = name != "meta" && !chain.contains(&name);
        let headers = || vec![0..64, bytes.len() - 512..bytes.len() - 448];
        let is_sealed = chain.last() != Some(&name);
        let ranges = if is_spare { headers() } else { meaningful(disk, &name, is_sealed) };
        (name, bytes, ranges)
    };
    names.map(of).collect()
}

#[test]
fn damage_at_rest_is_found_beside_the_open_journal_and_nothing_else_is() {
    let (mut found, mut harmless) = (0, 0);
    for seed in 0..400 {
        let disk = Disk::simulated();
        let journal = history(&disk.options(), &disk);
        let before = meaning(&disk);
        let fault = AtRest::random(seed, disk.sim());
        disk.sim().damage(&fault).unwrap();
        let is_harmless = before.iter().all(|(name, before, ranges)| {
            let Ok(now) = disk.sim().read_file(disk.path(name)) else { return false };
            // Only `meta` may end early: in what it keeps free.
            let is_long_enough = now.len() >= before.len() || name == "meta";
            is_long_enough && ranges.iter().all(|range| now.get(range.clone()) == before.get(range.clone()))
        });
        let report = verify(&journal);
        assert_eq!(report.faults.is_empty(), is_harmless, "seed {seed}, {fault:?}: {report:#?}");
        (found, harmless) = (found + u32::from(!is_harmless), harmless + u32::from(is_harmless));
    }
    assert!(found > 100 && harmless > 50, "{found} found, {harmless} harmless");
}

#[test]
fn a_write_to_meta_that_never_came_is_found() {
    let disk = Disk::simulated();
    let journal = disk.open();
    for vote in [&b"me"[..], b"you"] {
        let before = disk.bytes("meta");
        journal.set(b"vote", vote).unwrap();
        let after = disk.bytes("meta");
        let copy = after.len() / 4;
        for number in (0..4).filter(|number| before[number * copy..][..copy] != after[number * copy..][..copy]) {
            let at = number * copy;
            disk.sim().corrupt(disk.path("meta"), at as u64, &before[at..at + copy]).unwrap();
            let report = verify(&journal);
            let fault = only(&report);
            assert_eq!((fault.part, fault.offset), (FaultPart::MetaCopy, at as u64));
            assert_eq!(damage(fault), Some(DamageKind::Misplaced));
            disk.sim().corrupt(disk.path("meta"), at as u64, &after[at..at + copy]).unwrap();
        }
        assert!(is_sound(&verify(&journal)));
    }
}

#[test]
fn a_sector_that_cannot_be_read_is_a_fault_of_its_own() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=60, 1));
    let (name, _) = disk.find(&entries(20..=20, 1)[0].data);
    for (part, always) in [(&name[..], true), (&name[..], false), ("meta", true)] {
        let failing = Failing::new(OperationKind::Read, std::io::ErrorKind::Other).in_path(part);
        disk.sim().inject(if always { failing.always() } else { failing });
        let report = verify(&journal);
        assert!(report.complete && !report.faults.is_empty(), "{report:#?}");
        for fault in &report.faults {
            assert!(matches!(fault.cause, FaultCause::Unreadable(_)), "{fault:#?}");
            assert_eq!(fault.path, disk.path(part));
        }
        // Where nothing of a segment can be read, none of its entries can; where it was one try, all can.
        let lost =
            report.losses().map(|fault| loss(fault).unwrap().0).map(|range| range.end - range.start).sum::<u64>();
        assert_eq!(lost > 10, always && part != "meta", "{report:#?}");
        disk.sim().clear_faults();
    }
    assert!(is_sound(&verify(&journal)));
}

#[test]
fn losses_that_were_accepted_are_no_news_and_new_ones_are() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(64 << 10).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=30, 1));
    let beyond = journal.append_pending(&entries(31..=31, 1)).unwrap();
    beyond.wait().unwrap();
    let disk = disk.killed();
    let flip = |index: u64, back: usize| {
        let (name, at) = disk.find(&entries(index..=index, 1)[0].data);
        disk.flip(&name, at - back);
    };
    // A payload, and a batch with its header.
    flip(7, 0);
    flip(12, FIRST_PAYLOAD_AT - 30);
    let options = disk.options().segment_bytes(64 << 10).on_damage(raft_journal::OnDamage::Accept);
    let journal = options.open(&disk.dir).unwrap();
    assert_eq!(journal.recovery_report().damaged.len(), 2);
    assert!(is_sound(&verify(&journal)), "{:#?}", verify(&journal));
    flip(20, 0);
    assert_eq!(loss(only(&verify(&journal))), Some((20..21, Some(1))));
}

#[test]
fn a_pass_keeps_its_rate_and_tells_how_far_it_is() {
    let disk = Disk::simulated();
    let journal = disk.options().segment_bytes(4 << 20).open(&disk.dir).unwrap();
    for first in (1..4000).step_by(100) {
        journal.append(&entries(first..=first + 99, 1)).unwrap();
    }
    let slow = VerifyOptions::new().bytes_per_second(100_000);
    let mut steps = Vec::new();
    let report = journal.verify(&slow, |progress| {
        steps.push(progress.clone());
        ControlFlow::Continue(())
    });
    let report = report.unwrap();
    assert!(is_sound(&report), "{report:#?}");
    // Time on this disk passes only where somebody waits.
    let least = Duration::from_secs(report.bytes / 100_000).saturating_sub(Duration::from_secs(6));
    assert!(report.time > least && report.time < Duration::from_secs(report.bytes / 100_000 + 1), "{report:#?}");
    assert!(steps.len() > 5 && steps.is_sorted_by_key(|step| step.bytes), "{steps:#?}");
    assert!(steps.iter().all(|step| step.bytes <= step.bytes_total) && steps.iter().any(|step| step.path.is_some()));
    let fast = verify(&journal);
    assert_eq!((fast.time, fast.bytes), (Duration::ZERO, report.bytes));
    let stopped = journal.verify(&slow, |progress| {
        if progress.bytes > 300_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let stopped = stopped.unwrap();
    assert!(!stopped.complete && stopped.bytes < report.bytes, "{stopped:#?}");
}

#[test]
fn a_closed_journal_is_not_verified() {
    on_both(|disk| {
        let journal = disk.open();
        append_each(&journal, &entries(1..=20, 1));
        let clone = journal.clone();
        let result = journal.verify(&VerifyOptions::new(), |_| {
            let _ = clone.close();
            ControlFlow::Continue(())
        });
        assert!(matches!(result, Err(Error::Closed)), "{result:?}");
        assert!(matches!(clone.verify(&VerifyOptions::new(), |_| panic!("no step")), Err(Error::Closed)));
    });
}

#[test]
fn a_pass_waits_for_no_sync_and_takes_no_room() {
    let disk = Disk::simulated();
    let journal = disk.options().index_cache_bytes(0).tail_cache_bytes(0).open(&disk.dir).unwrap();
    append_each(&journal, &entries(1..=60, 1));
    let hold = disk.sim().hold_syncs();
    std::thread::scope(|scope| {
        scope.spawn(|| journal.append(&entries(61..=61, 1)).unwrap());
        disk.sim().wait_for_held_syncs(1);
        let before = disk.sim().counts();
        let report = verify(&journal);
        assert!(is_sound(&report) && report.entries == 61, "{report:#?}");
        assert_eq!(disk.sim().counts().writes, before.writes);
        assert_eq!(disk.sim().syncs_waiting(), 1);
        drop(hold);
    });
}

/// Appends, replaces, truncates, votes: what a node does meanwhile.
fn work(journal: &Journal, rounds: Range<u64>) {
    for round in rounds {
        let next = journal.state().next_index().unwrap_or(1);
        append_each(journal, &entries(next..=next + 4, round));
        journal.replace_tail(&entries(next + 3..=next + 6, round)).unwrap();
        let pairs = Changes::new().set("vote", &b"me"[..]);
        match round % 4 {
            0 => journal.commit(&pairs.truncate_head(Position::new(next, round))).unwrap(),
            1 => journal.truncate_tail(next + 5).unwrap(),
            _ => journal.commit(&pairs).unwrap(),
        }
    }
}

#[test]
fn nothing_is_found_beside_writers_in_any_order() {
    let mut passes = 0;
    for seed in 0..150 {
        let sim = SimFs::new();
        sim.set_log(false);
        let disk = Disk::of(sim);
        let options = disk.options();
        let (writer, beside) = (options.open(&disk.dir).unwrap(), options.clone().read_only(true));
        work(&writer, 1..5);
        let (first, dir) = (writer.clone(), disk.dir.clone());
        let pass = move || {
            for _ in 0..2 {
                let report = verify(&first);
                assert!(report.complete && report.faults.is_empty(), "{report:#?}");
            }
        };
        let look = move || {
            // The files may change under it again and again: then it finds none to open.
            let Ok(journal) = beside.open(dir) else { return };
            let report = verify(&journal);
            assert!(report.complete && report.faults.is_empty(), "{report:#?}");
        };
        let schedule = Schedule::new(seed).thread("writer", move || work(&writer, 5..17)).thread("pass", pass);
        schedule.thread("look", look).run().unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
        passes += 2;
    }
    assert_eq!(passes, 300);
}

#[test]
fn nothing_is_found_beside_threads_of_the_operating_system() {
    let disk = Disk::real();
    let journal = disk.open();
    work(&journal, 1..5);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| work(&journal, 5..45));
        while !writer.is_finished() {
            let report = verify(&journal);
            assert!(report.complete && report.faults.is_empty(), "{report:#?}");
        }
    });
    assert!(is_sound(&verify(&journal)));
}

// Guards: an open remembers a loss that cost nothing, so that what stands there later is not taken for more; for a pass it
// is a fault as before.
#[test]
fn damage_that_cost_nothing_is_a_fault_after_the_next_open_too() {
    let disk = Disk::simulated();
    let journal = disk.open();
    append_each(&journal, &entries(1..=3, 1));
    // Refused in the middle of its write: an empty batch takes its place.
    disk.sim().inject(Failing::short(OperationKind::Write, 200));
    disk.sim().inject(Failing::new(OperationKind::Write, ErrorKind::StorageFull).nth(1));
    assert!(matches!(journal.append(&entries(4..=4, 1)), Err(Error::NoSpace { .. })));
    append_each(&journal, &entries(4..=6, 2));
    journal.set_u64(b"term", 1).unwrap();
    let mut disk = disk.killed();
    let (name, at) = disk.find(&entries(4..=4, 2)[0].data);
    let empty = at - FIRST_PAYLOAD_AT - 72;
    disk.flip(&name, empty + 30);
    for _ in 0..3 {
        let journal = disk.open();
        assert_eq!(log(&journal), [entries(1..=3, 1), entries(4..=6, 2)].concat());
        assert!(journal.recovery_report().damaged.is_empty());
        let report = verify(&journal);
        assert_eq!(report.losses().count(), 0, "{report:#?}");
        assert!(report.faults.iter().any(|fault| fault.offset == empty as u64), "{report:#?}");
        disk = disk.killed();
    }
}
