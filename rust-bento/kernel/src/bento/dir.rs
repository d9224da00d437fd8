// SPDX-License-Identifier: GPL-2.0

//! Where the entries of a directory go.

use super::{
    Ino,
    Kind, //
};
use crate::user::types::Entry;

/// Takes entries of a directory until it is full.
pub struct DirSink<'a> {
    entries: &'a mut Vec<Entry>,
    room: usize,
}

/// Bytes that an entry takes beside its name: as in the kernel's buffer.
const ENTRY_HEADER: usize = 24;

impl<'a> DirSink<'a> {
    pub(crate) fn new(entries: &'a mut Vec<Entry>, room: usize) -> Self {
        Self { entries, room }
    }

    /// Adds an entry; `next` is the position behind it. False if the sink is full: the entry was
    /// not taken.
    pub fn emit(&mut self, name: &[u8], ino: Ino, kind: Kind, next: u64) -> bool {
        let size = (ENTRY_HEADER + name.len()).next_multiple_of(8);
        let Some(room) = self.room.checked_sub(size) else {
            self.room = 0;
            return false;
        };
        self.room = room;
        self.entries.push(Entry {
            name: name.to_vec(),
            ino,
            kind,
            next,
        });
        true
    }
}
