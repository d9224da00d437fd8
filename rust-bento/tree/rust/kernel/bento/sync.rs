// SPDX-License-Identifier: GPL-2.0

//! Locks of a file system. They are the core's, and held inside the gate only.

use crate::{
    alloc::flags::GFP_KERNEL,
    bindings,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    },
    panic::Location, //
};

/// The part of a [`Mutex`] that does not depend on what it protects.
#[pin_data]
struct RawMutex {
    #[pin]
    inner: Opaque<bindings::mutex>,
}

impl RawMutex {
    fn new(class: &'static Location<'static>) -> Result<Pin<KBox<Self>>> {
        // Lockdep uses a class's key for its address alone.
        let class = core::ptr::from_ref(class).cast_mut().cast();
        KBox::pin_init(
            pin_init!(Self {
                inner <- Opaque::ffi_init(|slot: *mut bindings::mutex| {
                    // SAFETY: `slot` is valid and stays in place; the class is static data
                    // of the caller's, larger than a key, which nobody writes.
                    unsafe {
                        bindings::__mutex_init(slot, c"bento_mutex".as_char_ptr(), class)
                    }
                }),
            }),
            GFP_KERNEL,
        )
    }

    fn lock(&self) {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::mutex_lock(self.inner.get()) };
    }

    fn try_lock(&self) -> bool {
        // SAFETY: Initialised by `new`.
        unsafe { bindings::mutex_trylock(self.inner.get()) != 0 }
    }

    /// # Safety
    ///
    /// This task holds the lock.
    unsafe fn unlock(&self) {
        // SAFETY: By this function's requirement.
        unsafe { bindings::mutex_unlock(self.inner.get()) };
    }
}

/// A mutual exclusion lock around a `T`, which may be moved.
///
/// # Examples
///
/// ```
/// use kernel::bento::sync::Mutex;
///
/// let hint = Mutex::new(7u32)?;
/// *hint.lock() += 1;
/// assert_eq!(*hint.lock(), 8);
/// # Ok::<(), Error>(())
/// ```
pub struct Mutex<T> {
    raw: Pin<KBox<RawMutex>>,
    value: UnsafeCell<T>,
}

// SAFETY: The value goes with the lock.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: One task at a time reaches the value.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A new lock around `value`. Locks that are made at one place in the source are of one class
    /// for lockdep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[track_caller]
    pub fn new(value: T) -> Result<Self> {
        Ok(Self {
            raw: RawMutex::new(Location::caller())?,
            value: UnsafeCell::new(value),
        })
    }

    /// Waits for the lock and takes it.
    pub fn lock(&self) -> Guard<'_, T> {
        self.raw.lock();
        // INVARIANT: Just taken.
        Guard {
            mutex: self,
            _task: NotThreadSafe,
        }
    }

    /// Takes the lock if nobody has it. Does not sleep.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        // INVARIANT: Just taken.
        self.raw.try_lock().then(|| Guard {
            mutex: self,
            _task: NotThreadSafe,
        })
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

/// Holds a [`Mutex`].
///
/// # Invariants
///
/// This task holds the lock.
#[must_use = "the lock is released at once when the guard is dropped"]
pub struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    _task: NotThreadSafe,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: By the type invariant nobody else reaches the value.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant nobody else reaches the value.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { self.mutex.raw.unlock() };
    }
}
