// SPDX-License-Identifier: GPL-2.0

//! The gate: `percpu_ref` in its atomic mode, two wait queues, and the version that it guards.

use crate::Flaws;
use loom::{
    cell::UnsafeCell,
    sync::{
        atomic::{
            fence, AtomicBool, AtomicUsize,
            Ordering::{
                AcqRel,
                Acquire,
                Relaxed,
                SeqCst, //
            },
        },
        Condvar,
        Mutex, //
    },
    thread, //
};

/// What the gate leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Number of the instance, see [`mount::Mount`](crate::mount::Mount).
    pub instance: usize,
    /// Never used twice.
    pub generation: u64,
}

/// A wait queue. What is waited for changes before the queue is woken.
struct Queue {
    lock: Mutex<()>,
    woken: Condvar,
}

impl Queue {
    fn new() -> Self {
        Self {
            lock: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    fn wait_until(&self, condition: impl Fn() -> bool) {
        let mut held = self.lock.lock().unwrap();
        while !condition() {
            held = self.woken.wait(held).unwrap();
        }
    }

    fn wake(&self) {
        let _held = self.lock.lock().unwrap();
        self.woken.notify_all();
    }
}

/// The gate.
pub struct Gate {
    /// `__PERCPU_REF_DEAD`
    dead: AtomicBool,
    /// Those inside, and one while it is live.
    count: AtomicUsize,
    waiters: Queue,
    drainer: Queue,
    /// The time for the drain is over.
    expired: AtomicBool,
    version: UnsafeCell<Option<Version>>,
    flaws: Flaws,
}

impl Gate {
    /// An open gate.
    pub fn new(version: Version, flaws: Flaws) -> Self {
        Self {
            dead: AtomicBool::new(false),
            count: AtomicUsize::new(1),
            waiters: Queue::new(),
            drainer: Queue::new(),
            expired: AtomicBool::new(false),
            version: UnsafeCell::new(Some(version)),
            flaws,
        }
    }

    /// Enters, waiting while the gate is closed.
    pub fn enter(&self) -> Inside<'_> {
        loop {
            if let Some(inside) = self.try_enter() {
                return inside;
            }
            self.waiters.wait_until(|| !self.dead.load(Relaxed));
            // Between clearing the flag and taking the first count there is nothing to wait on
            thread::yield_now();
        }
    }

    /// Enters, unless the gate is closed: `percpu_ref_tryget_live`.
    pub fn try_enter(&self) -> Option<Inside<'_>> {
        if self.dead.load(Relaxed) {
            return None;
        }
        // atomic_long_inc_not_zero
        let mut count = self.count.load(Relaxed);
        loop {
            if count == 0 {
                return None;
            }
            let next = self
                .count
                .compare_exchange(count, count + 1, AcqRel, Relaxed);
            match next {
                Ok(_) => break,
                Err(other) => count = other,
            }
        }
        // In bento_gate_entered
        fence(Acquire);
        Some(Inside { gate: self })
    }

    fn put(&self) {
        if self.count.fetch_sub(1, AcqRel) == 1 {
            self.drainer.wake();
        }
    }

    /// Says that the time for the drain is over.
    pub fn expire(&self) {
        self.expired.store(true, SeqCst);
        self.drainer.wake();
    }

    /// Closes the gate, and waits until nobody is inside or the time is over.
    pub fn close(&self) -> Option<Closed<'_>> {
        self.dead.store(true, Relaxed);
        self.put();
        // On drop it opens the gate, drained or not
        let closed = Closed {
            gate: self,
            late: None,
        };
        let is_zero = || self.count.load(Relaxed) == 0;
        if !self.flaws.no_drain {
            self.drainer
                .wait_until(|| is_zero() || self.expired.load(SeqCst));
            if !is_zero() {
                return None;
            }
        }
        // In bento_gate_drain
        fence(SeqCst);
        Some(closed)
    }

    /// Takes the version away. Nobody is inside, and nobody enters again.
    pub fn remove(&self) -> Option<Version> {
        // SAFETY: loom checks that nobody else looks at it.
        self.version
            .with_mut(|version| unsafe { (*version).take() })
    }
}

/// Being inside.
pub struct Inside<'a> {
    gate: &'a Gate,
}

impl Inside<'_> {
    /// What serves the mount.
    pub fn version(&self) -> Version {
        // SAFETY: loom checks that nobody writes it.
        let version = self.gate.version.with(|version| unsafe { *version });
        version.expect("the gate leads nowhere")
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.gate.put();
    }
}

/// A closed gate. It opens when this is dropped, drained or not.
pub struct Closed<'a> {
    gate: &'a Gate,
    /// What a flawed protocol stores too late.
    late: Option<Version>,
}

impl Closed<'_> {
    /// Makes the gate lead to `version`. Gives the one before.
    pub fn switch(&mut self, version: Version) -> Version {
        let stored = match self.gate.flaws.late_store {
            true => None,
            false => Some(version),
        };
        if stored.is_none() {
            self.late = Some(version);
        }
        // SAFETY: loom checks that nobody else looks at it.
        self.gate.version.with_mut(|at| unsafe {
            let old = (*at).expect("the gate leads nowhere");
            if stored.is_some() {
                *at = stored;
            }
            old
        })
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let gate = self.gate;
        if !gate.flaws.no_barrier {
            fence(SeqCst);
        }
        // percpu_ref_resurrect
        gate.dead.store(false, Relaxed);
        gate.count.fetch_add(1, Relaxed);
        if let Some(version) = self.late {
            // SAFETY: loom finds that somebody may look at it.
            gate.version.with_mut(|at| unsafe { *at = Some(version) });
        }
        if !gate.flaws.no_wake {
            gate.waiters.wake();
        }
    }
}
