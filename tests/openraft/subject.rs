//! What both adapters do, in one shape: openraft's calls, with terms and indexes for LogIds, and text for errors.

use std::future::Future;
use std::ops::Range;

use raft_journal::adapters::OwnerError;
use raft_journal::adapters::openraft_09::Backend;
use raft_journal::io::sim::SimFs;
use raft_journal::{Journal, OpenOptions};

pub use super::version_09::Log09;
pub use super::version_010::Log010;

pub type Outcome<T = ()> = Result<T, String>;

/// An entry's term and index.
pub type Place = (u64, u64);

/// An entry: where it is, and what it says.
pub type Item = (Place, String);

/// An adapter's log store over a kind of store.
pub trait Subject: Clone + Send + Sync + Sized + 'static {
    const NAME: &'static str;
    type Store: Backend;

    fn new(store: Self::Store) -> Result<Self, OwnerError>;
    fn for_node(store: Self::Store, id: u64) -> Result<Self, OwnerError>;
    fn store(&self) -> &Self::Store;

    /// Appends, and waits until openraft is told that the entries are durable.
    fn append(&mut self, items: Vec<Item>) -> impl Future<Output = Outcome> + Send;
    /// Saves a vote of this term for node 1.
    fn save_vote(&mut self, term: u64) -> impl Future<Output = Outcome> + Send;
    /// The term of the vote, which must be for node 1.
    fn read_vote(&mut self) -> impl Future<Output = Outcome<Option<u64>>> + Send;
    /// Removes the entries from this index on.
    fn truncate(&mut self, first_removed: u64) -> impl Future<Output = Outcome> + Send;
    /// Purges up to this entry, of a leader on this node.
    fn purge(&mut self, upto: Place, node: u64) -> impl Future<Output = Outcome> + Send;
    fn save_committed(&mut self, committed: Place) -> impl Future<Output = Outcome> + Send;
    fn read_committed(&mut self) -> impl Future<Output = Outcome<Option<Place>>> + Send;
    /// What was purged, and where the log ends.
    fn state(&mut self) -> impl Future<Output = Outcome<(Option<Place>, Option<Place>)>> + Send;
    fn read(&mut self, range: Range<u64>) -> impl Future<Output = Outcome<Vec<Item>>> + Send;
    /// What a follower is sent of a range.
    fn read_limited(&mut self, range: Range<u64>) -> impl Future<Output = Outcome<Vec<Item>>> + Send;
}

/// The log as a reader sees it.
pub async fn log<L: Subject>(log: &L) -> Outcome<Vec<Item>> {
    log.clone().read(0..u64::MAX).await
}

pub fn item(term: u64, index: u64) -> Item {
    ((term, index), format!("what entry {index} of term {term} says"))
}

pub fn items(term: u64, indexes: Range<u64>) -> Vec<Item> {
    indexes.map(|index| item(term, index)).collect()
}

/// Small segments, so that a short history has rotations in it.
pub fn options(disk: &SimFs) -> OpenOptions {
    OpenOptions::new().segment_bytes(8 << 10).file_system(std::sync::Arc::new(disk.clone()))
}

/// A log on a simulated disk.
pub fn open<L: Subject<Store = Journal>>(disk: &SimFs) -> Result<L, OwnerError> {
    L::new(options(disk).open("/journal")?)
}

/// Runs a future where no other thread of a runtime's is.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
