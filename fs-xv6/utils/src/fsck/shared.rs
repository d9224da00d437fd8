// SPDX-License-Identifier: GPL-2.0

//! Pass 1b: blocks that more than one inode claims; and trees that were damaged are built anew.
//!
//! A metadata block names its owner, so it stays with it. Of the files that claim the same block of
//! data, one is right and nothing tells which: the first keeps it, in the others it becomes a hole,
//! since no file may show another file's data.

use super::{
    check::Check,
    extents::{
        self,
        Extent, //
    },
    log::Severity,
    maps::BlockMap, //
};
use crate::failure::Result;
use kernel::bento::Kind;

impl Check<'_, '_, '_> {
    /// Gives each shared block to one owner, and repairs the files of pass 1.
    pub fn settle_files(&mut self) -> Result {
        let mut settled = BlockMap::new(&self.volume.geometry);
        let groups = self.volume.geometry.groups();
        let any_shared = self.shared.any();
        if !any_shared && self.rebuild.is_empty() {
            return Ok(());
        }
        for group in 0..groups {
            let files: Vec<u64> = self
                .inodes
                .used_in(group)
                .filter(|(_, info)| info.kind == Kind::Regular.dtype())
                .map(|(ino, _)| ino)
                .collect();
            for ino in files {
                if any_shared || self.rebuild.contains(&ino) {
                    self.settle_file(ino, &mut settled)?;
                }
            }
        }
        Ok(())
    }

    fn settle_file(&mut self, ino: u64, settled: &mut BlockMap) -> Result {
        let mut raw = self.volume.record(ino)?;
        let mut nodes = Vec::new();
        let mut found = Vec::new();
        extents::walk(&self.volume, ino, &raw, &mut |item| match item {
            extents::Found::Node(block) => nodes.push(block),
            extents::Found::Extent(extent) => found.push(extent),
        })?;
        // They overlap with nothing that was found.
        found.extend(self.lost_extents.remove(&ino).unwrap_or_default());
        found.retain_mut(|extent| match self.kept(ino, &raw, *extent) {
            Some(kept) => {
                *extent = kept;
                true
            }
            None => false,
        });
        found.sort_by_key(|extent| extent.file_block);
        let mut kept: Vec<Extent> = Vec::new();
        let mut lost = 0u64;
        for extent in found {
            let Extent { block, len, .. } = extent;
            if !self.shared.has_any(block, len) {
                kept.push(extent);
                continue;
            }
            if self.shared.has_all(block, len) && settled.has_all(block, len) {
                lost += len;
                continue;
            }
            let mut run: Option<Extent> = None;
            for i in 0..extent.len {
                let block = extent.block + i;
                let ours =
                    !self.shared.get(block) || (!self.metadata.get(block) && !settled.set(block));
                if !ours {
                    lost += 1;
                    kept.extend(run.take());
                    continue;
                }
                // It may have been released as a node of its other owner.
                self.used.set(block);
                match &mut run {
                    Some(run) => run.len += 1,
                    None => {
                        run = Some(Extent {
                            file_block: extent.file_block + i,
                            block,
                            len: 1,
                            unwritten: extent.unwritten,
                        });
                    }
                }
            }
            kept.extend(run);
        }
        if lost > 0 {
            self.log.major(format_args!(
                "inode {ino}: {lost} blocks belong to another inode, and become holes"
            ));
        } else if !self.rebuild.contains(&ino) {
            return Ok(());
        }
        if !self.rebuild_file(ino, &mut raw, &kept, &nodes)? {
            self.log.problem(
                Severity::Unfixable,
                format_args!("inode {ino}: no free blocks to build its tree anew"),
            );
        }
        Ok(())
    }
}
