//! The scheduler itself.
