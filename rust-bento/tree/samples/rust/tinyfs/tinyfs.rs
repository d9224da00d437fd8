// SPDX-License-Identifier: GPL-2.0

//! tinyfs: a whole file system, as small as can be, to learn Bento from.
//!
//! `Documentation/filesystems/bento-tutorial.rst` walks through it.
//!
//! # The volume
//!
//! Blocks of 4096 bytes, [`BLOCKS`] at most, in this order; numbers are little-endian:
//!
//! - the [`SuperBlock`];
//! - the bitmap, [`BITMAP`]: a bit is set while its block, or the inode there, is in use;
//! - the inodes, two blocks each; the number of the first is the inode's. It has the attributes,
//!   and at [`CUT`] a 1 while blocks behind the file's size are being freed. The second has [`MAX`]
//!   pointers to the file's blocks, or the target of a symbolic link. A pointer is a block's number
//!   or 0; [`UNWRITTEN`] in it marks a block that reads as zeroes;
//! - the names of all directories: a hash table of [`Slot`]s, [`SLOTS`] in a block. A name is
//!   looked for from the slot of its hash on, up to a slot that was never used;
//! - the journal (jbd2's);
//! - the blocks of files.
//!
//! # Locks
//!
//! The core's hold on a directory covers the slots of its names, `names` covers the free ones. An
//! inode's guard covers its pointers. Then comes `bits`, which covers the bitmap.
//!
//! # Left out
//!
//! Checksums; large volumes and files; directories that can be listed without a look at all names;
//! keeping together on the volume what belongs together.

#![forbid(unsafe_code)]

use core::ops::Range;
use kernel::{
    bento::{
        sync::Mutex,
        *, //
    },
    prelude::*, //
};
use zerocopy::little_endian::U32;
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// [`SuperBlock::magic`].
pub const MAGIC: [u8; 8] = *b"tinyfs2\n";
/// Size of a block in bytes.
pub const BLOCK: usize = 4096;
/// Blocks that a volume can have: the bits of one block.
pub const BLOCKS: u64 = 8 * BLOCK as u64;
/// Where the bitmap is.
pub const BITMAP: Block = 1;
/// The root directory: the first inode.
pub const ROOT: Ino = 2;
/// Where the mark of a file that is being cut is in its inode: behind the attributes.
pub const CUT: usize = size_of::<StoredAttributes>();
/// Blocks that a file can have.
pub const MAX: u64 = BLOCK as u64 / 4;
/// In a pointer: the block was allocated, and reads as zeroes.
pub const UNWRITTEN: u32 = 1 << 31;
/// Slots in a block of names.
pub const SLOTS: u64 = (BLOCK / size_of::<Slot>()) as u64;

/// The super block, in block 0.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct SuperBlock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Identifies the volume.
    pub uuid: [u8; 16],
    /// Where the inodes, the names, the journal and the blocks of files end.
    pub ends: [U32; 4],
}

/// A directory entry.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Slot {
    /// The directory; zero if the slot is free.
    pub dir: U32,
    /// The inode.
    pub ino: U32,
    /// [`Kind::dtype`] of the inode.
    pub kind: u8,
    /// Length of the name; zero if the slot was never used.
    pub len: u8,
    /// The name, then zeroes.
    pub name: [u8; 262],
}

impl SuperBlock {
    /// The inodes, the names, the journal and the blocks of files.
    pub fn areas(&self) -> [Range<Block>; 4] {
        let [inodes, names, journal, data] = self.ends.map(|end| end.get().into());
        [ROOT..inodes, inodes..names, names..journal, journal..data]
    }

    fn read(vol: &Volume) -> Result<Self> {
        let this: Self = vol.read(0)?.load(0)?;
        let areas = this.areas();
        let [inodes, .., data] = &areas;
        if this.magic != MAGIC || data.end > vol.blocks() {
            return Err(vol.refuse(EINVAL, format_args!("no tinyfs that fits the device")));
        }
        let odd = data.end > BLOCKS || inodes.end % 2 != 0;
        if odd || areas.iter().any(|area| area.is_empty()) {
            return Err(vol.refuse(EUCLEAN, format_args!("the super block makes no sense")));
        }
        Ok(this)
    }
}

