// SPDX-License-Identifier: GPL-2.0

//! The gate: the only way to a version of a file system.
//!
//! A task that wants to run a file system's code enters the gate of the mount, and leaves it before
//! it waits for anything outside. Whoever replaces the version closes the gate, waits until nobody
//! is inside, and opens it again. It is a `percpu_ref`, used as blk-mq uses one to freeze a queue:
//! entering costs one per-CPU increment, and closing can be undone at any moment.
//!
//! Enter and leave are not generic, so they are text of the core: a task that has left is not in
//! text that is about to be unloaded.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use super::instance::Loaded;
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    static_lock_class,
    types::{
        NotThreadSafe,
        Opaque, //
    },
};
use core::cell::UnsafeCell;

/// Tells one version that serves a mount from all others. Never reused while the kernel runs.
pub(super) type Generation = u64;

/// The generation of data that no version wrote.
pub(super) const NO_GENERATION: Generation = 0;

/// The version that a gate leads to.
#[derive(Clone, Copy)]
pub(super) struct Version {
    /// Its table and its state.
    pub(super) loaded: Loaded,
    /// Its generation.
    pub(super) generation: Generation,
}

/// A gate.
///
/// # Invariants
///
/// `version` is written only while nobody is inside and nobody can enter.
#[pin_data(PinnedDrop)]
pub(super) struct Gate {
    #[pin]
    inside: Opaque<bindings::percpu_ref>,
    /// Where those wait who found the gate closed, and who waits for it to drain.
    #[pin]
    waiters: Opaque<bindings::wait_queue_head>,
    version: UnsafeCell<Option<Version>>,
    /// For lockdep the gate is a read-write semaphore, which those inside hold shared: it sees when
    /// someone inside waits for what others hold while they enter.
    #[pin]
    map: Opaque<bindings::lockdep_map>,
}

// SAFETY: The reference count and the wait queue do their own locking; `version` follows the type
// invariant.
unsafe impl Send for Gate {}
// SAFETY: As above.
unsafe impl Sync for Gate {}

impl Gate {
    /// An open gate that leads nowhere yet.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            waiters <- Opaque::ffi_init(|slot: *mut bindings::wait_queue_head| {
                // SAFETY: `slot` is valid for writes and stays where it is; the lock class is
                // static.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c"bento_gate".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            inside <- Opaque::try_ffi_init(|slot: *mut bindings::percpu_ref| {
                // SAFETY: `slot` is valid for writes and stays where it is until `percpu_ref_exit`
                // in `drop`.
                to_result(unsafe {
                    bindings::percpu_ref_init(
                        slot,
                        Some(drained),
                        bindings::PERCPU_REF_ALLOW_REINIT,
                        bindings::GFP_KERNEL,
                    )
                })
            }),
            // INVARIANT: Nobody has seen the gate.
            version: UnsafeCell::new(None),
            map <- Opaque::ffi_init(|slot: *mut bindings::lockdep_map| {
                // SAFETY: `slot` is valid for writes and stays in place; the class is static.
                unsafe {
                    bindings::lockdep_init_map(
                        slot,
                        c"bento_gate".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                        0,
                    )
                }
            }),
        }? Error)
    }

    /// Sets the first version.
    ///
    /// # Safety
    ///
    /// Nobody has entered the gate, and nobody does until this returns.
    pub(super) unsafe fn install(&self, version: Version) {
        // SAFETY: By this function's requirement nobody reads it.
        // INVARIANT: Nobody is inside, nobody can enter.
        unsafe { *self.version.get() = Some(version) };
    }

    /// Takes the version away.
    ///
    /// # Safety
    ///
    /// Nobody is inside, and nobody enters again.
    pub(super) unsafe fn remove(&self) -> Option<Version> {
        // SAFETY: By this function's requirement nobody reads it.
        // INVARIANT: Nobody is inside, nobody can enter.
        unsafe { (*self.version.get()).take() }
    }

    /// Enters, waiting while the gate is closed.
    pub(super) fn enter(&self) -> Inside<'_> {
        loop {
            if let Some(inside) = self.try_enter() {
                return inside;
            }
            self.wait_until_open();
        }
    }

    /// Enters, unless the gate is closed.
    pub(super) fn try_enter(&self) -> Option<Inside<'_>> {
        // SAFETY: The count was initialised by `new`, and lives as long as `self`.
        if !unsafe { bindings::percpu_ref_tryget_live(self.inside.get()) } {
            return None;
        }
        // SAFETY: Initialised by `new`. Who comes here was let in: the lock was taken.
        unsafe { bindings::bento_gate_entered(self.map.get()) };
        Some(Inside {
            gate: self,
            // SAFETY: Always allowed; restored in `drop`, by the same task.
            nofs: unsafe { bindings::memalloc_nofs_save() },
            _task: NotThreadSafe,
        })
    }

    fn wait_until_open(&self) {
        let mut entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is valid for writes and does not move until `finish_wait`.
        unsafe { bindings::init_wait_entry(entry.get(), 0) };
        loop {
            // SAFETY: Both live to the end of this function, where the entry is off the queue.
            unsafe {
                bindings::prepare_to_wait(
                    self.waiters.get(),
                    entry.get(),
                    bindings::TASK_UNINTERRUPTIBLE as c_int,
                )
            };
            // SAFETY: The count was initialised by `new`.
            if !unsafe { bindings::percpu_ref_is_dying(self.inside.get()) } {
                break;
            }
            // SAFETY: This is process context: who enters may sleep.
            unsafe { bindings::schedule() };
        }
        // SAFETY: The entry was queued by `prepare_to_wait`.
        unsafe { bindings::finish_wait(self.waiters.get(), entry.get()) };
        let _ = &mut entry;
    }
}

#[pinned_drop]
impl PinnedDrop for Gate {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The count was initialised by `new`; the gate is going away, so nobody is inside.
        unsafe { bindings::percpu_ref_exit(self.inside.get()) };
    }
}

/// Called when a closed gate has drained.
///
/// # Safety
///
/// `inside` is the count of a live [`Gate`].
unsafe extern "C" fn drained(inside: *mut bindings::percpu_ref) {
    // SAFETY: By this function's requirement.
    let gate = unsafe { &*crate::container_of!(Opaque::cast_from(inside), Gate, inside) };
    // SAFETY: The queue was initialised by `Gate::new`.
    unsafe {
        bindings::__wake_up(
            gate.waiters.get(),
            bindings::TASK_NORMAL,
            0,
            core::ptr::null_mut(),
        )
    };
}

/// Being inside a gate, in a scope of allocations that do not enter file systems.
#[must_use = "the gate is left at once when this is dropped"]
pub(super) struct Inside<'a> {
    gate: &'a Gate,
    nofs: c_uint,
    _task: NotThreadSafe,
}

impl Inside<'_> {
    /// The version that serves the mount, for as long as the task stays inside.
    pub(super) fn version(&self) -> Option<Version> {
        // SAFETY: While someone is inside nobody writes it (type invariant of `Gate`).
        unsafe { *self.gate.version.get() }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // SAFETY: `nofs` came from `memalloc_nofs_save` in this task.
        unsafe { bindings::memalloc_nofs_restore(self.nofs) };
        // SAFETY: Entered by this task.
        unsafe { bindings::bento_gate_left(self.gate.map.get()) };
        // SAFETY: Gives back what `percpu_ref_tryget_live` took.
        unsafe { bindings::percpu_ref_put(self.gate.inside.get()) };
    }
}
