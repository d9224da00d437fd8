// SPDX-License-Identifier: GPL-2.0

//! A fault at each point of each operation: it fails or does not, and nothing in between.
//!
//! Before the first store an operation leaves all as it was, and can be tried again. After it the journal is
//! aborted, and what the next mount finds is a state between operations.

mod common;

use common::{
    format,
    mount,
    umount, //
};
use kernel::{
    bento::{
        Ino,
        Kind, //
    },
    prelude::*,
    user::{
        device::MemDevice,
        fault::{
            Fault,
            Point, //
        },
        Mount,
        NewNode,
        RenameMode,
        SetAttr, //
    },
};
use std::sync::Arc;
use xv6::Xv6;

type Fs = Mount<Xv6>;
type Operation = fn(&Fs) -> Result;

const BLOCK: u64 = 4096;

/// An inode of the tree: path, kind, links, size, space, target.
type Node = (Vec<u8>, Kind, u32, u64, u64, Vec<u8>);

/// All that can be seen of a volume but times; and what is free.
#[derive(PartialEq, Eq, Debug)]
struct Snapshot {
    nodes: Vec<Node>,
    free_blocks: u64,
    free_inodes: u64,
}

fn snapshot(fs: &Fs) -> Snapshot {
    // What the mount has freed of orphans counts from then on.
    fs.commit().unwrap();
    let mut nodes = Vec::new();
    let mut todo = vec![(Vec::new(), fs.root())];
    while let Some((path, ino)) = todo.pop() {
        let stat = fs.stat(ino).unwrap();
        let target = match stat.kind {
            Kind::Symlink => fs.read_link(ino).unwrap(),
            _ => Vec::new(),
        };
        if stat.kind == Kind::Directory {
            for entry in fs.list(ino).unwrap() {
                assert_eq!(entry.kind, fs.stat(entry.ino).unwrap().kind);
                todo.push(([&path[..], b"/", &entry.name[..]].concat(), entry.ino));
            }
        }
        let a = stat.attributes;
        nodes.push((path, stat.kind, a.nlink, a.size, a.sectors, target));
    }
    nodes.sort_by(|a, b| a.0.cmp(&b.0));
    let space = fs.statfs().space;
    Snapshot {
        nodes,
        free_blocks: space.free_blocks,
        free_inodes: space.free_inodes,
    }
}

fn find(fs: &Fs, path: &str) -> Result<Ino> {
    let mut ino = fs.root();
    for name in path.split('/') {
        ino = fs.lookup(ino, name.as_bytes())?.ino();
    }
    Ok(ino)
}

fn create(fs: &Fs, dir: &str, name: &[u8]) -> Result {
    let new = NewNode::new(Kind::Regular, 0o644);
    fs.create(find(fs, dir)?, name, &new).map(drop)
}

/// A long name, so that few of them fill a leaf.
fn long(i: u8) -> [u8; 255] {
    let mut name = [b'a'; 255];
    name[0] = b'A' + i;
    name
}

/// A volume with something of each kind on it.
fn base() -> Arc<MemDevice> {
    let device = format(16_384);
    let fs = mount(&device);
    let root = fs.root();
    for dir in ["dir", "other", "empty", "leaf"] {
        fs.mkdir(root, dir.as_bytes(), 0o755).unwrap();
    }
    for name in ["file", "victim", "named twice"] {
        create(&fs, "dir", name.as_bytes()).unwrap();
    }
    fs.link(find(&fs, "dir/named twice").unwrap(), root, b"second name")
        .unwrap();
    // A tree with a leaf, of every other block.
    let file = find(&fs, "dir/file").unwrap();
    for i in 0..20 {
        fs.write(file, 2 * i * BLOCK, b"data").unwrap();
    }
    fs.write(
        find(&fs, "dir/victim").unwrap(),
        0,
        &[1; 3 * BLOCK as usize],
    )
    .unwrap();
    create(&fs, "dir", b"six").unwrap();
    let six = find(&fs, "dir/six").unwrap();
    for i in 0..6 {
        fs.write(six, 2 * i * BLOCK, b"data").unwrap();
    }
    create(&fs, "dir", b"unwritten").unwrap();
    fs.allocate(find(&fs, "dir/unwritten").unwrap(), 0, 40 * BLOCK, false)
        .unwrap();
    let one = fs.create(
        find(&fs, "dir").unwrap(),
        b"long link",
        &NewNode::symlink(&[b't'; 3000]),
    );
    drop(one.unwrap());
    // A leaf that the next name splits.
    for i in 0..14 {
        create(&fs, "leaf", &long(i)).unwrap();
    }
    umount(fs);
    device
}

