// SPDX-License-Identifier: GPL-2.0

//! The operations that the suite asks of a system.

pub use rustix::io::Errno;

/// The result of an operation.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// What a system may lack. A test that needs it is skipped where it is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Checks permissions, and can act as another user.
    Users,
    /// Gives files to others.
    Owners,
    /// Makes device nodes.
    Devices,
    /// Can be mounted anew.
    Remount,
    /// Is nobody else's: it may be filled, and what is free changes only by the test.
    Alone,
    /// Has so few inodes that they can be used up, before space for their names is.
    FewInodes,
    /// Has files of up to 4 TiB.
    LargeFiles,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Fifo,
    CharDevice,
    Directory,
    BlockDevice,
    Regular,
    Symlink,
    Socket,
}

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    pub sec: i64,
    pub nsec: u32,
}

/// What is told of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub ino: u64,
    pub kind: Kind,
    /// Permissions, with the set-id bits and the sticky bit.
    pub mode: u16,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    pub size: u64,
    /// In units of 512 bytes.
    pub sectors: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub ino: u64,
    pub kind: Kind,
    /// Where to go on behind it.
    pub next: u64,
}

/// How to rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameMode {
    Plain,
    NoReplace,
    Exchange,
}

/// What `fallocate` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallocate {
    Allocate,
    KeepSize,
    PunchHole,
    ZeroRange,
}

/// What to seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    Data,
    Hole,
}

/// What is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub free: u64,
    /// Inodes.
    pub free_inodes: u64,
}

impl Space {
    /// See [`Feature::FewInodes`].
    pub fn has_few_inodes(&self) -> bool {
        self.free_inodes <= 20_000 && self.free_inodes / 4 <= self.free / 4096
    }
}

/// A file system under test. Paths are relative to the directory of the test; those of the last
/// component are not followed where they are symbolic links.
pub trait System {
    /// An open file.
    type File;

    fn has(&self, feature: Feature) -> bool;

    /// A new file, which must not exist, to read and write.
    fn create(&self, path: &[u8], mode: u16) -> Result<Self::File>;
    /// A file, to read and write.
    fn open(&self, path: &[u8]) -> Result<Self::File>;
    /// `O_TMPFILE`.
    fn tmpfile(&self, dir: &[u8], mode: u16) -> Result<Self::File>;
    /// Gives an open file a name.
    fn link_file(&self, file: &Self::File, path: &[u8]) -> Result;
    fn stat_file(&self, file: &Self::File) -> Result<Stat>;
    fn read(&self, file: &Self::File, offset: u64, out: &mut [u8]) -> Result<usize>;
    fn write(&self, file: &Self::File, offset: u64, bytes: &[u8]) -> Result<usize>;
    /// Writes at the end, opened with `O_APPEND`.
    fn append(&self, path: &[u8], bytes: &[u8]) -> Result<usize>;
    fn set_len(&self, file: &Self::File, len: u64) -> Result;
    fn fallocate(&self, file: &Self::File, mode: Fallocate, offset: u64, len: u64) -> Result;
    fn seek(&self, file: &Self::File, what: Seek, offset: u64) -> Result<u64>;
    fn fsync(&self, file: &Self::File) -> Result;

    fn stat(&self, path: &[u8]) -> Result<Stat>;
    fn mkdir(&self, path: &[u8], mode: u16) -> Result;
    fn mknod(&self, path: &[u8], kind: Kind, mode: u16, rdev: (u32, u32)) -> Result;
    fn symlink(&self, target: &[u8], path: &[u8]) -> Result;
    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>>;
    fn link(&self, old: &[u8], new: &[u8]) -> Result;
    fn unlink(&self, path: &[u8]) -> Result;
    fn rmdir(&self, path: &[u8]) -> Result;
    fn rename(&self, old: &[u8], new: &[u8], mode: RenameMode) -> Result;
    fn chmod(&self, path: &[u8], mode: u16) -> Result;
    fn chown(&self, path: &[u8], uid: u32, gid: u32) -> Result;
    fn set_times(&self, path: &[u8], atime: Time, mtime: Time) -> Result;
    /// One step of reading a directory from a position on; 0 is the start. Nothing means the end.
    /// `.` and `..` are left out.
    fn read_dir(&self, path: &[u8], position: u64) -> Result<Vec<Entry>>;

    /// Acts as another user, in no other group.
    fn as_user<T>(&self, uid: u32, gid: u32, act: impl FnOnce() -> T) -> T;
    fn space(&self) -> Result<Space>;
    /// Writes everything to the disk.
    fn sync(&self) -> Result;
    /// Unmounts and mounts. No file may be open.
    fn remount(&self) -> Result;
    /// The directory in which the test works.
    fn enter(&self, dir: &str) -> Result;
    /// Removes the directory of the test, with all that is in it.
    fn leave(&self, dir: &str) -> Result;
}
