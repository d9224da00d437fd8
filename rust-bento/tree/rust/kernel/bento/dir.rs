// SPDX-License-Identifier: GPL-2.0

//! Reading directories.
//!
//! Entries go through a buffer of the core: a file system fills it inside the gate, and it is
//! copied to user space, which may fault, after the gate was left.

use super::{
    entered::Entered,
    file,
    inode::CoreInode,
    ioctl,
    table::Table,
    Ino,
    Kind,
    NAME_MAX, //
};
use crate::{
    bindings,
    error::from_result,
    prelude::*, //
};

/// File operations of a directory.
pub(super) static DIR_OPS: Table<bindings::file_operations> = Table(bindings::file_operations {
    llseek: Some(llseek),
    read: Some(bindings::generic_read_dir),
    iterate_shared: Some(iterate),
    unlocked_ioctl: Some(ioctl::ioctl),
    compat_ioctl: bindings::compat_ptr_ioctl,
    fsync: Some(file::fsync),
    setlease: Some(bindings::generic_setlease),
    ..pin_init::zeroed()
});

/// Size of the buffer, in bytes.
const SINK_SIZE: usize = 4096;
/// What an entry takes beside its name: next position, inode number, type, length of the name.
const ENTRY_HEAD: usize = 8 + 8 + 1 + 1;
/// The positions of `.` and `..`; a file system's begin behind them.
const DOTS: u64 = 2;

/// Where a file system emits the entries of a directory.
///
/// When a program reads, it holds at least 14 entries, whatever their names.
pub struct DirSink<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

/// One entry.
struct Entry<'a> {
    name: &'a [u8],
    ino: Ino,
    dtype: u8,
    next: u64,
}

impl<'a> DirSink<'a> {
    fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    /// Emits an entry, behind which reading goes on at the position `next`. If it does not fit,
    /// returns `false`: the sink is full, and the entry was not taken.
    ///
    /// Entries in a row with the same `next` are read in one go or not at all.
    #[must_use]
    pub fn emit(&mut self, name: &[u8], ino: Ino, kind: Kind, next: u64) -> bool {
        let Ok(len) = u8::try_from(name.len()) else {
            return false;
        };
        let Some(room) = self
            .buffer
            .get_mut(self.used..)
            .and_then(|rest| rest.get_mut(..ENTRY_HEAD + name.len()))
        else {
            return false;
        };
        let (head, text) = room.split_at_mut(ENTRY_HEAD);
        let (next_at, rest) = head.split_at_mut(8);
        let (ino_at, rest) = rest.split_at_mut(8);
        next_at.copy_from_slice(&next.to_le_bytes());
        ino_at.copy_from_slice(&ino.to_le_bytes());
        rest.copy_from_slice(&[kind.dtype(), len]);
        text.copy_from_slice(name);
        self.used += ENTRY_HEAD + name.len();
        true
    }

    /// The entries.
    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.buffer.get(..self.used).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let (next, tail) = rest.split_first_chunk::<8>()?;
            let (ino, tail) = tail.split_first_chunk::<8>()?;
            let (&[dtype, len], tail) = tail.split_first_chunk::<2>()?;
            let (name, tail) = tail.split_at_checked(len.into())?;
            rest = tail;
            Some(Entry {
                name,
                ino: Ino::from_le_bytes(*ino),
                dtype,
                next: u64::from_le_bytes(*next),
            })
        })
    }
}

/// Whether a directory, which the caller holds, has no entries.
pub(super) fn is_empty(dir: &CoreInode) -> Result<bool> {
    let mut room = [0; ENTRY_HEAD + NAME_MAX];
    let mut sink = DirSink::new(&mut room);
    dir.core_super().enter()?.read_dir(dir, 0, &mut sink)?;
    Ok(sink.used == 0)
}

/// The position of a file, for one of a file system.
fn file_position(position: u64) -> i64 {
    i64::try_from(position.saturating_add(DOTS)).unwrap_or(i64::MAX)
}

/// # Safety
///
/// `file` is an open directory of a Bento mount.
unsafe extern "C" fn llseek(
    file: *mut bindings::file,
    offset: bindings::loff_t,
    whence: c_int,
) -> bindings::loff_t {
    // Positions are hashes: the largest size of a file does not bound them.
    // SAFETY: By this function's requirement.
    unsafe { bindings::generic_file_llseek_size(file, offset, whence, i64::MAX, 0) }
}

