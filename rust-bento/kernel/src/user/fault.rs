// SPDX-License-Identifier: GPL-2.0

//! Faults on request: the n-th allocation, write access, store or read of a thread fails.
//!
//! Faults belong to the thread that asks for them, so tests do not disturb each other.

use core::cell::Cell;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// An allocation (`ENOMEM`).
    Allocation,
    /// A read of a metadata block (`EIO`).
    Read,
    /// [`Handle::write`](crate::bento::Handle::write) or `create` (`ENOMEM`).
    Access,
    /// The first store of a handle to a block (`EIO`).
    Store,
}

const POINTS: usize = 4;

thread_local! {
    static COUNTERS: [Cell<Counter>; POINTS] = const {
        [const { Cell::new(Counter { passed: 0, fail_at: None }) }; POINTS]
    };
}

#[derive(Clone, Copy)]
struct Counter {
    passed: u64,
    fail_at: Option<u64>,
}

/// A fault that will happen once in this thread, unless this is dropped before.
#[must_use = "the fault is called off when this is dropped"]
pub struct Fault(Point);

impl Fault {
    /// Lets the `n`-th (from 0) event of this kind fail, counted from now.
    pub fn at(point: Point, n: u64) -> Self {
        set(
            point,
            Counter {
                passed: 0,
                fail_at: Some(n),
            },
        );
        Self(point)
    }

    /// Whether it has happened.
    pub fn happened(&self) -> bool {
        get(self.0).fail_at.is_none()
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        set(
            self.0,
            Counter {
                passed: 0,
                fail_at: None,
            },
        );
    }
}

fn get(point: Point) -> Counter {
    COUNTERS.with(|counters| counters[point as usize].get())
}

fn set(point: Point, counter: Counter) {
    COUNTERS.with(|counters| counters[point as usize].set(counter));
}

/// Counts an event. True if it has to fail.
pub(crate) fn hit(point: Point) -> bool {
    let mut counter = get(point);
    let Some(at) = counter.fail_at else {
        return false;
    };
    let fail = counter.passed == at;
    counter.passed += 1;
    if fail {
        counter.fail_at = None;
    }
    set(point, counter);
    fail
}
