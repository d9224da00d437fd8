// SPDX-License-Identifier: GPL-2.0

//! Symbolic links: the target in the inode's record, and what does not fit there in a block.

use super::{
    balloc::NewBlock,
    inode::Node,
    layout::*,
    metadata::Identity,
    Xv6, //
};
use kernel::{
    bento::{
        Block,
        Handle,
        Inode,
        Step,
        Volume, //
    },
    prelude::*, //
};
use zerocopy::IntoBytes;

/// A new symbolic link, see [`Xv6::prepare_link`].
pub(super) struct NewLink<'h, 't> {
    target: &'t [u8],
    /// The block for a long target.
    block: Option<NewBlock<'h>>,
}

impl Xv6 {
    fn link_identity(inode: Inode<'_, Node>) -> Identity {
        Identity {
            magic: MAGIC_LINK,
            owner: inode.ino(),
            generation: inode.generation(),
        }
    }

    /// Checks the root of a symbolic link of `size` bytes; the error names the field.
    pub(super) fn check_link(&self, node: &Node, size: u64) -> Result<(), &'static str> {
        // The size is zero when the block has been freed and the inode not yet.
        if size > MAX_LINK as u64 {
            return Err("size");
        }
        if node.depth != 0 {
            return Err("depth");
        }
        let long = size > INLINE_LINK as u64;
        if node.count != u16::from(long) {
            return Err("root_count");
        }
        if long && !self.is_data(Self::link_block(node).unwrap_or(0), 1) {
            return Err("root");
        }
        Ok(())
    }

    /// The block of a long target.
    fn link_block(node: &Node) -> Option<Block> {
        let extent = node.extent(0).filter(|_| node.count == 1)?;
        (extent.file_block.get() == 0 && extent.len.get() == 1).then_some(extent.block.get())
    }

    /// Reads a target into `target`, gives its length.
    pub(super) fn load_link(
        &self,
        volume: &Volume,
        inode: Inode<'_, Node>,
        target: &mut [u8],
    ) -> Result<usize> {
        let node = *inode.read();
        let len = inode.size() as usize;
        let target = target.get_mut(..len).ok_or(ENAMETOOLONG)?;
        if len <= INLINE_LINK {
            target.copy_from_slice(node.root.get(..len).ok_or(EUCLEAN)?);
        } else {
            let number = Self::link_block(&node).ok_or(EUCLEAN)?;
            let (block, _) = self.read_block(volume, number, Self::link_identity(inode))?;
            let (head, rest) = target.split_at_mut_checked(LINK_HEAD).ok_or(EUCLEAN)?;
            let inline = node.root.get(size_of::<RawExtent>()..).ok_or(EUCLEAN)?;
            for (to, from) in head.iter_mut().zip(inline) {
                *to = *from;
            }
            block.read(NODE_HEADER, rest)?;
        }
        if target.contains(&0) {
            let ino = inode.ino();
            return Err(volume.corrupt(format_args!("inode {ino}: NUL in a link's target")));
        }
        Ok(len)
    }

    /// Prepares the target of a new symbolic link.
    pub(super) fn prepare_link<'h, 't>(
        &self,
        handle: &'h Handle<'_>,
        inode: Inode<'_, Node>,
        target: &'t [u8],
    ) -> Result<NewLink<'h, 't>> {
        if target.is_empty() || target.len() > MAX_LINK {
            return Err(ENAMETOOLONG);
        }
        let block = if target.len() > INLINE_LINK {
            let goal = self.goal_of(inode);
            Some(self.prepare_alloc(handle, &handle.claims(), goal)?)
        } else {
            None
        };
        Ok(NewLink { target, block })
    }

    /// Frees the block of a symbolic link, and stores its record.
    pub(super) fn free_link(&self, handle: &Handle<'_>, inode: Inode<'_, Node>) -> Result<Step> {
        let mut node = inode.write();
        if let Some(block) = Self::link_block(&node) {
            self.check_count(handle.volume(), inode, 1)?;
            let old = self.prepare_free(handle, block)?;
            let mut record = self.prepare_store(handle, inode.ino())?;
            old.apply(self, handle, inode)?;
            *node = Node::EMPTY;
            inode.set_size(0);
            record.apply_with(self, inode, &node)?;
        }
        Ok(Step::Done)
    }
}

impl NewLink<'_, '_> {
    /// Stores the target, gives the node of the new inode, whose size is the target's length.
    pub(super) fn apply(self, fs: &Xv6, volume: &Volume, inode: Inode<'_, Node>) -> Result<Node> {
        let mut node = Node::EMPTY;
        let Some(new) = self.block else {
            for (to, from) in node.root.iter_mut().zip(self.target) {
                *to = *from;
            }
            return Ok(node);
        };
        let extent = RawExtent {
            file_block: 0.into(),
            len: 1.into(),
            block: new.block().into(),
        };
        let (head, rest) = self.target.split_at_checked(LINK_HEAD).ok_or(EINVAL)?;
        let bytes = Iterator::chain(extent.as_bytes().iter(), head);
        for (to, from) in node.root.iter_mut().zip(bytes) {
            *to = *from;
        }
        node.count = 1;
        let mut block = new.apply(fs, volume, inode)?;
        block.write(NODE_HEADER, rest)?;
        fs.seal(&mut block, Xv6::link_identity(inode), 0, 0)?;
        Ok(node)
    }
}
