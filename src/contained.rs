//! Code of others, called in the middle of things.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls code that is not this crate's: a job, a callback, a recorder. A panic in it ends here, and strands nothing that
/// waits behind it.
pub(crate) fn contained(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        // The panic's message is out; dropping what it carries could panic again.
        std::mem::forget(payload);
    }
}
