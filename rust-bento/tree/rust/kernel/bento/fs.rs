// SPDX-License-Identifier: GPL-2.0

//! The trait that a file system implements.
//!
//! This file is compiled in both worlds, see [`types`](super::types).
//!
//! # The contract
//!
//! - Every method runs inside the gate. It may wait for another task inside the gate (the locks of
//!   [`bento::sync`](super::sync), inode guards), for metadata I/O and for memory, and for nothing
//!   else: it cannot name anything else. The core has taken care of what lies outside: `i_rwsem`,
//!   the page cache, the dentry cache, permissions, idmaps, LSMs, freeze levels, the start of the
//!   handle.
//! - Methods run concurrently. What the core excludes is said at each method; "holds the directory"
//!   means that no other call changes the names in it meanwhile.
//! - jbd2 has no rollback. A method that takes a [`Handle`] first reads, checks, claims, and takes
//!   write access to everything it needs, and only then stores. An error before the first store
//!   leaves the volume as it was; an error after it aborts the journal.
//! - At every return, buffers, the inode's attributes and the core's sets of claimed blocks are the
//!   whole truth. What a file system keeps in `self` or in [`FileSystem::Node`] is a cache that can
//!   be rebuilt from them at any time.
//! - A version may be replaced by another while the volume is mounted: the successor is made with
//!   [`FileSystem::stage`] while the predecessor serves; then, while nobody is inside, the
//!   predecessor's [`FileSystem::export`] and the successor's [`FileSystem::import`] run. These two
//!   must not sleep: no I/O, no memory, no lock but by `try_lock`.
//! - Damage that is met is reported with [`Volume::corrupt`], which gives the error to return.

use super::{
    Attributes,
    Block,
    Claims,
    Credits,
    DirSink,
    Extent,
    FileRange,
    Handle,
    Ino,
    Inode,
    Intent,
    Kind,
    Mapping,
    Name,
    Options,
    Space,
    StateReader,
    StateWriter,
    Step,
    Volume,
    VolumeInfo, //
};
use crate::error::Result;
use core::ops::RangeInclusive;

/// The names of an option that a file system takes, see [`FileSystem::OPTIONS`].
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// The name, as in `-o name` or `-o name=value`.
    pub name: &'static str,
    /// What value it takes.
    pub value: OptionValue,
}

/// The type of an option's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// None.
    Flag,
    /// An unsigned number, decimal, with an optional suffix k, M, G or T.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// A new inode, see [`FileSystem::create`].
#[derive(Clone, Copy, Debug)]
pub struct NewInode<'a> {
    /// The directory entry to make, or [`None`] for an inode without a name (`O_TMPFILE`), which
    /// becomes an orphan in the same transaction.
    pub name: Option<Name<'a>>,
    /// The target, if the inode is a symbolic link: 1 to `PATH_MAX - 1` bytes without NUL.
    pub target: &'a [u8],
}

/// A rename, see [`FileSystem::rename`].
pub struct Rename<'a, T: Copy> {
    /// The directory that holds the old name.
    pub old_dir: Inode<'a, T>,
    /// The old name.
    pub old_name: Name<'a>,
    /// The inode that the old name is of.
    pub inode: Inode<'a, T>,
    /// The directory of the new name; may be `old_dir`.
    pub new_dir: Inode<'a, T>,
    /// The new name.
    pub new_name: Name<'a>,
    /// The inode that the new name is of, which is replaced or exchanged.
    pub target: Option<Inode<'a, T>>,
    /// `RENAME_EXCHANGE`: both names stay and trade inodes.
    pub exchange: bool,
    /// `RENAME_WHITEOUT`: an inode, made before without a name, that takes the old name.
    pub whiteout: Option<Inode<'a, T>>,
}

impl<'a, T: Copy> Rename<'a, T> {
    /// What takes the old name.
    pub fn successor(&self) -> Option<Inode<'a, T>> {
        self.target.filter(|_| self.exchange).or(self.whiteout)
    }

    /// The inodes whose records change.
    pub fn inodes(&self) -> [Option<Inode<'a, T>>; 5] {
        [
            Some(self.old_dir),
            Some(self.new_dir),
            Some(self.inode),
            self.target,
            self.whiteout,
        ]
    }
}

