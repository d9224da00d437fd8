// SPDX-License-Identifier: GPL-2.0

//! Sequences of operations, what they should do, and what a crash may leave of them.
//!
//! - [`Op`]: an operation, as plain data that a test can make up and shrink.
//! - [`Model`]: what a volume should hold, in memory.
//! - [`Picture`]: what a mount holds.
//! - [`History`]: what a volume may hold after a crash, and what has been promised.
//! - [`Player`]: runs operations on a mount and a model, and compares.
//! - [`explore()`]: every state that crashes can leave of a sequence.
//! - [`ace`]: all short sequences over a small tree.

pub mod ace;
mod content;
mod decode;
mod explore;
mod history;
mod model;
mod op;
mod picture;
mod player;
#[cfg(test)]
mod tests;

pub use self::{
    explore::{
        explore,
        guarded,
        Effort,
        Report, //
    },
    history::{
        History,
        Promise, //
    },
    model::{
        Model,
        Reply, //
    },
    op::{
        Injected,
        Op,
        Path,
        Target,
        NAMES,
        SLOTS, //
    },
    picture::Picture,
    player::{
        Player,
        World, //
    },
};

/// What went wrong, if anything.
pub type Verdict<T = ()> = core::result::Result<T, String>;

/// Random numbers, the same in each run (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
