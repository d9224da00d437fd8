// SPDX-License-Identifier: GPL-2.0

//! The vector.

use super::{
    check,
    AllocError,
    Flags, //
};
use crate::error::{
    code::*,
    Error, //
};
use core::ops::{
    Deref,
    DerefMut, //
};

/// A vector that grows only where the caller says so, and can fail to.
pub struct KVec<T>(Vec<T>);

/// [`KVec::push_within_capacity`] found no room; gives the value back.
#[derive(Debug)]
pub struct PushError<T>(pub T);

/// [`KVec::insert_within_capacity`] found no room, or the index is behind the end.
#[derive(Debug)]
pub enum InsertError<T> {
    /// The index is behind the end.
    IndexOutOfBounds(T),
    /// No room.
    OutOfCapacity(T),
}

/// [`KVec::remove`] was given an index behind the end.
#[derive(Debug)]
pub struct RemoveError;

impl<T> From<PushError<T>> for Error {
    fn from(_: PushError<T>) -> Self {
        EINVAL
    }
}

impl<T> From<InsertError<T>> for Error {
    fn from(_: InsertError<T>) -> Self {
        EINVAL
    }
}

impl From<RemoveError> for Error {
    fn from(_: RemoveError) -> Self {
        EINVAL
    }
}

impl<T> KVec<T> {
    /// An empty vector without memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// An empty vector with room for `capacity` elements.
    pub fn with_capacity(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut this = Self::new();
        this.reserve(capacity, flags)?;
        Ok(this)
    }

    /// Elements that fit without allocation.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// The elements.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
    }

    /// Makes room for `additional` more elements.
    pub fn reserve(&mut self, additional: usize, _flags: Flags) -> Result<(), AllocError> {
        if self.0.capacity() - self.0.len() >= additional {
            return Ok(());
        }
        check()?;
        self.0.try_reserve(additional).map_err(|_| AllocError)
    }

    /// Appends an element.
    pub fn push(&mut self, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(1, flags)?;
        self.0.push(value);
        Ok(())
    }

    /// Appends an element, if there is room.
    pub fn push_within_capacity(&mut self, value: T) -> Result<(), PushError<T>> {
        if self.0.len() == self.0.capacity() {
            return Err(PushError(value));
        }
        self.0.push(value);
        Ok(())
    }

    /// Inserts an element, if there is room.
    pub fn insert_within_capacity(&mut self, at: usize, value: T) -> Result<(), InsertError<T>> {
        if at > self.0.len() {
            return Err(InsertError::IndexOutOfBounds(value));
        }
        if self.0.len() == self.0.capacity() {
            return Err(InsertError::OutOfCapacity(value));
        }
        self.0.insert(at, value);
        Ok(())
    }

    /// Removes and gives the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Removes and gives the element at an index.
    pub fn remove(&mut self, at: usize) -> Result<T, RemoveError> {
        match at < self.0.len() {
            true => Ok(self.0.remove(at)),
            false => Err(RemoveError),
        }
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Removes all elements behind the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Keeps the elements for which `keep` says so.
    pub fn retain(&mut self, keep: impl FnMut(&mut T) -> bool) {
        self.0.retain_mut(keep);
    }

    /// Removes and gives all elements.
    pub fn drain_all(&mut self) -> impl Iterator<Item = T> + '_ {
        self.0.drain(..)
    }
}

impl<T: Clone> KVec<T> {
    /// `n` times `value`.
    pub fn from_elem(value: T, n: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut this = Self::new();
        this.extend_with(n, value, flags)?;
        Ok(this)
    }

    /// Appends `n` times `value`.
    pub fn extend_with(&mut self, n: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        self.reserve(n, flags)?;
        self.0.extend(core::iter::repeat_n(value, n));
        Ok(())
    }

    /// Appends copies of the elements of a slice.
    pub fn extend_from_slice(&mut self, other: &[T], flags: Flags) -> Result<(), AllocError> {
        self.reserve(other.len(), flags)?;
        self.0.extend_from_slice(other);
        Ok(())
    }

    /// Cuts, or appends `value`, until there are `len` elements.
    pub fn resize(&mut self, len: usize, value: T, flags: Flags) -> Result<(), AllocError> {
        match len.checked_sub(self.0.len()) {
            Some(more) => self.extend_with(more, value, flags),
            None => {
                self.truncate(len);
                Ok(())
            }
        }
    }
}

impl<T: zerocopy::FromZeros> KVec<T> {
    /// `n` elements of zeroes.
    pub fn zeroed(n: usize, _flags: Flags) -> Result<Self, AllocError> {
        check()?;
        T::new_vec_zeroed(n).map(Self).map_err(|_| AllocError)
    }
}

impl<T> Default for KVec<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deref for KVec<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for KVec<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

impl<T: core::fmt::Debug> core::fmt::Debug for KVec<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: PartialEq> PartialEq for KVec<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> IntoIterator for KVec<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a KVec<T> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut KVec<T> {
    type Item = &'a mut T;
    type IntoIter = core::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut()
    }
}
