// SPDX-License-Identifier: GPL-2.0

//! What a mount remembers of its upgrades, and how long they may try.

use super::registry::ShortName;
use crate::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// What is known of an upgrade. Times are in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Report {
    /// The implementation that served before, and its version.
    pub(super) from: (ShortName, u32),
    /// The implementation that was asked for, and its version if there is one.
    pub(super) to: (ShortName, u32),
    /// How often the gate was opened again because an operation stayed inside.
    pub(super) retries: u32,
    /// Building the successor, while the predecessor serves.
    pub(super) stage: u64,
    /// Waiting for the operations inside, in the last try.
    pub(super) drain: u64,
    /// Handing the state over.
    pub(super) transfer: u64,
    /// Putting the successor in place, and opening the gate.
    pub(super) switch: u64,
    /// From closing the gate to opening it, in the last try.
    pub(super) pause: u64,
    /// The longest that one operation waited at the gate, over all tries.
    pub(super) longest_wait: u64,
}

impl Report {
    /// Of an upgrade that begins.
    pub(super) const fn new() -> Self {
        Self {
            from: (ShortName::EMPTY, 0),
            to: (ShortName::EMPTY, 0),
            retries: 0,
            stage: 0,
            drain: 0,
            transfer: 0,
            switch: 0,
            pause: 0,
            longest_wait: 0,
        }
    }
}

/// The upgrades of a mount.
#[derive(Clone, Copy)]
pub(super) struct History {
    /// How many there were.
    pub(super) upgrades: u64,
    /// How many were refused.
    pub(super) refusals: u64,
    /// Why the last one was refused: an error number, or 0 if it was not.
    pub(super) last_error: i32,
    /// The last that was not refused.
    pub(super) last: Report,
    /// One is under way.
    pub(super) under_way: bool,
}

impl History {
    /// None yet.
    pub(super) const fn new() -> Self {
        Self {
            upgrades: 0,
            refusals: 0,
            last_error: 0,
            last: Report::new(),
            under_way: false,
        }
    }

    /// Adds one.
    pub(super) fn add(&mut self, report: &Report, result: Result) {
        match result {
            Ok(()) => {
                self.upgrades = self.upgrades.saturating_add(1);
                self.last_error = 0;
                self.last = *report;
            }
            Err(error) => {
                self.refusals = self.refusals.saturating_add(1);
                self.last_error = -error.to_errno();
            }
        }
    }
}

/// How long an upgrade may try. Each can be set in sysfs.
pub(super) struct Limits {
    /// How long the gate stays closed for those inside to leave, in microseconds.
    pub(super) drain_us: Atomic<u32>,
    /// How often the gate is closed.
    pub(super) tries: Atomic<u32>,
    /// How long the tries go on, in milliseconds.
    pub(super) total_ms: Atomic<u32>,
}

impl Limits {
    /// The longest time for each, and the most tries.
    pub(super) const DRAIN_US_MAX: u32 = 1_000_000;
    pub(super) const TRIES_MAX: u32 = 1_000;
    pub(super) const TOTAL_MS_MAX: u32 = 60_000;

    /// The defaults.
    pub(super) const fn new() -> Self {
        Self {
            drain_us: Atomic::new(5_000),
            tries: Atomic::new(20),
            total_ms: Atomic::new(5_000),
        }
    }

    /// The limit of a drain in nanoseconds.
    pub(super) fn drain_ns(&self) -> u64 {
        u64::from(self.drain_us.load(Relaxed)) * 1_000
    }
}

#[kunit_tests(rust_bento_history)]
mod tests {
    use super::*;

    #[test]
    fn refusals_leave_the_last_upgrade() {
        let mut history = History::new();
        let report = Report {
            pause: 7,
            ..Report::new()
        };
        history.add(&report, Ok(()));
        history.add(&Report::new(), Err(EBUSY));
        assert_eq!((history.upgrades, history.refusals), (1, 1));
        assert_eq!(history.last_error, -EBUSY.to_errno());
        assert_eq!(history.last.pause, 7);
        history.add(&report, Ok(()));
        assert_eq!(history.last_error, 0);
    }
}
