//! Three nodes under traffic and accidents, round by round, and what is checked at the end of each round.
//!
//! A round has keys and clients of its own. At its end everything heals and comes to rest; the states of all nodes are
//! compared, every acknowledged write is looked for, and the history of every key is judged. So neither the history
//! nor the state grows with the run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use raft_journal::{Entry, Journal, LogStore};

use super::clients::{Desk, Traffic, key_name};
use super::history::{Action, Call, History, Stamp};
use super::nemesis::{Accident, Deck};
use super::report::{Progress, Tally};
use super::rpc::{Book, CLIENT, ServiceClient, Status, Way};
use super::state_machine::State;
use super::{NODES, Result};

/// How long one question to a node may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Where the nodes run, and how they are hurt.
pub trait Site {
    /// Starts a node from whatever its directory holds.
    async fn start(&mut self, id: u64, book: &Book) -> Result<SocketAddr>;
    /// Takes nodes down without a warning, all at once.
    async fn strike(&mut self, ids: &[u64], rng: &mut Rng) -> Result<()>;
    /// Starts a node that is down, and takes it down again before it is up.
    async fn stumble(&mut self, id: u64, book: &Book, rng: &mut Rng) -> Result<()>;
    /// Fills a node's disk, so that there is almost no room left. Says whether the node ended because of it; it is
    /// down then, and its disk has room again.
    async fn fill(&mut self, id: u64, rng: &mut Rng) -> Result<bool>;
    /// Why a node ended that nobody took down.
    async fn ended(&mut self) -> Option<String>;
    /// Stops a node in order.
    async fn stop(&mut self, id: u64) -> Result<()>;
    /// Opens the journal of a node that was stopped.
    fn journal(&self, id: u64) -> Result<Journal>;
}

/// What a run is like.
pub struct Plan {
    pub duration: Duration,
    pub clients: u64,
    /// How many keys a round has.
    pub keys: u64,
    /// The accidents of each round, in an order that is drawn.
    pub deck: Vec<Accident>,
    /// How long the nodes are left alone after an accident: up to so long.
    pub calm_max: Duration,
    /// How long a step of the cluster may take, before the run counts as failed.
    pub patience: Duration,
}

/// The whole run.
pub struct Cluster<S> {
    pub site: S,
    pub tally: Tally,
    plan: Plan,
    desk: Desk,
    /// The program's own ways to the nodes.
    ways: Vec<Way>,
    running: Vec<u64>,
    rng: Rng,
    progress: Progress,
}

impl<S: Site> Cluster<S> {
    pub fn new(site: S, plan: Plan, mut rng: Rng, progress: Progress) -> Self {
        let book = Book::new(rng.u64(..));
        let ways = (1..=NODES).map(|id| Way::new(&book, CLIENT, id)).collect();
        let desk = Desk::new(&book);
        Cluster { site, tally: Tally::default(), plan, desk, ways, running: Vec::new(), rng, progress }
    }

    /// Round after round until the time is up, at least one; then the end, when the journals are compared.
    pub async fn run(&mut self) -> Result<()> {
        let begun = Instant::now();
        let outcome = self.rounds(begun).await;
        self.tally.seconds = begun.elapsed().as_secs_f64();
        self.tally.reads = self.desk.read.load(Ordering::Relaxed);
        self.tally.written = self.desk.written.load(Ordering::Relaxed);
        self.progress.end();
        outcome
    }

    async fn rounds(&mut self, begun: Instant) -> Result<()> {
        self.found().await?;
        while self.tally.rounds == 0 || begun.elapsed() < self.plan.duration {
            self.round().await?;
        }
        self.end().await
    }

    /// Starts three nodes and makes a cluster of them.
    async fn found(&mut self) -> Result<()> {
        for id in 1..=NODES {
            self.start(id).await?;
        }
        let found = |client: ServiceClient, context, route| async move {
            client.found(context, route, (1..=NODES).collect()).await
        };
        let patience = self.plan.patience;
        self.way(1)?.ask(patience, found).await??;
        self.leader().await?;
        Ok(())
    }

    async fn round(&mut self) -> Result<()> {
        self.tally.rounds += 1;
        let round = self.tally.rounds;
        let keys = round * self.plan.keys..(round + 1) * self.plan.keys;
        let traffic = Traffic::start(&self.desk, round, self.plan.clients, keys, &mut self.rng);
        let mut deck = Deck::new(&self.plan.deck, &mut self.rng);
        while let Some(accident) = deck.deal() {
            tokio::time::sleep(self.plan.calm_max.mul_f32(self.rng.f32())).await;
            self.suffer(accident).await?;
            if let Some(why) = self.site.ended().await {
                return Err(why.into());
            }
            let written = self.desk.written.load(Ordering::Relaxed);
            self.progress.tell(|| self.tally.progress(written));
        }
        let history = traffic.ends().await?;
        let history = self.judge(history).await?;
        self.tally.count(&history);
        Ok(())
    }

