//! The adapters for openraft: openraft's own suites, and what those lack, for both versions alike.

mod subject;
mod version_010;
mod version_09;
