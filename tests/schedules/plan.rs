//! Which threads a journal has, and what befalls them, as a seed has it.

use raft_journal::io::sim::OperationKind;

/// The test's own chance, apart from the schedule's.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream << 56));
        random.below(2);
        random
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 32) * bound) >> 32
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// What a thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Does {
    Write,
    /// With the keys of this number.
    Vote(usize),
    Read,
    Purge,
    Rewrite,
    Close,
}

/// A thread.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    pub does: Does,
    pub times_max: u64,
    /// Which draws are its own.
    pub number: u64,
}

/// Which threads there are, and what befalls them.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of what the threads draw.
    pub seed: u64,
    /// The seed of their order.
    pub schedule: u64,
    pub races: bool,
    pub voters: usize,
    pub jobs: Vec<Job>,
    pub reopens: bool,
    /// The journal is never closed, not even by being dropped.
    pub leaks: bool,
    /// After so many mutations.
    pub power_cut: Option<u64>,
    pub fault: Option<(OperationKind, u64)>,
    pub tail_cache_bytes: usize,
    pub is_encrypted: bool,
}

impl Plan {
    pub fn orderly(seed: u64) -> Plan {
        Plan::new(seed, false)
    }

    pub fn racing(seed: u64) -> Plan {
        Plan::new(seed, true)
    }

    fn new(seed: u64, races: bool) -> Plan {
        let mut random = Random::new(seed, 1);
        let kinds = [OperationKind::Sync, OperationKind::Sync, OperationKind::Write, OperationKind::SyncDirectory];
        let kind = kinds[random.below(4) as usize];
        let (writers, writes_each, voters) = (1 + random.below(4), 2 + random.below(9), random.below(3) as usize);
        let (purges, readers, closes) = (random.below(4), random.below(3), random.one_in(2));
        let mut does = vec![(Does::Write, writes_each); writers as usize];
        does.extend((0..voters).map(|voter| (Does::Vote(voter), u64::MAX)));
        does.extend((0..readers).map(|_| (Does::Read, u64::MAX)));
        does.extend((purges > 0).then_some((Does::Purge, purges)));
        does.extend(closes.then_some((Does::Close, 1)));
        let jobs = (1..).zip(does).map(|(number, (does, times_max))| Job { does, times_max, number });
        let plan = Plan {
            seed,
            schedule: seed,
            races,
            voters,
            jobs: jobs.collect(),
            reopens: !random.one_in(4),
            leaks: random.one_in(2),
            power_cut: random.one_in(2).then(|| random.below(120)),
            fault: random.one_in(3).then(|| (kind, random.below(if kind == OperationKind::Write { 40 } else { 12 }))),
            tail_cache_bytes: if random.one_in(2) { 0 } else { 2000 },
            // Drawn last and in any build: the schedules are the same with the feature and without it.
            is_encrypted: random.one_in(6) && cfg!(feature = "encryption"),
        };
        if !plan.is_encrypted {
            return plan;
        }
        let rewrite = Job { does: Does::Rewrite, times_max: 1 + random.below(4), number: 1 + plan.jobs.len() as u64 };
        Plan { jobs: [plan.jobs, vec![rewrite]].concat(), ..plan }
    }
}
