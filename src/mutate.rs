//! Bugs on purpose, each of which some store has had: `tests/mutations` asks the crash simulation to catch every one.
//!
//! Only in a build with `--cfg mutate`, which is for tests of this crate alone. A bug is switched on for the calling
//! thread; the simulated disk runs background work there too.

use std::cell::Cell;

#[cfg(not(debug_assertions))]
compile_error!("a build with bugs on purpose is for tests only");

thread_local! {
    static NOW: Cell<Option<Mutation>> = const { Cell::new(None) };
}

/// Switches a bug on, and the one that was on off.
pub fn set(mutation: Option<Mutation>) {
    NOW.set(mutation);
}

/// Whether this bug is on.
pub(crate) fn is(mutation: Mutation) -> bool {
    NOW.get() == Some(mutation)
}

macro_rules! mutations {
    ($($(#[$what:meta])* $name:ident,)*) => {
        /// A bug.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutation {
            $($(#[$what])* $name,)*
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &[Mutation] = &[$(Mutation::$name,)*];
        }
    };
}

mutations! {
    /// A tail truncation changes what readers see and writes nothing.
    TailTruncationInMemory,
    /// A head truncation changes what readers see and writes nothing.
    HeadTruncationInMemory,
    /// A full segment is left behind without a sync of what stands in it.
    RotationUnsynced,
    /// The successor is written to, and acknowledged, while its predecessor's seal is not durable.
    SuccessorBeforeSeal,
    /// A commit of `meta` overwrites the slot that holds the newest durable state.
    MetaNewestSlot,
    /// A head truncation removes its files before `meta` is committed.
    RemovedBeforeMeta,
    /// A recycled file keeps its salt; the chain, which is the second line, is not compared.
    NoSalt,
    /// Batches of earlier lives count.
    NoLifeCheck,
    /// An open goes on in the life before it.
    LifeNotRaised,
    /// Nothing in a batch header tells a batch from an equal one of an earlier life.
    LivesAlike,
    /// The batch header's checksum over the entries is not compared.
    EntriesNotCovered,
    /// The index in a seal has no checksum.
    IndexUnchecked,
    /// An entry's checksum leaves out its index; which entry a slot means, the second line, is not compared.
    IndexNumberNotCovered,
    /// An index is trusted: what stands where it points to is handed out unverified.
    ReadUnchecked,
    /// A batch header is believed, its length first, before its checksum is compared.
    LengthBeforeChecksum,
    /// A trailer is believed when anything at all stands in the successor.
    TrailerUnchained,
    /// A trailer is believed when the successor exists.
    TrailerOverMissingBatches,
    /// A segment that was superseded is removed while segments before it are still part of the chain.
    MiddleUnlinked,
    /// A lazy value is written into the slot that holds the newest durable state.
    LazyOverDurable,
    /// Several pairs are committed one by one.
    TwoCommits,
    /// The flag of a clean close stays set when the journal is written to again.
    CleanOutlives,
    /// `meta` is committed before what was appended earlier is durable.
    MetaAhead,
    /// A replacement is written as a truncation and an append.
    ReplacementSplit,
    /// An index leaves out the entries that are lost: those behind them move up.
    LostEntriesLeftOut,
    /// A batch carries a mark at its own start, whatever was synced.
    MarkBeforeSync,
    /// Of a batch that was cut short, the entries that are whole are adopted.
    HalfBatch,
    /// A batch that was cut short is an error.
    TornTailRefused,
    /// Where no batch header can be read, the log ends.
    UnreadableHeaderEnds,
    /// Behind the mark, too, batches of an earlier life are evidence where the search began before it.
    VoidIsEvidence,
    /// A loss is known by the place where it begins alone.
    LossByStartAlone,
    /// A read that returns less than was asked for has met the end of the file.
    ShortReadEnds,
    /// A segment whose tail was truncated gets a trailer and no seal.
    SealLeftOut,
    /// After a tail truncation, the next batch is chained to what was truncated.
    ChainNotRewound,
    /// An entry's nonce is its place alone.
    NonceRepeated,
    /// All lives encrypt a file with one key; the nonce's random bits, which are the second line, are not drawn.
    KeyWithoutLife,
    /// A file that a checkpoint shares is used anew; whether it has another name, the second line, is not asked.
    LinkedRecycled,
    /// `meta` names a repair file that was not synced.
    RepairUnsynced,
    /// Whatever is given for a damaged entry is put back.
    RepairUnchecked,
}
