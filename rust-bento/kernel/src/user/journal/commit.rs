// SPDX-License-Identifier: GPL-2.0

//! Commit and checkpoint.

use super::{
    format::{
        self,
        CommitHeader,
        Header,
        RevokeHeader,
        SuperBlock,
        Tag, //
    },
    Running, //
};
use crate::{
    bento::{
        Block,
        JournalArea, //
    },
    error::Result,
    user::{
        cache::Cached,
        device::{
            Device,
            BLOCK_SIZE, //
        },
        space::Tid, //
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{
        SystemTime,
        UNIX_EPOCH, //
    },
};
use zerocopy::IntoBytes;

/// Blocks written at once when they are neighbours: 1 MiB.
const WRITE_RUN: usize = 256;

/// The log on the device, and what is in it but not yet at its place.
pub(super) struct Log {
    device: Arc<dyn Device>,
    area: JournalArea,
    super_block: SuperBlock,
    seed: u32,
    /// Blocks of the ring.
    len: u32,
    /// Where the next transaction goes.
    head: u32,
    /// Blocks from the tail to the head.
    used: u32,
    /// The newest committed copy of each block that is not known to be at its place.
    checkpoint: BTreeMap<Block, Copy>,
}

/// A committed copy of a block: in the image of its transaction.
struct Copy {
    /// Keeps the block in the cache: the one on the device is old.
    _cached: Arc<Cached>,
    image: Arc<Vec<u8>>,
    offset: usize,
    escaped: bool,
}

impl Copy {
    fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.image[self.offset..self.offset + BLOCK_SIZE]);
        if self.escaped {
            out[start..start + 4].copy_from_slice(&format::MAGIC.to_be_bytes());
        }
    }
}

/// A transaction as it goes to the log, without its commit block.
#[derive(Default)]
pub(super) struct Image {
    bytes: Vec<u8>,
    copies: Vec<(Block, Arc<Cached>, usize, bool)>,
    revoked: Vec<Block>,
}

impl Log {
    /// Takes over a journal that has been replayed. Gives the number of the first transaction.
    pub(super) fn open(device: Arc<dyn Device>, area: JournalArea) -> Result<(Self, Tid)> {
        let mut super_block = SuperBlock::read(&device, area)?;
        let tid = super_block.sequence.get().wrapping_add(1);
        let first = super_block.first.get();
        super_block.sequence = tid.into();
        super_block.start = first.into();
        super_block.write(&device, area)?;
        let this = Self {
            device,
            area,
            seed: super_block.seed(),
            len: super_block.blocks.get() - first,
            head: first,
            used: 0,
            checkpoint: BTreeMap::new(),
            super_block,
        };
        Ok((this, tid))
    }

    /// Blocks of the ring.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Copies a transaction: the next one may change the blocks from now on.
    pub(super) fn image(&self, running: &Running) -> Image {
        let mut image = Image {
            revoked: running.revoked.iter().copied().collect(),
            ..Image::default()
        };
        self.add_revokes(&mut image, running.tid);
        self.add_blocks(&mut image, running);
        image
    }

    fn add_revokes(&self, image: &mut Image, tid: Tid) {
        for records in image.revoked.chunks(format::REVOKES_PER_BLOCK) {
            let start = image.bytes.len();
            let count = size_of::<RevokeHeader>() + size_of_val(records);
            let header = RevokeHeader {
                header: Header::new(format::REVOKE, tid),
                count: (count as u32).into(),
            };
            image.bytes.extend_from_slice(header.as_bytes());
            for record in records {
                image.bytes.extend_from_slice(&record.to_be_bytes());
            }
            image.bytes.resize(start + BLOCK_SIZE, 0);
            format::set_block_sum(self.seed, &mut image.bytes[start..]);
        }
    }

