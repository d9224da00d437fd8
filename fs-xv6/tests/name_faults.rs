// SPDX-License-Identifier: GPL-2.0

//! A fault at each point where an operation on names can fail: all or nothing.

mod common;

use common::{
    format,
    mount,
    pattern, //
};
use kernel::{
    bento::{
        Ino,
        Kind, //
    },
    error::Result,
    print::Capture,
    user::{
        device::MemDevice,
        fault::{
            Fault,
            Point, //
        },
        Mount,
        NewNode,
        RenameMode,
        Stat, //
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc, //
};
use xv6::Xv6;

/// Everything that can be seen of a volume.
#[derive(Debug, PartialEq)]
struct Snapshot {
    names: BTreeMap<Vec<u8>, (Stat, Option<Vec<u8>>)>,
    free_blocks: u64,
    free_inodes: u64,
}

impl Snapshot {
    fn of(fs: &Mount<Xv6>) -> Self {
        let mut names = BTreeMap::new();
        Self::walk(fs, fs.root(), b"", &mut names);
        let space = fs.statfs().space;
        Self {
            names,
            free_blocks: space.free_blocks,
            free_inodes: space.free_inodes,
        }
    }

    /// Panics where the two differ.
    #[track_caller]
    fn same(&self, other: &Self, context: &str) {
        for name in self.names.keys().chain(other.names.keys()) {
            let (a, b) = (self.names.get(name), other.names.get(name));
            assert_eq!(a, b, "{context}: {}", name.escape_ascii());
        }
        assert_eq!(
            (self.free_blocks, self.free_inodes),
            (other.free_blocks, other.free_inodes),
            "{context}: free"
        );
    }

    fn walk(
        fs: &Mount<Xv6>,
        dir: Ino,
        path: &[u8],
        names: &mut BTreeMap<Vec<u8>, (Stat, Option<Vec<u8>>)>,
    ) {
        for entry in fs.list(dir).expect("list") {
            let path = [path, b"/", &entry.name].concat();
            let stat = fs.stat(entry.ino).expect("stat");
            assert_eq!(stat.kind, entry.kind);
            let target = match entry.kind {
                Kind::Symlink => Some(fs.read_link(entry.ino).expect("read_link")),
                _ => None,
            };
            names.insert(path.clone(), (stat, target));
            if entry.kind == Kind::Directory {
                Self::walk(fs, entry.ino, &path, names);
            }
        }
    }
}

/// What the operations work on: `dir` with a leaf that the next entry splits, `sub` with one entry in a leaf of
/// its own, and more.
fn prepare() -> Arc<MemDevice> {
    let device = format(common::BLOCKS);
    let fs = mount(&device);
    let root = fs.root();
    let file = |dir: Ino, name: &[u8]| {
        let new = NewNode::new(Kind::Regular, 0o600);
        fs.create(dir, name, &new).expect("create").ino()
    };
    let dir = fs.mkdir(root, b"dir", 0o700).expect("mkdir").ino();
    for i in 0..14 {
        file(dir, &full_name(i));
    }
    let sub = fs.mkdir(root, b"sub", 0o700).expect("mkdir").ino();
    let data = file(sub, b"file");
    fs.write(data, 0, &pattern(1, 10_000)).expect("write");
    fs.mkdir(root, b"empty", 0o700).expect("mkdir");
    fs.create(root, b"long", &NewNode::symlink(&[b'x'; 3000]))
        .expect("symlink");
    // With names of the greatest length fourteen make a leaf.
    assert_eq!(fs.stat(dir).expect("stat").attributes.size, 4096);
    common::umount(fs);
    device
}

fn full_name(i: u8) -> Vec<u8> {
    vec![b'a' + i; 255]
}

fn find(fs: &Mount<Xv6>, name: &[u8]) -> Result<Ino> {
    Ok(fs.lookup(fs.root(), name)?.ino())
}

type Operation = fn(&Mount<Xv6>) -> Result<()>;

/// The operations, and whether they need the directories' tree to grow.
const OPERATIONS: &[(&str, Operation)] = &[
    ("create", |fs| {
        let new = NewNode::new(Kind::Regular, 0o600);
        fs.create(find(fs, b"dir")?, &full_name(20), &new).map(drop)
    }),
    ("create-first", |fs| {
        let new = NewNode::new(Kind::Regular, 0o600);
        fs.create(find(fs, b"empty")?, b"first", &new).map(drop)
    }),
    ("mkdir", |fs| {
        fs.mkdir(find(fs, b"dir")?, &full_name(21), 0o700).map(drop)
    }),
    ("symlink", |fs| {
        let new = NewNode::symlink(&[b'y'; 4000]);
        fs.create(find(fs, b"dir")?, &full_name(22), &new).map(drop)
    }),
    ("tmpfile", |fs| {
        let new = NewNode::new(Kind::Regular, 0o600);
        fs.tmpfile(find(fs, b"dir")?, &new).map(drop)
    }),
    ("link", |fs| {
        let ino = fs.lookup(find(fs, b"sub")?, b"file")?.ino();
        fs.link(ino, find(fs, b"dir")?, &full_name(23))
    }),
    ("unlink", |fs| fs.unlink(find(fs, b"dir")?, &full_name(3))),
    ("unlink-last", |fs| fs.unlink(find(fs, b"sub")?, b"file")),
    ("unlink-link", |fs| fs.unlink(fs.root(), b"long")),
    ("rmdir", |fs| fs.rmdir(fs.root(), b"empty")),
    ("rename-within", |fs| {
        let dir = find(fs, b"dir")?;
        fs.rename(dir, &full_name(5), dir, b"short", RenameMode::Replace)
    }),
    ("rename-across", |fs| {
        let (sub, dir) = (find(fs, b"sub")?, find(fs, b"dir")?);
        fs.rename(sub, b"file", dir, &full_name(24), RenameMode::Replace)
    }),
    ("rename-over", |fs| {
        let (sub, dir) = (find(fs, b"sub")?, find(fs, b"dir")?);
        fs.rename(dir, &full_name(1), sub, b"file", RenameMode::Replace)
    }),
    ("rename-directory", |fs| {
        let dir = find(fs, b"dir")?;
        fs.rename(fs.root(), b"sub", dir, &full_name(25), RenameMode::Replace)
    }),
    ("exchange", |fs| {
        let dir = find(fs, b"dir")?;
        fs.rename(fs.root(), b"sub", dir, &full_name(6), RenameMode::Exchange)
    }),
];

/// A fault before the first store leaves everything as it was, and the operation can be tried again.
#[test]
fn before_the_first_store() {
    let prepared = prepare();
    for (name, operation) in OPERATIONS {
        for point in [Point::Allocation, Point::Read, Point::Access] {
            let mut faults = 0;
            for n in 0.. {
                let device = Arc::new((*prepared).clone());
                let fs = mount(&device);
                let before = match point {
                    // What has been read is not read again.
                    Point::Read => None,
                    _ => Some(Snapshot::of(&fs)),
                };
                let fault = Fault::at(point, n);
                let result = operation(&fs);
                let happened = fault.happened();
                drop(fault);
                if !happened {
                    result.unwrap_or_else(|error| panic!("{name}: {error}"));
                    common::umount(fs);
                    common::fsck(&*device);
                    break;
                }
                faults += 1;
                if result.is_ok() {
                    // Met where it does not matter: after the operation, when an inode is freed. That is
                    // done at the next mount.
                    assert!(
                        name.starts_with("unlink") || name.starts_with("r") || *name == "tmpfile"
                    );
                    continue;
                }
                if let Some(before) = before {
                    Snapshot::of(&fs).same(&before, &format!("{name}: {point:?} {n}"));
                }
                operation(&fs).unwrap_or_else(|error| panic!("{name}: again: {error}"));
                assert_eq!(fs.breaches(), 0);
                // What has been freed counts as free with the commit.
                fs.sync().expect("sync");
                let done = Snapshot::of(&fs);
                fs.umount().expect("umount");
                common::fsck(&*device);
                Snapshot::of(&mount(&device)).same(&done, &format!("{name}: {point:?} {n}, done"));
            }
            assert!(faults > 0 || point != Point::Access, "{name}: no {point:?}");
        }
    }
}

/// A fault after the first store aborts the journal: nothing of the operation is there afterwards.
#[test]
fn after_the_first_store() {
    let prepared = prepare();
    for (name, operation) in OPERATIONS {
        let mut faults = 0;
        for n in 0.. {
            let device = Arc::new((*prepared).clone());
            let fs = mount(&device);
            let before = Snapshot::of(&fs);
            let quiet = Capture::start();
            let fault = Fault::at(Point::Store, n);
            let result = operation(&fs);
            let happened = fault.happened();
            drop((fault, quiet));
            if !happened {
                result.unwrap_or_else(|error| panic!("{name}: {error}"));
                break;
            }
            faults += 1;
            let failed = result.is_err();
            let _quiet = Capture::start();
            drop(fs);
            common::fsck(&*device);
            let after = Snapshot::of(&mount(&device));
            if failed {
                after.same(&before, &format!("{name}: store {n}"));
            }
        }
        assert!(faults > 1, "{name}: no stores");
    }
}
