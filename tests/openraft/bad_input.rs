//! What nobody should hand to an adapter: a typed error each, and nothing written.

use openraft_010::entry::RaftEntry;
use openraft_010::impls::leader_id_adv::LeaderId;
use openraft_010::storage::{IOFlushed, RaftLogStorage, RaftLogStorageExt};
use openraft_010::type_config::TypeConfigExt;
use openraft_010::vote::RaftLeaderId;
use openraft_010::{EntryPayload, LogId, RaftLogReader};
use raft_journal::adapters::OwnerError;
use raft_journal::adapters::openraft_010::{AdapterError, LogStore};
use raft_journal::io::sim::SimFs;
use raft_journal::{Entry, Journal, LogStore as _, MemoryStore, Position, StableStore as _};

use super::history::entries;
use super::subject::{Log09, Log010, Subject, block_on, item, items, log, open, options};

// Directories.

fn other_nodes_directory<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    let mut store = L::for_node(options(&disk).open("/journal").unwrap(), 1).unwrap();
    block_on(store.append(items(1, 0..3))).unwrap();
    store.store().close().unwrap();
    drop(store);

    let journal = options(&disk).open("/journal").unwrap();
    let before = disk.mutations();
    let error = L::for_node(journal.clone(), 2).err().unwrap();
    assert!(matches!(&error, OwnerError::OtherNode { found, opened_for } if found == "1" && opened_for == "2"));
    assert!(error.to_string().contains("belongs to node 1 and was opened for node 2"), "{error}");
    assert_eq!(disk.mutations(), before, "a refused open wrote");
    drop(journal);
    // Its own node is let in, and so is a caller who does not say.
    L::for_node(options(&disk).open("/journal").unwrap(), 1).unwrap();
    L::new(options(&disk).open("/journal").unwrap()).unwrap();
}

#[test]
fn directory_of_another_node_is_refused_with_both_ids() {
    other_nodes_directory::<Log09>();
    other_nodes_directory::<Log010>();
}

async fn read_only_directory<L: Subject<Store = Journal>, Other: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    let mut store = open::<L>(&disk).unwrap();
    store.append(items(1, 0..3)).await.unwrap();
    let before = disk.mutations();
    let look = || options(&disk).read_only(true).open("/journal").unwrap();
    // A node that the journal does not know of yet is nobody else.
    let mut reader = L::for_node(look(), 1).unwrap();
    assert_eq!(log(&reader).await.unwrap(), items(1, 0..3));
    for error in [reader.save_vote(1).await.unwrap_err(), reader.append(items(1, 3..4)).await.unwrap_err()] {
        assert!(error.contains("was opened read-only"), "{error}");
    }
    assert!(matches!(Other::new(look()), Err(OwnerError::OtherAdapter { .. })));
    assert_eq!(disk.mutations(), before);
}

#[test]
fn directory_that_is_opened_to_be_looked_at_is_read_and_not_written() {
    block_on(read_only_directory::<Log09, Log010>());
    block_on(read_only_directory::<Log010, Log09>());
}

fn node_is_told_later<L: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    drop(open::<L>(&disk).unwrap());
    drop(L::for_node(options(&disk).open("/journal").unwrap(), 7).unwrap());
    let journal = options(&disk.after_process_kill()).open("/journal").unwrap();
    assert!(matches!(L::for_node(journal, 8), Err(OwnerError::OtherNode { .. })));
}

#[test]
fn node_that_is_told_later_is_held_to_from_then_on() {
    node_is_told_later::<Log09>();
    node_is_told_later::<Log010>();
}

fn other_adapters_directory<L: Subject<Store = Journal>, Other: Subject<Store = Journal>>() {
    let disk = SimFs::new();
    drop(open::<L>(&disk).unwrap());
    let journal = options(&disk).open("/journal").unwrap();
    let before = disk.mutations();
    let error = Other::new(journal.clone()).err().unwrap();
    assert_eq!(disk.mutations(), before, "a refused open wrote");
    assert!(
        matches!(&error, OwnerError::OtherAdapter { found, opened_by } if found == L::NAME && opened_by == Other::NAME),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains(&format!("`{}`", L::NAME)) && text.contains(&format!("`{}`", Other::NAME)), "{text}");
}

