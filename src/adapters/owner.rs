//! Who a store belongs to: which adapter writes it, and for which node.
//!
//! Adapters encode entries and state in ways of their own, and a node's vote is nobody else's. So the first adapter to
//! open a store writes its name and its node's into it, and whoever comes later is held against that.

use crate::error::Error;
use crate::log_store::LogStore;
use crate::stable_store::{Changes, StableStore};

/// The key of the adapter's name.
const ADAPTER_KEY: &[u8] = b"adapter";
/// The key of the node's name.
const NODE_KEY: &[u8] = b"adapter.node";

/// The adapter that left no name of its own in its first version, and the keys by which its stores are known.
const UNNAMED: &str = "openraft-09";
const UNNAMED_KEYS: [&[u8]; 3] = [b"openraft.vote", b"openraft.purged", b"openraft.committed"];

/// Why an adapter refuses a store. Nothing was written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OwnerError {
    /// Another adapter wrote the store; the two do not read each other's entries.
    #[error(
        "the store was written by the adapter `{found}` and opened by `{opened_by}`: \
        open it with `{found}`, or give this node an empty directory"
    )]
    OtherAdapter {
        /// The adapter that wrote it.
        found: String,
        /// The adapter that opened it.
        opened_by: String,
    },
    /// The log holds entries, and no adapter has left its name: something else wrote them.
    #[error(
        "the store holds a log that no adapter wrote, and was opened by `{opened_by}`: \
        open it with what wrote it, or give this node an empty directory"
    )]
    NoAdapter {
        /// The adapter that opened it.
        opened_by: String,
    },
    /// The store is another node's: its vote and its log must not speak for this one.
    #[error(
        "the store belongs to node {found} and was opened for node {opened_for}: \
        open this node's own directory, or an empty one"
    )]
    OtherNode {
        /// The node that it belongs to.
        found: String,
        /// The node that it was opened for.
        opened_for: String,
    },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Holds a store against the adapter and the node that open it, and writes their names where none are yet; durable on
/// return. An adapter that does not know its node passes `None`.
pub(crate) fn claim<S: LogStore + StableStore>(store: &S, adapter: &str, node: Option<&str>) -> Result<(), OwnerError> {
    let named = text(store, ADAPTER_KEY)?;
    let mut changes = Changes::new();
    match named.clone().or(unnamed(store)?) {
        Some(found) if found != adapter => {
            return Err(OwnerError::OtherAdapter { found, opened_by: adapter.to_owned() });
        }
        // The first version of that adapter may have stored entries before any vote.
        None if store.state().last.is_some() && adapter != UNNAMED => {
            return Err(OwnerError::NoAdapter { opened_by: adapter.to_owned() });
        }
        _ => {}
    }
    if named.is_none() {
        changes = changes.set(ADAPTER_KEY, adapter);
    }
    if let Some(node) = node {
        match text(store, NODE_KEY)? {
            Some(found) if found != node => {
                return Err(OwnerError::OtherNode { found, opened_for: node.to_owned() });
            }
            Some(_) => {}
            None => changes = changes.set(NODE_KEY, node),
        }
    }
    if changes.pairs().is_empty() { Ok(()) } else { Ok(store.commit(&changes)?) }
}

/// Changes that write both names, for an adapter that takes over a log that no adapter wrote.
#[cfg(feature = "replica")]
pub(crate) fn names(changes: Changes, adapter: &str, node: &str) -> Changes {
    changes.set(ADAPTER_KEY, adapter).set(NODE_KEY, node)
}

fn text(store: &impl StableStore, key: &[u8]) -> Result<Option<String>, Error> {
    Ok(store.get(key)?.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// Whether the adapter that left no name wrote the store.
fn unnamed(store: &impl StableStore) -> Result<Option<String>, Error> {
    for key in UNNAMED_KEYS {
        if store.get(key)?.is_some() {
            return Ok(Some(UNNAMED.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::memory::MemoryStore;

    /// Everything that a claim could have changed.
    fn names(store: &MemoryStore) -> (Option<String>, Option<String>) {
        (text(store, ADAPTER_KEY).unwrap(), text(store, NODE_KEY).unwrap())
    }

    fn named(adapter: &str, node: Option<&str>) -> (Option<String>, Option<String>) {
        (Some(adapter.to_owned()), node.map(str::to_owned))
    }

    #[test]
    fn first_to_open_owns_the_store() {
        let store = MemoryStore::new();
        claim(&store, "a", None).unwrap();
        assert_eq!(names(&store), named("a", None));
        // The node may be told later, and is then held to.
        claim(&store, "a", Some("1")).unwrap();
        claim(&store, "a", Some("1")).unwrap();
        claim(&store, "a", None).unwrap();
        assert_eq!(names(&store), named("a", Some("1")));
    }

    #[test]
    fn another_adapter_and_another_node_are_refused_with_both_names() {
        let store = MemoryStore::new();
        claim(&store, "a", Some("1")).unwrap();
        let error = claim(&store, "b", Some("1")).unwrap_err();
        assert!(matches!(&error, OwnerError::OtherAdapter { found, opened_by } if found == "a" && opened_by == "b"));
        let error = claim(&store, "a", Some("2")).unwrap_err();
        assert!(matches!(&error, OwnerError::OtherNode { found, opened_for } if found == "1" && opened_for == "2"));
        assert_eq!(names(&store), named("a", Some("1")));
    }

    #[test]
    fn store_from_before_names_is_its_adapters() {
        for key in UNNAMED_KEYS {
            let store = MemoryStore::new();
            store.set(key, b"value").unwrap();
            let error = claim(&store, "b", None).unwrap_err();
            assert!(matches!(error, OwnerError::OtherAdapter { found, .. } if found == UNNAMED));
            assert_eq!(names(&store), (None, None));
            claim(&store, UNNAMED, Some("1")).unwrap();
            assert_eq!(names(&store), named(UNNAMED, Some("1")));
        }
    }

    #[test]
    fn log_without_a_name_is_nobodys_but_the_unnamed_adapters() {
        let store = MemoryStore::new();
        store.append(&[Entry::new(1, 1, "raw")]).unwrap();
        assert!(matches!(claim(&store, "b", None).unwrap_err(), OwnerError::NoAdapter { .. }));
        assert_eq!(names(&store), (None, None));
        claim(&store, UNNAMED, None).unwrap();
    }
}
