//! What the checks at the end of a round rest on.

use super::state_machine::{Command, GENERATION, State};

fn write(state: &mut State, client: u64, sequence: u64) {
    state.apply(Command { client, sequence, key: format!("key-{client}"), value: format!("{client}.{sequence}") });
}

#[test]
fn command_is_applied_once_and_never_behind_a_later_one() {
    let mut state = State::default();
    for sequence in [1, 2, 2, 5, 4, 1] {
        write(&mut state, 7, sequence);
    }
    assert_eq!((state.commands, state.value("key-7")), (3, Some("7.5")));
    let applied: Vec<_> = (0..7).filter(|sequence| state.has_applied(7, *sequence)).collect();
    assert_eq!(applied, [1, 2, 5]);
}

#[test]
fn state_keeps_two_generations_and_takes_nothing_from_an_older_one() {
    let mut state = State::default();
    for generation in 1..=3 {
        write(&mut state, generation * GENERATION, 1);
    }
    let known = |state: &State| (1..=3).filter(|at| state.has_applied(at * GENERATION, 1)).collect::<Vec<_>>();
    assert_eq!(known(&state), [2, 3]);
    let before = state.clone();
    write(&mut state, GENERATION, 2);
    assert_eq!(state, before);
    assert_eq!(state.value(&format!("key-{GENERATION}")), None);
}
