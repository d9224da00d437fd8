// SPDX-License-Identifier: GPL-2.0

//! What is wrong with one tree.

use std::fmt;

/// The first problems of a tree as texts, and how many there are: a tree may be as large as the
/// volume, and all of it damaged.
#[derive(Default)]
pub struct Damage {
    texts: Vec<String>,
    count: u64,
}

impl Damage {
    /// The most texts that are kept.
    const MOST: usize = 100;

    /// A problem was found.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        self.count += 1;
        if self.texts.len() < Self::MOST {
            self.texts.push(what.to_string());
        }
    }

    /// Problems so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Gives `tell` each text, and at last how many there are beside them.
    pub fn tell(&self, mut tell: impl FnMut(fmt::Arguments<'_>)) {
        for text in &self.texts {
            tell(format_args!("{text}"));
        }
        let more = self.count - self.texts.len() as u64;
        if more > 0 {
            tell(format_args!("{more} more problems of its tree"));
        }
    }
}
