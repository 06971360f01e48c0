//! That the raft-rs adapter is the same with protobuf as with prost: it builds, a node lives on it, and the bytes on the
//! disk do not differ.

/// A node's log store, here with messages that protobuf makes.
pub type LogStore = raft_journal::adapters::raft_rs::LogStore;

#[cfg(test)]
#[path = "../raft_rs/encoding.rs"]
mod encoding;

#[cfg(test)]
mod tests {
    use raft::eraftpb::ConfState;
    use raft::{Config, RawNode, Storage};
    use raft_journal::Journal;

    use super::LogStore;

    #[test]
    fn node_lives_twice() {
        let dir = tempfile::tempdir().unwrap();
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        for life in 1..=2 {
            let store = LogStore::open(Journal::open(dir.path().join("node")).unwrap(), 1).unwrap();
            if !store.is_initialized() {
                store.initialize(ConfState::from((vec![1], vec![]))).unwrap();
            }
            assert_eq!(store.last_index(), Ok(2 * (life - 1)));
            let mut node = RawNode::new(&Config::new(1), store.clone(), &logger).unwrap();
            node.campaign().unwrap();
            let mut proposed = false;
            while node.has_ready() {
                let ready = node.ready();
                store.persist(&ready).unwrap().wait().unwrap();
                let light = node.advance(ready);
                light.commit_index().map_or(Ok(()), |commit| store.set_commit(commit)).unwrap();
                if !std::mem::replace(&mut proposed, true) {
                    node.propose(Vec::new(), b"a proposal".to_vec()).unwrap();
                }
            }
            assert_eq!((store.last_index(), store.term(2 * life)), (Ok(2 * life), Ok(life)));
            assert_eq!(store.hard_state().commit, 2 * life);
            store.store().close().unwrap();
        }
    }
}
