//! Every place of every file, one at a time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::oracle::{Case, MANNERS, Manner, Outcome, Place};
use crate::subject::{FORMS, Form, LASTS, Last, Subject, noise};

/// How often what came of it.
#[derive(Default)]
struct Tally {
    places: usize,
    outcomes: BTreeMap<Outcome, usize>,
    /// Every kind of failure, with the places where it shows.
    failures: BTreeMap<String, Vec<String>>,
}

impl Tally {
    /// Checks each place that `places` makes of a file's bytes, opened in each manner.
    fn sweep(&mut self, form: Form, last: Last, places: impl Fn(&[u8]) -> Vec<Place>) {
        let subject = Subject::new(form, last);
        check_whole(&subject);
        for (path, bytes) in &subject.files {
            for place in places(bytes) {
                self.places += 1;
                MANNERS.iter().for_each(|&manner| self.check(&subject, last, manner, path, &place));
            }
        }
    }

    /// Flips bytes of a subject, each opened in the usual manner and in another one, from byte to byte the next. Of a
    /// piece in which nothing was ever written one byte, from piece to piece another one.
    fn flip(&mut self, subject: &Subject, last: Last, turn: usize, is_meant: impl Fn(&Path, usize) -> bool) {
        check_whole(subject);
        for (path, bytes) in &subject.files {
            let is_taken = |at: usize| is_sample(at, turn) || !is_blank(bytes, at);
            for at in (0..bytes.len()).filter(|&at| is_taken(at) && is_meant(path, at)) {
                self.places += 1;
                let (place, other) = (flipped(bytes, at, turn), MANNERS[1 + (at + turn) % (MANNERS.len() - 1)]);
                [Manner::Usual, other].into_iter().for_each(|manner| self.check(subject, last, manner, path, &place));
            }
        }
    }

    /// Flips the bytes that [`flip`](Self::flip) leaves out, each opened in the usual manner.
    fn flip_blank(&mut self, subject: &Subject, last: Last, turn: usize) {
        for (path, bytes) in &subject.files {
            for at in (0..bytes.len()).filter(|&at| is_blank(bytes, at) && !is_sample(at, turn)) {
                self.places += 1;
                self.check(subject, last, Manner::Usual, path, &flipped(bytes, at, turn));
            }
        }
    }

    fn check(&mut self, subject: &Subject, last: Last, manner: Manner, path: &Path, place: &Place) {
        match Case::new(subject, path, place).check(manner) {
            Ok(outcome) => *self.outcomes.entry(outcome).or_default() += 1,
            Err(why) => {
                let kind = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                let (form, name) = (subject.form, path.file_name().unwrap().display());
                let place = format!("{form:?}, {last:?}, {manner:?}: {name} at {}: {why}", place.offset);
                self.failures.entry(kind).or_default().push(place);
            }
        }
    }

    /// Says what came of it, past the harness's capture; fails if anything was silent.
    fn judge(self, what: &str) {
        let total: usize = self.failures.values().map(Vec::len).sum();
        let opens: usize = self.outcomes.values().sum::<usize>() + total;
        let line = format!("{} {what}, {opens} opens: {:?}, {total} silent\n", self.places, self.outcomes);
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        let shown: Vec<String> = self
            .failures
            .values()
            .map(|places| format!("{} times, first {:#?}", places.len(), &places[..places.len().min(3)]))
            .collect();
        assert!(shown.is_empty(), "{total} fail: {}", shown.join("\n"));
        let all = [Outcome::Harmless, Outcome::ErrorAtRead, Outcome::ToldAtOpen];
        assert!(all.iter().all(|outcome| self.outcomes.contains_key(outcome)), "{:?}", self.outcomes);
    }
}

/// Nothing is lost where nothing is damaged.
fn check_whole(subject: &Subject) {
    for (path, bytes) in &subject.files {
        let whole = Place { offset: 0, bytes: bytes.clone() };
        for manner in MANNERS {
            assert_eq!(Case::new(subject, path, &whole).check(manner), Ok(Outcome::Harmless));
        }
    }
}

/// So many bytes are blank together, or were written together.
const PIECE_BYTES: usize = 64;

/// The piece of a file that a byte is in.
fn piece(bytes: &[u8], at: usize) -> &[u8] {
    bytes.chunks(PIECE_BYTES).nth(at / PIECE_BYTES).unwrap_or_default()
}

