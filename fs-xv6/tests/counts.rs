// SPDX-License-Identifier: GPL-2.0

//! Records that count fewer blocks than the inode has: damage that is met before anything changes.

mod common;

use common::{
    format,
    mount,
    umount,
    BLOCKS, //
};
use kernel::{
    bento::Kind,
    error::{
        code::*,
        Result, //
    },
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Errors,
        Mount,
        MountOptions,
        NewNode,
        SetAttr, //
    },
};
use std::sync::Arc;
use xv6::{
    layout::*,
    Xv6, //
};
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode, //
    },
    image,
};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A volume with a file of some extents, one of a tree, a directory of many leaves, and a long link.
fn furnished() -> Arc<MemDevice> {
    let device = format(BLOCKS);
    let m = mount(&device);
    let new = NewNode::new(Kind::Regular, 0o644);
    for (name, extents) in [(&b"flat"[..], 3), (b"tree", 40)] {
        let ino = m.create(m.root(), name, &new).unwrap().ino();
        for i in 0..extents {
            m.write(ino, 3 * i * BLOCK, &[7; 2 * BLOCK as usize])
                .unwrap();
        }
    }
    let dir = m.mkdir(m.root(), b"dir", 0o755).unwrap().ino();
    for i in 0..100 {
        m.create(dir, std::format!("{i:0>200}").as_bytes(), &new)
            .unwrap();
    }
    m.create(m.root(), b"link", &NewNode::symlink(&[b'x'; 500]))
        .unwrap();
    umount(m);
    device
}

/// Makes the record of `/name` say that it has so many blocks. Gives how many it has.
fn say(device: &Arc<MemDevice>, name: &str, blocks: u64) -> u64 {
    let m = mount(device);
    let ino = m.lookup(m.root(), name.as_bytes()).unwrap().ino();
    umount(m);
    let first = image::read(device, SUPER_BLOCK).unwrap();
    let s: SuperBlock = image::load(&first[..], 0).unwrap();
    let (block, offset) = s.geometry().inode_place(ino);
    let mut table = image::read(device, block).unwrap();
    let mut raw = image::inode_at(&table, offset / INODE_SIZE).unwrap();
    let has = raw.blocks.get();
    raw.blocks = blocks.into();
    image::seal_inode(s.seed(), &mut raw);
    image::store(&mut table[..], offset, &raw);
    device.write(block, &table[..]).unwrap();
    has
}

/// A mount that goes on when damage is met.
fn mount_on(device: &Arc<MemDevice>) -> Mount<Xv6> {
    let options = MountOptions {
        errors: Errors::Continue,
        ..MountOptions::default()
    };
    Mount::mount(device.clone(), &options).unwrap()
}

fn set_size(m: &Mount<Xv6>, name: &str, size: u64) -> Result {
    let ino = m.lookup(m.root(), name.as_bytes())?.ino();
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    m.set_attr(ino, &change).map(drop)
}

fn empty(m: &Mount<Xv6>, name: &str) -> Result {
    let dir = m.lookup(m.root(), name.as_bytes())?.ino();
    for entry in m.list(dir)? {
        m.unlink(dir, &entry.name)?;
    }
    Ok(())
}

type Operation = fn(&Mount<Xv6>) -> Result;

/// What gives blocks back, of which inode.
const OPERATIONS: [(&str, &str, Operation); 6] = [
    ("truncate", "flat", |m| set_size(m, "flat", 0)),
    ("cut", "flat", |m| set_size(m, "flat", BLOCK)),
    ("truncate", "tree", |m| set_size(m, "tree", 0)),
    ("punch", "tree", |m| {
        let ino = m.lookup(m.root(), b"tree")?.ino();
        m.punch_hole(ino, 0, 30 * BLOCK)
    }),
    ("unlink in", "dir", |m| empty(m, "dir")),
    ("unlink", "link", |m| m.unlink(m.root(), b"link")),
];

#[test]
fn fewer_than_there_are() {
    for (what, name, operation) in OPERATIONS {
        let device = furnished();
        let has = say(&device, name, 1);
        let m = mount_on(&device);
        let result = operation(&m);
        if has > 1 {
            assert_eq!(result, Err(EUCLEAN), "{what} {name}");
            assert!(m.damage() > 0, "{what} {name}");
            assert_eq!(m.breaches(), 0);
            let ino = m.lookup(m.root(), name.as_bytes()).unwrap().ino();
            let left = m.stat(ino).unwrap().attributes.sectors * 512 / BLOCK;
            assert!(left <= 1, "{what} {name}: {left} blocks");
        }
        m.umount().unwrap();
        repaired(&device);
        let m = mount(&device);
        if has > 1 {
            operation(&m).unwrap();
        }
        umount(m);
        common::fsck(&*device);
    }
}

/// A record that says that there are no blocks, and where they are.
#[test]
fn none_where_there_are_some() {
    for (what, name, operation) in OPERATIONS {
        let device = furnished();
        say(&device, name, 0);
        let m = mount_on(&device);
        assert_eq!(operation(&m), Err(EUCLEAN), "{what} {name}");
        assert!(m.damage() > 0, "{what} {name}");
        m.umount().unwrap();
        repaired(&device);
        let m = mount(&device);
        operation(&m).unwrap();
        umount(m);
        common::fsck(&*device);
    }
}

/// What was kept of a file never counts none: a later truncation would leave it there.
#[test]
fn as_many_as_go() {
    let device = furnished();
    // Three extents of two blocks, of which the last two go.
    assert_eq!(say(&device, "flat", 4), 6);
    let m = mount_on(&device);
    assert_eq!(set_size(&m, "flat", 2 * BLOCK), Err(EUCLEAN));
    m.umount().unwrap();
    repaired(&device);
}

/// fsck finds the count, and repairs it.
#[track_caller]
fn repaired(device: &MemDevice) {
    let options = FsckOptions {
        mode: Mode::Repair,
        force: true,
        verbose: false,
    };
    let report = fsck(device, &options).unwrap();
    assert_eq!(report.left, 0);
    common::fsck(device);
}
