//! The bytes of the `meta` file. `src/docs/format.md` has the same tables for readers.

use std::collections::BTreeMap;

use byteorder::{ByteOrder, LittleEndian};
use bytes::{BufMut, Bytes};

use super::cipher::{Encrypted, PairsCipher};
use super::{Accepted, ChainStart, Mark, Repaired, State};
use crate::codec::crc::Salted;
use crate::entry::Position;
use crate::error::{JournalId, KeyFault};
use crate::keys::{CHECK_BYTES, TAG_BYTES};

/// The first bytes of every copy.
pub const MAGIC: [u8; 8] = *b"RJMETA\0\0";
/// The format version of a state that names neither a repair file nor accepted damage.
pub const VERSION: u32 = 1;
/// The format version of one that names a repair file, and no accepted damage.
pub const VERSION_REPAIRED: u32 = 2;
/// The format version of one that names accepted damage. Older versions had such records, too, without the last two fields.
pub const VERSION_ACCEPTED: u32 = 3;
/// The format version of one that is encrypted, whatever it names, and the newest that this build reads. Its terms are
/// encrypted with the pairs; in older versions, which had encrypted pairs too, they are not.
pub const VERSION_ENCRYPTED: u32 = 4;
/// Copies start at multiples of this.
pub const COPY_ALIGN_BYTES: usize = 4096;
/// Copies in the file: two slots, each stored twice.
pub const COPIES: usize = 4;

// One copy. Magic, version, check and length keep their places in every version.
/// Offset of the magic.
pub const MAGIC_AT: usize = 0;
/// Offset of the format version.
pub const VERSION_AT: usize = MAGIC_AT + 8;
/// Offset of the checksum over all other bytes of the copy's content.
pub const CHECK_AT: usize = VERSION_AT + 4;
/// Offset of the content's length, bytes, from the magic on.
pub const LEN_AT: usize = CHECK_AT + 4;
/// Offset of the flags: bit 0 clean, bit 1 purged position present, bit 2 chain start present, bit 3 pairs encrypted,
/// bit 4 a newer state was lost, bit 5 it is known where this life began.
pub const FLAGS_AT: usize = LEN_AT + 4;
/// Offset of the generation.
pub const GENERATION_AT: usize = FLAGS_AT + 4;
/// Offset of the journal's id.
pub const JOURNAL_ID_AT: usize = GENERATION_AT + 8;
/// Offset of the life.
pub const LIFE_AT: usize = JOURNAL_ID_AT + 16;
/// Offset of the count of accepted damages.
pub const ACCEPTED_AT: usize = LIFE_AT + 4;
/// Offset of the count of repairs; 0 in version 1.
pub const REPAIRED_AT: usize = ACCEPTED_AT + 2;
/// Offset of the count of key/value pairs.
pub const PAIRS_AT: usize = REPAIRED_AT + 2;
/// Offset of where this life began: an offset in a segment, in which the lowest three bits, 0 in an offset, are how far that
/// segment's sequence is below the mark's. 0 if it is further, so that all of the mark's segment is of this life, and where
/// flag bit 5 is not set.
pub const BEGIN_AT: usize = PAIRS_AT + 4;
/// Offset of the durable mark's segment sequence.
pub const MARK_SEQUENCE_AT: usize = BEGIN_AT + 4;
/// Offset of the durable mark's offset.
pub const MARK_OFFSET_AT: usize = MARK_SEQUENCE_AT + 8;
/// Offset of the chain value at the mark.
pub const MARK_CHAIN_AT: usize = MARK_OFFSET_AT + 4;
/// Offset of the log's next index at the mark.
pub const MARK_NEXT_AT: usize = MARK_CHAIN_AT + 4;
/// Offset of the last term at the mark.
pub const MARK_LAST_TERM_AT: usize = MARK_NEXT_AT + 8;
/// Offset of the segment's base at the mark.
pub const MARK_BASE_AT: usize = MARK_LAST_TERM_AT + 8;
/// Offset of the offset of the latest replacing batch at the mark.
pub const MARK_REPLACING_AT: usize = MARK_BASE_AT + 8;
/// Offset of the offset of the index batch of a clean close (0: none).
pub const MARK_INDEX_AT: usize = MARK_REPLACING_AT + 4;
/// Offset of the purged position's index.
pub const PURGED_INDEX_AT: usize = MARK_INDEX_AT + 4;
/// Offset of the purged position's term.
pub const PURGED_TERM_AT: usize = PURGED_INDEX_AT + 8;
/// Offset of the chain start's segment sequence.
pub const START_SEQUENCE_AT: usize = PURGED_TERM_AT + 8;
/// Offset of that segment's salt.
pub const START_SALT_AT: usize = START_SEQUENCE_AT + 8;
/// Offset of the chain start's offset.
pub const START_OFFSET_AT: usize = START_SALT_AT + 8;
/// Offset of the chain value at the chain start.
pub const START_CHAIN_AT: usize = START_OFFSET_AT + 4;
/// Offset of the next index at the chain start.
pub const START_BASE_AT: usize = START_CHAIN_AT + 4;
/// Length of the fixed part; the accepted damages follow, then the repairs, then the pairs.
pub const FIXED_BYTES: usize = START_BASE_AT + 8;
/// Length of an accepted damage in versions 1 and 2.
pub const ACCEPTED_OLD_BYTES: usize = 8 + 4 + 8 + 8;
/// No batch begins at a place that is no multiple of eight: the lowest bits of the offset where the chain goes on are flags.
pub const ACCEPTED_FLAG_VOID: u32 = 1;
/// The other one of them.
pub const ACCEPTED_FLAG_OPEN_ENDED: u32 = 2;
/// Length of an accepted damage.
pub const ACCEPTED_BYTES: usize = ACCEPTED_OLD_BYTES + 8 + 4;
/// Length of a repair.
pub const REPAIRED_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 8;
/// Length of a pair's head: the key's length (1 byte), the value's (2 bytes).
pub const PAIR_HEAD_BYTES: usize = 3;

