//! The bugs, and who had them.
//!
//! A bug must show: where the crate has a second line of defence, the bug takes both lines away, and says so here. What
//! cannot show at all was replaced:
//!
//! - An append is never split over two segments, so none can be torn there; a replacement split in two is in its place.
//! - A successor that is written before its predecessor's seal changes nothing as long as both are synced before anybody
//!   is answered: recovery ends at the missing seal, and only what nobody was promised is gone. So the bug also answers
//!   before the seal is synced.
//! - A failed sync that poisons nobody is, in a loop that syncs until the write is durable, a sync that is tried again.
//! - The index in a seal is not trusted for a damaged segment, because every read compares the entry with its own
//!   checksum and with the slot's. In its place: an index that leaves out lost entries, and a read that compares nothing.

use crate::disk::Lie;
use crate::explore::Faults;

/// One bug.
pub struct Row {
    pub switch: Switch,
    /// Under which faults it must be noticed.
    pub faults: Faults,
    pub bug: &'static str,
    /// Who had it, or one much like it.
    pub peer: &'static str,
}

/// How a bug is switched on.
pub enum Switch {
    Disk(Lie),
    /// By its name in `raft_journal::mutate`, which other builds do not have.
    Source(&'static str),
}

use Faults::{Checkpoints, Damage, FailedSyncs, FullDisk, Nonces, Power, Repairs, ShortTransfers};
use Switch::{Disk, Source};

const fn row(switch: Switch, faults: Faults, bug: &'static str, peer: &'static str) -> Row {
    Row { switch, faults, bug, peer }
}

#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    row(Disk(Lie::SegmentUnsynced), Power, "acknowledged before the sync", "hiqlite#361"),
    row(Disk(Lie::SegmentNameUnsynced), Power, "a new segment's name is not synced", "etcd#6368"),
    row(Disk(Lie::FirstNameUnsynced), Power, "the first segment's name is not synced", "raft-engine, `SinglePipe::open`"),
    row(Disk(Lie::ParentUnsynced), Power, "the directory's own creation is not synced", "moss#26"),
    row(Disk(Lie::MetaInPlace), Power, "`meta` is created in place", "materialize#7935"),
    row(Disk(Lie::SpareUnsynced), Power, "a spare gets its name before its bytes are synced", "sofa-jraft#745"),
    row(Disk(Lie::SyncRetried), FailedSyncs, "a failed sync is tried again", "PostgreSQL, cockroach#37102"),
    row(Disk(Lie::ShortWriteWhole), ShortTransfers, "a short write is taken for a whole one", "tidesdb#648"),
    row(Disk(Lie::CacheBelieved), FailedSyncs, "the page cache is believed after a failed sync", "the stores in ATC'20, Rebello et al."),
    row(Disk(Lie::TailUnsynced), Power, "a recovered tail is adopted without a sync", "kuzu#5843"),
    row(Disk(Lie::SealBuffered), Power, "a file's end stays in a buffer when the next file is begun", "raft-log, \"Gap between chunks\""),
    row(Source("TailTruncationInMemory"), Power, "a tail truncation is remembered only in memory", "nats-server#3870"),
    row(Source("HeadTruncationInMemory"), Power, "a head truncation is remembered only in memory", "HomeStore#530"),
    row(Source("RotationUnsynced"), Power, "a rotation leaves the old segment unsynced", "yugabyte-db#3490"),
    row(Source("SuccessorBeforeSeal"), Power, "the successor is acknowledged before the seal is durable", "WiredTiger WT-3000"),
    // `slot_of` itself: recovery refuses a generation in the slot of the others.
    row(Source("MetaNewestSlot"), Power, "`meta` overwrites the slot with the newest state", "ClickHouse#111454"),
    row(Source("RemovedBeforeMeta"), Power, "segments are removed before `meta` says so", "etcd#21372"),
    // With the salt alone, the chain still tells an old batch from a new one: both are gone.
    row(Source("NoSalt"), Power, "a recycled file keeps its salt", "pebble#567"),
    row(Source("NoLifeCheck"), Power, "batches of an earlier life count", "rocksdb#12403"),
    row(Source("LifeNotRaised"), Power, "a tail that was cut is not voided", "iggy#3946"),
    // The life and the generation are part of the chain value, and lives are compared: all of it is gone.
    row(Source("LivesAlike"), Power, "a stale batch chains on to an equal one that was sent again", "rocksdb#12918"),
    row(Source("EntriesNotCovered"), Power, "the header's checksum does not cover the entries", "TDengine#5195"),
    row(Source("IndexUnchecked"), Damage, "the index has no checksum", "Kafka, KAFKA-12734"),
    // The slot's check would still tell which entry is meant: not compared either.
    row(Source("IndexNumberNotCovered"), Damage, "the checksum does not cover the index number", "elastic-stream#549"),
    row(Source("ReadUnchecked"), Damage, "a read trusts the index and verifies nothing", "raft-wal, reads"),
    row(Source("LengthBeforeChecksum"), Power, "a length is trusted before its checksum", "etcd#14098"),
    row(Source("TrailerUnchained"), Damage, "a trailer is believed though what follows is not chained to it", "fluss#4012"),
    row(Source("TrailerOverMissingBatches"), Power, "a trailer is believed while its batches are missing", "dqlite#190"),
    row(Source("MiddleUnlinked"), Power, "a segment is removed from the middle of the chain", "copycat#54"),
    row(Source("LazyOverDurable"), Power, "a lazy commit overwrites the last durable slot", "hiqlite#357"),
    row(Source("TwoCommits"), Power, "a vote and its term are two commits", "hashicorp/raft#661"),
    row(Source("CleanOutlives"), Power, "the clean flag outlives the clean state", "redpanda#10492"),
    row(Source("MetaAhead"), Power, "`meta` runs ahead of the log", "curvine#1368"),
    row(Source("ReplacementSplit"), Power, "a replacement's truncation survives without its entries", "ClickHouse#112101"),
    row(Source("LostEntriesLeftOut"), Damage, "the index of a damaged segment is taken for whole", "dotNext#292"),
    row(Source("MarkBeforeSync"), Power, "a mark is written before its sync", "yugabyte-db#33816"),
    row(Source("HalfBatch"), FullDisk, "a full disk in the middle of a write: half a batch is adopted", "prometheus#8125"),
    row(Source("TornTailRefused"), Power, "a partial write cannot be opened", "okaywal, `read_all_chunks`"),
    row(Source("UnreadableHeaderEnds"), Damage, "a flipped length cuts acknowledged entries", "etcd, `wal.Repair`"),
    row(Source("VoidIsEvidence"), Damage, "a batch that was cut stands behind a damaged one that came later", "this journal, before its first release"),
    row(Source("LossByStartAlone"), Damage, "a loss passes for an older one that began at the same place", "this journal, before its first release"),
    row(Source("ShortReadEnds"), ShortTransfers, "a short read truncates the log", "goraft/raft#191"),
    // The successor's first batch stands in for a lost seal, mostly: hence the many states.
    row(Source("SealLeftOut"), Power, "a sealed segment without its index, after a tail truncation", "raft-wal#31"),
    row(Source("ChainNotRewound"), Power, "after the last entry is truncated, appends chain on to it", "qdrant/wal#38"),
    row(Source("NonceRepeated"), Nonces, "a nonce is made of the place alone", "nodedb#36"),
    // With fresh random bits, no nonce comes twice under one key either: none are drawn.
    row(Source("KeyWithoutLife"), Nonces, "what was cut and what is written over it share a key", "attic#270"),
    // The process knows which files it shared, and asks the file system: neither.
    row(Source("LinkedRecycled"), Checkpoints, "a file that a checkpoint shares is used anew", "rocksdb#12731"),
    row(Source("RepairUnsynced"), Repairs, "a repair is named by `meta` before its file is synced", "etcd#21372"),
    row(Source("RepairUnchecked"), Repairs, "what is put back is not held against the checksum", "storj#2194"),
];