impl Slot {
    /// What lets `name` name `inode`, or nothing.
    fn new(dir: File<'_>, name: Name<'_>, inode: Option<File<'_>>) -> Self {
        let mut bytes = [0; 262];
        for (to, from) in bytes.iter_mut().zip(name.as_bytes()) {
            *to = *from;
        }
        Self {
            dir: inode.map_or(0, |_| dir.ino() as u32).into(),
            ino: inode.map_or(0, |inode| inode.ino() as u32).into(),
            kind: inode.map_or(0, |inode| inode.kind().dtype()),
            len: name.as_bytes().len() as u8,
            name: bytes,
        }
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.len.into()).unwrap_or(&[])
    }

    fn is_in(&self, dir: File<'_>) -> bool {
        u64::from(self.dir.get()) == dir.ino()
    }
}

/// An inode; nothing is cached of it.
type File<'a> = Inode<'a, ()>;

/// A slot and its number.
type Found = Option<(Slot, u64)>;

/// A mounted volume.
pub struct TinyFs {
    inodes: Range<Ino>,
    table: Range<Block>,
    data: Range<Block>,
    names: Mutex<()>,
    bits: Mutex<()>,
}

/// Takes write access to a block.
fn write<'h>(tx: &'h Handle<'_>, block: Block) -> Result<Writable<'h>> {
    tx.write(&tx.volume().read(block)?)
}

/// Stores the attributes of an inode.
fn store(block: &mut Writable<'_>, inode: File<'_>) -> Result {
    block.store_inode(0, inode, |attributes, record: &mut StoredAttributes| {
        *record = attributes.into();
    })
}

fn is_free(bitmap: &Buffer, at: u64) -> bool {
    let at = at as usize;
    bitmap.next_zero_bit(0, at, at + 1) == at
}

impl TinyFs {
    /// Claims up to `want` free blocks in a row.
    fn claim(&self, vol: &Volume, claims: &Claims<'_>, want: u64) -> Result<(Block, u64)> {
        let _bits = self.bits.lock();
        let (bitmap, mut data) = (vol.read(BITMAP)?, self.data.clone());
        while !data.is_empty() {
            let end = data.end as usize;
            let first = bitmap.next_zero_bit(0, data.start as usize, end);
            let stop = bitmap.next_set_bit(0, first, end.min(first + want as usize));
            data.start = first as u64;
            match claims.claim(data.start, (stop - first) as u64)? {
                0 => data.start = claims.next_unclaimed(data.start, data.end),
                len => return Ok((data.start, len)),
            }
        }
        Err(ENOSPC)
    }

    /// Sets or clears bits.
    fn mark(&self, bitmap: &mut Writable<'_>, first: u64, len: u64, used: bool) -> Result {
        let _bits = self.bits.lock();
        bitmap.set_bits(0, first as usize, len as usize, used)
    }

    /// What is at the start of a range of a file, and how far it goes on so: whether there are
    /// blocks, and which.
    fn look(&self, vol: &Volume, inode: File<'_>, range: FileRange) -> Result<(bool, Extent)> {
        let block = vol.read(inode.ino() + 1)?;
        // There is none behind the last one.
        let pointer = |at: u64| block.load(4 * at as usize).map_or(0, |p: U32| p.get());
        let first = pointer(range.start);
        let step = u32::from(first != 0);
        let run = (range.start..range.end.min(MAX))
            .zip(0..)
            .take_while(|&(at, i)| pointer(at) == first.wrapping_add(step * i));
        let extent = Extent {
            file_block: range.start,
            block: (first & !UNWRITTEN).into(),
            len: run.count().max(1) as u64,
            unwritten: first & UNWRITTEN != 0,
        };
        let (start, end) = (extent.block, extent.block + extent.len);
        if first != 0 && (start < self.data.start || end > self.data.end) {
            return Err(vol.corrupt(format_args!("inode {} has {extent:?}", inode.ino())));
        }
        Ok((first != 0, extent))
    }