// Encrypted pairs.
/// Offset of the id of the key that they are encrypted with.
pub const ENCRYPTED_KEY_ID_AT: usize = 0;
/// Offset of the random bits that the copy's key is derived from.
pub const ENCRYPTED_RANDOM_AT: usize = ENCRYPTED_KEY_ID_AT + 4;
/// Offset of what tells the key from another one with the same id.
pub const ENCRYPTED_KEY_CHECK_AT: usize = ENCRYPTED_RANDOM_AT + 16;
/// Offset of the ciphertext, which the tag follows.
pub const ENCRYPTED_TEXT_AT: usize = ENCRYPTED_KEY_CHECK_AT + CHECK_BYTES;
/// Length of what is stored beside the ciphertext.
pub const ENCRYPTED_BYTES: usize = ENCRYPTED_TEXT_AT + TAG_BYTES;

// The terms that stand before encrypted pairs, encrypted with them. In their own places there are zeros.
/// Offset of the last term at the mark.
pub const HIDDEN_LAST_TERM_AT: usize = 0;
/// Offset of the purged position's term.
pub const HIDDEN_PURGED_TERM_AT: usize = HIDDEN_LAST_TERM_AT + 8;
/// Length of both.
pub const HIDDEN_BYTES: usize = HIDDEN_PURGED_TERM_AT + 8;

/// Nobody commits so often: a state that says so is none of ours, and counting on from it would overflow.
const GENERATION_MAX: u64 = u64::MAX >> 1;

const FLAG_CLEAN: u32 = 1;
const FLAG_PURGED: u32 = 2;
const FLAG_START: u32 = 4;
const FLAG_ENCRYPTED: u32 = 8;
const FLAG_SUSPECT: u32 = 16;
const FLAG_BEGIN: u32 = 32;

const _: () = assert!(FIXED_BYTES.is_multiple_of(8) && FIXED_BYTES < COPY_ALIGN_BYTES);
const _: () = assert!(crate::stable_store::KEY_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(crate::stable_store::VALUE_BYTES_MAX <= u16::MAX as usize);

/// Why a copy cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CopyFault {
    Unreadable,
    Version(u32),
}

/// What the pairs take in a copy, bytes.
pub(crate) fn pairs_bytes(pairs: &BTreeMap<Bytes, Bytes>) -> u64 {
    pairs.iter().map(|(key, value)| (PAIR_HEAD_BYTES + key.len() + value.len()) as u64).sum()
}

