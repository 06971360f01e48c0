//! openraft's rules, beyond what its suites ask.

use raft_journal::MemoryStore;

use super::subject::{Log09, Log010, Subject, block_on, item, items, log};

fn memory<L: Subject<Store = MemoryStore>>() -> L {
    L::new(MemoryStore::new()).unwrap()
}

async fn purged_entries_are_skipped<L: Subject<Store = MemoryStore>>() {
    let mut store = memory::<L>();
    store.purge((2, 10), 1).await.unwrap();
    store.append(items(2, 5..9)).await.unwrap();
    assert_eq!(store.state().await.unwrap().1, Some((2, 10)));
    store.append(items(2, 9..13)).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(2, 11..13));
    store.purge((1, 7), 1).await.unwrap();
    assert_eq!(store.state().await.unwrap(), (Some((2, 10)), Some((2, 12))));
}

#[test]
fn entries_below_the_purged_position_are_skipped() {
    block_on(purged_entries_are_skipped::<Log09<_>>());
    block_on(purged_entries_are_skipped::<Log010<_>>());
}

async fn limited_reads_have_no_hole<L: Subject<Store = MemoryStore>>() {
    let mut store = memory::<L>();
    let large = ((1, 4), "x".repeat(3 << 20));
    store.append([items(1, 0..4), vec![large], items(1, 5..9)].concat()).await.unwrap();
    store.purge((1, 1), 1).await.unwrap();
    assert_eq!(store.read_limited(1..4).await.unwrap(), []);
    assert_eq!(store.read_limited(9..12).await.unwrap(), []);
    assert_eq!(store.read_limited(2..9).await.unwrap(), items(1, 2..4));
    assert_eq!(store.read_limited(4..9).await.unwrap().len(), 1);
    assert_eq!(store.read_limited(5..99).await.unwrap(), items(1, 5..9));
    assert_eq!(store.read(0..u64::MAX).await.unwrap().len(), 7);
    assert_eq!(store.read(0..6).await.unwrap().len(), 4);
    let (first, end) = (6, 3);
    assert_eq!(store.read(first..end).await.unwrap(), []);
}

#[test]
fn entries_for_followers_start_where_asked_or_not_at_all() {
    block_on(limited_reads_have_no_hole::<Log09<_>>());
    block_on(limited_reads_have_no_hole::<Log010<_>>());
}

async fn ends_are_kept<L: Subject<Store = MemoryStore>>() {
    let mut store = memory::<L>();
    // Nothing to remove, nothing there.
    store.truncate(0).await.unwrap();
    store.truncate(7).await.unwrap();
    assert_eq!(store.state().await.unwrap(), (None, None));
    // A log that starts further up, as behind a snapshot.
    store.append(items(1, 5..9)).await.unwrap();
    store.truncate(9).await.unwrap();
    store.truncate(u64::MAX).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(1, 5..9));
    store.truncate(0).await.unwrap();
    assert_eq!(store.state().await.unwrap(), (None, None));
    // Beyond its end, a purge empties the log, which goes on behind it.
    store.append(items(1, 5..9)).await.unwrap();
    store.purge((3, 20), 1).await.unwrap();
    assert_eq!(store.state().await.unwrap(), (Some((3, 20)), Some((3, 20))));
    store.append(vec![item(3, 21)]).await.unwrap();
    // The same again changes nothing.
    store.purge((3, 20), 1).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), [item(3, 21)]);
    store.append(vec![]).await.unwrap();
}

#[test]
fn truncations_and_purges_beyond_an_end_change_no_more_than_they_say() {
    block_on(ends_are_kept::<Log09<_>>());
    block_on(ends_are_kept::<Log010<_>>());
}

#[test]
fn truncation_after_nothing_keeps_what_was_purged() {
    block_on(async {
        let mut store = memory::<Log010<_>>();
        store.append(items(1, 0..9)).await.unwrap();
        store.purge((1, 4), 1).await.unwrap();
        store.truncate(0).await.unwrap();
        assert_eq!(store.state().await.unwrap(), (Some((1, 4)), Some((1, 4))));
    });
}

async fn committed_mark_is_read_back<L: Subject<Store = MemoryStore>>() {
    let mut store = memory::<L>();
    assert_eq!(store.read_committed().await.unwrap(), None);
    store.save_committed((2, 7)).await.unwrap();
    assert_eq!(store.read_committed().await.unwrap(), Some((2, 7)));
}

#[test]
fn committed_mark_is_read_back_at_once() {
    block_on(committed_mark_is_read_back::<Log09<_>>());
    block_on(committed_mark_is_read_back::<Log010<_>>());
}
