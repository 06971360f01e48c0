//! The scheduler itself: one seed, one history; every way to get stuck is told.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use raft_journal::io::sim::{Finished, Operation, OperationKind, Schedule, SimFs, Stuck, Survival};
use raft_journal::io::{Fs, Lane, Mode};

use crate::world::{self, Around, Plan};

/// What the threads did, in order.
type Told = Arc<Mutex<Vec<String>>>;

fn told(told: &Told) -> Vec<String> {
    told.lock().unwrap().clone()
}

fn tell(told: &Told, what: impl Into<String>) {
    told.lock().unwrap().push(what.into());
}

/// Three threads that write to a file each.
fn three_writers(seed: u64) -> (Vec<Operation>, Finished) {
    let disk = SimFs::new();
    let mut schedule = Schedule::new(seed);
    for name in ["a", "b", "c"] {
        let disk = disk.clone();
        schedule = schedule.thread(name, move || {
            let file = disk.open(&Path::new("/").join(name), Mode::Create).unwrap();
            (0..5).for_each(|at| _ = file.write_at(b"x", at).unwrap());
            file.sync_data().unwrap();
        });
    }
    let finished = schedule.run().unwrap();
    (disk.operations(), finished)
}

#[test]
fn one_seed_replays_one_history_and_others_give_others() {
    let mut histories = Vec::new();
    for seed in 0..50 {
        let (operations, finished) = three_writers(seed);
        assert!((operations.clone(), finished) == three_writers(seed), "seed {seed}");
        assert_eq!(operations.len(), 21);
        if !histories.contains(&operations) {
            histories.push(operations);
        }
    }
    assert!(histories.len() > 30, "only {} histories", histories.len());
}

/// All that one schedule asks of the disk.
fn operations(plan: &Plan) -> Vec<Operation> {
    world::play(plan, &Around::NOTHING).disk.operations()
}

#[test]
fn one_seed_replays_one_history_of_a_whole_journal() {
    for seed in 0..40 {
        for plan in [Plan::orderly, Plan::racing] {
            let (first, second) = (operations(&plan(seed)), operations(&plan(seed)));
            let differs = first.iter().zip(&second).position(|(first, second)| first != second);
            assert_eq!((differs, first.len()), (None, second.len()), "seed {seed}");
        }
    }
    assert_ne!(operations(&Plan::racing(1)), operations(&Plan::racing(2)));
}

#[test]
fn some_seeds_let_a_thread_run_alone_and_some_switch_at_every_step() {
    let switches: Vec<u64> = (0..200).map(|seed| three_writers(seed).1.switches).collect();
    let (fewest, most) = (switches.iter().min().unwrap(), switches.iter().max().unwrap());
    assert!(*fewest <= 4 && *most > 15, "from {fewest} to {most} switches");
}

#[test]
fn a_sync_covers_nothing_that_is_written_while_it_is_under_way() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = SimFs::new();
        disk.write_file("/log", b"").unwrap();
        let file = disk.open(Path::new("/log"), Mode::Write).unwrap();
        let other = file.clone();
        let sync = move || {
            file.write_at(b"before", 0).unwrap();
            file.sync_data().unwrap();
        };
        Schedule::new(seed).thread("sync", sync).thread("write", move || _ = other.write_at(b"!", 6)).run().unwrap();
        let kinds: Vec<_> = disk.operations().iter().map(|operation| operation.kind).collect();
        let found = disk.after_power_cut(Survival::Nothing).read_file("/log").unwrap();
        let written_after_sync = kinds.last() == Some(&OperationKind::Write);
        assert!(found.starts_with(b"before") && !(written_after_sync && found.len() > 6), "{kinds:?} {found:?}");
        lost += u64::from(written_after_sync);
    }
    assert!((10..100).contains(&lost), "{lost} of 100");
}

