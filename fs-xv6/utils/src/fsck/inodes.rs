// SPDX-License-Identifier: GPL-2.0

//! Pass 1: every inode by itself, and the blocks that it claims.

use super::{
    check::{
        Check,
        DirInfo, //
    },
    directory, extents,
    groups::{
        is_used,
        read_bitmap,
        Which, //
    },
    volume::Identity,
};
use crate::{
    failure::Result,
    image, //
};
use kernel::{
    bento::Kind,
    user::device::BlockData, //
};
use xv6::layout::{
    RawExtent,
    RawInode,
    BLOCK_SIZE,
    COMPAT_KNOWN,
    COMPAT_LOG,
    FIRST_INO,
    INLINE_LINK,
    INODES_PER_BLOCK,
    INODE_SIZE,
    LINK_HEAD,
    LOG_INO,
    MAGIC_LINK,
    MAX_FILE_SIZE,
    MAX_LINK,
    NODE_HEADER,
    ROOT_INO,
    ROOT_SIZE, //
};

/// Whether an inode with this record can be told from what an earlier use of the place left.
fn is_alive(check: &Check<'_, '_, '_>, ino: u64, raw: &RawInode) -> bool {
    image::is_sealed_inode(check.volume.seed, raw)
        && raw.ino.get() == ino
        && raw.nlink.get() > 0
        && Kind::from_mode(raw.mode.get()).is_some()
}

