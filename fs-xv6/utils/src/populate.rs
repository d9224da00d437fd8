// SPDX-License-Identifier: GPL-2.0

//! Fills a volume with something of everything: for tests that damage it.

use crate::{
    failure::{
        Context,
        Result, //
    },
    random::Seeded,
};
use kernel::{
    bento::{
        Ino,
        Kind, //
    },
    user::{
        device::Device,
        Mount,
        MountOptions,
        NewNode,
        RenameMode, //
    },
};
use std::sync::Arc;
use xv6::Xv6;

const BLOCK: u64 = 4096;

/// How a populated volume is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Unmounted.
    Clean,
    /// As after a crash: transactions in the journal, and orphans.
    Crashed,
}

/// Mounts the volume on `device` and makes files, trees of several levels and every kind of inode
/// on it. It needs some 20 MiB.
pub fn populate(device: Arc<dyn Device>, seed: u64, leave: Leave) -> Result {
    let mount: Mount<Xv6> =
        Mount::mount(device, &MountOptions::default()).context("cannot mount")?;
    let mut random = Seeded::new(seed);
    let root = mount.root();
    let file = NewNode::new(Kind::Regular, 0o644);

    tree(&mount, root, &mut random, 3)?;
    let many = mount.mkdir(root, b"many", 0o755)?.ino();
    for i in 0..2500 {
        let name = format!("{i:04}-{}", "x".repeat(random.below(60) as usize));
        mount.create(many, name.as_bytes(), &file)?;
    }
    for name in mount.list(many)?.iter().step_by(7) {
        mount.unlink(many, &name.name)?;
    }
    fragmented(&mount, root, &mut random)?;
    links(&mount, root)?;
    for (name, kind) in [
        (&b"fifo"[..], Kind::Fifo),
        (b"socket", Kind::Socket),
        (b"char", Kind::CharDevice),
        (b"block", Kind::BlockDevice),
    ] {
        let mut node = NewNode::new(kind, 0o600);
        if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
            node.rdev = 0x0103;
        }
        mount.create(root, name, &node)?;
    }
    let keep = mount.create(root, b"preallocated", &file)?.ino();
    mount.allocate(keep, 0, 300 * BLOCK, true)?;
    mount.write(keep, 50 * BLOCK, &[1; 3 * BLOCK as usize])?;
    mount.sync()?;

    match leave {
        Leave::Clean => mount.umount().context("cannot unmount"),
        Leave::Crashed => {
            let big = mount.lookup(root, b"fragmented")?;
            mount.unlink(root, b"fragmented")?;
            let temporary = mount.tmpfile(root, &file)?;
            mount.write(temporary.ino(), 0, &[7; 2 * BLOCK as usize])?;
            rename_some(&mount, many, root, &mut random)?;
            mount.commit()?;
            // Neither evicted nor unmounted: what is open stays an orphan.
            big.pin();
            temporary.pin();
            drop(mount);
            Ok(())
        }
    }
}

/// A tree of directories and small files.
fn tree(mount: &Mount<Xv6>, dir: Ino, random: &mut Seeded, depth: u32) -> Result {
    let file = NewNode::new(Kind::Regular, 0o600);
    for i in 0..5 {
        let ino = mount
            .create(dir, format!("file{i}").as_bytes(), &file)?
            .ino();
        let size = random.below(40_000) as usize;
        mount.write(ino, random.below(3) * BLOCK, &vec![i as u8; size])?;
        if depth > 0 {
            let sub = mount.mkdir(dir, format!("dir{i}").as_bytes(), 0o755)?.ino();
            tree(mount, sub, random, depth - 1)?;
        }
    }
    Ok(())
}

/// A file of so many extents that its tree has two levels, and one with holes.
fn fragmented(mount: &Mount<Xv6>, root: Ino, random: &mut Seeded) -> Result {
    let file = NewNode::new(Kind::Regular, 0o644);
    let ino = mount.create(root, b"fragmented", &file)?.ino();
    for i in 0..1600 {
        mount.write(ino, 2 * i * BLOCK, &[i as u8; 100])?;
    }
    let holes = mount.create(root, b"holes", &file)?.ino();
    mount.write(holes, 0, &vec![3; 400 * BLOCK as usize])?;
    for _ in 0..40 {
        let start = random.below(390);
        mount.punch_hole(holes, start * BLOCK, (1 + random.below(4)) * BLOCK)?;
    }
    // A block far behind: a sparse file of a terabyte.
    mount.write(holes, 1 << 40, b"far")?;
    Ok(())
}

/// Hard and symbolic links.
fn links(mount: &Mount<Xv6>, root: Ino) -> Result {
    let dir = mount.mkdir(root, b"links", 0o755)?.ino();
    let ino = mount.lookup(root, b"file0")?.ino();
    for i in 0..20 {
        mount.link(ino, dir, format!("hard{i}").as_bytes())?;
    }
    for len in [1, 96, 97, 500, 4095] {
        let target = "t".repeat(len);
        mount.create(
            dir,
            format!("soft{len}").as_bytes(),
            &NewNode::symlink(target.as_bytes()),
        )?;
    }
    let name: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
    mount.create(dir, &name, &NewNode::new(Kind::Regular, 0o644))?;
    Ok(())
}

/// Renames some names into another directory.
fn rename_some(mount: &Mount<Xv6>, from: Ino, to: Ino, random: &mut Seeded) -> Result {
    let names = mount.list(from)?;
    for _ in 0..30 {
        if let Some(entry) = random.pick(&names) {
            // The same one may be picked twice: then it is gone.
            let _ = mount.rename(from, &entry.name, to, &entry.name, RenameMode::Replace);
        }
    }
    Ok(())
}
