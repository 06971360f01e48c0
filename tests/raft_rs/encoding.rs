//! What an entry is on the disk. The crate that builds the adapter with the other codec runs this file, too.

use raft::eraftpb::{Entry, EntryType};
use raft::{GetEntriesContext, Storage};
use raft_journal::adapters::raft_rs::LogStore;
use raft_journal::{LogStore as _, MemoryStore};

// With protobuf the bytes are of another type than with prost.
#[allow(clippy::useless_conversion)]
#[test]
fn bytes_of_an_entry_are_the_same_with_either_codec() {
    let store = MemoryStore::new();
    let mut entry = Entry::default();
    entry.set_entry_type(EntryType::EntryConfChange);
    (entry.index, entry.term) = (1, 300);
    (entry.data, entry.context) = (vec![0, 255].into(), b"why".to_vec().into());
    let log = LogStore::open(store.clone(), 1).unwrap();
    log.append(std::slice::from_ref(&entry)).unwrap().wait().unwrap();
    let bytes = [8, 1, 16, 172, 2, 24, 1, 34, 2, 0, 255, 50, 3, b'w', b'h', b'y'];
    assert_eq!(store.entry(1).unwrap().data, &bytes[..]);
    let reopened = LogStore::open(store, 1).unwrap();
    assert_eq!(reopened.entries(1, 2, None, GetEntriesContext::empty(false)), Ok(vec![entry]));
}
