//! The accidents, and in which order they happen.

use fastrand::Rng;

/// What can happen to the nodes. Kinds of which there are two, once for a while and once for a moment, end differently:
/// after a while there is a new leader; after a moment the old one may still be it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accident {
    /// The leader is struck.
    Leader,
    LeaderForAMoment,
    /// Any one is struck.
    One,
    /// Any two are, at once.
    Two,
    All,
    AllForAMoment,
    /// One is struck, and twice more before it is up again.
    Again,
    /// One is struck, and away for so long that the others have purged what it misses.
    Away,
    /// As `Away`, and struck once more while it catches up.
    AwayAndAgain,
    /// The leader is cut off from the others, not from the clients.
    CutOffLeader,
    CutOffOne,
    /// A disk is full.
    FullDisk,
}

impl Accident {
    pub const ALL_KINDS: [Accident; 12] = [
        Accident::Leader,
        Accident::LeaderForAMoment,
        Accident::One,
        Accident::Two,
        Accident::All,
        Accident::AllForAMoment,
        Accident::Again,
        Accident::Away,
        Accident::AwayAndAgain,
        Accident::CutOffLeader,
        Accident::CutOffOne,
        Accident::FullDisk,
    ];
}

/// The accidents of a round, in an order that is drawn.
pub struct Deck {
    cards: Vec<Accident>,
}

impl Deck {
    pub fn new(cards: &[Accident], rng: &mut Rng) -> Deck {
        let mut cards = cards.to_vec();
        rng.shuffle(&mut cards);
        Deck { cards }
    }

    pub fn deal(&mut self) -> Option<Accident> {
        self.cards.pop()
    }
}