pub(crate) fn encode(state: &State) -> Vec<u8> {
    let mut bytes = encode_fixed(state, false);
    put_pairs(&mut bytes, &state.pairs);
    finish(bytes)
}

/// The same with its terms and pairs encrypted, and all before them authenticated.
pub(crate) fn encode_encrypted(state: &State, cipher: &PairsCipher) -> Result<Vec<u8>, KeyFault> {
    let mut bytes = encode_fixed(state, true);
    bytes.put_u32_le(cipher.key_id);
    bytes.put_slice(&cipher.random);
    bytes.put_slice(&cipher.key_check);
    let text = bytes.len();
    bytes.put_u64_le(state.mark.last_term);
    bytes.put_u64_le(state.purged.unwrap_or_default().term);
    put_pairs(&mut bytes, &state.pairs);
    let len = (bytes.len() + TAG_BYTES) as u32;
    LittleEndian::write_u32(&mut bytes[LEN_AT..], len);
    let (known, text) = bytes.split_at_mut(text);
    let tag = cipher.encrypt(&known[LEN_AT..], text)?;
    bytes.put_slice(&tag);
    Ok(finish(bytes))
}

/// All before the pairs; without the terms, where they are encrypted with those.
fn encode_fixed(state: &State, is_encrypted: bool) -> Vec<u8> {
    let more_bytes = ENCRYPTED_BYTES + HIDDEN_BYTES + pairs_bytes(&state.pairs) as usize;
    let mut bytes = Vec::with_capacity(FIXED_BYTES + more_bytes);
    let flags = [
        (state.clean, FLAG_CLEAN),
        (state.purged.is_some(), FLAG_PURGED),
        (state.start.is_some(), FLAG_START),
        (state.suspect, FLAG_SUSPECT),
        (state.begin.is_some(), FLAG_BEGIN),
        (is_encrypted, FLAG_ENCRYPTED),
    ];
    let shown = |term: u64| if is_encrypted { 0 } else { term };
    let (purged, mark) = (state.purged.unwrap_or_default(), &state.mark);
    let start = state.start.unwrap_or(ChainStart { sequence: 0, salt: 0, offset: 0, chain: 0, base: 0 });
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(match (state.accepted.is_empty(), state.repaired.is_empty()) {
        _ if is_encrypted => VERSION_ENCRYPTED,
        (true, true) => VERSION,
        (true, false) => VERSION_REPAIRED,
        (false, _) => VERSION_ACCEPTED,
    });
    bytes.put_u64_le(0); // Check and length: known at the end.
    bytes.put_u32_le(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum());
    bytes.put_u64_le(state.generation);
    bytes.put_slice(&state.journal_id.0);
    bytes.put_u32_le(state.life);
    bytes.put_u16_le(state.accepted.len() as u16);
    bytes.put_u16_le(state.repaired.len() as u16);
    bytes.put_u32_le(state.pairs.len() as u32);
    bytes.put_u32_le(state.begin.map_or(0, |begin| begin_bits(begin, mark.sequence)));
    bytes.put_u64_le(mark.sequence);
    bytes.put_u32_le(mark.offset);
    bytes.put_u32_le(mark.chain);
    bytes.put_u64_le(mark.next);
    bytes.put_u64_le(shown(mark.last_term));
    bytes.put_u64_le(mark.base);
    bytes.put_u32_le(mark.replacing);
    bytes.put_u32_le(mark.index);
    bytes.put_u64_le(purged.index);
    bytes.put_u64_le(shown(purged.term));
    bytes.put_u64_le(start.sequence);
    bytes.put_u64_le(start.salt);
    bytes.put_u32_le(start.offset);
    bytes.put_u32_le(start.chain);
    bytes.put_u64_le(start.base);
    debug_assert_eq!(bytes.len(), FIXED_BYTES);
    state.accepted.iter().for_each(|accepted| put_accepted(&mut bytes, accepted));
    state.repaired.iter().for_each(|repaired| put_repaired(&mut bytes, repaired));
    bytes
}

/// The lowest bits of an offset, which are 0: batches begin at multiples of 8.
const BEGIN_BACK_MAX: u32 = 7;

/// How the place where a life began is written.
fn begin_bits((sequence, offset): (u64, u32), mark_sequence: u64) -> u32 {
    match mark_sequence.checked_sub(sequence).and_then(|back| u32::try_from(back).ok()) {
        Some(back) if back <= BEGIN_BACK_MAX && offset & BEGIN_BACK_MAX == 0 => offset | back,
        _ => 0,
    }
}

