// SPDX-License-Identifier: GPL-2.0

//! Locks of a file system, held inside the gate only.

use crate::error::Result;
use core::ops::{
    Deref,
    DerefMut, //
};
use std::sync::{
    PoisonError,
    TryLockError, //
};

/// A lock that sleeps.
pub struct Mutex<T>(std::sync::Mutex<T>);

/// The lock is held while this exists.
#[must_use = "the lock is released at once when the guard is not kept"]
pub struct Guard<'a, T>(std::sync::MutexGuard<'a, T>);

impl<T> Mutex<T> {
    /// Makes a lock around `value`. `ENOMEM` if memory is short.
    pub fn new(value: T) -> Result<Self> {
        if crate::user::fault::hit(crate::user::fault::Point::Allocation) {
            return Err(crate::error::code::ENOMEM);
        }
        Ok(Self(std::sync::Mutex::new(value)))
    }

    /// Takes the lock.
    pub fn lock(&self) -> Guard<'_, T> {
        Guard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(Guard(guard)),
            Err(TryLockError::Poisoned(poisoned)) => Some(Guard(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
