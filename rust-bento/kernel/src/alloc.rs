// SPDX-License-Identifier: GPL-2.0

//! Allocation that can fail, with the kernel's flags.

mod kbox;
mod kvec;

pub use self::{
    kbox::KBox,
    kvec::KVec, //
};

/// A vector whose memory may be virtually contiguous only; here the same as [`KVec`].
pub type KVVec<T> = KVec<T>;

/// Memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocError;

/// How to allocate. Only the names matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Allocation flags.
pub mod flags {
    use super::Flags;

    /// Normal: may sleep. Inside the gate the core has set a NOFS scope.
    pub const GFP_KERNEL: Flags = Flags(1);
    /// May sleep, does not enter a file system.
    pub const GFP_NOFS: Flags = Flags(2);
    /// Does not sleep.
    pub const GFP_NOWAIT: Flags = Flags(4);
    /// Zeroed.
    pub const __GFP_ZERO: Flags = Flags(8);
    /// Says nothing when it fails.
    pub const __GFP_NOWARN: Flags = Flags(16);
}

/// Fails where a test wants an allocation to fail, see [`crate::user::fault`].
pub(crate) fn check() -> Result<(), AllocError> {
    match crate::user::fault::hit(crate::user::fault::Point::Allocation) {
        true => Err(AllocError),
        false => Ok(()),
    }
}