    fn add_blocks(&self, image: &mut Image, running: &Running) {
        // The first tag is followed by the journal's UUID, for which zeroes do: nobody reads it.
        const PER_DESCRIPTOR: usize =
            (format::RECORDS_END - size_of::<Header>() - format::UUID) / size_of::<Tag>();
        let buffers: Vec<&Arc<Cached>> = running.buffers.values().collect();
        for described in buffers.chunks(PER_DESCRIPTOR) {
            let descriptor = image.bytes.len();
            image
                .bytes
                .extend_from_slice(Header::new(format::DESCRIPTOR, running.tid).as_bytes());
            image.bytes.resize(descriptor + BLOCK_SIZE, 0);
            let mut at = descriptor + size_of::<Header>();
            for (index, cached) in described.iter().enumerate() {
                let offset = image.bytes.len();
                image.bytes.extend_from_slice(&cached.bytes()[..]);
                let copy = &mut image.bytes[offset..];
                let escaped = copy[..4] == format::MAGIC.to_be_bytes();
                if escaped {
                    copy[..4].fill(0);
                }
                let mut flags = 0;
                for (set, flag) in [
                    (escaped, format::FLAG_ESCAPE),
                    (index > 0, format::FLAG_SAME_UUID),
                    (index + 1 == described.len(), format::FLAG_LAST),
                ] {
                    flags |= if set { flag } else { 0 };
                }
                let tag = Tag {
                    block_low: (cached.block() as u32).into(),
                    flags: flags.into(),
                    block_high: ((cached.block() >> 32) as u32).into(),
                    checksum: format::tag_sum(self.seed, running.tid, copy).into(),
                };
                image.bytes[at..at + size_of::<Tag>()].copy_from_slice(tag.as_bytes());
                at += size_of::<Tag>() + if index == 0 { format::UUID } else { 0 };
                image
                    .copies
                    .push((cached.block(), (*cached).clone(), offset, escaped));
            }
            format::set_block_sum(
                self.seed,
                &mut image.bytes[descriptor..descriptor + BLOCK_SIZE],
            );
        }
    }

    /// Writes a transaction to the log. When this returns, it is durable, and so is all data
    /// written before.
    pub(super) fn commit(&mut self, tid: Tid, image: Image) -> Result {
        let blocks = (image.bytes.len() / BLOCK_SIZE) as u32;
        if self.used + blocks + 1 > self.len {
            self.checkpoint(tid)?;
        }
        self.write_log(&image.bytes)?;
        self.device.flush()?;
        self.write_log(&self.commit_block(tid))?;
        self.device.flush()?;

        for block in &image.revoked {
            self.checkpoint.remove(block);
        }
        let bytes = Arc::new(image.bytes);
        for (block, cached, offset, escaped) in image.copies {
            let copy = Copy {
                _cached: cached,
                image: bytes.clone(),
                offset,
                escaped,
            };
            self.checkpoint.insert(block, copy);
        }
        if self.used > self.len / 2 {
            self.checkpoint(tid.wrapping_add(1))?;
        }
        Ok(())
    }

    fn commit_block(&self, tid: Tid) -> Vec<u8> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut header = CommitHeader {
            header: Header::new(format::COMMIT, tid),
            checksum_type: 0,
            checksum_size: 0,
            padding: [0; 2],
            checksum: [0.into(); 8],
            seconds: now.as_secs().into(),
            nanoseconds: now.subsec_nanos().into(),
        };
        let mut block = header.as_bytes().to_vec();
        block.resize(BLOCK_SIZE, 0);
        header.checksum[0] = format::commit_sum(self.seed, &block).into();
        block[..size_of::<CommitHeader>()].copy_from_slice(header.as_bytes());
        block
    }

    /// Writes blocks at the head of the ring.
    fn write_log(&mut self, mut bytes: &[u8]) -> Result {
        while !bytes.is_empty() {
            let room = self.area.len as usize - self.head as usize;
            let (now, later) = bytes.split_at(bytes.len().min(room * BLOCK_SIZE));
            self.device
                .write(self.area.start + u64::from(self.head), now)?;
            let blocks = (now.len() / BLOCK_SIZE) as u32;
            self.used += blocks;
            self.head += blocks;
            if u64::from(self.head) == self.area.len {
                self.head = self.super_block.first.get();
            }
            bytes = later;
        }
        Ok(())
    }

    /// Writes every committed block to its place and empties the log, in which `next` will be the
    /// first.
    fn checkpoint(&mut self, next: Tid) -> Result {
        let mut run = Vec::new();
        let mut start = 0;
        for (&block, copy) in &self.checkpoint {
            let blocks = run.len() / BLOCK_SIZE;
            if blocks == WRITE_RUN || start + blocks as u64 != block {
                self.write_run(start, &run)?;
                run.clear();
                start = block;
            }
            copy.append_to(&mut run);
        }
        self.write_run(start, &run)?;
        self.device.flush()?;
        self.super_block.sequence = next.into();
        self.super_block.start = self.head.into();
        self.super_block.write(&self.device, self.area)?;
        self.checkpoint.clear();
        self.used = 0;
        Ok(())
    }

    fn write_run(&self, start: Block, run: &[u8]) -> Result {
        match run.is_empty() {
            true => Ok(()),
            false => self.device.write(start, run),
        }
    }

    /// Checkpoints all, and marks the journal as empty.
    pub(super) fn close(&mut self, next: Tid) -> Result {
        self.checkpoint(next)?;
        self.super_block.start = 0.into();
        self.super_block.write(&self.device, self.area)
    }
}
