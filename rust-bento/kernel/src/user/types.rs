// SPDX-License-Identifier: GPL-2.0

//! Plain types of the core in user space.

use crate::bento::{
    Ino,
    Kind, //
};

/// An entry that was emitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// The inode's number.
    pub ino: Ino,
    /// The inode's kind.
    pub kind: Kind,
    /// The position behind the entry.
    pub next: u64,
}

/// What to do when damage is met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// Fail the operation, and go on.
    Continue,
    /// Fail the operation, and every later one that writes.
    #[default]
    RemountReadOnly,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct VolumeOptions {
    pub(crate) read_only: bool,
    pub(crate) discard: bool,
    pub(crate) errors: Errors,
}
