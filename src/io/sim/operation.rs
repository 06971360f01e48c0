//! What was asked of the simulated disk.

use std::io;
use std::ops::Sub;
use std::sync::Arc;

/// A kind of operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OperationKind {
    /// Opening a file that must exist.
    Open,
    /// Opening with [`Mode::Create`](crate::io::Mode::Create).
    Create,
    /// Making a directory.
    CreateDirectory,
    /// Asking what a path names.
    Kind,
    /// Listing a directory.
    List,
    /// Renaming a file.
    Rename,
    /// Giving a file one more name.
    Link,
    /// Asking how many names a file has.
    Links,
    /// Removing a file.
    Remove,
    /// Making a directory's names durable.
    SyncDirectory,
    /// Locking a file that exists.
    Lock,
    /// Reading from a file.
    Read,
    /// Writing to a file.
    Write,
    /// Making a file's bytes and size durable.
    Sync,
    /// Asking for a file's size.
    Len,
    /// Setting a file's size.
    SetLen,
    /// Reserving room for a file.
    Allocate,
    /// Forgetting clean pages of the page cache.
    DropCache,
}

impl OperationKind {
    /// Whether it changes the disk, so that losing power before it or after it makes a difference. A lock that makes
    /// its file is logged as a [`Create`](Self::Create).
    pub fn is_mutation(self) -> bool {
        match self {
            Self::Create
            | Self::CreateDirectory
            | Self::Rename
            | Self::Link
            | Self::Remove
            | Self::SyncDirectory
            | Self::Write
            | Self::Sync
            | Self::SetLen
            | Self::Allocate => true,
            Self::Open
            | Self::Kind
            | Self::List
            | Self::Links
            | Self::Lock
            | Self::Read
            | Self::Len
            | Self::DropCache => false,
        }
    }
}

/// One operation, as the log of a [`SimFs`](super::SimFs) keeps it.
///
/// Times are ticks of the disk's own clock: one when an operation is issued, one when it returns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// What was asked.
    pub kind: OperationKind,
    /// Of which file or directory; of a file that is open, the name that it was opened by.
    pub path: Arc<str>,
    /// Of a rename, the new name.
    pub renamed_to: Option<Arc<str>>,
    /// The place in the file; 0 where it has no meaning.
    pub offset: u64,
    /// How many bytes, or which size; 0 where it has no meaning.
    pub len: u64,
    /// How many mutations came before it: to lose power in its place, cut at this number.
    pub mutations_before: u64,
    /// The error that a fault, a read-only disk or lost power made of it.
    pub fault: Option<io::ErrorKind>,
    /// When it was issued. No other operation has the same tick.
    pub issued: u64,
    /// When it returned, be it with an error; `None` while it runs, and for good when power was lost before.
    pub returned: Option<u64>,
    /// When the sync was issued that made it durable: of the file for bytes and sizes, of the directory for names.
    ///
    /// `None` while none has, for good where a failed sync gave up what was written, and where nothing was changed. A
    /// sync covers what was issued before it, a failed one nothing.
    pub covered_by: Option<u64>,
}

/// How many operations the log keeps at least.
const LOG_MIN: usize = 1 << 16;

/// The operations of a disk.
#[derive(Clone, Default)]
pub(super) struct Log {
    /// In the order in which they were issued.
    pub(super) operations: Vec<Operation>,
    pub(super) is_off: bool,
}

impl Log {
    pub(super) fn record(&mut self, operation: Operation) {
        if self.operations.len() >= 2 * LOG_MIN {
            self.operations.drain(..LOG_MIN);
        }
        self.operations.push(operation);
    }

    /// The operation that was issued at this tick, if the log still has it.
    fn place(&self, issued: u64) -> Option<usize> {
        let last = self.operations.last()?;
        if last.issued == issued {
            return Some(self.operations.len() - 1);
        }
        self.operations.binary_search_by_key(&issued, |operation| operation.issued).ok()
    }

    pub(super) fn get(&self, issued: u64) -> Option<&Operation> {
        self.operations.get(self.place(issued)?)
    }