    /// Waits until all nodes agree, and compares what the clients saw with what the nodes have.
    async fn judge(&mut self, mut history: History) -> Result<History> {
        self.settle().await?;
        let states = self.states().await?;
        let Some(((_, first), others)) = states.split_first() else { return Err("no node is left".into()) };
        if let Some((id, _)) = others.iter().find(|(_, state)| state != first) {
            return Err(format!("the state machines of nodes 1 and {id} differ").into());
        }
        let mut faults: Vec<_> = states.iter().flat_map(|(id, state)| history.lost(*id, state)).collect();
        // What the state holds now is what a read would find now.
        let now = u64::try_from(self.desk.begun.elapsed().as_nanos())?;
        let last_read = |key| {
            let found = first.value(&key_name(key)).map(Stamp::read);
            Call { key, action: Action::Read(found), called: now, returned: Some(now + 1) }
        };
        let last_reads: Vec<_> = history.keys().into_iter().map(last_read).collect();
        history.add(last_reads);
        let (history, found) = tokio::task::spawn_blocking(move || {
            let found = history.faults();
            (history, found)
        })
        .await?;
        faults.extend(found);
        self.tally.add(faults);
        match self.tally.faults.is_empty() {
            true => Ok(history),
            false => Err(history.evidence(&self.tally.faults).into()),
        }
    }

    /// Stops the nodes and compares their journals.
    async fn end(&mut self) -> Result<()> {
        for id in 1..=NODES {
            self.site.stop(id).await?;
        }
        let journals = (1..=NODES).map(|id| self.site.journal(id)).collect::<Result<Vec<_>>>()?;
        self.tally.entries = compare(&journals)?;
        journals.into_iter().try_for_each(|journal| Ok(journal.close()?))
    }
}

/// Steps that the accidents are made of.
impl<S: Site> Cluster<S> {
    async fn suffer(&mut self, accident: Accident) -> Result<()> {
        match accident {
            Accident::Leader => {
                let leader = self.leader().await?;
                self.strike(&[leader]).await?;
            }
            Accident::LeaderForAMoment => {
                let leader = self.leader().await?;
                self.strike_for_a_moment(&[leader]).await?;
            }
            Accident::One => {
                let one = self.any();
                self.strike(&[one]).await?;
            }
            Accident::Two => {
                let spared = self.any();
                self.strike(&others(spared)).await?;
            }
            Accident::All => self.strike(&(1..=NODES).collect::<Vec<_>>()).await?,
            Accident::AllForAMoment => self.strike_for_a_moment(&(1..=NODES).collect::<Vec<_>>()).await?,
            Accident::Again => {
                let one = self.any();
                self.take_down(&[one]).await?;
                for _ in 0..2 {
                    self.site.stumble(one, &self.desk.book, &mut self.rng).await?;
                    self.tally.strikes += 1;
                }
                self.restart(&[one]).await?;
            }
            Accident::Away => drop(self.outrun().await?),
            Accident::AwayAndAgain => {
                let one = self.outrun().await?;
                tokio::time::sleep(self.plan.calm_max.mul_f32(0.25 * self.rng.f32())).await;
                self.strike_for_a_moment(&[one]).await?;
            }
            Accident::CutOffLeader => {
                let leader = self.leader().await?;
                self.cut_off(leader).await?;
            }
            Accident::CutOffOne => {
                let one = self.any();
                self.cut_off(one).await?;
            }
            Accident::FullDisk => {
                let one = self.any();
                if self.site.fill(one, &mut self.rng).await? {
                    self.tally.full_disks += 1;
                    self.are_down(&[one]);
                    self.restart(&[one]).await?;
                }
            }
        }
        self.leader().await.map(drop)
    }

    fn any(&mut self) -> u64 {
        self.rng.u64(1..=NODES)
    }

    async fn take_down(&mut self, ids: &[u64]) -> Result<()> {
        self.site.strike(ids, &mut self.rng).await?;
        self.tally.strikes += ids.len() as u64;
        self.are_down(ids);
        Ok(())
    }

    fn are_down(&mut self, ids: &[u64]) {
        self.running.retain(|id| !ids.contains(id));
        self.tally.installed += ids.iter().filter_map(|id| self.tally.installed_by.remove(id)).sum::<u64>();
    }

    /// Takes nodes down, and starts them again after a while.
    async fn strike(&mut self, ids: &[u64]) -> Result<()> {
        let while_down = self.plan.calm_max.mul_f32(self.rng.f32());
        self.strike_for(ids, while_down).await
    }

    /// Takes nodes down, and starts them again at once: before the others have noticed.
    async fn strike_for_a_moment(&mut self, ids: &[u64]) -> Result<()> {
        self.strike_for(ids, Duration::ZERO).await
    }

    async fn strike_for(&mut self, ids: &[u64], while_down: Duration) -> Result<()> {
        self.take_down(ids).await?;
        tokio::time::sleep(while_down).await;
        self.restart(ids).await
    }

    async fn restart(&mut self, ids: &[u64]) -> Result<()> {
        for id in ids {
            self.start(*id).await?;
        }
        Ok(())
    }

