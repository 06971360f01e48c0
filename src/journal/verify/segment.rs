//! One segment: its headers, its batches, its index, its trailer.

use std::path::Path;
use std::sync::Arc;

use super::{Core, Fault, FaultCause, FaultPart, VerifyReport, cause};
use crate::error::{Damage, DamageKind, Error};
use crate::io::{self, Mode};
use crate::journal::view::{Sealed, Slots};
use crate::segment::Segment;
use crate::segment::format::{
    BATCH_BYTES, BatchHeader, HEADER_BYTES, Header, HeaderFault, KEY_RECORD_BYTES, Kind, TRAILER_BYTES,
    parse_key_record,
};
use crate::segment::window::{Body, Part, Window};

/// A walk along a segment's batches.
pub(crate) struct Walk {
    /// As the journal has it: nobody recycles the file while this is here.
    segment: Arc<Segment>,
    /// Through a handle of its own, where the file could be opened.
    opened: Arc<Segment>,
    sealed: Option<Sealed>,
    /// Where the next batch stands; what it must carry, where that is known.
    at: u32,
    chain: Option<u32>,
    life: u32,
    /// Where the batches end.
    end: u32,
    pub(super) faults: Vec<Fault>,
}

impl Walk {
    pub(super) fn path(&self) -> &Path {
        &self.segment.path
    }

    pub(super) fn sequence(&self) -> u64 {
        self.segment.sequence
    }

    pub(super) fn opened(&self) -> &Segment {
        &self.opened
    }

    fn fault(&mut self, offset: u64, part: FaultPart, cause: FaultCause) {
        let path = self.path().to_path_buf();
        self.faults.push(Fault { path, offset, part, indexes: None, term: None, cause });
    }

    /// Goes on behind a batch.
    fn pass(&mut self, header: &BatchHeader) {
        self.at = header.end(self.segment.align).unwrap_or(u32::MAX);
        (self.chain, self.life) = (Some(header.check), header.life);
    }

    /// Whether a header is of the batch that stands here.
    fn is_next(&self, header: &BatchHeader) -> bool {
        self.chain.is_none_or(|chain| chain == header.chain) && header.life >= self.life
    }
}

impl Core {
    /// The walk along the next segment of the chain, as far as it is written.
    pub(super) fn next_walk(&self, after: u64, report: &mut VerifyReport) -> Option<Walk> {
        let mut walk = {
            let view = self.view.read();
            let at = view.sealed.partition_point(|sealed| sealed.segment.sequence <= after);
            let sealed = view.sealed.get(at).cloned();
            let (segment, start, end) = match &sealed {
                Some(sealed) => (&sealed.segment, sealed.start, sealed.data_end),
                None if view.active.sequence > after => (&view.active, view.active_start, view.fold.end),
                None => return None,
            };
            let (segment, opened) = (Arc::clone(segment), Arc::clone(segment));
            let (at, chain) = (start.offset, Some(start.chain));
            Walk { segment, opened, sealed, at, chain, life: 0, end, faults: Vec::new() }
        };
        let (segment, mut faults) = (Arc::clone(&walk.segment), Vec::new());
        if let Some(opened) = self.verify_header(&segment, &mut faults) {
            walk.opened = Arc::new(opened);
        }
        walk.faults = faults;
        report.bytes += 2 * HEADER_BYTES as u64;
        Some(walk)
    }

