//! Power lost at every operation, and syncs that fail.

use std::io;

use raft_journal::Journal;
use raft_journal::io::sim::{OperationKind, SimFs, Survival};

use super::history::{HISTORY, Model, Step, take};
use super::subject::{Log09, Log010, Place, Subject, block_on, item, items, log, open};

/// Takes the whole history, as far as the disk goes: the last acknowledged state, those that may be found, and the
/// committed marks.
async fn live<L: Subject<Store = Journal>>(disk: &SimFs) -> (Model, Vec<Model>, Vec<Place>) {
    let mut model = Model::default();
    let mut committed = Vec::new();
    let Ok(mut store) = open::<L>(disk) else { return (model.clone(), vec![model], committed) };
    for step in HISTORY {
        let after = model.after(step);
        if let Step::Committed(upto) = step {
            committed.push(upto);
        }
        if take(&mut store, step).await.is_err() {
            let mut possible = vec![model.clone()];
            possible.extend(after);
            return (model, possible, committed);
        }
        model = after.last().cloned().unwrap();
    }
    (model.clone(), vec![model], committed)
}

async fn survives_a_cut_anywhere<L: Subject<Store = Journal>>() {
    for cut in 0.. {
        let disk = SimFs::new();
        disk.cut_power_at(cut);
        let (acknowledged, possible, committed) = live::<L>(&disk).await;
        let ended = !disk.is_power_off();
        let random = (0..16).map(|seed| Survival::Random(cut << 8 | seed));
        for survival in random.chain([Survival::Nothing, Survival::Everything]) {
            let mut store = open::<L>(&disk.after_power_cut(survival)).unwrap();
            let found = Model::found(&mut store).await.unwrap();
            assert!(possible.contains(&found), "cut at {cut}, {survival:?}: {acknowledged:#?} became {found:#?}");
            let mark = store.read_committed().await.unwrap();
            assert!(mark.is_none_or(|mark| committed.contains(&mark) && mark.1 <= found.last().unwrap().1));
            // The store goes on where it is.
            let next = found.last().map_or(0, |(_, index)| index + 1);
            store.append(vec![item(9, next)]).await.unwrap();
            assert_eq!(log(&store).await.unwrap().pop(), Some(item(9, next)));
        }
        if ended {
            assert!(cut > 100, "the history has only {cut} places to cut");
            return;
        }
    }
}

#[test]
fn power_cut_anywhere_leaves_what_openraft_09_was_told_and_at_most_what_was_in_flight() {
    block_on(survives_a_cut_anywhere::<Log09>());
}

#[test]
fn power_cut_anywhere_leaves_what_openraft_010_was_told_and_at_most_what_was_in_flight() {
    block_on(survives_a_cut_anywhere::<Log010>());
}

async fn votes_survive<L: Subject<Store = Journal>>() {
    let mut disk = SimFs::new();
    for term in 1..20 {
        open::<L>(&disk).unwrap().save_vote(term).await.unwrap();
        disk = disk.after_power_cut(Survival::Random(term));
        assert_eq!(open::<L>(&disk).unwrap().read_vote().await.unwrap(), Some(term));
    }
}

#[test]
fn vote_is_there_after_a_power_cut_right_behind_it() {
    block_on(votes_survive::<Log09>());
    block_on(votes_survive::<Log010>());
}

async fn truncations_survive<L: Subject<Store = Journal>>() {
    let mut disk = SimFs::new();
    for seed in 0..20 {
        let mut store = open::<L>(&disk).unwrap();
        let next = log(&store).await.unwrap().len() as u64;
        store.append(items(1, next..next + 10)).await.unwrap();
        store.truncate(next + 4).await.unwrap();
        disk = disk.after_power_cut(Survival::Random(seed));
        assert_eq!(log(&open::<L>(&disk).unwrap()).await.unwrap(), items(1, 0..next + 4));
    }
}

#[test]
fn truncated_tail_never_comes_back() {
    block_on(truncations_survive::<Log09>());
    block_on(truncations_survive::<Log010>());
}

async fn failed_sync_is_told<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    let mut store = open::<L>(&disk).unwrap();
    store.append(items(1, 0..3)).await.unwrap();
    disk.fail_next(OperationKind::Sync, io::ErrorKind::Other);
    let error = store.save_vote(2).await.unwrap_err();
    assert!(error.contains("refuses writes since an earlier failure"), "{error}");
    let error = store.append(items(1, 3..4)).await.unwrap_err();
    assert!(error.contains("refuses writes since an earlier failure"), "{error}");
    assert_eq!(log(&store).await.unwrap(), items(1, 0..3));
    let mut store = open::<L>(&disk.after_power_cut(Survival::Nothing)).unwrap();
    assert_eq!(store.read_vote().await.unwrap(), None);
}

#[test]
fn failed_sync_is_told_to_openraft_and_no_vote_is_claimed() {
    block_on(failed_sync_is_told::<Log09>());
    block_on(failed_sync_is_told::<Log010>());
}

async fn full_disk_is_told<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    let mut store = open::<L>(&disk).unwrap();
    store.append(items(1, 0..20)).await.unwrap();
    disk.set_capacity(Some(disk.bytes_used()));
    let mut next = 20;
    let error = loop {
        match store.append(items(1, next..next + 20)).await {
            Ok(()) => next += 20,
            Err(error) => break error,
        }
    };
    assert!(error.contains("no space for"), "{error}");
    assert_eq!(log(&store).await.unwrap(), items(1, 0..next));
    disk.set_capacity(None);
    store.append(items(1, next..next + 20)).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(1, 0..next + 20));
}

#[test]
fn append_to_a_full_disk_is_refused_whole_and_goes_on_once_there_is_room() {
    block_on(full_disk_is_told::<Log09>());
    block_on(full_disk_is_told::<Log010>());
}