    /// Keeps one node down until the others have purged what it misses: it needs a snapshot when it is back.
    async fn outrun(&mut self) -> Result<u64> {
        let one = self.any();
        self.take_down(&[one]).await?;
        let leader = self.leader().await?;
        let applied = self.status(leader).await?.applied;
        let begun = Instant::now();
        // A snapshot is made every 500 entries, and 100 entries below it are kept.
        while begun.elapsed() < self.plan.patience
            && self.status(leader).await?.applied < applied.map(|index| index + 1300)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.restart(&[one]).await?;
        Ok(one)
    }

    async fn cut_off(&mut self, id: u64) -> Result<()> {
        self.desk.book.change(|table| _ = table.cut_off.insert(id));
        self.tell().await;
        self.tally.partitions += 1;
        tokio::time::sleep(self.plan.calm_max.mul_f32(0.5 + 1.5 * self.rng.f32())).await;
        self.desk.book.change(|table| table.cut_off.clear());
        self.tell().await;
        Ok(())
    }

    async fn start(&mut self, id: u64) -> Result<()> {
        let address = self.site.start(id, &self.desk.book).await?;
        self.desk.book.change(|table| _ = table.addresses.insert(id, address));
        self.running.push(id);
        self.tell().await;
        Ok(())
    }

    /// Hands the table to every running node.
    async fn tell(&mut self) {
        let table = self.desk.book.table();
        for way in &mut self.ways {
            let table = table.clone();
            let learn =
                |client: ServiceClient, context, route| async move { client.learn(context, route, table).await };
            // One that is not there learns it when it is started.
            _ = way.ask(ANSWER_MAX, learn).await;
        }
    }

    fn way(&mut self, id: u64) -> Result<&mut Way> {
        Ok(self.ways.get_mut(usize::try_from(id - 1)?).ok_or("no such node")?)
    }

    async fn status(&mut self, id: u64) -> Result<Status> {
        let ask = |client: ServiceClient, context, route| async move { client.status(context, route).await };
        let status = self.way(id)?.ask(ANSWER_MAX, ask).await?.ok_or("the node has failed")?;
        self.tally.installed_by.insert(id, status.installed);
        Ok(status)
    }

    /// The leader that most running nodes agree on, once they do.
    async fn leader(&mut self) -> Result<u64> {
        let begun = Instant::now();
        while begun.elapsed() < self.plan.patience {
            let mut votes = Vec::new();
            for id in self.running.clone() {
                votes.extend(self.status(id).await.ok().and_then(|status| status.leader));
            }
            let agreed = |leader: &&u64| votes.iter().filter(|vote| vote == leader).count() as u64 > NODES / 2;
            match votes.iter().find(agreed).filter(|leader| self.running.contains(leader)) {
                Some(&leader) => return Ok(leader),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if let Some(why) = self.site.ended().await {
                return Err(why.into());
            }
        }
        Err(format!("nodes {:?} found no leader in {} s", self.running, self.plan.patience.as_secs()).into())
    }

    /// Waits until every node has applied all that any has in its log.
    async fn settle(&mut self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < self.plan.patience {
            self.leader().await?;
            let mut positions = Vec::new();
            for id in 1..=NODES {
                let status = self.status(id).await?;
                positions.extend([status.last, status.applied]);
            }
            if positions.windows(2).all(|pair| pair.first() == pair.last()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the nodes did not come to agree in {} s", self.plan.patience.as_secs()).into())
    }

    async fn states(&mut self) -> Result<Vec<(u64, State)>> {
        let mut states = Vec::new();
        for id in 1..=NODES {
            let ask = |client: ServiceClient, context, route| async move { client.state(context, route).await };
            let bytes = self.way(id)?.ask(ANSWER_MAX, ask).await?.ok_or("a node has no state")?;
            states.push((id, State::from_bytes(&bytes)?));
        }
        Ok(states)
    }
}

fn others(spared: u64) -> Vec<u64> {
    (1..=NODES).filter(|id| *id != spared).collect()
}

/// Compares the entries of closed logs as far as all of them go; how many those are.
fn compare(journals: &[Journal]) -> Result<u64> {
    let firsts = journals.iter().map(|journal| journal.state().first_index());
    let nexts = journals.iter().map(|journal| journal.state().next_index());
    let first = firsts.collect::<Option<Vec<_>>>().and_then(|firsts| firsts.into_iter().max());
    let next = nexts.collect::<Option<Vec<_>>>().and_then(|nexts| nexts.into_iter().min());
    let (first, next) = first.zip(next).filter(|(first, next)| first < next).ok_or("the logs do not overlap")?;
    let logs = journals.iter().map(|journal| read(journal, first, next)).collect::<Result<Vec<_>>>()?;
    if logs.windows(2).any(|pair| pair.first() != pair.last()) {
        return Err("the logs differ".into());
    }
    Ok(next - first)
}

fn read(journal: &Journal, first: u64, next: u64) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while first + (entries.len() as u64) < next {
        entries.extend(journal.entries(first + entries.len() as u64..next, 1 << 20)?);
    }
    Ok(entries)
}

/// Where the directory of a node lies.
pub fn node_dir(parent: &Path, id: u64) -> PathBuf {
    parent.join(format!("node-{id}"))
}
