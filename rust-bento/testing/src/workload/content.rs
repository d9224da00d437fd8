// SPDX-License-Identifier: GPL-2.0

//! The bytes of a file of the model.

use std::{
    ops::Deref,
    sync::Arc, //
};

/// Bytes that are copied when they change. The shorter contents that a growing file goes through
/// share them: a history of many steps is not larger than the file.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// At least `len` bytes.
    bytes: Arc<Vec<u8>>,
    len: usize,
}

impl Content {
    /// The first `len` bytes, which are not copied.
    pub fn prefix(&self, len: usize) -> Self {
        Self {
            bytes: self.bytes.clone(),
            len: len.min(self.len),
        }
    }

    /// Changes the bytes, of which there may be more or fewer then.
    pub fn change(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let bytes = Arc::make_mut(&mut self.bytes);
        bytes.truncate(self.len);
        change(bytes);
        self.len = bytes.len();
    }

    /// Whether both are one piece of memory.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len(),
            bytes: Arc::new(bytes),
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.shares(other) && self.len == other.len || **self == **other
    }
}

impl Eq for Content {}
