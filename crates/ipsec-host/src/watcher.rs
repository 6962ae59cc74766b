//! Sees that a part of the guard is gone, and puts it back.

/// Watches the guard of one owner.
pub struct Watcher;