/// The same read back.
fn begin_of(bits: u32, mark_sequence: u64) -> (u64, u32) {
    (mark_sequence.saturating_sub(u64::from(bits & BEGIN_BACK_MAX)), bits & !BEGIN_BACK_MAX)
}

fn put_pairs(bytes: &mut Vec<u8>, pairs: &BTreeMap<Bytes, Bytes>) {
    for (key, value) in pairs {
        bytes.put_u8(key.len() as u8);
        bytes.put_u16_le(value.len() as u16);
        bytes.put_slice(key);
        bytes.put_slice(value);
    }
}

/// Fills in length and check.
fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.len() as u32;
    LittleEndian::write_u32(&mut bytes[LEN_AT..], len);
    let check = check_of(&bytes);
    LittleEndian::write_u32(&mut bytes[CHECK_AT..], check);
    bytes
}

fn put_accepted(bytes: &mut Vec<u8>, accepted: &Accepted) {
    bytes.put_u64_le(accepted.sequence);
    bytes.put_u32_le(accepted.offset);
    bytes.put_u64_le(accepted.first);
    bytes.put_u64_le(accepted.end);
    bytes.put_u64_le(accepted.resume.0);
    let flags = if accepted.void { ACCEPTED_FLAG_VOID } else { 0 };
    let flags = flags | if accepted.open_ended { ACCEPTED_FLAG_OPEN_ENDED } else { 0 };
    bytes.put_u32_le(accepted.resume.1 | flags);
}

fn put_repaired(bytes: &mut Vec<u8>, repaired: &Repaired) {
    bytes.put_u64_le(repaired.sequence);
    bytes.put_u32_le(repaired.place);
    bytes.put_u64_le(repaired.first);
    bytes.put_u64_le(repaired.end);
    bytes.put_u64_le(repaired.file);
    bytes.put_u64_le(repaired.salt);
}

fn check_of(content: &[u8]) -> u32 {
    Salted::new(0).of(&[&content[..CHECK_AT], &content[LEN_AT..]])
}

/// The state in a copy. `bytes` may go on beyond the content.
pub(crate) fn parse(bytes: &[u8]) -> Result<State, CopyFault> {
    let content = content(bytes).ok_or(CopyFault::Unreadable)?;
    // Only now: a version is believed once its checksum has been seen.
    match LittleEndian::read_u32(&content[VERSION_AT..]) {
        version @ VERSION..=VERSION_ENCRYPTED => parse_content(&content, version).ok_or(CopyFault::Unreadable),
        version => Err(CopyFault::Version(version)),
    }
}

/// The bytes that the checksum covers, if it is right.
fn content(bytes: &[u8]) -> Option<Bytes> {
    let head = bytes.get(..FLAGS_AT)?;
    let content = bytes.get(..usize::try_from(LittleEndian::read_u32(&head[LEN_AT..])).ok()?)?;
    let right = content.len() >= FLAGS_AT
        && content[..VERSION_AT] == MAGIC
        && LittleEndian::read_u32(&content[CHECK_AT..]) == check_of(content);
    right.then(|| Bytes::copy_from_slice(content))
}