    fn change(&mut self, issued: u64, change: impl FnOnce(&mut Operation)) {
        if let Some(place) = self.place(issued) {
            self.operations.get_mut(place).map(change);
        }
    }

    pub(super) fn returned(&mut self, issued: u64, now: u64) {
        self.change(issued, |operation| operation.returned = Some(now));
    }

    pub(super) fn covered(&mut self, issued: u64, by: u64) {
        self.change(issued, |operation| operation.covered_by = Some(by));
    }

    pub(super) fn renamed(&mut self, issued: u64, to: &Arc<str>) {
        self.change(issued, |operation| operation.renamed_to = Some(to.clone()));
    }
}

/// How often what was asked, failures included; operations refused for want of power are not.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Opens of existing files.
    pub opens: u64,
    /// Opens with [`Mode::Create`](crate::io::Mode::Create), and locks that made their file.
    pub creates: u64,
    /// Directories made; asking for one that is there counts, too.
    pub directories: u64,
    /// Questions what a path names.
    pub kinds: u64,
    /// Directories listed.
    pub lists: u64,
    /// Renames.
    pub renames: u64,
    /// Names added to files.
    pub links: u64,
    /// Questions for the count of a file's names.
    pub link_counts: u64,
    /// Removals.
    pub removes: u64,
    /// Directory syncs.
    pub dir_syncs: u64,
    /// Locks of existing files.
    pub locks: u64,
    /// Reads.
    pub reads: u64,
    /// Bytes that reads returned.
    pub bytes_read: u64,
    /// Writes.
    pub writes: u64,
    /// Bytes that writes took.
    pub bytes_written: u64,
    /// File syncs.
    pub syncs: u64,
    /// Questions for a size.
    pub lens: u64,
    /// Sizes set.
    pub set_lens: u64,
    /// Reservations of room.
    pub allocates: u64,
    /// Cache drops.
    pub cache_drops: u64,
}

impl Counts {
    pub(super) fn count(&mut self, kind: OperationKind) {
        let counter = match kind {
            OperationKind::Open => &mut self.opens,
            OperationKind::Create => &mut self.creates,
            OperationKind::CreateDirectory => &mut self.directories,
            OperationKind::Kind => &mut self.kinds,
            OperationKind::List => &mut self.lists,
            OperationKind::Rename => &mut self.renames,
            OperationKind::Link => &mut self.links,
            OperationKind::Links => &mut self.link_counts,
            OperationKind::Remove => &mut self.removes,
            OperationKind::SyncDirectory => &mut self.dir_syncs,
            OperationKind::Lock => &mut self.locks,
            OperationKind::Read => &mut self.reads,
            OperationKind::Write => &mut self.writes,
            OperationKind::Sync => &mut self.syncs,
            OperationKind::Len => &mut self.lens,
            OperationKind::SetLen => &mut self.set_lens,
            OperationKind::Allocate => &mut self.allocates,
            OperationKind::DropCache => &mut self.cache_drops,
        };
        *counter += 1;
    }
}

/// What was asked between two counts: `after - before`.
impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            opens: self.opens - before.opens,
            creates: self.creates - before.creates,
            directories: self.directories - before.directories,
            kinds: self.kinds - before.kinds,
            lists: self.lists - before.lists,
            renames: self.renames - before.renames,
            links: self.links - before.links,
            link_counts: self.link_counts - before.link_counts,
            removes: self.removes - before.removes,
            dir_syncs: self.dir_syncs - before.dir_syncs,
            locks: self.locks - before.locks,
            reads: self.reads - before.reads,
            bytes_read: self.bytes_read - before.bytes_read,
            writes: self.writes - before.writes,
            bytes_written: self.bytes_written - before.bytes_written,
            syncs: self.syncs - before.syncs,
            lens: self.lens - before.lens,
            set_lens: self.set_lens - before.set_lens,
            allocates: self.allocates - before.allocates,
            cache_drops: self.cache_drops - before.cache_drops,
        }
    }
}
