//! The adapters for openraft: openraft's own suites, and what those lack, for both versions alike.

mod bad_input;
mod damage;
mod disks;
mod history;
mod order;
#[path = "../common/pass_on.rs"]
mod pass_on;
mod power_cuts;
mod purges;
mod readers;
mod rules;
mod subject;
mod version_010;
mod version_09;