    /// Makes blocks part of a file, or takes them away; stores its attributes, with so many blocks
    /// more.
    fn set_blocks(&self, tx: &Handle<'_>, inode: File<'_>, extent: Extent, more: i64) -> Result {
        let mut record = write(tx, inode.ino())?;
        let mut pointers = write(tx, inode.ino() + 1)?;
        let mut bitmap = write(tx, BITMAP)?;

        self.mark(&mut bitmap, extent.block, extent.len, more >= 0)?;
        let flag = if extent.unwritten { UNWRITTEN } else { 0 };
        for i in 0..extent.len {
            let at = 4 * (extent.file_block + i) as usize;
            let pointer = (extent.block + i) as u32 | flag;
            pointers.store(at, &U32::new(if more < 0 { 0 } else { pointer }))?;
        }
        inode.add_blocks(more);
        store(&mut record, inode)
    }

    fn slots(&self) -> u64 {
        (self.table.end - self.table.start) * SLOTS
    }

    /// The block of a slot, and its place there.
    fn place(&self, number: u64) -> (Block, usize) {
        let at = (number % SLOTS) as usize * size_of::<Slot>();
        (self.table.start + number / SLOTS, at)
    }

    fn slot(&self, vol: &Volume, number: u64) -> Result<Slot> {
        let (block, at) = self.place(number);
        vol.read(block)?.load(at)
    }

    /// The slot of a name, else a free one for it, else none.
    fn find(&self, vol: &Volume, dir: File<'_>, name: Name<'_>) -> Result<Found> {
        let hash = crc32c(dir.ino() as u32, name.as_bytes());
        let start = (u64::from(hash) * self.slots()) >> 32;
        let mut free = None;
        for number in Iterator::chain(start..self.slots(), 0..start) {
            let slot = self.slot(vol, number)?;
            if slot.is_in(dir) && slot.name() == name.as_bytes() {
                return Ok(Some((slot, number)));
            }
            if slot.dir.get() == 0 {
                free = free.or(Some((slot, number)));
            }
            if slot.len == 0 {
                break;
            }
        }
        Ok(free)
    }

    /// The first slot from number `from` on that `wanted` says yes to.
    fn search(&self, vol: &Volume, from: u64, wanted: impl Fn(&Slot) -> bool) -> Result<Found> {
        for first in (from - from % SLOTS..self.slots()).step_by(SLOTS as usize) {
            let block = vol.read(self.place(first).0)?;
            for number in from.max(first)..first + SLOTS {
                let slot = block.load(self.place(number).1)?;
                if wanted(&slot) {
                    return Ok(Some((slot, number)));
                }
            }
        }
        Ok(None)
    }

