// SPDX-License-Identifier: GPL-2.0

//! A volume whose super block has been found good.

use crate::{
    failure::{
        Context,
        Result, //
    },
    groups::Run,
    image, //
};
use kernel::user::device::{
    BlockData,
    Device,
    Overlay, //
};
use xv6::{
    hash::Hasher,
    layout::{
        BlockHeader,
        Geometry,
        RawInode,
        SuperBlock,
        INODE_SIZE, //
    }, //
};

/// What a metadata block has to say of itself.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// `MAGIC_*`.
    pub magic: u32,
    /// The inode or the group.
    pub owner: u64,
    /// The inode's generation, or zero.
    pub generation: u32,
}

/// A volume: where its parts are, and access to its blocks.
pub struct Volume<'d> {
    /// The device, seen through the repairs.
    pub overlay: Overlay<'d>,
    /// The super block.
    pub super_block: SuperBlock,
    /// Where everything is.
    pub geometry: Geometry,
    /// The journal's place.
    pub journal: Run,
    /// Of all checksums.
    pub seed: u32,
    /// Of names.
    pub hasher: Hasher,
}

impl Volume<'_> {
    /// A volume with this super block.
    pub fn new(overlay: Overlay<'_>, super_block: SuperBlock) -> Volume<'_> {
        Volume {
            overlay,
            geometry: super_block.geometry(),
            journal: Run {
                start: super_block.journal_start.get(),
                len: super_block.journal_blocks.get(),
            },
            seed: super_block.seed(),
            hasher: Hasher::new(super_block.hash_key.map(|word| word.get())),
            super_block,
        }
    }

    /// Reads a block.
    pub fn read(&self, block: u64) -> Result<Box<BlockData>> {
        image::read(&self.overlay, block).context(format_args!("cannot read block {block}"))
    }

    /// Writes a block.
    pub fn write(&self, block: u64, data: &BlockData) -> Result {
        self.overlay
            .write(block, &data[..])
            .context(format_args!("cannot write block {block}"))
    }

    /// Whether a run of blocks may belong to an inode.
    pub fn is_data(&self, start: u64, len: u64) -> bool {
        self.geometry.is_data(start, len) && !self.journal.overlaps(Run { start, len })
    }

    /// What is wrong with the header of a block; the checksum apart.
    pub fn check_header(
        &self,
        data: &BlockData,
        block: u64,
        identity: Identity,
    ) -> Result<BlockHeader, &'static str> {
        let header = image::header(data);
        let checks = [
            (header.magic.get() == identity.magic, "wrong magic"),
            (header.block.get() == block, "wrong block number"),
            (header.owner.get() == identity.owner, "wrong owner"),
            (
                header.generation.get() == identity.generation,
                "wrong generation",
            ),
        ];
        match checks.iter().find(|(good, _)| !good) {
            Some((_, what)) => Err(what),
            None => Ok(header),
        }
    }

    /// Whether the checksum of a block is right.
    pub fn is_sealed(&self, data: &BlockData) -> bool {
        image::is_sealed(self.seed, data)
    }

    /// Sets the checksum of a block and writes it.
    pub fn write_sealed(&self, block: u64, data: &mut BlockData) -> Result {
        image::seal(self.seed, data);
        self.write(block, data)
    }

    /// Reads the record of an inode.
    pub fn record(&self, ino: u64) -> Result<RawInode> {
        let (block, offset) = self.geometry.inode_place(ino);
        let data = self.read(block)?;
        image::load(&data[..], offset)
            .ok_or_else(|| crate::Failure::new(format!("no place for inode {ino}")))
    }

    /// Writes the record of an inode, with its checksum.
    pub fn store_record(&self, ino: u64, raw: &mut RawInode) -> Result {
        image::seal_inode(self.seed, raw);
        let (block, offset) = self.geometry.inode_place(ino);
        debug_assert_eq!(offset % INODE_SIZE, 0);
        let mut data = self.read(block)?;
        image::store(&mut data[..], offset, raw);
        self.write(block, &data)
    }
}
