//! Damage at rest, byte by byte, sector by sector and block by block: never a wrong byte, never a silent cut.
//!
//! For every place of every file of a small journal: either nothing is lost, or the open refuses with a typed error,
//! or reading the entries that are lost gives one; only the last acknowledged group of a journal that was not closed
//! may be missing, and then the report says `suspect`.

#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod single;
mod subject;
mod sweep;
