// SPDX-License-Identifier: GPL-2.0

//! Threads that work until they are done or the time is over.

use std::{
    io, thread,
    time::{
        Duration,
        Instant, //
    },
};

/// A moment at which to stop, for a loop that is too short to ask the clock each time.
#[derive(Clone, Debug)]
pub struct Until {
    /// None: beyond what a clock can tell.
    end: Option<Instant>,
    every: u32,
    left: u32,
}

impl Until {
    /// Asks the clock in every so many rounds of the loop.
    pub fn new(window: Duration, every: u32) -> Self {
        Self {
            end: Instant::now().checked_add(window),
            every: every.max(1),
            left: 0,
        }
    }

    pub fn over(&mut self) -> bool {
        if self.left > 0 {
            self.left -= 1;
            return false;
        }
        self.left = self.every - 1;
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// The sum of what so many threads have done; `work` is given the thread's number.
pub fn on_threads(number: u64, work: impl Fn(u64) -> io::Result<u64> + Sync) -> io::Result<u64> {
    if number == 1 {
        return work(0);
    }
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..number).map(|n| scope.spawn(move || work(n))).collect();
        let mut sum = Ok(0);
        for thread in threads {
            let done = thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("a thread has panicked")));
            sum = sum.and_then(|sum| Ok(sum + done?));
        }
        sum
    })
}