fn parse_content(content: &Bytes, version: u32) -> Option<State> {
    let fixed = content.get(..FIXED_BYTES)?;
    let u16_at = |at: usize| LittleEndian::read_u16(&fixed[at..]);
    let u32_at = |at: usize| LittleEndian::read_u32(&fixed[at..]);
    let u64_at = |at: usize| LittleEndian::read_u64(&fixed[at..]);
    let flags = u32_at(FLAGS_AT);
    let purged = Position { index: u64_at(PURGED_INDEX_AT), term: u64_at(PURGED_TERM_AT) };
    let start = ChainStart {
        sequence: u64_at(START_SEQUENCE_AT),
        salt: u64_at(START_SALT_AT),
        offset: u32_at(START_OFFSET_AT),
        chain: u32_at(START_CHAIN_AT),
        base: u64_at(START_BASE_AT),
    };
    let mark = Mark {
        sequence: u64_at(MARK_SEQUENCE_AT),
        offset: u32_at(MARK_OFFSET_AT),
        chain: u32_at(MARK_CHAIN_AT),
        next: u64_at(MARK_NEXT_AT),
        last_term: u64_at(MARK_LAST_TERM_AT),
        base: u64_at(MARK_BASE_AT),
        replacing: u32_at(MARK_REPLACING_AT),
        index: u32_at(MARK_INDEX_AT),
    };
    let accepted_bytes = if version < VERSION_ACCEPTED { ACCEPTED_OLD_BYTES } else { ACCEPTED_BYTES };
    let hides_terms = version == VERSION_ENCRYPTED;
    let mut rest = content.slice(FIXED_BYTES..);
    let accepted = (0..u16_at(ACCEPTED_AT)).map(|_| take_accepted(&mut rest, accepted_bytes)).collect::<Option<_>>()?;
    let repaired = (0..u16_at(REPAIRED_AT)).map(|_| take_repaired(&mut rest)).collect::<Option<_>>()?;
    let count = u32_at(PAIRS_AT);
    let (pairs, encrypted) = if flags & FLAG_ENCRYPTED == 0 {
        (parse_pairs(rest, count).filter(|_| !hides_terms)?, None)
    } else {
        let key_id = LittleEndian::read_u32(rest.get(ENCRYPTED_KEY_ID_AT..ENCRYPTED_RANDOM_AT)?);
        let at = content.len() - rest.len();
        (BTreeMap::new(), Some(Encrypted { key_id, count, content: content.clone(), at, hides_terms }))
    };
    let generation = u64_at(GENERATION_AT);
    // An entry always has an index behind it.
    let is_possible = generation <= GENERATION_MAX && purged.index < u64::MAX;
    is_possible.then_some(State {
        generation,
        journal_id: JournalId(fixed[JOURNAL_ID_AT..LIFE_AT].try_into().ok()?),
        life: u32_at(LIFE_AT),
        begin: (flags & FLAG_BEGIN != 0).then_some(begin_of(u32_at(BEGIN_AT), mark.sequence)),
        clean: flags & FLAG_CLEAN != 0,
        suspect: flags & FLAG_SUSPECT != 0,
        mark,
        purged: (flags & FLAG_PURGED != 0).then_some(purged),
        start: (flags & FLAG_START != 0).then_some(start),
        accepted,
        repaired,
        pairs,
        encrypted,
    })
}

/// So many pairs, and nothing more.
pub(crate) fn parse_pairs(mut rest: Bytes, count: u32) -> Option<BTreeMap<Bytes, Bytes>> {
    let pairs = (0..count).map(|_| take_pair(&mut rest)).collect::<Option<_>>()?;
    rest.is_empty().then_some(pairs)
}

fn take(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= rest.len()).then(|| rest.split_to(len))
}

fn take_accepted(rest: &mut Bytes, accepted_bytes: usize) -> Option<Accepted> {
    let bytes = take(rest, accepted_bytes)?;
    let (resumed, offset) = match bytes.get(ACCEPTED_OLD_BYTES..ACCEPTED_BYTES) {
        Some(resume) => (LittleEndian::read_u64(resume), LittleEndian::read_u32(&resume[8..])),
        None => Accepted::UNKNOWN,
    };
    let has = |flag: u32| offset & flag != 0;
    Some(Accepted {
        sequence: LittleEndian::read_u64(&bytes[0..]),
        offset: LittleEndian::read_u32(&bytes[8..]),
        first: LittleEndian::read_u64(&bytes[12..]),
        end: LittleEndian::read_u64(&bytes[20..]),
        resume: (resumed, offset & !(ACCEPTED_FLAG_VOID | ACCEPTED_FLAG_OPEN_ENDED)),
        void: has(ACCEPTED_FLAG_VOID),
        open_ended: has(ACCEPTED_FLAG_OPEN_ENDED),
    })
}

fn take_repaired(rest: &mut Bytes) -> Option<Repaired> {
    let bytes = take(rest, REPAIRED_BYTES)?;
    Some(Repaired {
        sequence: LittleEndian::read_u64(&bytes[0..]),
        place: LittleEndian::read_u32(&bytes[8..]),
        first: LittleEndian::read_u64(&bytes[12..]),
        end: LittleEndian::read_u64(&bytes[20..]),
        file: LittleEndian::read_u64(&bytes[28..]),
        salt: LittleEndian::read_u64(&bytes[36..]),
    })
}