#[test]
fn directory_of_another_adapter_is_refused_with_both_names() {
    other_adapters_directory::<Log09, Log010>();
    other_adapters_directory::<Log010, Log09>();
}

/// What the adapter for openraft 0.9 wrote before there were names, byte for byte.
fn written_before_names() -> MemoryStore {
    let store = MemoryStore::new();
    store.append(&[Entry::new(0, 1, ENTRY_0), Entry::new(1, 1, ENTRY_1)]).unwrap();
    store.set(b"openraft.vote", VOTE).unwrap();
    store
}

const ENTRY_0: &[u8] =
    b"\x01\x82\xa6log_id\x82\xa9leader_id\x82\xa4term\x01\xa7node_id\x01\xa5index\0\xa7payload\x81\xa6Normal\
    \xbbwhat entry 0 of term 1 says";
const ENTRY_1: &[u8] =
    b"\x01\x82\xa6log_id\x82\xa9leader_id\x82\xa4term\x01\xa7node_id\x01\xa5index\x01\xa7payload\x81\xa6Normal\
    \xbbwhat entry 1 of term 1 says";
const VOTE: &[u8] = b"\x01\x82\xa9leader_id\x82\xa4term\x03\xa7node_id\x01\xa9committed\xc2";

#[test]
fn log_from_before_there_were_names_is_read_by_the_adapter_that_wrote_it() {
    let store = written_before_names();
    let error = Log010::new(store.clone()).err().unwrap();
    assert!(matches!(&error, OwnerError::OtherAdapter { found, .. } if found == Log09::<Journal>::NAME), "{error}");
    assert_eq!((store.get(b"adapter").unwrap(), store.state().last_index()), (None, Some(1)));
    block_on(async {
        let mut log09 = Log09::for_node(store.clone(), &1).unwrap();
        assert_eq!(log(&log09).await.unwrap(), items(1, 0..2));
        assert_eq!(Subject::read_vote(&mut log09).await.unwrap(), Some(3));
        // And it is written in the same way now.
        let again = MemoryStore::new();
        let mut log09 = Log09::new(again.clone()).unwrap();
        Subject::append(&mut log09, items(1, 0..2)).await.unwrap();
        Subject::save_vote(&mut log09, 3).await.unwrap();
        assert_eq!(again.entries(0..2, u64::MAX).unwrap(), store.entries(0..2, u64::MAX).unwrap());
        assert_eq!(again.get(b"openraft.vote").unwrap(), store.get(b"openraft.vote").unwrap());
    });
}

// Entries and values.

async fn something_else_wrote_it<L: Subject<Store = MemoryStore>>() {
    let memory = MemoryStore::new();
    let mut store = L::new(memory.clone()).unwrap();
    memory.append(&[Entry::new(0, 1, "raw bytes")]).unwrap();
    let error = log(&store).await.unwrap_err();
    assert!(error.contains("the entry at index 0 term 1") && error.contains("something else wrote it"), "{error}");
    store.append(vec![item(1, 1)]).await.unwrap();
    let copied = memory.entry(1).unwrap().data;
    memory.append(&[Entry::new(2, 1, copied.clone())]).unwrap();
    let error = store.state().await.unwrap_err();
    assert!(error.contains("entry index 2 term 1 calls itself index 1 term 1"), "{error}");
    let error = store.read_limited(2..3).await.unwrap_err();
    assert!(error.contains("entry index 2 term 1 calls itself index 1 term 1"), "{error}");
    // A LogId that does not decode: the encoding is right, and what it holds is not.
    memory.replace_tail(&[Entry::new(2, 1, copied.slice(..copied.len() / 2))]).unwrap();
    let error = store.read(1..3).await.unwrap_err();
    assert!(error.contains("the entry at index 2 term 1 cannot be decoded"), "{error}");
    memory.truncate_head(Position::new(1, 1)).unwrap();
    let error = store.state().await.unwrap_err();
    assert!(error.contains("its LogId is unknown"), "{error}");
    let error = store.purge((1, 2), 1).await.unwrap_err();
    assert!(error.contains("its LogId is unknown"), "{error}");
    memory.set(b"openraft.vote", &[7]).unwrap();
    let error = store.read_vote().await.unwrap_err();
    assert!(error.contains("the value of `openraft.vote` has encoding Some(7)"), "{error}");
    assert_eq!(entries(&memory), [(1, 2)]);
}

