// SPDX-License-Identifier: GPL-2.0

//! Tables of functions that C keeps pointers to.

use core::ops::Deref;

/// A constant table.
///
/// Some of C's tables hold raw pointers (an owner, a pool), for which Rust does not share them
/// between threads by itself.
#[repr(transparent)]
pub(super) struct Table<T>(pub(super) T);

// SAFETY: A table is in a `static` and never written; C follows what it points to, with its own
// locking.
unsafe impl<T> Sync for Table<T> {}

impl<T> Deref for Table<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
