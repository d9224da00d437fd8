// SPDX-License-Identifier: GPL-2.0

//! Why a program of this crate gave up: a sentence for its user.

use std::fmt;

/// A sentence that names the cause, and the remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

/// The result of what may fail with a [`Failure`].
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<kernel::error::Error> for Failure {
    fn from(error: kernel::error::Error) -> Self {
        Self(error.to_string())
    }
}

/// Adds to an error what was being done.
pub trait Context<T> {
    /// The error with `what` in front of it.
    fn context(self, what: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
