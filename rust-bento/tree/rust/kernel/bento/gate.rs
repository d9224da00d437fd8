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
//! Closing goes in two steps. [`Gate::ready`] makes the count atomic, for which it waits a grace
//! period while operations go on. [`Ready::close`] then takes effect at once, and waits for those
//! inside for a limited time: if they do not leave, the gate opens again.
//!
//! Without `CONFIG_BENTO_UPGRADE` nobody closes it, so nobody is counted.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use super::{
    instance::Loaded,
    Credits, //
};
use crate::{
    bindings,
    error::to_result,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    },
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
    /// What its operations ask of the journal: a copy, for who is not inside.
    pub(super) credits: Credits,
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
    /// Where those wait who found the gate closed.
    #[pin]
    waiters: Opaque<bindings::wait_queue_head>,
    /// Where whoever closed the gate waits for it to drain. Not with the others, whom the end of
    /// the drain would wake for nothing, in the pause.
    #[pin]
    drainer: Opaque<bindings::wait_queue_head>,
    /// How many have found the gate closed and are not inside yet.
    waiting: Atomic<u32>,
    /// The longest that one of them waited since [`Gate::ready`], in nanoseconds.
    longest_wait: Atomic<u64>,
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
                        c"bento_gate_waiters".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            drainer <- Opaque::ffi_init(|slot: *mut bindings::wait_queue_head| {
                // SAFETY: As above.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c"bento_gate_drainer".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            waiting: Atomic::new(0),
            longest_wait: Atomic::new(0),
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
        if cfg!(CONFIG_BENTO_UPGRADE) {
            // SAFETY: The count was initialised by `new`, and lives as long as `self`.
            if !unsafe { bindings::percpu_ref_tryget_live(self.inside.get()) } {
                return None;
            }
            // SAFETY: Initialised by `new`. Who comes here was let in: the lock was taken.
            unsafe { bindings::bento_gate_entered(self.map.get()) };
        }
        Some(Inside {
            gate: self,
            // SAFETY: Always allowed; restored in `drop`, by the same task.
            nofs: unsafe { bindings::memalloc_nofs_save() },
            _task: NotThreadSafe,
        })
    }

    /// To be called where a task is about to wait for what lies outside of the gate: a debug kernel
    /// warns if it is inside.
    pub(super) fn assert_left(&self) {
        #[cfg(CONFIG_BENTO_DEBUG)]
        // SAFETY: Initialised by `new`.
        unsafe {
            bindings::bento_gate_assert_left(self.map.get())
        };
    }

    /// Waits while the gate is closed. Who closed it opens it again within a limit of time, and
    /// waits for nobody who waits here.
    #[cold]
    fn wait_until_open(&self) {
        let start = Instant::<Monotonic>::now();
        self.waiting.fetch_add(1, Full);
        // SAFETY: Both were initialised by `new`. This is process context: who enters may sleep.
        unsafe { bindings::bento_gate_wait(self.inside.get(), self.waiters.get()) };
        self.note_wait(start.elapsed());
        self.waiting.fetch_sub(1, Full);
    }

    fn note_wait(&self, time: Delta) {
        let time = time.as_nanos().max(0) as u64;
        let mut longest = self.longest_wait.load(Relaxed);
        while time > longest {
            match self.longest_wait.cmpxchg(longest, time, Relaxed) {
                Ok(_) => break,
                Err(other) => longest = other,
            }
        }
    }

    /// Makes the gate ready to be closed. Waits for a grace period, while tasks enter and leave.
    /// Waits at the gate are measured from the `first` of several tries on.
    ///
    /// # Safety
    ///
    /// Nobody else calls this until the value has been dropped. Those inside are counted: the
    /// kernel has `CONFIG_BENTO_UPGRADE`.
    pub(super) unsafe fn ready(&self, first: bool) -> Ready<'_> {
        if first {
            self.longest_wait.store(0, Relaxed);
        }
        // SAFETY: The count was initialised by `new`. INVARIANT: It is atomic now.
        unsafe { bindings::percpu_ref_switch_to_atomic_sync(self.inside.get()) };
        Ready { gate: self }
    }

    /// Whether some who found the gate closed are still on their way.
    pub(super) fn has_waiters(&self) -> bool {
        self.waiting.load(Relaxed) != 0
    }

    /// The longest that a task waited since the first [`Gate::ready`], in nanoseconds.
    pub(super) fn longest_wait(&self) -> u64 {
        self.longest_wait.load(Relaxed)
    }
}