fn take_pair(rest: &mut Bytes) -> Option<(Bytes, Bytes)> {
    let head = take(rest, PAIR_HEAD_BYTES)?;
    let (key_len, value_len) = (usize::from(head[0]), usize::from(LittleEndian::read_u16(&head[1..])));
    // Copied out, so that one small value does not keep a whole copy of the file in memory.
    Some((Bytes::copy_from_slice(&take(rest, key_len)?), Bytes::copy_from_slice(&take(rest, value_len)?)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn state(generation: u64) -> State {
        State {
            life: 4,
            begin: Some((3, 512)),
            clean: true,
            suspect: true,
            mark: Mark { sequence: 4, offset: 2, chain: 3, next: 4, last_term: 5, base: 6, replacing: 7, index: 8 },
            purged: Some(Position::new(3, 2)),
            start: Some(ChainStart { sequence: 9, salt: 10, offset: 11, chain: 12, base: 13 }),
            accepted: [(true, false), (false, true)]
                .map(|(void, open_ended)| Accepted {
                    sequence: 1,
                    offset: 2,
                    first: 3,
                    end: 4,
                    resume: (5, 8),
                    void,
                    open_ended,
                })
                .to_vec(),
            repaired: vec![Repaired { sequence: 1, place: 2, first: 3, end: 4, file: 5, salt: 6 }],
            pairs: [("vote", "me"), ("term", "")].map(|(k, v)| (Bytes::from(k), Bytes::from(v))).into(),
            generation,
            ..State::new(JournalId([5; 16]))
        }
    }

    #[test]
    fn a_state_comes_back_and_every_flipped_byte_is_noticed() {
        let mut bytes = encode(&state(7));
        assert_eq!(parse(&bytes), Ok(state(7)));
        for at in 0..bytes.len() {
            bytes[at] ^= 0x40;
            assert_eq!(parse(&bytes), Err(CopyFault::Unreadable), "byte {at}");
            bytes[at] ^= 0x40;
        }
        (0..bytes.len()).for_each(|len| assert_eq!(parse(&bytes[..len]), Err(CopyFault::Unreadable)));
    }

    #[test]
    fn a_newer_version_is_told_apart_from_damage() {
        let mut bytes = encode(&state(7));
        LittleEndian::write_u32(&mut bytes[VERSION_AT..], 9);
        let check = check_of(&bytes);
        LittleEndian::write_u32(&mut bytes[CHECK_AT..], check);
        assert_eq!(parse(&bytes), Err(CopyFault::Version(9)));
    }

    #[test]
    fn a_state_is_of_the_oldest_version_that_can_say_it() {
        let version = |state: &State| LittleEndian::read_u32(&encode(state)[VERSION_AT..]);
        let repaired = State { accepted: Vec::new(), ..state(7) };
        let accepted = State { repaired: Vec::new(), ..state(7) };
        let neither = State { repaired: Vec::new(), ..repaired.clone() };
        let states = [(neither, VERSION), (repaired, VERSION_REPAIRED), (accepted, VERSION_ACCEPTED)];
        for (state, expected) in states.into_iter().chain([(state(7), VERSION_ACCEPTED)]) {
            assert_eq!(version(&state), expected);
            assert_eq!(parse(&encode(&state)), Ok(state));
        }
    }

    #[test]
    fn accepted_damage_of_an_older_version_is_read_without_its_end() {
        let mut expected = state(7);
        expected.accepted.truncate(1);
        let new = encode(&expected);
        let (head, rest) = new.split_at(FIXED_BYTES);
        let mut bytes = [head, &rest[..ACCEPTED_OLD_BYTES], &rest[ACCEPTED_BYTES..]].concat();
        LittleEndian::write_u32(&mut bytes[VERSION_AT..], VERSION_REPAIRED);
        (expected.accepted[0].resume, expected.accepted[0].void) = (Accepted::UNKNOWN, false);
        assert_eq!(parse(&finish(bytes)), Ok(expected));
    }

    #[test]
    fn a_fresh_state_has_neither_purged_position_nor_chain() {
        let state = State::new(JournalId([1; 16]));
        assert_eq!(parse(&encode(&state)), Ok(state));
    }
}