/// A file system, written once and run in the kernel and in user space.
///
/// Its contract, with locks and context of each call, stands at the head of its source, `fs.rs`.
pub trait FileSystem: Sized + Send + Sync + 'static {
    /// The on-disk format: what `mount -t` calls it. No '.' in it. Several implementations may
    /// share one.
    const FORMAT: &'static str;
    /// The implementation. The one whose name is that of the format is its default.
    const NAME: &'static str = Self::FORMAT;
    /// The implementation's version.
    const VERSION: u32;
    /// Block size in bytes: 4096.
    const BLOCK_SIZE: u32 = 4096;
    /// Options of its own, beside those that the core knows.
    const OPTIONS: &'static [OptionSpec] = &[];

    /// The version of the state that [`FileSystem::export`] writes. Raised when a successor that
    /// knows only the one before would be wrong.
    const STATE_WRITES: u32 = 0;
    /// The versions of the state that [`FileSystem::import`] reads.
    const STATE_READS: RangeInclusive<u32> = 0..=0;
    /// Bytes that the records of its state take at most, [`STATE_RECORD`](super::STATE_RECORD) and
    /// up to 7 bytes of padding for each one included; at most
    /// [`STATE_SIZE_MAX`](super::STATE_SIZE_MAX).
    const STATE_SIZE: usize = 0;

    /// What it caches of an inode: plain data, at most [`NODE_SIZE`](super::NODE_SIZE) bytes, which
    /// the core keeps in its inode. Reached through [`Inode::read`] and [`Inode::write`].
    type Node: Copy + Send + Sync + 'static;

    /// Reads the super block, and checks it: called before the journal is replayed, and again
    /// after.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the volume holds another format, another version or unknown incompatible
    /// features, or is larger than its device; `EUCLEAN` if a checksum or a field is wrong. Each
    /// with one message that names the field, by [`Volume::refuse`].
    fn probe(volume: &Volume) -> Result<VolumeInfo>;

    /// Makes the file system of a volume whose journal has been replayed. Writes nothing.
    fn mount(volume: &Volume, options: &Options) -> Result<Self>;

    /// Makes the successor of a version that serves the mounted volume, and goes on to do so: what
    /// is read here and kept must be what does not change while a volume is mounted. All else is
    /// found out after the switch. All reading and all allocation for the take-over happen here.
    ///
    /// Called once [`FileSystem::probe`] has given what it gave when the volume was mounted.
    fn stage(volume: &Volume, options: &Options) -> Result<Self> {
        Self::mount(volume, options)
    }

    /// Writes down what a successor cannot find out by itself, or not as fast. Nobody is inside.
    fn export(&self, _state: &mut StateWriter<'_>) -> Result {
        Ok(())
    }

    /// Takes over from the predecessor. Nobody is inside; an error leaves the predecessor in place.
    ///
    /// # Errors
    ///
    /// `EBADMSG` for a record that makes no sense.
    fn import(&mut self, _state: &StateReader<'_>) -> Result {
        Ok(())
    }

    /// What is free, summed from the volume's own counts: called once, after `mount`. From then on
    /// the core keeps the numbers.
    fn space(&self, volume: &Volume) -> Result<Space>;

    /// Credits of each operation. Constant for the life of the value; a successor's
    /// `tree_depth` and `half_node` are those of its predecessor.
    fn credits(&self) -> Credits;

    /// Records on disk that the volume is in use (`None`), or was left clean, and then with these
    /// free counts. Called when a volume becomes writable, and last when it ceases to be.
    ///
    /// The core calls this and [`set_error`](Self::set_error) one at a time. Nothing by default:
    /// for a format that keeps no such record.
    fn set_clean(&self, _handle: &Handle<'_>, _space: Option<Space>) -> Result {
        Ok(())
    }

    /// Records on disk that damage was met, so that fsck looks at the volume, which takes the
    /// record away. The handle has the credits of [`set_clean`](Self::set_clean). Called while the
    /// volume is written to, soon after the damage was met, and instead of `set_clean` at the end.
    /// Nothing by default.
    fn set_error(&self, _handle: &Handle<'_>) -> Result {
        Ok(())
    }

    /// Reads an inode that is not in memory. Nobody else has this inode.
    ///
    /// # Errors
    ///
    /// `ESTALE` if no inode of this number is in use; the core turns it into what its caller needs.
    fn read_inode(&self, volume: &Volume, ino: Ino) -> Result<(Attributes, Self::Node)>;

    /// Makes the cached data of an inode that is in memory, possibly without a name: after another
    /// version has served it. Never changes attributes. Nobody else uses the inode's data.
    ///
    /// By default what [`read_inode`](Self::read_inode) makes.
    fn attach(&self, volume: &Volume, inode: Inode<'_, Self::Node>) -> Result<Self::Node> {
        Ok(self.read_inode(volume, inode.ino())?.1)
    }

    /// Reads the target of a symbolic link into `target`, and gives its length.
    ///
    /// Called once, after `read_inode`: the core keeps the target.
    fn read_link(
        &self,
        volume: &Volume,
        inode: Inode<'_, Self::Node>,
        target: &mut [u8],
    ) -> Result<usize>;

    /// The inode that `name` names in `dir`. The core holds the directory.
    fn lookup(
        &self,
        volume: &Volume,
        dir: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result<Option<Ino>>;

    /// Emits entries from `position` on until the sink is full, in a bounded step. Position 0 is
    /// the first entry; all others are what was emitted as an entry's next position, which
    /// belongs to the format: it stays valid while entries come and go. The core holds the
    /// directory.
    ///
    /// Does not emit `.` and `..`. Nothing emitted means the end, and from position 0 a directory
    /// that may be removed.
    fn read_dir(
        &self,
        volume: &Volume,
        dir: Inode<'_, Self::Node>,
        position: u64,
        sink: &mut DirSink<'_>,
    ) -> Result;

    /// The parent of a directory.
    fn parent(&self, volume: &Volume, dir: Inode<'_, Self::Node>) -> Result<Ino>;

    /// Chooses a number for a new inode and claims it with [`Claims::claim_ino`]. No transaction:
    /// the core gives the claim back if nothing comes of it.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if no inode is free.
    fn alloc_inode(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        dir: Inode<'_, Self::Node>,
        kind: Kind,
    ) -> Result<Ino>;

    /// Makes an inode and its directory entry: allocates its number on disk, stores its record and
    /// that of `dir`. The core holds the directory, has set the attributes of both (links and times
    /// too) and knows that the name is free. Gives what is cached of the new inode.
    fn create(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        new: &NewInode<'_>,
    ) -> Result<Self::Node>;

    /// Adds a name to an inode, stores both records. If the inode was an orphan (`linkat` of an
    /// `O_TMPFILE` file) it is one no more. The core holds the directory and has set the
    /// attributes.
    fn link(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result;

    /// Removes a name, stores both records. If the inode's link count has become zero, it becomes
    /// an orphan. The core holds the directory, and the inode if it is a directory, has seen that
    /// it is empty, and has set the attributes.
    fn unlink(
        &self,
        handle: &Handle<'_>,
        dir: Inode<'_, Self::Node>,
        inode: Inode<'_, Self::Node>,
        name: Name<'_>,
    ) -> Result;

    /// Renames, stores every record that changes, among them the parent of a directory that moves.
    /// A target whose link count has become zero becomes an orphan. The core holds both
    /// directories and the inodes, has checked all that POSIX asks, and has set the attributes.
    fn rename(&self, handle: &Handle<'_>, rename: &Rename<'_, Self::Node>) -> Result;

    /// Stores an inode's record, with [`Writable::store_inode`](super::Writable::store_inode).
    fn write_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>) -> Result;

    /// Puts a file that has a name on the list of orphans, or takes it off. Between the two it may
    /// have blocks behind its size, which the mount after a crash frees. Nothing if it is there, or
    /// not there, already.
    fn set_orphan(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>, orphan: bool)
        -> Result;

    /// The first orphan whose number is greater than `cursor`. Called while mounting, after a
    /// crash.
    fn next_orphan(&self, volume: &Volume, cursor: Ino) -> Result<Option<Ino>>;

    /// Maps the start of `range`: tells what is there, at most up to the end of the range.
    ///
    /// With [`Intent::Allocate`] a hole is given blocks, claimed with [`Claims::claim`] and marked
    /// nowhere else; fewer than asked for if that is what one claim gave. Space has been reserved.
    ///
    /// # Errors
    ///
    /// `ENOSPC` from [`Intent::Allocate`] if no block could be claimed.
    fn map(
        &self,
        volume: &Volume,
        claims: &Claims<'_>,
        inode: Inode<'_, Self::Node>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping>;

    /// Makes `extent` part of the file, after its data is on disk: sets its bits where the blocks
    /// are new, inserts it or, over blocks that are already mapped there unwritten, turns those
    /// into written; stores the inode's record. With `extent.unwritten` it is a preallocation. If
    /// the range is mapped already as it shall be, or written, only the record is stored.
    ///
    /// Blocks for the tree are claimed from the handle.
    fn publish(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>, extent: Extent) -> Result;

    /// Frees what the file maps in `range`, from its end, in one step bounded by the credits;
    /// stores the inode's record. For a directory or a symbolic link the range is everything.
    ///
    /// Any version can continue where another stopped: what has been freed is no longer mapped.
    fn free_blocks(
        &self,
        handle: &Handle<'_>,
        inode: Inode<'_, Self::Node>,
        range: FileRange,
    ) -> Result<Step>;

    /// Frees the inode itself, whose blocks are gone: its number and its place on the orphan list.
    fn free_inode(&self, handle: &Handle<'_>, inode: Inode<'_, Self::Node>) -> Result;

    /// The block that holds the record of `ino`, for readahead. By default there is none.
    fn inode_block(&self, _ino: Ino) -> Option<Block> {
        None
    }
}