/// A gate that can be closed at once.
///
/// # Invariants
///
/// The count is in atomic mode, not killed, and nobody else closes the gate.
pub(super) struct Ready<'a> {
    gate: &'a Gate,
}

impl<'a> Ready<'a> {
    /// Closes the gate, and waits until nobody is inside, for `limit` nanoseconds at most. If that
    /// is not enough, the gate is open again.
    ///
    /// # Errors
    ///
    /// `EBUSY` if someone stayed inside.
    pub(super) fn close(&mut self, limit: u64) -> Result<Closed<'_>> {
        let gate = self.gate;
        // SAFETY: Initialised by `Gate::new`; released when the gate is opened, by this task:
        // `Closed` stays in it.
        unsafe { bindings::bento_gate_closed(gate.map.get()) };
        // SAFETY: By the type invariant the count is live, and nobody else kills it. It is atomic,
        // so this takes effect at once. Who has seen it live just before may still enter while
        // others are inside, or find it at zero and wait: the drain waits for the last to leave,
        // and a count of zero does not rise again.
        unsafe { bindings::percpu_ref_kill(gate.inside.get()) };
        let start = Instant::<Monotonic>::now();
        // On drop it opens the gate, drained or not.
        let closing = Closing { gate };
        // SAFETY: Both were initialised by `Gate::new`. This task may sleep.
        let drained =
            unsafe { bindings::bento_gate_drain(gate.inside.get(), gate.drainer.get(), limit) };
        if !drained {
            return Err(EBUSY);
        }
        // INVARIANT: The count is zero, and dead: it does not rise before `Closing` is dropped.
        Ok(Closed {
            drained: start.elapsed(),
            start,
            closing,
        })
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        // SAFETY: Initialised by `Gate::new`.
        unsafe { bindings::percpu_ref_switch_to_percpu(self.gate.inside.get()) };
    }
}

/// A gate that nobody enters. It opens when this is dropped.
///
/// # Invariants
///
/// The count was killed by this task, and has not been resurrected.
struct Closing<'a> {
    gate: &'a Gate,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        // The version that was stored comes before the gate is seen open. Pairs with the barrier
        // in `bento_gate_entered`.
        barrier::smp_mb(barrier::Full);
        // SAFETY: By the type invariant. It may be above zero, when the gate did not drain: then
        // `drained` is not called, or has been and woke nobody who waits.
        unsafe { bindings::percpu_ref_resurrect(self.gate.inside.get()) };
        // SAFETY: Acquired in `close`, by this task.
        unsafe { bindings::bento_gate_left(self.gate.map.get()) };
        wake_all(&self.gate.waiters);
    }
}

/// A closed gate with nobody inside. It opens when this is dropped.
///
/// # Invariants
///
/// Nobody is inside, nobody can enter.
pub(super) struct Closed<'a> {
    start: Instant<Monotonic>,
    drained: Delta,
    closing: Closing<'a>,
}

impl Closed<'_> {
    /// When the gate was closed.
    pub(super) fn start(&self) -> Instant<Monotonic> {
        self.start
    }

    /// How long it took until nobody was inside.
    pub(super) fn drained(&self) -> Delta {
        self.drained
    }

    /// The version that the gate leads to.
    pub(super) fn version(&self) -> Option<Version> {
        // SAFETY: By the type invariant nobody writes it but this task, which does not now.
        unsafe { *self.closing.gate.version.get() }
    }

    /// Makes the gate lead to `version`. Gives the one before.
    pub(super) fn switch(&mut self, version: Version) -> Option<Version> {
        // SAFETY: By the type invariant nobody reads it.
        // INVARIANT: Nobody is inside, nobody can enter.
        unsafe { (*self.closing.gate.version.get()).replace(version) }
    }
}

