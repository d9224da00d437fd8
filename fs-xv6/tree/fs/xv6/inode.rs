// SPDX-License-Identifier: GPL-2.0

//! Inode records: read and checked, stored.

use super::{
    group::Which,
    layout::*,
    Xv6, //
};
use kernel::{
    bento::{
        crc32c,
        Attributes,
        Handle,
        Ino,
        Inode,
        Kind,
        Time,
        Volume,
        Writable, //
    },
    prelude::*, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

/// The part of a record that tells where an inode's blocks are: what is cached of it.
///
/// A record is stored under the inode's guard. Else one task could store an older root over a
/// newer.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// [`RawInode::depth`].
    pub(super) depth: u16,
    /// [`RawInode::root_count`].
    pub(super) count: u16,
    /// [`RawInode::root`].
    pub(super) root: [u8; ROOT_SIZE],
}

impl Node {
    /// An inode without blocks.
    pub(super) const EMPTY: Self = Self {
        depth: 0,
        count: 0,
        root: [0; ROOT_SIZE],
    };

    /// A new directory in `parent`.
    pub(super) fn directory(parent: Ino) -> Self {
        let mut node = Self::EMPTY;
        node.set_dir_root(&DirRoot {
            parent: parent.into(),
            ..DirRoot::default()
        });
        node
    }

    /// The root of a directory.
    pub(super) fn dir_root(&self) -> DirRoot {
        DirRoot::read_from_prefix(&self.root).map_or(DirRoot::default(), |(root, _)| root)
    }

    /// Changes the root of a directory.
    pub(super) fn set_dir_root(&mut self, root: &DirRoot) {
        // It fits: layout.rs asserts it.
        let _ = root.write_to_prefix(&mut self.root);
    }

    /// An entry of the root of an extent tree.
    pub(super) fn extent(&self, index: usize) -> Option<RawExtent> {
        let offset = index.checked_mul(size_of::<RawExtent>())?;
        let (extent, _) = RawExtent::read_from_prefix(self.root.get(offset..)?).ok()?;
        Some(extent)
    }
}

/// A record that is to be stored.
pub(super) struct RecordSlot<'h> {
    block: Writable<'h>,
    offset: usize,
}

impl Xv6 {
    /// Whether `ino` can be the number of an inode.
    pub(super) fn is_ino(&self, ino: Ino) -> bool {
        ino != 0 && ino <= self.geometry.max_ino()
    }

    /// Reads and checks the record of an inode that is in use.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is not in use; `EIO`; `EUCLEAN`.
    pub(super) fn read_record(&self, volume: &Volume, ino: Ino) -> Result<RawInode> {
        if !self.is_ino(ino) {
            return Err(ESTALE);
        }
        let group = self.geometry.group_of_ino(ino);
        let mut cached = self.group(group)?.lock();
        let bitmap = self.bitmap(volume, group, Which::Inodes, &mut cached)?;
        let bit = self.geometry.ino_bit(ino);
        if !bitmap.is_set(bit) {
            return Err(ESTALE);
        }
        let is_orphan = bitmap.next_orphan(bit) == bit;
        drop(cached);
        let (block, offset) = self.geometry.inode_place(ino);
        let record: RawInode = volume.read(block)?.load(offset)?;
        // Reserved numbers are taken in the bitmap. A file handle may hold any number.
        if ino < FIRST_INO && ino != ROOT_INO && record.mode.get() == 0 {
            return Err(ESTALE);
        }
        match self.check_record(ino, &record) {
            // Whoever puts the last reference would free what a name still leads to.
            Ok(()) if record.nlink.get() == 0 && !is_orphan => {
                Err(volume.corrupt(format_args!("inode {ino}: no links, and no orphan")))
            }
            Ok(()) => Ok(record),
            Err(field) => Err(volume.corrupt(format_args!("inode {ino}: {field}"))),
        }
    }

    /// The attributes in a record, and what is cached of it.
    pub(super) fn decode(record: &RawInode) -> (Attributes, Node) {
        let time = |sec: u64, nsec: u32| Time {
            sec: sec as i64,
            nsec,
        };
        let attributes = Attributes {
            mode: record.mode.get(),
            nlink: record.nlink.get(),
            uid: record.uid.get(),
            gid: record.gid.get(),
            size: record.size.get(),
            sectors: record.blocks.get().saturating_mul(SECTORS),
            atime: time(record.atime.get(), record.atime_nsec.get()),
            mtime: time(record.mtime.get(), record.mtime_nsec.get()),
            ctime: time(record.ctime.get(), record.ctime_nsec.get()),
            btime: time(record.btime.get(), record.btime_nsec.get()),
            generation: record.generation.get(),
            version: record.version.get(),
            flags: record.flags.get(),
            rdev: record.rdev.get(),
        };
        (attributes, Self::node(record))
    }

    /// What is cached of a record.
    pub(super) fn node(record: &RawInode) -> Node {
        Node {
            depth: record.depth.get(),
            count: record.root_count.get(),
            root: record.root,
        }
    }

