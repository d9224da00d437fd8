// SPDX-License-Identifier: GPL-2.0

//! Problems: told to the user, and counted.

use crate::failure::{
    Failure,
    Result, //
};
use std::fmt;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A count or a copy: put right without asking.
    Minor,
    /// Something was lost or is not what it seems: a person should know.
    Major,
    /// Cannot be repaired.
    Unfixable,
}

/// Who is told what happens.
pub trait Ui {
    /// A line for the user: a problem, or how far the check is.
    fn line(&mut self, text: &str);
    /// How far a pass is.
    fn progress(&mut self, pass: u32, done: u64, total: u64);
    /// Whether the user wants the check to stop.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Tells nobody.
pub struct Silent;

impl Ui for Silent {
    fn line(&mut self, _text: &str) {}
    fn progress(&mut self, _pass: u32, _done: u64, _total: u64) {}
}

/// The problems of one run.
pub struct Log<'u> {
    ui: &'u mut dyn Ui,
    /// Tell more than problems.
    verbose: bool,
    /// Problems found.
    pub found: u64,
    /// Those among them that only a person may let through.
    pub major: u64,
    /// Those that cannot be repaired.
    pub unfixable: u64,
    /// The first problems' texts.
    pub lines: Vec<String>,
}

impl<'u> Log<'u> {
    /// The most texts that are kept and told; all are counted.
    const MOST: usize = 10_000;

    /// No problems yet.
    pub fn new(ui: &'u mut dyn Ui, verbose: bool) -> Self {
        Self {
            ui,
            verbose,
            found: 0,
            major: 0,
            unfixable: 0,
            lines: Vec::new(),
        }
    }

    /// A problem was found.
    pub fn problem(&mut self, severity: Severity, text: fmt::Arguments<'_>) {
        self.found += 1;
        match severity {
            Severity::Minor => {}
            Severity::Major => self.major += 1,
            Severity::Unfixable => {
                self.major += 1;
                self.unfixable += 1;
            }
        }
        if self.lines.len() < Self::MOST {
            let line = text.to_string();
            self.ui.line(&line);
            self.lines.push(line);
            if self.lines.len() == Self::MOST {
                self.ui
                    .line("More problems are repaired without a line for each.");
            }
        }
    }

    /// A problem that a person should know of.
    pub fn major(&mut self, text: fmt::Arguments<'_>) {
        self.problem(Severity::Major, text);
    }

    /// A problem of a count or a copy.
    pub fn minor(&mut self, text: fmt::Arguments<'_>) {
        self.problem(Severity::Minor, text);
    }

    /// Something that is no problem.
    pub fn note(&mut self, text: fmt::Arguments<'_>) {
        if self.verbose {
            self.ui.line(&text.to_string());
        }
    }

    /// How far a pass is.
    ///
    /// # Errors
    ///
    /// If the user wants the check to stop.
    pub fn progress(&mut self, pass: u32, done: u64, total: u64) -> Result {
        self.ui.progress(pass, done, total);
        match self.ui.is_cancelled() {
            true => Err(Failure::new("cancelled; no repair was written")),
            false => Ok(()),
        }
    }
}
