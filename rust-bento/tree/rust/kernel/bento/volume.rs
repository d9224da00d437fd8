// SPDX-License-Identifier: GPL-2.0

//! What a file system may know of the volume it is on, and how it reports damage.

use super::super_block::CoreSuper;
use crate::{
    fmt,
    prelude::*, //
};

/// The volume of a mount: read access to its metadata blocks (see [`Volume::read`]), its size, and
/// the ways to say that something is wrong with it.
#[repr(transparent)]
pub struct Volume(CoreSuper);

impl Volume {
    /// The volume of `sb`.
    pub(super) fn of(sb: &CoreSuper) -> &Self {
        // SAFETY: `Volume` is a transparent wrapper.
        unsafe { &*core::ptr::from_ref(sb).cast::<Self>() }
    }

    /// The mount.
    pub(super) fn core(&self) -> &CoreSuper {
        &self.0
    }

    /// The size of the device in blocks.
    pub fn blocks(&self) -> u64 {
        self.0.blocks()
    }

    /// Whether the mount is read-only now.
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    /// Reports damage that was met, and gives the error to return: `EUCLEAN`.
    ///
    /// Damage is logged when it is met first: `what` should be the same text when it is met again.
    /// After the gate has been left, what the mount's `errors=` asks for is done.
    pub fn corrupt(&self, what: fmt::Arguments<'_>) -> Error {
        self.0.report_damage(what);
        EUCLEAN
    }

    /// Says why a volume is not mounted, in one message, and returns `error`.
    pub fn refuse(&self, error: Error, what: fmt::Arguments<'_>) -> Error {
        pr_err!("bento ({}): {}\n", self.0.name(), what);
        error
    }
}