    /// Lets each name stand for an inode, or for none; stores the attributes of `inodes`.
    fn change(
        &self,
        tx: &Handle<'_>,
        names: &[(File<'_>, Name<'_>, Option<File<'_>>)],
        inodes: &[Option<File<'_>>],
    ) -> Result {
        let mut slots = KVec::with_capacity(2, GFP_KERNEL)?;
        let mut records = KVec::with_capacity(5, GFP_KERNEL)?;
        let _names = self.names.lock();
        for &(dir, name, inode) in names {
            let (_, number) = self.find(tx.volume(), dir, name)?.ok_or(ENOSPC)?;
            let (block, at) = self.place(number);
            let slot = Slot::new(dir, name, inode);
            slots.push((write(tx, block)?, at, slot), GFP_KERNEL)?;
        }
        for &inode in inodes.iter().flatten() {
            records.push((write(tx, inode.ino())?, inode), GFP_KERNEL)?;
        }

        for (mut block, at, slot) in slots {
            block.store(at, &slot)?;
        }
        for (mut record, inode) in records {
            store(&mut record, inode)?;
        }
        Ok(())
    }
}

impl FileSystem for TinyFs {
    const FORMAT: &'static str = "tinyfs";
    const VERSION: u32 = 2;

    type Node = ();

    fn probe(vol: &Volume) -> Result<VolumeInfo> {
        let super_block = SuperBlock::read(vol)?;
        let [.., journal, data] = super_block.areas();
        Ok(VolumeInfo {
            blocks: data.end,
            journal: journal.into(),
            root: ROOT,
            max_file_size: MAX * BLOCK as u64,
            uuid: super_block.uuid,
            ..VolumeInfo::default()
        })
    }

    fn mount(vol: &Volume, _: &Options) -> Result<Self> {
        let [inodes, table, _, data] = SuperBlock::read(vol)?.areas();
        Ok(Self {
            inodes,
            table,
            data,
            names: Mutex::new(())?,
            bits: Mutex::new(())?,
        })
    }

    fn space(&self, vol: &Volume) -> Result<Space> {
        let bitmap = vol.read(BITMAP)?;
        let (blocks, inodes) = (self.data.clone(), self.inodes.clone().step_by(2));
        Ok(Space {
            total_blocks: self.data.end - self.data.start,
            free_blocks: blocks.filter(|&at| is_free(&bitmap, at)).count() as u64,
            total_inodes: (self.inodes.end - self.inodes.start) / 2,
            free_inodes: inodes.filter(|&at| is_free(&bitmap, at)).count() as u64,
        })
    }

    fn credits(&self) -> Credits {
        // A rename takes most: two slots and five inodes.
        Credits::uniform(7)
    }

    fn read_inode(&self, vol: &Volume, ino: Ino) -> Result<(Attributes, ())> {
        if !self.inodes.contains(&ino) || ino % 2 != 0 || is_free(&vol.read(BITMAP)?, ino) {
            return Err(ESTALE);
        }
        let record: StoredAttributes = vol.read(ino)?.load(0)?;
        Ok((Attributes::from(&record), ()))
    }

    fn read_link(&self, vol: &Volume, inode: File<'_>, target: &mut [u8]) -> Result<usize> {
        let len = inode.size() as usize;
        let target = target.get_mut(..len).ok_or(ENAMETOOLONG)?;
        vol.read(inode.ino() + 1)?.read(0, target)?;
        Ok(len)
    }

    fn lookup(&self, vol: &Volume, dir: File<'_>, name: Name<'_>) -> Result<Option<Ino>> {
        match self.find(vol, dir, name)? {
            Some((slot, _)) if slot.is_in(dir) => Ok(Some(slot.ino.get().into())),
            _ => Ok(None),
        }
    }

    fn read_dir(&self, vol: &Volume, dir: File<'_>, from: u64, sink: &mut DirSink<'_>) -> Result {
        let mut next = from;
        while let Some((slot, number)) = self.search(vol, next, |slot| slot.is_in(dir))? {
            let kind = Kind::from_dtype(slot.kind).filter(|_| Name::new(slot.name()).is_ok());
            let kind = kind.ok_or_else(|| vol.corrupt(format_args!("slot {number}")))?;
            next = number + 1;
            if !sink.emit(slot.name(), slot.ino.get().into(), kind, next) {
                break;
            }
        }
        Ok(())
    }

    fn parent(&self, vol: &Volume, dir: File<'_>) -> Result<Ino> {
        let _names = self.names.lock();
        match self.search(vol, 0, |slot| u64::from(slot.ino.get()) == dir.ino())? {
            Some((slot, _)) => Ok(slot.dir.get().into()),
            None => Ok(ROOT),
        }
    }

    fn alloc_inode(&self, vol: &Volume, claims: &Claims<'_>, _: File<'_>, _: Kind) -> Result<Ino> {
        let _bits = self.bits.lock();
        let bitmap = vol.read(BITMAP)?;
        for ino in self.inodes.clone().step_by(2) {
            if is_free(&bitmap, ino) && claims.claim_ino(ino)? {
                return Ok(ino);
            }
        }
        Err(ENOSPC)
    }

    fn create(
        &self,
        tx: &Handle<'_>,
        dir: File<'_>,
        inode: File<'_>,
        new: &NewInode<'_>,
    ) -> Result {
        let mut record = tx.create(inode.ino())?;
        let mut pointers = tx.create(inode.ino() + 1)?;
        let mut bitmap = write(tx, BITMAP)?;
        if let Some(name) = new.name {
            self.change(tx, &[(dir, name, Some(inode))], &[Some(dir)])?;
        }

        self.mark(&mut bitmap, inode.ino(), 1, true)?;
        pointers.write(0, new.target)?;
        if inode.kind() == Kind::Symlink {
            inode.set_size(new.target.len() as u64);
        }
        store(&mut record, inode)
    }

    fn link(&self, tx: &Handle<'_>, dir: File<'_>, inode: File<'_>, name: Name<'_>) -> Result {
        self.change(tx, &[(dir, name, Some(inode))], &[Some(dir), Some(inode)])
    }

    fn unlink(&self, tx: &Handle<'_>, dir: File<'_>, inode: File<'_>, name: Name<'_>) -> Result {
        self.change(tx, &[(dir, name, None)], &[Some(dir), Some(inode)])
    }

    fn rename(&self, tx: &Handle<'_>, rename: &Rename<'_, ()>) -> Result {
        let (old_dir, new_dir) = (rename.old_dir, rename.new_dir);
        let names = [
            (old_dir, rename.old_name, rename.successor()),
            (new_dir, rename.new_name, Some(rename.inode)),
        ];
        self.change(tx, &names, &rename.inodes())
    }

    fn write_inode(&self, tx: &Handle<'_>, inode: File<'_>) -> Result {
        store(&mut write(tx, inode.ino())?, inode)
    }

    fn set_orphan(&self, tx: &Handle<'_>, inode: File<'_>, orphan: bool) -> Result {
        write(tx, inode.ino())?.store(CUT, &U32::new(orphan.into()))
    }

    fn next_orphan(&self, vol: &Volume, cursor: Ino) -> Result<Option<Ino>> {
        let bitmap = vol.read(BITMAP)?;
        let used = |&ino: &Ino| ino > cursor && !is_free(&bitmap, ino);
        for ino in self.inodes.clone().step_by(2).filter(used) {
            let inode = vol.read(ino)?;
            let (record, cut): (StoredAttributes, U32) = (inode.load(0)?, inode.load(CUT)?);
            if record.nlink() == 0 || cut.get() != 0 {
                return Ok(Some(ino));
            }
        }
        Ok(None)
    }

    fn map(
        &self,
        vol: &Volume,
        claims: &Claims<'_>,
        inode: File<'_>,
        range: FileRange,
        intent: Intent,
    ) -> Result<Mapping> {
        let _pointers = inode.read();
        let (mapped, mut extent) = self.look(vol, inode, range)?;
        match (mapped, intent) {
            (true, _) => Ok(Mapping::Mapped(extent)),
            (false, Intent::Look) => Ok(Mapping::Hole { len: extent.len }),
            (false, Intent::Allocate) => {
                (extent.block, extent.len) = self.claim(vol, claims, extent.len)?;
                Ok(Mapping::Claimed(extent))
            }
        }
    }

    fn publish(&self, tx: &Handle<'_>, inode: File<'_>, mut extent: Extent) -> Result {
        let (start, end) = (extent.file_block, extent.file_end());
        let _pointers = inode.write();
        let (mapped, old) = self.look(tx.volume(), inode, FileRange { start, end })?;
        if old.len != extent.len || mapped && old.block != extent.block {
            return Err(EUCLEAN);
        }
        extent.unwritten &= old.unwritten || !mapped;
        let more = if mapped { 0 } else { extent.len as i64 };
        self.set_blocks(tx, inode, extent, more)
    }

    fn free_blocks(&self, tx: &Handle<'_>, inode: File<'_>, mut range: FileRange) -> Result<Step> {
        let _pointers = inode.write();
        range.end = range.end.min(MAX);
        while inode.kind() == Kind::Regular && range.start < range.end {
            let (mapped, extent) = self.look(tx.volume(), inode, range)?;
            if mapped {
                tx.free(extent.block, extent.len, BlockUse::Data)?;
                self.set_blocks(tx, inode, extent, -(extent.len as i64))?;
                return Ok(Step::More);
            }
            range.start += extent.len;
        }
        self.write_inode(tx, inode)?;
        Ok(Step::Done)
    }

    fn free_inode(&self, tx: &Handle<'_>, inode: File<'_>) -> Result {
        self.mark(&mut write(tx, BITMAP)?, inode.ino(), 1, false)
    }
}