/// # Safety
///
/// `file` is an open directory of a Bento mount, which the VFS holds; `ctx` is valid.
unsafe extern "C" fn iterate(file: *mut bindings::file, ctx: *mut bindings::dir_context) -> c_int {
    from_result(|| {
        // SAFETY: By this function's requirement.
        let dir = unsafe { CoreInode::from_raw((*file).f_inode) };
        // SAFETY: As above.
        if !unsafe { bindings::dir_emit_dots(file, ctx) } {
            return Ok(0);
        }
        let mut buffer = KVec::from_elem(0u8, SINK_SIZE, GFP_KERNEL)?;
        loop {
            // SAFETY: As above.
            let Ok(position) = u64::try_from(unsafe { (*ctx).pos }) else {
                return Err(EINVAL);
            };
            if position == i64::MAX as u64 {
                return Ok(0);
            }
            let mut sink = DirSink::new(&mut buffer);
            let entered = dir.core_super().enter()?;
            entered.read_dir(dir, position.saturating_sub(DOTS), &mut sink)?;
            read_ahead(&entered, dir, &sink);
            drop(entered);
            // SAFETY: As above; the gate has been left.
            if !unsafe { copy_out(ctx, &sink) } {
                return Ok(0);
            }
            // SAFETY: As above.
            if file_position_did_not_move(position, unsafe { (*ctx).pos }) {
                return Err(dir.core_super().volume().corrupt(fmt!(
                    "reading directory {} does not get on from position {position}",
                    dir.ino()
                )));
            }
        }
    })
}

/// Starts reading the records of the inodes that were found: a `stat` of each often follows.
fn read_ahead(entered: &Entered<'_>, dir: &CoreInode, sink: &DirSink<'_>) {
    let mut last = None;
    for entry in sink.entries() {
        let block = entered.inode_block(entry.ino);
        if let Some(block) = block.filter(|_| block != last) {
            dir.core_super().volume().readahead(block, 1);
            last = Some(block);
        }
    }
}

fn file_position_did_not_move(before: u64, after: i64) -> bool {
    u64::try_from(after).is_ok_and(|after| after <= before)
}

/// Copies entries to where the caller wants them. `false` if there are none, or it wants no more.
///
/// # Safety
///
/// `ctx` is valid, and neither gate nor handle is held.
unsafe fn copy_out(ctx: *mut bindings::dir_context, sink: &DirSink<'_>) -> bool {
    let mut entries = sink.entries().peekable();
    if entries.peek().is_none() {
        return false;
    }
    while let Some(entry) = entries.next() {
        // SAFETY: By this function's requirement.
        let taken = unsafe {
            bindings::dir_emit(
                ctx,
                entry.name.as_ptr().cast(),
                entry.name.len() as c_int,
                entry.ino,
                entry.dtype.into(),
            )
        };
        if !taken {
            return false;
        }
        // Entries of one position are read again as a whole, rather than left out.
        if entries
            .peek()
            .is_none_or(|following| following.next != entry.next)
        {
            // SAFETY: As above.
            unsafe { (*ctx).pos = file_position(entry.next) };
        }
    }
    true
}

#[kunit_tests(rust_bento_dir)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_gives_back_what_was_emitted() {
        let mut buffer = [0; 2 * ENTRY_HEAD + 3];
        let mut sink = DirSink::new(&mut buffer);
        assert!(sink.emit(b"ab", 7, Kind::Regular, 11));
        assert!(sink.emit(b"c", 8, Kind::Directory, u64::MAX));
        assert!(!sink.emit(b"", 9, Kind::Fifo, 12));
        let mut entries = sink.entries();
        let first = entries.next().unwrap();
        assert_eq!(
            (first.name, first.ino, first.dtype, first.next),
            (&b"ab"[..], 7, 8, 11)
        );
        let second = entries.next().unwrap();
        assert_eq!((second.name, second.ino, second.dtype), (&b"c"[..], 8, 4));
        assert!(entries.next().is_none());
    }

    #[test]
    fn positions_stay_within_a_file_offset() {
        assert_eq!(file_position(0), 2);
        assert_eq!(file_position(u64::MAX), i64::MAX);
        assert!(file_position_did_not_move(5, 5));
        assert!(!file_position_did_not_move(5, 6));
    }
}
