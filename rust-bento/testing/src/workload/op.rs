// SPDX-License-Identifier: GPL-2.0

//! Operations as plain data.

use kernel::user::RenameMode;

/// Names that paths are made of: short ones, and two that fill much of a block.
pub const NAMES: [&str; 7] = [
    "a",
    "b",
    "c",
    "d",
    "\u{fc}ber",
    "a name that is as long as a name can be --------------------------------------------------\
     ------------------------------------------------------------------------------------------\
     -------------------------------------------------------------------------",
    "another name that is rather long --------------------------------------------------------",
];

/// Files that can be kept open at a time.
pub const SLOTS: usize = 3;

/// A path: names from the root on, as numbers in [`NAMES`]. Empty for the root.
pub type Path = Vec<u8>;

/// What an operation on an inode is done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What a path names.
    Path(Path),
    /// An open file; nothing happens if none is in this slot.
    Open(u8),
}

/// A fault that will be met, if the next operation gets that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// The n-th allocation.
    Allocation(u16),
    /// The n-th read of a metadata block.
    Read(u16),
    /// The n-th write access.
    Access(u16),
    /// The n-th first store to a block, which ends the journal.
    Store(u16),
}

/// An operation. Offsets and lengths are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Create(Path),
    Mkdir(Path),
    /// With a target of this length.
    Symlink(Path, u16),
    /// A fifo.
    Mknod(Path),
    /// Opens a new file without a name.
    Tmpfile(u8),
    Link(Target, Path),
    Unlink(Path),
    Rmdir(Path),
    Rename(Path, Path, RenameMode),
    /// Opens a regular file. What was open in the slot is closed.
    Open(Path, u8),
    Close(u8),
    /// Offset, length, and what to write.
    Write(Target, u32, u32, u8),
    /// Length, and what to write.
    Append(Target, u32, u8),
    Truncate(Target, u32),
    /// Offset and length; whether the size stays.
    Allocate(Target, u32, u32, bool),
    Punch(Target, u32, u32),
    Zero(Target, u32, u32, bool),
    Read(Target, u32, u32),
    SeekData(Target, u32),
    SeekHole(Target, u32),
    Chmod(Target, u16),
    Chown(Target, u16, u16),
    Fsync(Target),
    Fdatasync(Target),
    Sync,
    /// Commits, as a timer does: promises nothing.
    Commit,
    Remount,
    /// A crash now, in which a number says what happens to each write in flight.
    Crash(u32),
    /// The next operation meets a fault.
    Inject(Injected),
}
