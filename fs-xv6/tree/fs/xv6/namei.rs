// SPDX-License-Identifier: GPL-2.0

//! Names: made, removed and moved, each in one transaction with the inodes that they name.
//!
//! Every operation here has the same form: first all that can fail, and then only stores.

use super::{
    credits::{
        BITMAP,
        RECORD, //
    },
    dir::{
        Draft,
        Tree,
        INSERT_BLOCKS,
        INSERT_NODES,
        REMOVE_BLOCKS,
        REMOVE_NODES, //
    },
    ialloc::InodeBits,
    inode::{
        Node,
        RecordSlot, //
    },
    Xv6, //
};
use kernel::{
    bento::{
        DirSink,
        Handle,
        Ino,
        Inode,
        Kind,
        Name,
        NewInode,
        Rename,
        Step,
        Volume, //
    },
    prelude::*, //
};

/// A new entry: nodes, and the bits of those among them that are new.
const INSERT: u32 = INSERT_NODES + INSERT_BLOCKS * BITMAP;
/// An entry less: nodes, and the bits of those that are freed.
const REMOVE: u32 = REMOVE_NODES + REMOVE_BLOCKS * BITMAP;

/// The entry, two records, the number, the block of a symbolic link.
pub(super) const CREATE_CREDITS: u32 = INSERT + 2 * RECORD + BITMAP + (1 + BITMAP);
/// The entry, two records, the orphan bit.
pub(super) const LINK_CREDITS: u32 = INSERT + 2 * RECORD + BITMAP;
/// The entry, two records, the orphan bit.
pub(super) const UNLINK_CREDITS: u32 = REMOVE + 2 * RECORD + BITMAP;
/// Two entries, five records, the orphan bits of the target and of the whiteout.
pub(super) const RENAME_CREDITS: u32 = INSERT + REMOVE + 5 * RECORD + 2 * BITMAP;
/// A step that frees a directory: a leaf, the record.
pub(super) const FREE_CREDITS: u32 = REMOVE + RECORD;
/// The nodes that a removal frees. An `unlink` and a `rename` revoke as many.
pub(super) const FREE_REVOKES: u32 = REMOVE_BLOCKS;

/// [`FileSystem::lookup`](kernel::bento::FileSystem::lookup).
pub(super) fn lookup(
    fs: &Xv6,
    volume: &Volume,
    dir: Inode<'_, Node>,
    name: Name<'_>,
) -> Result<Option<Ino>> {
    Tree::new(fs, volume, dir)?.lookup(name)
}

/// [`FileSystem::read_dir`](kernel::bento::FileSystem::read_dir).
pub(super) fn read_dir(
    fs: &Xv6,
    volume: &Volume,
    dir: Inode<'_, Node>,
    position: u64,
    sink: &mut DirSink<'_>,
) -> Result {
    Tree::new(fs, volume, dir)?.read(position, sink)
}

/// [`FileSystem::parent`](kernel::bento::FileSystem::parent).
pub(super) fn parent(fs: &Xv6, volume: &Volume, dir: Inode<'_, Node>) -> Result<Ino> {
    let parent = dir.read().dir_root().parent.get();
    if !fs.is_ino(parent) {
        let ino = dir.ino();
        return Err(volume.corrupt(format_args!("directory {ino}: parent {parent}")));
    }
    Ok(parent)
}

/// [`FileSystem::create`](kernel::bento::FileSystem::create).
pub(super) fn create(
    fs: &Xv6,
    handle: &Handle<'_>,
    dir: Inode<'_, Node>,
    inode: Inode<'_, Node>,
    new: &NewInode<'_>,
) -> Result<Node> {
    let volume = handle.volume();
    let entry = match new.name {
        Some(name) => {
            let mut draft = Draft::new(fs, handle, dir)?;
            draft.insert(name, inode.ino(), inode.kind())?;
            Some((draft.prepare(dir)?, fs.prepare_store(handle, dir.ino())?))
        }
        None => None,
    };
    let link = match inode.kind() {
        Kind::Symlink => Some(fs.prepare_link(handle, inode, new.target)?),
        _ => None,
    };
    let mut bits = fs.prepare_inode(handle, inode.ino())?;
    let mut record = fs.prepare_first_store(handle, inode.ino())?;

    bits.allocate(fs, volume)?;
    let node = match (link, inode.kind()) {
        (Some(link), _) => {
            inode.set_size(new.target.len() as u64);
            link.apply(fs, volume, inode)?
        }
        (None, Kind::Directory) => Node::directory(dir.ino()),
        (None, _) => Node::EMPTY,
    };
    record.apply_with(fs, inode, &node)?;
    match entry {
        Some((change, mut parent)) => {
            change.apply(dir)?;
            parent.apply(fs, dir)?;
        }
        None => bits.set_orphan(fs, volume, true)?,
    }
    Ok(node)
}

/// [`FileSystem::link`](kernel::bento::FileSystem::link).
pub(super) fn link(
    fs: &Xv6,
    handle: &Handle<'_>,
    dir: Inode<'_, Node>,
    inode: Inode<'_, Node>,
    name: Name<'_>,
) -> Result {
    let mut draft = Draft::new(fs, handle, dir)?;
    draft.insert(name, inode.ino(), inode.kind())?;
    let change = draft.prepare(dir)?;
    let mut parent = fs.prepare_store(handle, dir.ino())?;
    let mut record = fs.prepare_store(handle, inode.ino())?;
    // With its first name it ceases to be an orphan.
    let bits = match inode.nlink() {
        1 => Some(fs.prepare_inode(handle, inode.ino())?),
        _ => None,
    };

    change.apply(dir)?;
    parent.apply(fs, dir)?;
    record.apply(fs, inode)?;
    match bits {
        Some(mut bits) => bits.set_orphan(fs, handle.volume(), false),
        None => Ok(()),
    }
}

