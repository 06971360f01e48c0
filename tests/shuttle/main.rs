//! The journal under a model checker: threads, locks, condition variables and atomics are shuttle's, which runs a
//! scenario again and again, each time in another order of the threads, and finds deadlocks by itself.
//!
//! Run by name, in a build of its own: `RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=target/shuttle cargo test
//! --features sim --test shuttle`. Shuttle takes every atomic for `SeqCst`: orderings are not what is tested here.

#[cfg(shuttle)]
mod closing;
#[cfg(shuttle)]
mod common;
#[cfg(shuttle)]
mod group_commit;
#[cfg(shuttle)]
mod poison;
#[cfg(shuttle)]
mod readers;
#[cfg(shuttle)]
mod rotation;

#[cfg(not(shuttle))]
#[test]
fn nothing_is_tested_without_the_cfg() {
    panic!("this build is not the model checker's: set RUSTFLAGS='--cfg shuttle' and a CARGO_TARGET_DIR of its own");
}