impl Check<'_, '_, '_> {
    /// Checks all inodes.
    pub fn check_inodes(&mut self) -> Result {
        let groups = self.volume.geometry.groups();
        for group in 0..groups {
            self.log.progress(1, group, groups)?;
            self.check_group(group)?;
        }
        Ok(())
    }

    /// Whether an inode of this number may be in use.
    fn may_be_used(&self, ino: u64) -> bool {
        let log = self.volume.super_block.compat.get() & COMPAT_LOG != 0;
        ino >= FIRST_INO || ino == ROOT_INO || (ino == LOG_INO && log)
    }

    fn check_group(&mut self, group: u64) -> Result {
        let geometry = self.volume.geometry;
        let fresh = self.flag(group, Which::Inodes.fresh_flag());
        if fresh && !self.guessed.contains(&group) {
            return Ok(());
        }
        let (bitmap, good) = read_bitmap(&self.volume, group, Which::Inodes)?;
        if let (Err(what), false) = (good, fresh) {
            self.log.major(format_args!(
                "group {group}: the inode bitmap has a {what}: the inodes are looked for in their table"
            ));
        }
        let good = good.is_ok();
        let per_block = INODES_PER_BLOCK as usize;
        for index in 0..geometry.group_inodes as usize / per_block {
            let first = index * per_block;
            let any = (first..first + per_block).any(|bit| is_used(&bitmap, bit));
            if good && !any {
                continue;
            }
            let block = geometry.inode_table(group) + index as u64;
            let table = self.volume.read(block)?;
            for slot in 0..per_block {
                let ino = geometry.ino_at(group, first + slot);
                if self.may_be_used(ino) {
                    self.check_slot(ino, &table, slot, good, is_used(&bitmap, first + slot))?;
                }
            }
        }
        Ok(())
    }

    /// Checks the place of an inode; `good` says whether the bitmap can be believed that it is
    /// `used`.
    fn check_slot(
        &mut self,
        ino: u64,
        table: &BlockData,
        slot: usize,
        good: bool,
        used: bool,
    ) -> Result {
        let Some(raw) = image::load::<RawInode>(table, slot * INODE_SIZE) else {
            return Ok(());
        };
        let alive = is_alive(self, ino, &raw);
        match (good, used) {
            (true, true) => self.check_inode(ino, raw)?,
            (true, false) if alive => {
                self.log
                    .major(format_args!("inode {ino}: in use, but marked as free"));
                self.check_inode(ino, raw)?;
            }
            (false, _) if alive => self.check_inode(ino, raw)?,
            _ => return Ok(()),
        }
        if !self.inodes.in_use(ino) {
            self.clear_record(ino)?;
        }
        Ok(())
    }

    /// Clears the record of an inode that is dropped, so that nobody takes it for one in use.
    pub fn clear_record(&self, ino: u64) -> Result {
        let (block, offset) = self.volume.geometry.inode_place(ino);
        let mut table = self.volume.read(block)?;
        image::store(&mut table[..], offset, &[0u8; INODE_SIZE]);
        self.volume.write(block, &table)
    }

    /// Checks an inode in use.
    fn check_inode(&mut self, ino: u64, mut raw: RawInode) -> Result {
        let sealed = image::is_sealed_inode(self.volume.seed, &raw);
        let kind = Kind::from_mode(raw.mode.get());
        let Some(kind) = kind.filter(|_| raw.ino.get() == ino) else {
            self.log
                .major(format_args!("inode {ino}: no inode is in its place"));
            return Ok(());
        };
        if ino == ROOT_INO && kind != Kind::Directory || ino == LOG_INO && kind != Kind::Regular {
            self.log
                .major(format_args!("inode {ino}: reserved, but a {kind:?}"));
            return Ok(());
        }
        let before = self.log.found;
        let mut changed = self.check_fields(ino, &mut raw);
        if !sealed {
            // Where a record was damaged its blocks are believed only if nothing is wrong with them:
            // else they may be another's. The other fields are repaired.
            if !self.is_sound(ino, &raw, kind)? {
                self.log
                    .major(format_args!("inode {ino}: damaged, and dropped"));
                return Ok(());
            }
            self.log.major(format_args!(
                "inode {ino}: wrong checksum, its blocks are right"
            ));
            changed = true;
        }
        let kept = match kind {
            Kind::Regular => self.check_file(ino, &mut raw, sealed)?,
            Kind::Directory => self.check_directory(ino, &mut raw)?,
            Kind::Symlink => self.check_link(ino, &mut raw)?,
            _ => {
                let empty = raw.size.get() == 0
                    && raw.blocks.get() == 0
                    && raw.depth.get() == 0
                    && raw.root_count.get() == 0
                    && raw.root == [0; ROOT_SIZE];
                if !empty {
                    self.log
                        .major(format_args!("inode {ino}: a {kind:?} with a content"));
                    (raw.size, raw.blocks) = (0.into(), 0.into());
                    (raw.depth, raw.root_count) = (0.into(), 0.into());
                    raw.root = [0; ROOT_SIZE];
                }
                true
            }
        };
        if !kept {
            return Ok(());
        }
        let nlink = raw.nlink.get().min(u16::MAX.into()) as u16;
        self.inodes.update(ino, |info| {
            info.kind = kind.dtype();
            info.nlink = nlink;
        });
        if changed || self.log.found != before {
            self.volume.store_record(ino, &mut raw)?;
        }
        Ok(())
    }

    /// Checks what is the same for all kinds, and puts it right. Whether it changed anything.
    fn check_fields(&mut self, ino: u64, raw: &mut RawInode) -> bool {
        let mut changed = false;
        for nsec in [
            &mut raw.atime_nsec,
            &mut raw.mtime_nsec,
            &mut raw.ctime_nsec,
            &mut raw.btime_nsec,
        ] {
            if nsec.get() >= 1_000_000_000 {
                *nsec = 0.into();
                changed = true;
            }
        }
        if changed {
            self.log.minor(format_args!(
                "inode {ino}: more nanoseconds than a second has"
            ));
        }
        // A later version may use these, and then says so.
        let later = self.volume.super_block.compat.get() & !COMPAT_KNOWN != 0;
        let spare = raw.xattr_block.get() != 0
            || raw.project.get() != 0
            || raw.reserved.get() != 0
            || raw.spare != [0; 32];
        if spare && !later {
            (raw.xattr_block, raw.project, raw.reserved) = (0.into(), 0.into(), 0.into());
            raw.spare = [0; 32];
            self.log.major(format_args!(
                "inode {ino}: fields in use that have no meaning"
            ));
            changed = true;
        }
        changed
    }

    /// Whether the content of an inode is without any damage. Claims nothing.
    fn is_sound(&self, ino: u64, raw: &RawInode, kind: Kind) -> Result<bool> {
        Ok(match kind {
            Kind::Regular => extents::walk(&self.volume, ino, raw, &mut |_| {})?.is_empty(),
            Kind::Directory => directory::walk(&self.volume, ino, raw, &mut |_| {})?.is_empty(),
            Kind::Symlink => self.read_link(ino, raw)?.is_ok(),
            _ => raw.root_count.get() == 0 && raw.root == [0; ROOT_SIZE],
        })
    }

    fn check_file(&mut self, ino: u64, raw: &mut RawInode, sealed: bool) -> Result<bool> {
        let mut found = Vec::new();
        let (mut blocks, mut behind, mut end) = (0, 0, 0);
        let mut claim = |item| {
            blocks += match item {
                extents::Found::Node(_) => 1,
                extents::Found::Extent(extent) => {
                    let kept = self.kept(ino, raw, extent);
                    behind += extent.len - kept.map_or(0, |kept| kept.len);
                    end = extent.file_end();
                    extent.len
                }
            };
            found.push(item);
        };
        let damage = extents::walk(&self.volume, ino, raw, &mut claim)?;
        damage.tell(|what| self.log.major(format_args!("inode {ino}: {what}")));
        if raw.size.get() > MAX_FILE_SIZE {
            self.log
                .major(format_args!("inode {ino}: of {} bytes", raw.size));
            raw.size = (end * BLOCK_SIZE as u64).into();
        }
        if behind > 0 && !self.unfinished.contains(&ino) {
            self.log.major(format_args!(
                "inode {ino}: {behind} blocks of data behind its end"
            ));
            if !sealed {
                // It is the size that was damaged.
                raw.size = (end * BLOCK_SIZE as u64).into();
            }
        }
        for item in found {
            match item {
                extents::Found::Node(block) => self.claim_metadata(block),
                extents::Found::Extent(extent) => {
                    if let Some(kept) = self.kept(ino, raw, extent) {
                        self.claim_data(kept.block, kept.len);
                    }
                }
            }
        }
        if !damage.is_empty() || behind > 0 {
            self.rebuild.insert(ino);
        } else if raw.blocks.get() != blocks {
            self.log.minor(format_args!(
                "inode {ino}: says {} blocks, has {blocks}",
                raw.blocks
            ));
        }
        raw.blocks = blocks.into();
        Ok(true)
    }

    fn check_directory(&mut self, ino: u64, raw: &mut RawInode) -> Result<bool> {
        let mut nodes = Vec::new();
        let damage = directory::walk(&self.volume, ino, raw, &mut |found| {
            if let directory::Found::Node(block) = found {
                nodes.push(block);
            }
        })?;
        let blocks = nodes.len() as u64;
        for block in nodes {
            self.claim_metadata(block);
        }
        damage.tell(|what| self.log.major(format_args!("directory {ino}: {what}")));
        if !damage.is_empty() {
            self.damaged.insert(ino);
        }
        if raw.depth.get() != 0 || raw.root_count.get() != 0 {
            self.log
                .major(format_args!("directory {ino}: an extent tree"));
            (raw.depth, raw.root_count) = (0.into(), 0.into());
        }
        let size = blocks * BLOCK_SIZE as u64;
        if damage.is_empty() && (raw.blocks.get() != blocks || raw.size.get() != size) {
            self.log.minor(format_args!(
                "directory {ino}: says {} blocks and {} bytes, has {blocks} blocks",
                raw.blocks, raw.size
            ));
            (raw.blocks, raw.size) = (blocks.into(), size.into());
        }
        let info = DirInfo {
            parent: directory::root(raw).parent.get(),
            named_in: 0,
        };
        self.dirs.insert(ino, info);
        Ok(true)
    }

    fn check_link(&mut self, ino: u64, raw: &mut RawInode) -> Result<bool> {
        match self.read_link(ino, raw)? {
            Ok(block) => {
                if let Some(block) = block {
                    self.claim_metadata(block);
                }
                let blocks = u64::from(block.is_some());
                if raw.blocks.get() != blocks {
                    self.log.minor(format_args!(
                        "symbolic link {ino}: says {} blocks, has {blocks}",
                        raw.blocks
                    ));
                    raw.blocks = blocks.into();
                }
                Ok(true)
            }
            Err(what) => {
                self.log
                    .major(format_args!("symbolic link {ino}: {what}: dropped"));
                Ok(false)
            }
        }
    }

    /// Reads a symbolic link's target: gives its block, or what is wrong with it.
    fn read_link(&self, ino: u64, raw: &RawInode) -> Result<Result<Option<u64>, &'static str>> {
        let size = raw.size.get();
        if size == 0 || size > MAX_LINK as u64 {
            return Ok(Err("impossible size"));
        }
        let size = size as usize;
        if raw.depth.get() != 0 || raw.root_count.get() != u16::from(size > INLINE_LINK) {
            return Ok(Err("impossible depth or number of extents"));
        }
        if size <= INLINE_LINK {
            let target = raw.root.get(..size).unwrap_or_default();
            return Ok(if target.contains(&0) {
                Err("NUL in its target")
            } else {
                Ok(None)
            });
        }
        let Some(extent) = image::load::<RawExtent>(&raw.root, 0) else {
            return Ok(Err("no extent"));
        };
        let block = extent.block.get();
        if extent.file_block.get() != 0 || extent.len.get() != 1 || !self.volume.is_data(block, 1) {
            return Ok(Err("impossible extent"));
        }
        let data = self.volume.read(block)?;
        let identity = Identity {
            magic: MAGIC_LINK,
            owner: ino,
            generation: raw.generation.get(),
        };
        if let Err(what) = self.volume.check_header(&data, block, identity) {
            return Ok(Err(what));
        }
        if !self.volume.is_sealed(&data) {
            return Ok(Err("wrong checksum of its block"));
        }
        let head = raw.root.get(size_of::<RawExtent>()..).unwrap_or_default();
        let rest = data
            .get(NODE_HEADER..NODE_HEADER + size - LINK_HEAD)
            .unwrap_or_default();
        Ok(if head.contains(&0) || rest.contains(&0) {
            Err("NUL in its target")
        } else {
            Ok(Some(block))
        })
    }

    /// Makes the root directory anew if it is lost; without an internal log there is no feature of
    /// that name.
    pub fn check_reserved(&mut self) -> Result {
        let compat = self.volume.super_block.compat.get();
        if compat & COMPAT_LOG != 0 && !self.inodes.in_use(LOG_INO) {
            self.log.major(format_args!(
                "there is no internal log: its feature is taken away"
            ));
            self.volume.super_block.compat = (compat & !COMPAT_LOG).into();
        }
        if self.inodes.in_use(ROOT_INO) {
            return Ok(());
        }
        self.log.major(format_args!(
            "the root directory is lost: a new one is made"
        ));
        self.make_directory(ROOT_INO, ROOT_INO, 0o755)
    }

    /// Makes an empty directory of a number that is not in use.
    pub fn make_directory(&mut self, ino: u64, parent: u64, mode: u16) -> Result {
        let mut raw: RawInode = zerocopy::FromZeros::new_zeroed();
        raw.mode = (0o40000 | mode).into();
        raw.ino = ino.into();
        let generation: [u8; 4] = crate::random::bytes()?;
        raw.generation = u32::from_le_bytes(generation).into();
        raw.nlink = 2.into();
        let root = xv6::layout::DirRoot {
            parent: parent.into(),
            ..Default::default()
        };
        directory::set_root(&mut raw, &root);
        self.make_table_block(ino)?;
        self.volume.store_record(ino, &mut raw)?;
        self.inodes.update(ino, |info| {
            info.kind = Kind::Directory.dtype();
            info.nlink = 2;
        });
        self.dirs.insert(
            ino,
            DirInfo {
                parent,
                named_in: 0,
            },
        );
        Ok(())
    }

    /// Clears the block of the inode table that will hold `ino`, if no inode in it is in use.
    fn make_table_block(&self, ino: u64) -> Result {
        let per_block = u64::from(INODES_PER_BLOCK);
        let first = (ino - 1) / per_block * per_block + 1;
        if (first..first + per_block).any(|ino| self.inodes.in_use(ino)) {
            return Ok(());
        }
        let (block, _) = self.volume.geometry.inode_place(ino);
        self.volume.write(block, &image::zeroed())
    }
}