/// Wakes all who wait in a queue of a gate's.
fn wake_all(queue: &Opaque<bindings::wait_queue_head>) {
    // SAFETY: The queue was initialised by `Gate::new`.
    unsafe { bindings::__wake_up(queue.get(), bindings::TASK_NORMAL, 0, core::ptr::null_mut()) };
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
    wake_all(&gate.drainer);
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
    pub(super) fn version(&self) -> Option<&Version> {
        // SAFETY: While someone is inside nobody writes it (type invariant of `Gate`).
        unsafe { &*self.gate.version.get() }.as_ref()
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // SAFETY: `nofs` came from `memalloc_nofs_save` in this task.
        unsafe { bindings::memalloc_nofs_restore(self.nofs) };
        if cfg!(CONFIG_BENTO_UPGRADE) {
            // SAFETY: Entered by this task.
            unsafe { bindings::bento_gate_left(self.gate.map.get()) };
            // SAFETY: Gives back what `percpu_ref_tryget_live` took.
            unsafe { bindings::percpu_ref_put(self.gate.inside.get()) };
        }
    }
}

#[kunit_tests(rust_bento_gate)]
mod tests {
    use super::*;

    /// How often the kernel warns in `wait`, which is kept out of its log.
    fn warnings(wait: impl FnOnce()) -> c_int {
        // SAFETY: This is called in a KUnit test, and what starts here ends before it does.
        unsafe {
            let test = bindings::kunit_get_current_test();
            let suppressed = bindings::kunit_start_suppress_warning(test);
            wait();
            let count = bindings::kunit_suppressed_warning_count(suppressed);
            bindings::kunit_end_suppress_warning(test, suppressed);
            count
        }
    }

    #[cfg(CONFIG_BENTO_UPGRADE)]
    #[test]
    fn nobody_enters_a_closed_gate() -> Result {
        let gate = KBox::pin_init(Gate::new(), GFP_KERNEL)?;
        drop(gate.try_enter().ok_or(EBUSY)?);
        // SAFETY: Nobody else knows the gate, and this is compiled where it counts.
        let mut ready = unsafe { gate.ready(true) };
        for _ in 0..3 {
            let closed = ready.close(1_000_000_000)?;
            assert!(gate.try_enter().is_none());
            drop(closed);
            drop(gate.try_enter().ok_or(EBUSY)?);
        }
        drop(ready);
        drop(gate.try_enter().ok_or(EBUSY)?);
        Ok(())
    }

    // The first warning of each kind: a later one of the same boot would not be seen.
    #[test]
    fn a_wait_inside_is_warned_about() -> Result {
        let gate = KBox::pin_init(Gate::new(), GFP_KERNEL)?;
        assert_eq!(warnings(|| gate.assert_left()), 0);
        let inside = gate.enter();
        let count = warnings(|| gate.assert_left());
        drop(inside);
        assert_eq!(count, c_int::from(cfg!(CONFIG_BENTO_DEBUG)));
        assert_eq!(warnings(|| gate.assert_left()), 0);
        Ok(())
    }

    #[cfg(CONFIG_BENTO_DEBUG)]
    #[test]
    fn a_wait_of_a_handle_is_warned_about() {
        // SAFETY: It looks at the current task.
        let wait = || unsafe { bindings::bento_assert_no_handle() };
        assert_eq!(warnings(wait), 0);
        let count = warnings(|| {
            // SAFETY: The pointer is this task's, and is taken back at once: what runs in between
            // compares it with null.
            unsafe {
                let task = bindings::get_current();
                (*task).journal_info = task.cast();
                wait();
                (*task).journal_info = core::ptr::null_mut();
            }
        });
        assert_eq!(count, 1);
    }
}
