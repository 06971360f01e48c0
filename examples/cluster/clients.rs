//! Clients: each makes one call at a time, of whom it takes for the leader, and notes what it saw.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;

use super::history::{Action, Call, History, Stamp};
use super::rpc::{Book, CLIENT, Denied, ServiceClient, Way};
use super::state_machine::{Command, GENERATION};
use super::{NODES, Result};

/// How long one message waits for its answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How long a client asks again and again, before it gives a call up.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long an impatient client does. Its writes are of unknown outcome more often.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// How long a client thinks between two calls: up to so long.
const THOUGHT_MAX: Duration = Duration::from_millis(5);
/// The most calls of one client's in one round: they are kept in memory, and judged together.
const CALLS_MAX: usize = 4000;

/// What a key is called by the nodes.
pub fn key_name(key: u64) -> String {
    format!("key-{key}")
}

/// What all clients of a run share.
#[derive(Clone)]
pub struct Desk {
    pub begun: Instant,
    pub book: Book,
    /// Writes that were acknowledged, in the whole run.
    pub written: Arc<AtomicU64>,
    /// Reads that were answered, in the whole run.
    pub read: Arc<AtomicU64>,
}

impl Desk {
    pub fn new(book: &Book) -> Desk {
        Desk { begun: Instant::now(), book: book.clone(), written: Arc::default(), read: Arc::default() }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The clients of one round.
pub struct Traffic {
    clients: JoinSet<Vec<Call>>,
    stopped: Arc<AtomicBool>,
}

impl Traffic {
    /// Starts clients on keys of their own, which no other round has.
    pub fn start(desk: &Desk, generation: u64, clients: u64, keys: Range<u64>, rng: &mut Rng) -> Traffic {
        let stopped = Arc::new(AtomicBool::new(false));
        let mut set = JoinSet::new();
        for number in 0..clients {
            let ways = (1..=NODES).map(|node| Way::new(&desk.book, CLIENT, node)).collect();
            let client = Client {
                id: generation * GENERATION + number,
                sequence: 0,
                leader: 1,
                patience: if number % 8 == 7 { IMPATIENCE } else { PATIENCE },
                keys: keys.clone(),
                rng: rng.fork(),
                ways,
                desk: desk.clone(),
            };
            set.spawn(client.run(Arc::clone(&stopped)));
        }
        Traffic { clients: set, stopped }
    }

    /// Lets every client end the call it is in, and gathers what they saw.
    pub async fn ends(mut self) -> Result<History> {
        self.stopped.store(true, Ordering::Relaxed);
        let mut history = History::default();
        while let Some(calls) = self.clients.join_next().await {
            history.add(calls?);
        }
        Ok(history)
    }
}

struct Client {
    id: u64,
    sequence: u64,
    leader: u64,
    patience: Duration,
    keys: Range<u64>,
    rng: Rng,
    ways: Vec<Way>,
    desk: Desk,
}

impl Client {
    async fn run(mut self, stopped: Arc<AtomicBool>) -> Vec<Call> {
        let mut calls = Vec::new();
        while !stopped.load(Ordering::Relaxed) && calls.len() < CALLS_MAX {
            let key = self.rng.u64(self.keys.clone());
            if self.rng.f32() < 0.6 {
                calls.push(self.write(key).await);
            } else {
                calls.extend(self.read(key).await);
            }
            tokio::time::sleep(THOUGHT_MAX.mul_f32(self.rng.f32())).await;
        }
        calls
    }

    async fn write(&mut self, key: u64) -> Call {
        self.sequence += 1;
        let stamp = Stamp { client: self.id, sequence: self.sequence };
        let command = Command { client: self.id, sequence: self.sequence, key: key_name(key), value: stamp.value() };
        let called = self.desk.now();
        let written = self.insist(Request::Write(command)).await;
        let returned = written.map(|_| self.desk.now());
        self.desk.written.fetch_add(u64::from(returned.is_some()), Ordering::Relaxed);
        Call { key, action: Action::Write(stamp), called, returned }
    }

    /// A read, if it is answered.
    async fn read(&mut self, key: u64) -> Option<Call> {
        let called = self.desk.now();
        let value = self.insist(Request::Read(key_name(key))).await?;
        let returned = Some(self.desk.now());
        self.desk.read.fetch_add(1, Ordering::Relaxed);
        let found = value.as_deref().map(Stamp::read);
        Some(Call { key, action: Action::Read(found), called, returned })
    }

    /// Asks one node after the other until one answers, or patience ends; a write is answered without a value.
    async fn insist(&mut self, request: Request) -> Option<Option<String>> {
        let begun = Instant::now();
        loop {
            let next = self.leader % NODES + 1;
            let way = self.ways.get_mut(usize::try_from(self.leader - 1).ok()?)?;
            match request.clone().ask(way).await {
                Ok(Ok(answer)) => return Some(answer),
                Ok(Err(Denied { leader })) => {
                    self.leader = leader.filter(|leader| (1..=NODES).contains(leader)).unwrap_or(next);
                }
                Err(_) => self.leader = next,
            }
            if begun.elapsed() > self.patience {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// What a client asks for.
#[derive(Clone)]
enum Request {
    Write(Command),
    Read(String),
}

impl Request {
    async fn ask(self, way: &mut Way) -> io::Result<Result<Option<String>, Denied>> {
        let ask = |client: ServiceClient, context, route| async move {
            match self {
                Request::Write(command) => Ok(client.write(context, route, command).await?.map(|()| None)),
                Request::Read(key) => client.read(context, route, key).await,
            }
        };
        way.ask(ANSWER_MAX, ask).await
    }
}