#[test]
fn journal_that_something_else_wrote_is_not_taken_for_a_log() {
    block_on(something_else_wrote_it::<Log09<_>>());
    block_on(something_else_wrote_it::<Log010<_>>());
}

async fn appends_that_do_not_fit<L: Subject<Store = MemoryStore>>() {
    let memory = MemoryStore::new();
    let mut store = L::new(memory.clone()).unwrap();
    store.append(items(3, 0..3)).await.unwrap();
    let error = store.append(items(3, 4..6)).await.unwrap_err();
    assert!(error.contains("append at index 4 leaves a hole"), "{error}");
    let error = store.append(vec![item(3, 3), item(2, 4)]).await.unwrap_err();
    assert!(error.contains("entry 4 has term 2"), "{error}");
    let error = store.append(vec![item(3, 3), item(3, 3)]).await.unwrap_err();
    assert!(error.contains("overlaps the log"), "{error}");
    assert_eq!(log(&store).await.unwrap(), items(3, 0..3));
    // After a refusal the log goes on.
    store.append(items(3, 3..5)).await.unwrap();
    assert_eq!(log(&store).await.unwrap(), items(3, 0..5));
}

#[test]
fn entries_that_contradict_the_log_are_refused_whole() {
    block_on(appends_that_do_not_fit::<Log09<_>>());
    block_on(appends_that_do_not_fit::<Log010<_>>());
}

async fn purges_of_another_history<L: Subject<Store = MemoryStore>>() {
    let memory = MemoryStore::new();
    let mut store = L::new(memory.clone()).unwrap();
    store.append(items(3, 0..9)).await.unwrap();
    store.purge((3, 4), 1).await.unwrap();
    // The same index, with another term; and of another leader in the same term.
    for (place, node) in [((2, 4), 1), ((3, 4), 2)] {
        let error = store.purge(place, node).await.unwrap_err();
        assert!(error.contains("which contradicts"), "{error}");
    }
    let error = store.truncate(3).await.unwrap_err();
    assert!(error.contains("cannot change the log from index 3 on"), "{error}");
    let error = store.purge((3, u64::MAX), 1).await.unwrap_err();
    assert!(error.contains("is not usable"), "{error}");
    assert_eq!(store.state().await.unwrap(), (Some((3, 4)), Some((3, 8))));
    assert_eq!(log(&store).await.unwrap(), items(3, 5..9));
}

#[test]
fn purges_and_truncations_that_contradict_what_was_purged_change_nothing() {
    block_on(purges_of_another_history::<Log09<_>>());
    block_on(purges_of_another_history::<Log010<_>>());
}

#[test]
fn openraft_010_gets_the_typed_error() {
    block_on(async {
        let memory = MemoryStore::new();
        let mut store = Log010::new(memory.clone()).unwrap();
        memory.append(&[Entry::new(5, 1, "raw bytes")]).unwrap();
        let error = store.try_get_log_entries(..).await.unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<AdapterError>()).unwrap();
        assert!(matches!(inner, AdapterError::UnknownEncoding { found: Some(b'r'), .. }), "{error}");
        let error = Subject::purge(&mut store, (1, 3), 1).await.unwrap_err();
        assert!(error.contains("index 3 is before the first index 5"), "{error}");
    });
}

openraft_010::declare_raft_types!(Signed: D = String, R = (), Term = i64);

#[test]
fn term_that_is_no_number_is_refused() {
    block_on(async {
        let mut store = LogStore::<Signed, _>::new(MemoryStore::new()).unwrap();
        let entry = |term: i64, index| {
            let log_id = LogId::new(LeaderId::new(term, 1), index);
            openraft_010::Entry::new(log_id, EntryPayload::Normal(String::new()))
        };
        store.blocking_append([entry(1, 0)]).await.unwrap();
        let (sender, told) = Signed::oneshot();
        let error = store.append([entry(-1, 1)], IOFlushed::signal(sender)).await.unwrap_err();
        assert!(error.to_string().contains("T-1-N1") && error.to_string().contains("is no u64"), "{error}");
        assert!(told.await.is_err(), "nothing was written, and something was told");
        assert_eq!(entries(store.store()), [(1, 0)]);
    });
}
