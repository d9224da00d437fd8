// SPDX-License-Identifier: GPL-2.0

//! The owning pointer.

use super::{
    check,
    AllocError,
    Flags, //
};
use core::ops::{
    Deref,
    DerefMut, //
};

/// An owned value on the heap.
pub struct KBox<T>(Box<T>);

impl<T> KBox<T> {
    /// Moves `value` to the heap.
    pub fn new(value: T, _flags: Flags) -> Result<Self, AllocError> {
        check()?;
        Ok(Self(Box::new(value)))
    }

    /// Moves the value out.
    pub fn into_inner(this: Self) -> T {
        *this.0
    }
}

impl<T: zerocopy::FromZeros> KBox<T> {
    /// A value of zeroes.
    pub fn zeroed(_flags: Flags) -> Result<Self, AllocError> {
        check()?;
        T::new_box_zeroed().map(Self).map_err(|_| AllocError)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: core::fmt::Debug> core::fmt::Debug for KBox<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}