/// Tries each point of `operation`, for one kind of fault; gives how many there are.
fn faults(base: &MemDevice, point: Point, operation: Operation) -> u64 {
    let before = snapshot(&mount(&Arc::new(base.clone())));
    let after = {
        let device = Arc::new(base.clone());
        let fs = mount(&device);
        operation(&fs).unwrap();
        fs.commit().unwrap();
        drop(fs);
        snapshot(&mount(&device))
    };
    for n in 0.. {
        let device = Arc::new(base.clone());
        let fs = mount(&device);
        let fault = Fault::at(point, n);
        let result = operation(&fs);
        let happened = fault.happened();
        drop(fault);
        if !happened {
            result.unwrap();
            umount(fs);
            return n;
        }
        assert_eq!(fs.breaches(), 0);
        assert_eq!(fs.damage(), 0);
        let aborted = fs.commit().is_err();
        if aborted {
            assert_eq!(point, Point::Store, "{n}: aborted, {result:?}");
            drop(fs);
            let found = snapshot(&mount(&device));
            assert!(found == before || found == after, "{n}: {result:?}");
            continue;
        }
        if result.is_err() {
            // Nothing has happened: it can be tried again.
            operation(&fs).unwrap_or_else(|error| panic!("{n}: {result:?}, then {error:?}"));
            fs.commit().unwrap();
        }
        // A crash: what is free is counted anew.
        drop(fs);
        let found = snapshot(&mount(&device));
        assert!(found == after, "{n}: {result:?}");
    }
    unreachable!()
}

fn all_faults(operation: Operation) {
    let base = base();
    // Not every operation allocates memory.
    faults(&base, Point::Allocation, operation);
    for point in [Point::Access, Point::Read, Point::Store] {
        assert!(faults(&base, point, operation) > 0, "{point:?}");
    }
}

#[test]
fn create_in_a_directory_that_was_empty() {
    all_faults(|fs| create(fs, "empty", b"name"));
}

#[test]
fn create_that_splits_a_leaf() {
    all_faults(|fs| create(fs, "leaf", &long(20)));
}

#[test]
fn make_a_directory() {
    all_faults(|fs| fs.mkdir(find(fs, "dir")?, b"sub", 0o755).map(drop));
}

#[test]
fn make_a_short_link() {
    all_faults(|fs| {
        fs.create(fs.root(), b"link", &NewNode::symlink(b"target"))
            .map(drop)
    });
}

#[test]
fn make_a_long_link() {
    all_faults(|fs| {
        fs.create(fs.root(), b"link", &NewNode::symlink(&[b't'; 4095]))
            .map(drop)
    });
}

#[test]
fn link() {
    all_faults(|fs| fs.link(find(fs, "dir/file")?, find(fs, "leaf")?, b"more"));
}

#[test]
fn unlink_one_of_two() {
    all_faults(|fs| fs.unlink(fs.root(), b"second name"));
}

#[test]
fn unlink_the_last() {
    all_faults(|fs| fs.unlink(find(fs, "dir")?, b"victim"));
}

#[test]
fn unlink_a_long_link() {
    all_faults(|fs| fs.unlink(find(fs, "dir")?, b"long link"));
}

#[test]
fn remove_a_directory() {
    all_faults(|fs| fs.rmdir(fs.root(), b"empty"));
}

fn rename(fs: &Fs, old: (&str, &[u8]), new: (&str, &[u8]), mode: RenameMode) -> Result {
    fs.rename(find(fs, old.0)?, old.1, find(fs, new.0)?, new.1, mode)
}

#[test]
fn rename_in_a_directory() {
    all_faults(|fs| rename(fs, ("dir", b"file"), ("dir", b"new"), RenameMode::Replace));
}

#[test]
fn rename_over_a_file() {
    all_faults(|fs| {
        rename(
            fs,
            ("dir", b"file"),
            ("dir", b"victim"),
            RenameMode::Replace,
        )
    });
}

#[test]
fn rename_into_a_leaf_that_splits() {
    all_faults(|fs| {
        rename(
            fs,
            ("dir", b"file"),
            ("leaf", &long(21)),
            RenameMode::Replace,
        )
    });
}

#[test]
fn rename_a_directory_over_another() {
    all_faults(|fs| {
        let (old, new) = (&b"leaf"[..], &b"empty"[..]);
        fs.rename(fs.root(), old, fs.root(), new, RenameMode::Replace)
    });
}

#[test]
fn exchange() {
    all_faults(|fs| {
        let root = fs.root();
        fs.rename(
            find(fs, "dir")?,
            b"file",
            root,
            b"other",
            RenameMode::Exchange,
        )
    });
}

#[test]
fn write_that_grows_the_tree() {
    all_faults(|fs| {
        fs.write(find(fs, "dir/six")?, 12 * BLOCK, b"data")
            .map(drop)
    });
}

#[test]
fn write_into_a_preallocation() {
    all_faults(|fs| {
        fs.write(find(fs, "dir/unwritten")?, 7 * BLOCK, b"data")
            .map(drop)
    });
}

#[test]
fn punch_a_hole_into_one_extent() {
    all_faults(|fs| fs.punch_hole(find(fs, "dir/unwritten")?, 7 * BLOCK, 3 * BLOCK));
}

#[test]
fn truncate() {
    all_faults(|fs| {
        let change = SetAttr {
            size: Some(5 * BLOCK),
            ..SetAttr::default()
        };
        fs.set_attr(find(fs, "dir/victim")?, &change).map(drop)
    });
}

#[test]
fn a_file_without_a_name() {
    all_faults(|fs| {
        let new = NewNode::new(Kind::Regular, 0o600);
        let inode = fs.tmpfile(fs.root(), &new)?;
        fs.link(inode.ino(), find(fs, "dir")?, b"named at last")
    });
}