fn is_blank(bytes: &[u8], at: usize) -> bool {
    piece(bytes, at).iter().all(|&byte| byte == 0)
}

/// Whether a byte stands for its piece.
fn is_sample(at: usize, turn: usize) -> bool {
    at % PIECE_BYTES == (at / PIECE_BYTES * 37 + turn) % PIECE_BYTES
}

/// A byte with one bit of it flipped: along eight words, each byte of a word has all of its bits in turn, and with another
/// `turn` another one.
fn flipped(bytes: &[u8], at: usize, turn: usize) -> Place {
    Place { offset: at, bytes: vec![bytes[at] ^ 1 << ((at + at / 8 + turn) % 8)] }
}

/// Every stretch of so many bytes, each as zeros, as ones, as noise, and as the stretch before it.
fn every_stretch(bytes: &[u8], len: usize) -> Vec<Place> {
    let mut places = Vec::new();
    for offset in (0..bytes.len()).step_by(len) {
        let end = bytes.len().min(offset + len);
        let misplaced = bytes[offset.saturating_sub(len)..end - len.min(offset)].to_vec();
        let fills =
            [vec![0; end - offset], vec![0xff; end - offset], noise(offset as u64).take(end - offset).collect()];
        let fills = fills.into_iter().chain([misplaced]).filter(|fill| *fill != bytes[offset..end]);
        places.extend(fills.map(|bytes| Place { offset, bytes }));
    }
    places
}

fn every_sector(bytes: &[u8]) -> Vec<Place> {
    every_stretch(bytes, 512)
}

fn every_block(bytes: &[u8]) -> Vec<Place> {
    every_stretch(bytes, 4096)
}

/// Two neighbouring sectors at a time, which may hold a header and what its body ends with.
fn every_two_sectors(bytes: &[u8]) -> Vec<Place> {
    let offsets = (0..bytes.len().saturating_sub(512)).step_by(512);
    offsets.map(|offset| Place { offset, bytes: vec![0x5a; 1024] }).collect()
}

/// Flips every byte of a journal that was closed and, samples of what was never written, of one that was not; with the other
/// endings, every byte of what stands in neither of these two.
fn flip_every_byte(form: Form) {
    let mut tally = Tally::default();
    let common = [Last::Closed, Last::Append];
    let known = common.map(|last| Subject::new(form, last));
    for (turn, (subject, last)) in known.iter().zip(common).enumerate() {
        tally.flip(subject, last, turn, |_, _| true);
        // The padding of an aligned journal is most of it.
        if last == Last::Closed && form != Form::Aligned {
            tally.flip_blank(subject, last, turn);
        }
    }
    for (turn, last) in LASTS.into_iter().enumerate().filter(|(_, last)| !common.contains(last)) {
        let subject = Subject::new(form, last);
        tally.flip(&subject, last, turn, |path, at| {
            let is_here = |known: &Subject| {
                known.files.get(path).is_some_and(|bytes| piece(bytes, at) == piece(&subject.files[path], at))
            };
            !known.iter().any(is_here)
        });
    }
    tally.judge(&format!("bytes flipped ({form:?})"));
}

#[test]
fn no_flipped_byte_is_read_or_cuts_more_than_the_last_group() {
    flip_every_byte(Form::Plain);
}

#[test]
fn no_flipped_byte_of_a_compressed_journal_is_read_or_cuts_more_than_the_last_group() {
    flip_every_byte(Form::Compressed);
}

#[test]
fn no_flipped_byte_of_an_aligned_journal_is_read_or_cuts_more_than_the_last_group() {
    flip_every_byte(Form::Aligned);
}

#[cfg(feature = "encryption")]
#[test]
fn no_flipped_byte_of_an_encrypted_journal_is_read_or_cuts_more_than_the_last_group() {
    flip_every_byte(Form::Encrypted);
}

#[test]
fn no_lost_sector_is_read_or_cuts_more_than_the_last_group() {
    for &form in FORMS {
        let mut tally = Tally::default();
        for last in LASTS {
            tally.sweep(form, last, every_sector);
            tally.sweep(form, last, every_two_sectors);
        }
        tally.judge(&format!("sectors spoiled ({form:?})"));
    }
}

#[test]
fn no_lost_block_is_read_or_cuts_more_than_the_last_group() {
    for &form in FORMS {
        let mut tally = Tally::default();
        LASTS.iter().for_each(|&last| tally.sweep(form, last, every_block));
        tally.judge(&format!("blocks spoiled ({form:?})"));
    }
}