#[test]
fn each_lane_has_threads_of_its_own() {
    let (mut urgent_first, mut most) = (0, 0);
    for seed in 0..100 {
        let tasks = SimFs::new().tasks();
        let (order, at_work, peak): (Told, _, _) =
            (Arc::default(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let job = |name: String| {
            let (order, at_work, peak, tasks) = (order.clone(), at_work.clone(), peak.clone(), tasks.clone());
            move || {
                peak.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tell(&order, name);
                (0..20).for_each(|_| assert!(tasks.is_scheduled() && tasks.wait_until("nothing", Arc::new(|| true))));
                at_work.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let jobs: Vec<_> =
            (0..6).map(|number| (job(format!("file {number}")), job(format!("sync {number}")))).collect();
        let submit = move || {
            for (file, sync) in jobs {
                tasks.submit(Lane::Housekeeping, Box::new(file));
                tasks.submit(Lane::Urgent, Box::new(sync));
            }
        };
        Schedule::new(seed).thread("submits", submit).run().unwrap();
        let order = told(&order);
        let files: Vec<_> = order.iter().filter(|name| name.starts_with("file")).cloned().collect();
        assert_eq!(files, (0..6).map(|number| format!("file {number}")).collect::<Vec<_>>());
        assert_eq!(order.len(), 12);
        urgent_first += u64::from(order[0] == "sync 0");
        most = most.max(peak.load(Ordering::SeqCst));
    }
    assert!(urgent_first > 5 && most == 5, "{urgent_first} overtaken, {most} at work at a time");
}

#[test]
fn time_passes_up_to_the_next_job_when_nobody_can_go_on_and_now_and_then() {
    let mut only_when_it_must = 0;
    for seed in 0..60 {
        let disk = SimFs::new();
        let (tasks, order): (_, Told) = (disk.tasks(), Arc::default());
        let outer = order.clone();
        let wait = move || {
            let done = Arc::new(AtomicBool::new(false));
            for (name, seconds) in [("late", 9), ("early", 2), ("never", 3600)] {
                let (order, done) = (order.clone(), done.clone());
                let job = move || {
                    tell(&order, name);
                    done.fetch_or(name == "late", Ordering::SeqCst);
                };
                tasks.after(Duration::from_secs(seconds), Lane::Urgent, Box::new(job));
            }
            tasks.wait_until("the late job", Arc::new(move || done.load(Ordering::SeqCst)));
        };
        let finished = Schedule::new(seed).thread("waits", wait).run().unwrap();
        let when_it_must = told(&outer) == ["early", "late"] && finished.time == Duration::from_secs(9);
        only_when_it_must += u64::from(when_it_must);
        // What is left waits for its time where it did before.
        let left = disk.pass_time();
        assert!(left == 1 || !when_it_must);
        let mut all = told(&outer);
        all.sort();
        assert_eq!(all, ["early", "late", "never"]);
    }
    assert!((30..60).contains(&only_when_it_must), "{only_when_it_must} of 60");
}

#[test]
fn what_was_queued_before_is_part_of_the_schedule() {
    let disk = SimFs::new();
    let (tasks, done) = (disk.tasks(), Arc::new(AtomicBool::new(false)));
    disk.queue_tasks(true);
    let set = done.clone();
    tasks.submit(Lane::Housekeeping, Box::new(move || set.store(true, Ordering::SeqCst)));
    let wait = move || _ = tasks.wait_until("the job", Arc::new(move || done.load(Ordering::SeqCst)));
    Schedule::new(1).thread("waits", wait).run().unwrap();
    assert_eq!(disk.tasks_waiting(), 0);
}

#[test]
fn syncs_are_held_back_without_blocking_the_others() {
    for seed in 0..30 {
        let disk = SimFs::new();
        let holder = disk.clone();
        let file = disk.open(Path::new("/log"), Mode::Create).unwrap();
        let held = disk.hold_syncs();
        let release = move || {
            holder.wait_for_held_syncs(1);
            assert_eq!(holder.syncs_waiting(), 1);
            drop(held);
        };
        let sync = move || file.sync_data().unwrap();
        Schedule::new(seed).thread("releases", release).thread("syncs", sync).run().unwrap();
    }
}

#[test]
fn a_deadlock_is_told_with_what_each_thread_waits_for() {
    let tasks = SimFs::new().tasks();
    let locks = [Arc::new(Mutex::new(())), Arc::new(Mutex::new(()))];
    let thread = |first: usize, what: &'static str| {
        let (tasks, first, second) = (tasks.clone(), locks[first].clone(), locks[1 - first].clone());
        move || {
            let held = first.lock().unwrap();
            tasks.wait_until("nothing", Arc::new(|| true));
            tasks.wait_until(what, Arc::new(move || second.try_lock().is_ok()));
            drop(held);
        }
    };
    let run = |seed| {
        Schedule::new(seed)
            .thread("left", thread(0, "the right lock"))
            .thread("right", thread(1, "the left lock"))
            .run()
    };
    let stuck = (0..100).find_map(|seed| run(seed).err()).expect("some schedule has them both hold one");
    let Stuck::Deadlock { threads, .. } = &stuck else { panic!("{stuck}") };
    assert_eq!(threads.len(), 2);
    let text = stuck.to_string();
    assert!(text.contains("left is waiting for the right lock, right is waiting for the left lock"), "{text}");
}

#[test]
fn a_thread_that_never_ends_is_told() {
    let disk = SimFs::new();
    let spin = move || while disk.kind(Path::new("/log")).is_ok() {};
    let stuck = Schedule::new(1).thread("spins", spin).steps_max(500).run().unwrap_err();
    let Stuck::Endless { steps: 500, threads } = &stuck else { panic!("{stuck}") };
    assert_eq!(threads[..], [("spins".to_owned(), "before Kind /log".to_owned())]);
}

#[test]
fn a_thread_that_blocks_outside_the_schedule_is_told() {
    let disk = SimFs::new();
    let lock = Arc::new(Mutex::new(()));
    let thread = |name| {
        let (disk, lock) = (disk.clone(), lock.clone());
        move || {
            let held = lock.lock().unwrap();
            let _found = disk.kind(Path::new(name));
            drop(held);
        }
    };
    let run = |seed| {
        let schedule = Schedule::new(seed).thread("first", thread("/a")).thread("second", thread("/b"));
        schedule.blocked_after(Duration::from_secs(2)).run()
    };
    let stuck = (0..100).find_map(|seed| run(seed).err()).expect("some schedule switches while the lock is held");
    let Stuck::Blocked { name, threads, .. } = &stuck else { panic!("{stuck}") };
    let holder = threads.iter().find(|(_, at)| at.starts_with("before Kind")).expect("the holder");
    assert_ne!(&holder.0, name);
}

#[test]
fn threads_that_spin_for_each_other_get_on_with_every_seed() {
    for (seed, pauses) in (0..50).flat_map(|seed| [(seed, false), (seed, true)]) {
        let (disk, done) = (SimFs::new(), Arc::new(AtomicBool::new(false)));
        let mut schedule = Schedule::new(seed);
        for spinner in 0..3 {
            let (disk, done) = (disk.clone(), done.clone());
            let spin = move || {
                while !done.load(Ordering::SeqCst) {
                    if pauses { disk.tasks().pause() } else { _ = disk.kind(Path::new("/")).unwrap() }
                }
            };
            schedule = schedule.thread(format!("spinner {spinner}"), spin);
        }
        let work = move || {
            (0..20).for_each(|_| _ = disk.kind(Path::new("/")));
            done.store(true, Ordering::SeqCst);
        };
        schedule.thread("works", work).run().unwrap_or_else(|stuck| panic!("seed {seed}: {stuck}"));
    }
}

#[test]
fn a_panic_comes_out_when_the_others_have_ended() {
    for (seed, in_job) in (0..20).flat_map(|seed| [(seed, false), (seed, true)]) {
        let disk = SimFs::new();
        let (other, order): (_, Told) = (disk.clone(), Arc::default());
        let tell_end = order.clone();
        let fail = move || {
            let panic = || std::panic::panic_any("planned");
            if in_job { disk.tasks().submit(Lane::Urgent, Box::new(panic)) } else { panic() }
        };
        let go_on = move || {
            (0..9).for_each(|_| _ = other.kind(Path::new("/")));
            tell(&tell_end, "ended");
        };
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let schedule = Schedule::new(seed).thread("fails", fail).thread("goes on", go_on);
        let payload = catch_unwind(AssertUnwindSafe(|| schedule.run())).unwrap_err();
        std::panic::set_hook(hook);
        assert_eq!(payload.downcast_ref(), Some(&"planned"));
        assert_eq!(told(&order), ["ended"]);
    }
}

#[test]
fn several_disks_are_part_of_one_schedule() {
    let run = |seed| {
        let disks = [SimFs::new(), SimFs::new()];
        let order: Told = Arc::default();
        let mut schedule = Schedule::new(seed);
        for (number, disk) in disks.into_iter().enumerate() {
            let order = order.clone();
            schedule = schedule.thread(format!("node {number}"), move || {
                for _ in 0..20 {
                    disk.open(Path::new("/log"), Mode::Create).unwrap();
                    tell(&order, number.to_string());
                }
                disk.cut_power();
                let error = disk.open(Path::new("/log"), Mode::Read).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Other);
            });
        }
        schedule.run().unwrap();
        told(&order).concat()
    };
    let mut orders: Vec<String> = (0..50).map(run).collect();
    assert_eq!(orders, (0..50).map(run).collect::<Vec<_>>());
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 10, "{orders:?}");
}

#[test]
fn other_threads_are_not_held_up() {
    let disk = SimFs::new();
    assert!(!disk.tasks().is_scheduled());
    assert!(!disk.tasks().wait_until("nothing", Arc::new(|| false)), "asked once");
    assert_eq!(Schedule::new(1).run().unwrap().steps, 1);
}