    /// Opens a segment's file by its name and checks both copies of its header. Nothing if it cannot be opened.
    pub(super) fn verify_header(&self, segment: &Segment, faults: &mut Vec<Fault>) -> Option<Segment> {
        let mut fault = |offset, part, cause| {
            let path = segment.path.clone();
            faults.push(Fault { path, offset, part, indexes: None, term: None, cause });
        };
        let file = match self.fs.open(&segment.path, Mode::Read) {
            Ok(file) => file,
            Err(error) => {
                let is_missing = error.kind() == std::io::ErrorKind::NotFound;
                let missing = FaultCause::Damaged(DamageKind::MissingFile);
                let error = || cause(Error::io("open", &segment.path, None, error));
                fault(0, FaultPart::File, if is_missing { missing } else { error() });
                return None;
            }
        };
        match file.len() {
            Ok(len) if len < u64::from(segment.size_bytes) => {
                fault(len, FaultPart::File, FaultCause::Damaged(DamageKind::ShortFile));
            }
            Ok(_) => {}
            Err(error) => fault(0, FaultPart::File, cause(Error::io("size", &segment.path, None, error))),
        }
        let len = HEADER_BYTES + if segment.key_id == 0 { 0 } else { KEY_RECORD_BYTES };
        for offset in segment.headers_at() {
            let mut bytes = Vec::with_capacity(len);
            match io::read_up_to(&*file, &mut bytes, len, offset) {
                Ok(_) => match Header::parse(&bytes) {
                    Ok(header) if segment.is_headed_by(&header) && header.journal_id == self.journal_id => {
                        let record = bytes.get(HEADER_BYTES..).unwrap_or_default();
                        if segment.key_id != 0 && parse_key_record(&segment.salt, record).is_none() {
                            fault(offset, FaultPart::Header, FaultCause::Damaged(DamageKind::Checksum));
                        }
                    }
                    Ok(_) => fault(offset, FaultPart::Header, FaultCause::Damaged(DamageKind::Misplaced)),
                    Err(HeaderFault::Unreadable) => {
                        fault(offset, FaultPart::Header, FaultCause::Damaged(DamageKind::Checksum));
                    }
                    Err(HeaderFault::Version(version)) => {
                        fault(offset, FaultPart::Header, FaultCause::NewerVersion(version));
                    }
                },
                Err(error) => {
                    let error = Error::io("read", &segment.path, Some(offset), error);
                    fault(offset, FaultPart::Header, cause(error));
                }
            }
        }
        Some(segment.with_file(file))
    }

    /// Goes on along the batches for about so many bytes. `true` at their end.
    pub(super) fn walk_on(&self, walk: &mut Walk, bytes: u64, report: &mut VerifyReport) -> bool {
        let (opened, start) = (Arc::clone(&walk.opened), walk.at);
        let mut window = Window::new(&opened);
        while walk.at < walk.end && u64::from(walk.at - start) < bytes {
            let at = walk.at;
            match window.header(at) {
                Ok(Some(header)) if walk.is_next(&header) => match window.body(&header) {
                    Ok(body) => self.take(walk, &header, body, report),
                    Err(error) => self.lose(walk, &header, cause(error)),
                },
                Ok(Some(_)) => self.skip(walk, &mut window, FaultCause::Damaged(DamageKind::Misplaced)),
                Ok(None) => self.skip(walk, &mut window, FaultCause::Damaged(DamageKind::Checksum)),
                Err(error) => self.skip(walk, &mut window, cause(error)),
            }
            report.bytes += u64::from(walk.at.min(walk.end) - at);
        }
        walk.at >= walk.end
    }

    /// Takes in the body of the batch that stands next.
    fn take(&self, walk: &mut Walk, header: &BatchHeader, body: Body, report: &mut VerifyReport) {
        match body {
            Body::Entries(entries) => report.entries += entries.len() as u64,
            Body::Index(..) => {}
            Body::Broken(Some(parts)) => {
                report.entries += parts.iter().filter(|part| part.fault.is_none()).count() as u64;
                self.lose_entries(walk, header, &parts);
                return walk.pass(header);
            }
            Body::Broken(None) => return self.lose(walk, header, FaultCause::Damaged(DamageKind::Checksum)),
        }
        report.batches += 1;
        walk.pass(header);
    }

    /// Reports the entries of a batch that do not check out.
    fn lose_entries(&self, walk: &mut Walk, header: &BatchHeader, parts: &[Part]) {
        let end = header.end(walk.segment.align).unwrap_or(u32::MAX);
        for (number, part) in parts.iter().enumerate() {
            let index = header.first_index.saturating_add(number as u64);
            if let Some(fault) = part.fault.filter(|_| !self.is_accepted(walk, index)) {
                let to = parts.get(number + 1).map_or(end, |next| next.slot.offset);
                self.suspect(walk, part.slot.offset, to, FaultPart::Entry, FaultCause::Damaged(fault));
            }
        }
    }

    /// Reports a batch whose header is right and whose body is not, and goes on behind it.
    fn lose(&self, walk: &mut Walk, header: &BatchHeader, why: FaultCause) {
        let end = header.end(walk.segment.align).unwrap_or(u32::MAX);
        match header.kind {
            Kind::Entries if self.is_accepted_at(walk, header.offset) => {}
            Kind::Entries => self.suspect(walk, header.offset, end, FaultPart::Entry, why),
            Kind::Seal | Kind::Index => walk.fault(header.offset.into(), FaultPart::Index, why),
        }
        walk.pass(header);
    }