    /// Writes into a record all that this version knows of an inode. Pure.
    fn encode(&self, ino: Ino, attributes: &Attributes, node: &Node, record: &mut RawInode) {
        record.mode = attributes.mode.into();
        record.depth = node.depth.into();
        record.ino = ino.into();
        record.generation = attributes.generation.into();
        record.nlink = attributes.nlink.into();
        record.uid = attributes.uid.into();
        record.gid = attributes.gid.into();
        record.size = attributes.size.into();
        record.blocks = attributes.sectors.div_ceil(SECTORS).into();
        record.atime = (attributes.atime.sec as u64).into();
        record.mtime = (attributes.mtime.sec as u64).into();
        record.ctime = (attributes.ctime.sec as u64).into();
        record.btime = (attributes.btime.sec as u64).into();
        record.atime_nsec = attributes.atime.nsec.into();
        record.mtime_nsec = attributes.mtime.nsec.into();
        record.ctime_nsec = attributes.ctime.nsec.into();
        record.btime_nsec = attributes.btime.nsec.into();
        record.version = attributes.version.into();
        record.flags = attributes.flags.into();
        record.rdev = attributes.rdev.into();
        record.root_count = node.count.into();
        record.root = node.root;
        record.checksum = self.record_checksum(*record).into();
    }

    fn record_checksum(&self, mut record: RawInode) -> u32 {
        record.checksum = 0.into();
        crc32c(self.seed, record.as_bytes())
    }

    /// Checks a record; the error names the field.
    fn check_record(&self, ino: Ino, record: &RawInode) -> Result<(), &'static str> {
        let check = |good: bool, field| if good { Ok(()) } else { Err(field) };
        check(
            self.record_checksum(*record) == record.checksum.get(),
            "checksum",
        )?;
        check(record.ino.get() == ino, "ino")?;
        let kind = Kind::from_mode(record.mode.get()).ok_or("mode")?;
        check(record.nlink.get() <= MAX_LINKS, "nlink")?;
        check(record.blocks.get() <= self.geometry.blocks, "blocks")?;
        let nsecs = [
            record.atime_nsec,
            record.mtime_nsec,
            record.ctime_nsec,
            record.btime_nsec,
        ];
        check(nsecs.iter().all(|nsec| nsec.get() < 1_000_000_000), "times")?;

        let node = Self::node(record);
        let size = record.size.get();
        // The core takes a file that counts no blocks for one that has none.
        let any = match kind {
            Kind::Directory => node.dir_root().block.get() != 0,
            _ => node.count != 0,
        };
        check(!any || record.blocks.get() != 0, "blocks")?;
        match kind {
            Kind::Regular => {
                check(size <= MAX_FILE_SIZE, "size")?;
                self.check_extent_root(&node)
            }
            Kind::Directory => {
                let root = node.dir_root();
                check(size <= MAX_FILE_SIZE, "size")?;
                check(root.level.get() <= MAX_DIR_LEVEL, "level")?;
                check(self.is_ino(root.parent.get()), "parent")?;
                let block = root.block.get();
                check(block == 0 || self.is_data(block, 1), "root block")
            }
            Kind::Symlink => self.check_link(&node, size),
            _ => check(node.count == 0 && node.depth == 0 && size == 0, "root"),
        }
    }

    /// Takes write access to the record of an inode that is in use.
    pub(super) fn prepare_store<'h>(
        &self,
        handle: &'h Handle<'_>,
        ino: Ino,
    ) -> Result<RecordSlot<'h>> {
        if !self.is_ino(ino) {
            return Err(EUCLEAN);
        }
        let (block, offset) = self.geometry.inode_place(ino);
        let buffer = handle.volume().read(block)?;
        Ok(RecordSlot {
            block: handle.write(&buffer)?,
            offset,
        })
    }

    /// Takes write access to the place of a new inode's record, whose number is claimed. If no
    /// inode in that block of the table is in use, what it holds is of no use either: it is not
    /// read.
    pub(super) fn prepare_first_store<'h>(
        &self,
        handle: &'h Handle<'_>,
        ino: Ino,
    ) -> Result<RecordSlot<'h>> {
        if !self.is_ino(ino) {
            return Err(EUCLEAN);
        }
        let group = self.geometry.group_of_ino(ino);
        let (block, offset) = self.geometry.inode_place(ino);
        // Under the lock: no record is stored in this block before its inode's bit is set.
        let mut cached = self.group(group)?.lock();
        let bitmap = self.bitmap(handle.volume(), group, Which::Inodes, &mut cached)?;
        let bit = self.geometry.ino_bit(ino);
        const PER_BLOCK: usize = INODES_PER_BLOCK as usize;
        let first = bit.saturating_sub(bit % PER_BLOCK);
        let end = first.saturating_add(PER_BLOCK);
        if bitmap.next_set(first, end) == end {
            let block = handle.write_unread(block)?;
            return Ok(RecordSlot { block, offset });
        }
        drop(cached);
        self.prepare_store(handle, ino)
    }
}

impl RecordSlot<'_> {
    /// Stores the record of an inode, with its attributes and its node as they are now. The caller
    /// has no guard of the inode.
    pub(super) fn apply(&mut self, fs: &Xv6, inode: Inode<'_, Node>) -> Result {
        let node = inode.read();
        self.apply_with(fs, inode, &node)
    }

    /// Stores the record of an inode whose guard the caller holds.
    pub(super) fn apply_with(&mut self, fs: &Xv6, inode: Inode<'_, Node>, node: &Node) -> Result {
        let ino = inode.ino();
        self.block
            .store_inode(self.offset, inode, |attributes, record: &mut RawInode| {
                fs.encode(ino, attributes, node, record);
            })
    }
}

/// Units of [`Attributes::sectors`] in a block.
pub(super) const SECTORS: u64 = BLOCK_SIZE as u64 / 512;
