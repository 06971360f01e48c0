//! A node that joins a group later.

use protobuf::Message as _;
use raft::eraftpb::{ConfChange, ConfChangeType, ConfState, Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode};

use super::{memory, voters};

/// The entry that changes what node 4 is.
fn change(index: u64, kind: ConfChangeType) -> Entry {
    let mut change = ConfChange { node_id: 4, ..ConfChange::default() };
    change.set_change_type(kind);
    let mut entry = Entry { index, term: 1, data: change.write_to_bytes().unwrap(), ..Entry::default() };
    entry.set_entry_type(EntryType::EntryConfChange);
    entry
}

/// Node 4, begun with a configuration or without one, is sent a log that begins at entry 1. What its applies give.
fn joined(begun_with: Option<ConfState>) -> Vec<raft::Result<ConfState>> {
    let store = memory();
    begun_with.map_or(Ok(()), |voters| store.initialize(voters)).unwrap();
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let mut node = RawNode::new(&Config::new(4), store.clone(), &logger).unwrap();
    let changes = [change(2, ConfChangeType::AddLearnerNode), change(3, ConfChangeType::AddNode)];
    let mut entries = vec![Entry { index: 1, term: 1, ..Entry::default() }];
    entries.extend(changes.clone());
    let mut message = Message { from: 1, to: 4, term: 1, commit: 3, ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    message.entries = entries;
    node.step(message).unwrap();
    let ready = node.ready();
    store.persist(&ready).unwrap().wait().unwrap();
    node.advance(ready);
    let apply = |entry: Entry| {
        let mut change = ConfChange::default();
        change.merge_from_bytes(&entry.data).unwrap();
        node.apply_conf_change(&change)
    };
    changes.into_iter().map(apply).collect()
}

#[test]
fn a_node_that_joins_with_the_founders_configuration_learns_the_rest_from_the_log() {
    let all = joined(Some(voters()));
    assert_eq!(all[0].as_ref().unwrap().get_learners(), [4]);
    assert!(votes_are(all[1].as_ref().unwrap(), &[1, 2, 3, 4]), "{all:?}");
    // Without it the node would take itself for the whole group, and elect itself.
    let alone = joined(None);
    assert!(alone[0].is_err() && votes_are(alone[1].as_ref().unwrap(), &[4]), "{alone:?}");
}

/// Whether these are the voters, in whatever order.
fn votes_are(found: &ConfState, voters: &[u64]) -> bool {
    let mut found = found.get_voters().to_vec();
    found.sort_unstable();
    found == voters
}