    /// Reports that no batch of the chain stands here, and goes on at the next one that authenticates.
    fn skip(&self, walk: &mut Walk, window: &mut Window<'_>, why: FaultCause) {
        let from = walk.at;
        let next = window.next_header(from, walk.life).ok().flatten().filter(|next| next.offset < walk.end);
        let to = next.map_or(walk.end, |next| next.offset);
        if !self.is_accepted_at(walk, from) {
            self.suspect(walk, from, to, FaultPart::Batch, why);
        }
        (walk.at, walk.chain) = (to, next.map(|next| next.chain));
    }

    /// Whether the loss of what stands here was accepted: it is in the recovery report, or was put back, and no news.
    fn is_accepted_at(&self, walk: &Walk, offset: u32) -> bool {
        let reported = |known: &Arc<Damage>| known.path == walk.path() && known.offset == u64::from(offset);
        self.report.damaged.iter().any(reported) || self.repairs().has_accepted_at(walk.sequence(), offset)
    }

    fn is_accepted(&self, walk: &Walk, index: u64) -> bool {
        let reported = |known: &Arc<Damage>| known.path == walk.path() && known.indexes.contains(index);
        self.report.damaged.iter().any(reported) || self.repairs().has_accepted(walk.sequence(), index)
    }

    /// Checks what stands behind the batches of a sealed segment, and hands the faults over.
    pub(super) fn finish_walk(&self, walk: &mut Walk, report: &mut VerifyReport) {
        if let Some(sealed) = walk.sealed.clone() {
            let bytes = self.verify_seal(walk, &sealed, report);
            report.bytes += bytes + TRAILER_BYTES as u64;
        }
        if self.options.read_only && !walk.faults.is_empty() && !self.is_still_there(walk) {
            // Its writer has given it up: nothing of it is of this log any more.
            return report.skipped.push(walk.path().to_path_buf());
        }
        report.files += 1;
        report.faults.append(&mut walk.faults);
    }

    /// Checks the seal and the trailer; says how long the seal is.
    fn verify_seal(&self, walk: &mut Walk, sealed: &Sealed, report: &mut VerifyReport) -> u64 {
        let opened = Arc::clone(&walk.opened);
        let mut window = Window::new(&opened);
        let trailer = window.trailer();
        let seal = window.header(sealed.data_end).map(|header| header.filter(|header| header.kind == Kind::Seal));
        let was_scanned = matches!(sealed.slots, Slots::Scanned(_));
        if was_scanned && !matches!(trailer, Ok(Some(trailer)) if trailer.seal_offset == sealed.data_end) {
            // Where the log went on in a new file behind a loss, nothing was sealed.
            return 0;
        }
        let at = u64::from(sealed.data_end);
        let header = match seal {
            Ok(Some(header)) if walk.is_next(&header) => header,
            Ok(_) => {
                walk.fault(at, FaultPart::Index, FaultCause::Damaged(DamageKind::Checksum));
                return 0;
            }
            Err(error) => {
                walk.fault(at, FaultPart::Index, cause(error));
                return 0;
            }
        };
        match window.body(&header) {
            Ok(Body::Index(..)) => report.batches += 1,
            Ok(Body::Entries(_) | Body::Broken(_)) => {
                walk.fault(at, FaultPart::Index, FaultCause::Damaged(DamageKind::Checksum));
            }
            Err(error) => walk.fault(at, FaultPart::Index, cause(error)),
        }
        match trailer {
            Ok(Some(trailer)) if trailer.seal_offset == header.offset && trailer.seal_check == header.check => {}
            Ok(Some(_)) => {
                walk.fault(opened.trailer_at(), FaultPart::Trailer, FaultCause::Damaged(DamageKind::Misplaced));
            }
            Ok(None) => walk.fault(opened.trailer_at(), FaultPart::Trailer, FaultCause::Damaged(DamageKind::Checksum)),
            Err(error) => walk.fault(opened.trailer_at(), FaultPart::Trailer, cause(error)),
        }
        BATCH_BYTES as u64 + u64::from(header.body_bytes)
    }

    /// Whether the file is still the segment that it was when the journal was opened.
    fn is_still_there(&self, walk: &Walk) -> bool {
        let mut faults = Vec::new();
        let opened = self.verify_header(&walk.segment, &mut faults);
        let is_other = |fault: &Fault| matches!(fault.cause, FaultCause::Damaged(DamageKind::Misplaced));
        // Where it was used anew, both copies are; one alone is damage.
        opened.is_some() && faults.iter().filter(|fault| is_other(fault)).count() < 2
    }
}
