//! The conformance suite passes on the crate's stores, and rejects broken ones for the promise that they break.

mod broken;
mod stores;