/// [`FileSystem::unlink`](kernel::bento::FileSystem::unlink).
pub(super) fn unlink(
    fs: &Xv6,
    handle: &Handle<'_>,
    dir: Inode<'_, Node>,
    inode: Inode<'_, Node>,
    name: Name<'_>,
) -> Result {
    let mut draft = Draft::new(fs, handle, dir)?;
    draft.remove(name, inode.ino())?;
    let change = draft.prepare(dir)?;
    let mut parent = fs.prepare_store(handle, dir.ino())?;
    let mut loser = prepare_loser(fs, handle, inode)?;

    change.apply(dir)?;
    parent.apply(fs, dir)?;
    loser.apply(fs, handle.volume(), inode)
}

/// [`FileSystem::rename`](kernel::bento::FileSystem::rename).
pub(super) fn rename(fs: &Xv6, handle: &Handle<'_>, rename: &Rename<'_, Node>) -> Result {
    let Rename {
        old_dir,
        old_name,
        inode,
        new_dir,
        new_name,
        target,
        exchange,
        whiteout,
    } = *rename;
    let volume = handle.volume();
    let (ino, kind) = (inode.ino(), inode.kind());
    let apart = old_dir.ino() != new_dir.ino();

    // What takes the old name; in the same directory first the old, then the new name: see `Draft`.
    let mut draft = Draft::new(fs, handle, old_dir)?;
    match rename.successor() {
        Some(other) => draft.replace(old_name, ino, other.ino(), other.kind())?,
        None => draft.remove(old_name, ino)?,
    }
    let mut far = match apart {
        true => Some(Draft::new(fs, handle, new_dir)?),
        false => None,
    };
    let near = far.as_mut().unwrap_or(&mut draft);
    match target {
        Some(target) => near.replace(new_name, target.ino(), ino, kind)?,
        None => near.insert(new_name, ino, kind)?,
    }
    let change = draft.prepare(old_dir)?;
    let far = match far {
        Some(far) => Some((
            far.prepare(new_dir)?,
            fs.prepare_store(handle, new_dir.ino())?,
        )),
        None => None,
    };
    let mut parent = fs.prepare_store(handle, old_dir.ino())?;
    let mut record = fs.prepare_store(handle, ino)?;
    let loser = match target {
        Some(target) => Some((target, prepare_loser(fs, handle, target)?)),
        None => None,
    };
    let whiteout = match whiteout {
        Some(other) => Some((
            other,
            fs.prepare_store(handle, other.ino())?,
            fs.prepare_inode(handle, other.ino())?,
        )),
        None => None,
    };

    change.apply(old_dir)?;
    parent.apply(fs, old_dir)?;
    if let Some((change, mut parent)) = far {
        change.apply(new_dir)?;
        parent.apply(fs, new_dir)?;
    }
    set_parent(inode, new_dir);
    record.apply(fs, inode)?;
    if let Some((target, mut loser)) = loser {
        if exchange {
            set_parent(target, old_dir);
        }
        loser.apply(fs, volume, target)?;
    }
    if let Some((other, mut record, mut bits)) = whiteout {
        record.apply(fs, other)?;
        bits.set_orphan(fs, volume, false)?;
    }
    Ok(())
}

/// [`FileSystem::free_blocks`](kernel::bento::FileSystem::free_blocks) of a directory: leaf by
/// leaf.
///
/// Finds nothing to do but in a damaged volume, as a directory that goes has no entries.
pub(super) fn free_step(fs: &Xv6, handle: &Handle<'_>, dir: Inode<'_, Node>) -> Result<Step> {
    let mut draft = Draft::new(fs, handle, dir)?;
    if draft.is_empty() {
        return Ok(Step::Done);
    }
    draft.remove_last_leaf()?;
    let step = match draft.is_empty() {
        true => Step::Done,
        false => Step::More,
    };
    let change = draft.prepare(dir)?;
    let mut record = fs.prepare_store(handle, dir.ino())?;

    change.apply(dir)?;
    record.apply(fs, dir)?;
    Ok(step)
}

/// Makes ready to store an inode that has lost a name.
fn prepare_loser<'h>(
    fs: &Xv6,
    handle: &'h Handle<'_>,
    inode: Inode<'_, Node>,
) -> Result<Loser<'h>> {
    Ok(Loser {
        record: fs.prepare_store(handle, inode.ino())?,
        bits: match inode.nlink() {
            0 => Some(fs.prepare_inode(handle, inode.ino())?),
            _ => None,
        },
    })
}

/// Notes the directory that holds a directory.
fn set_parent(inode: Inode<'_, Node>, parent: Inode<'_, Node>) {
    if inode.kind() == Kind::Directory {
        let mut node = inode.write();
        let mut root = node.dir_root();
        root.parent = parent.ino().into();
        node.set_dir_root(&root);
    }
}

/// An inode that has lost a name, perhaps its last one.
struct Loser<'h> {
    record: RecordSlot<'h>,
    bits: Option<InodeBits<'h>>,
}

impl Loser<'_> {
    fn apply(&mut self, fs: &Xv6, volume: &Volume, inode: Inode<'_, Node>) -> Result {
        self.record.apply(fs, inode)?;
        match &mut self.bits {
            Some(bits) => bits.set_orphan(fs, volume, true),
            None => Ok(()),
        }
    }
}
