// SPDX-License-Identifier: GPL-2.0

//! Faults: an operation that meets one fails, changes nothing, and what follows works; where that
//! cannot be, the journal is aborted and the next mount finds the volume as it was.

mod common;

use common::{
    format_with,
    mount,
    pattern,
    BLOCKS, //
};
use kernel::{
    bento::{
        Attributes,
        Ino,
        Kind, //
    },
    error::{
        code::*,
        Error,
        Result, //
    },
    print::Capture,
    user::{
        device::{
            FaultDevice,
            MemDevice,
            Operation, //
        },
        fault::{
            Fault,
            Point, //
        },
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SetAttr,
        StatFs, //
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc, //
};
use xv6::Xv6;
use xv6_utils::mkfs::MkfsOptions;

const FILE: NewNode<'static> = NewNode {
    mode: 0o100_644,
    uid: 0,
    gid: 0,
    rdev: 0,
    target: &[],
};

type Act = fn(&Mount<Xv6>) -> Result;

/// What is tried. Each works on the volume that [`prepare`] makes.
const ACTS: &[(&str, Act)] = &[
    ("create", |m| m.create(m.root(), b"new", &FILE).map(drop)),
    ("create in a group of its own", |m| {
        m.create(find(m, "dir")?, b"new", &FILE).map(drop)
    }),
    ("mkdir", |m| m.mkdir(m.root(), b"new", 0o755).map(drop)),
    ("tmpfile", |m| m.tmpfile(m.root(), &FILE).map(drop)),
    ("short symlink", |m| {
        m.create(m.root(), b"new", &NewNode::symlink(b"target"))
            .map(drop)
    }),
    ("long symlink", |m| {
        m.create(m.root(), b"new", &NewNode::symlink(&[b't'; 4000]))
            .map(drop)
    }),
    ("link", |m| m.link(find(m, "file")?, m.root(), b"new")),
    ("unlink", |m| m.unlink(m.root(), b"file")),
    ("unlink of one of two names", |m| {
        m.unlink(m.root(), b"twice")
    }),
    ("rmdir", |m| m.rmdir(m.root(), b"empty")),
    ("rename", |m| rename(m, "file", "new", RenameMode::Replace)),
    ("rename over", |m| {
        rename(m, "file", "twice", RenameMode::Replace)
    }),
    ("rename of a directory", |m| {
        m.rename(
            m.root(),
            b"empty",
            find(m, "dir")?,
            b"new",
            RenameMode::Replace,
        )
    }),
    ("exchange", |m| {
        rename(m, "file", "dir", RenameMode::Exchange)
    }),
    ("write to a hole", |m| {
        m.write(find(m, "file")?, 10_000_000, &pattern(1, 10_000))
            .map(drop)
    }),
    ("write that grows a tree", |m| {
        m.write(find(m, "full root")?, 12 * 4096, b"x").map(drop)
    }),
    ("append", |m| m.append(find(m, "file")?, b"more").map(drop)),
    ("write to preallocated blocks", |m| {
        m.write(find(m, "preallocated")?, 50_000, &[1; 5000])
            .map(drop)
    }),
    ("truncate", |m| set_size(m, "fragmented", 12_345)),
    ("extend", |m| set_size(m, "file", 1_000_000)),
    ("punch", |m| {
        m.punch_hole(find(m, "fragmented")?, 500_000, 500_000)
    }),
    ("allocate", |m| {
        m.allocate(find(m, "file")?, 0, 2_000_000, false)
    }),
    ("chmod", |m| {
        let change = SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        };
        m.set_attr(find(m, "file")?, &change).map(drop)
    }),
];

fn find(mount: &Mount<Xv6>, name: &str) -> Result<Ino> {
    Ok(mount.lookup(mount.root(), name.as_bytes())?.ino())
}

fn rename(mount: &Mount<Xv6>, from: &str, to: &str, mode: RenameMode) -> Result {
    let root = mount.root();
    mount.rename(root, from.as_bytes(), root, to.as_bytes(), mode)
}

fn set_size(mount: &Mount<Xv6>, name: &str, size: u64) -> Result {
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    mount.set_attr(find(mount, name)?, &change).map(drop)
}

fn prepare() -> MemDevice {
    let device = format_with(BLOCKS, &MkfsOptions::default());
    let m = mount(&device);
    let root = m.root();
    let file = m.create(root, b"file", &FILE).unwrap().ino();
    m.write(file, 0, &pattern(1, 20_000)).unwrap();
    let dir = m.mkdir(root, b"dir", 0o755).unwrap().ino();
    m.mkdir(root, b"empty", 0o755).unwrap();
    for i in 0..200 {
        let name = format!("a name that is somewhat long, number {i}");
        m.create(dir, name.as_bytes(), &FILE).unwrap();
    }
    let twice = m.create(root, b"twice", &FILE).unwrap().ino();
    m.link(twice, dir, b"twice").unwrap();
    let preallocated = m.create(root, b"preallocated", &FILE).unwrap().ino();
    m.allocate(preallocated, 0, 100_000, false).unwrap();
    let fragmented = m.create(root, b"fragmented", &FILE).unwrap().ino();
    // So many extents that the tree has nodes.
    for i in 0..400 {
        m.write(fragmented, i * 8192, b"x").unwrap();
    }
    // A root of extents that the next one makes too full.
    let full = m.create(root, b"full root", &FILE).unwrap().ino();
    for i in 0..6 {
        m.write(full, i * 8192, b"x").unwrap();
    }
    common::umount(m);
    MemDevice::clone(&device)
}

/// All that can be told of a volume but its bytes.
#[derive(Debug, PartialEq)]
struct Picture {
    paths: BTreeMap<Vec<u8>, (Ino, Attributes)>,
    free: StatFs,
}

fn picture(mount: &Mount<Xv6>) -> Picture {
    let mut paths = BTreeMap::new();
    let mut dirs = vec![(vec![], mount.root())];
    while let Some((prefix, dir)) = dirs.pop() {
        for entry in mount.list(dir).unwrap() {
            let path = [&prefix[..], b"/", &entry.name].concat();
            let attributes = mount.stat(entry.ino).unwrap().attributes;
            if entry.kind == Kind::Directory {
                dirs.push((path.clone(), entry.ino));
            }
            // Times of data writes are lazy, and what is behind the end is cut when it can be.
            let attributes = Attributes {
                sectors: 0,
                mtime: Default::default(),
                ctime: Default::default(),
                version: 0,
                ..attributes
            };
            paths.insert(path, (entry.ino, attributes));
        }
    }
    Picture {
        paths,
        free: mount.statfs(),
    }
}

/// Lets the n-th event of a kind fail in every act, for every n.
fn at_every(
    point: Point,
    expected: Error,
    mut check: impl FnMut(&str, u64, &Arc<MemDevice>, Mount<Xv6>, &Picture),
) {
    let start = prepare();
    let before = picture(&mount(&Arc::new(start.clone())));
    let _capture = Capture::start();
    let mut faults = 0;
    for (name, act) in ACTS {
        for n in 0.. {
            let device = Arc::new(start.clone());
            let mounted = mount(&device);
            // Reads of another kind of lookup than the act's own do not count.
            picture(&mounted);
            let fault = Fault::at(point, n);
            let result = act(&mounted);
            let happened = fault.happened();
            drop(fault);
            if !happened {
                result.unwrap_or_else(|error| panic!("{name}: {error}"));
                break;
            }
            // An eviction that fails is not the operation's failure; nor is a write that was short.
            if let Err(error) = result {
                assert_eq!(error, expected, "{name}, fault {n}");
            }
            faults += 1;
            check(name, n, &device, mounted, &before);
        }
    }
    println!("{faults} faults");
}

/// The volume of a mount that has been used after a fault is whole.
fn check_whole(name: &str, n: u64, device: &Arc<MemDevice>, mounted: Mount<Xv6>, empty: &StatFs) {
    assert_eq!(mounted.breaches(), 0, "{name}, fault {n}");
    assert_eq!(mounted.damage(), 0, "{name}, fault {n}");
    mounted
        .sync()
        .unwrap_or_else(|error| panic!("{name}, fault {n}: {error}"));
    let now = picture(&mounted);
    drop(mounted);
    common::fsck(device);
    let again = mount(device);
    let later = picture(&again);
    assert_same(name, n, &now, &later);
    // Orphans that could not be freed are freed by now: nothing has leaked.
    common::remove_all(&again);
    again.sync().unwrap();
    assert_eq!(again.statfs(), *empty, "{name}, fault {n}");
    common::umount(again);
    common::fsck(device);
}

fn assert_same(name: &str, n: u64, now: &Picture, then: &Picture) {
    let differ = |(path, is): &(&Vec<u8>, _)| then.paths.get(*path) != Some(*is);
    let differ: Vec<_> = now.paths.iter().filter(differ).collect();
    assert!(differ.is_empty(), "{name}, fault {n}: {differ:?}");
    assert_eq!(now.paths.len(), then.paths.len(), "{name}, fault {n}");
}

#[test]
fn write_access_is_refused() {
    let empty = mount(&format_with(BLOCKS, &MkfsOptions::default())).statfs();
    at_every(Point::Access, ENOMEM, |name, n, device, mounted, before| {
        // What had several transactions may have done some of them.
        if !matches!(
            name,
            "truncate"
                | "extend"
                | "punch"
                | "allocate"
                | "unlink"
                | "rmdir"
                | "rename over"
                | "write to a hole"
                | "tmpfile"
        ) {
            let now = picture(&mounted);
            assert_same(name, n, &now, before);
            assert_eq!(now.free, before.free, "{name}, fault {n}");
        }
        check_whole(name, n, device, mounted, &empty);
    });
}

#[test]
fn an_allocation_fails() {
    let empty = mount(&format_with(BLOCKS, &MkfsOptions::default())).statfs();
    at_every(Point::Allocation, ENOMEM, |name, n, device, mounted, _| {
        check_whole(name, n, device, mounted, &empty)
    });
}

#[test]
fn a_metadata_block_cannot_be_read() {
    let empty = mount(&format_with(BLOCKS, &MkfsOptions::default())).statfs();
    at_every(Point::Read, EIO, |name, n, device, mounted, _| {
        check_whole(name, n, device, mounted, &empty)
    });
}

#[test]
fn a_store_fails() {
    let empty = mount(&format_with(BLOCKS, &MkfsOptions::default())).statfs();
    at_every(Point::Store, EIO, |name, n, device, mounted, before| {
        assert_eq!(mounted.breaches(), 0, "{name}, fault {n}");
        // Either nothing was stored, or nothing will be any more.
        if mounted.create(mounted.root(), b"afterwards", &FILE).is_ok() {
            mounted.unlink(mounted.root(), b"afterwards").unwrap();
            check_whole(name, n, device, mounted, &empty);
        } else {
            drop(mounted);
            let again = mount(device);
            let now = picture(&again);
            assert_same(name, n, &now, before);
            again.sync().unwrap();
            again.umount().unwrap();
        }
    });
}

/// Something of everything, on a device that may fail.
fn work(device: &Arc<FaultDevice<MemDevice>>) -> Result {
    let mounted = Mount::<Xv6>::mount(device.clone(), &MountOptions::default())?;
    let root = mounted.root();
    for i in 0..6 {
        let name = format!("{i}");
        let file = mounted.create(root, name.as_bytes(), &FILE)?.ino();
        mounted.write(file, i * 1000, &pattern(i, 10_000))?;
        rename(&mounted, &name, "file", RenameMode::Replace)?;
        mounted.fsync(file)?;
        mounted.mkdir(root, format!("d{i}").as_bytes(), 0o755)?;
        if i % 2 == 0 {
            mounted.sync()?;
        }
    }
    mounted.umount()
}

#[test]
fn the_device_fails_for_good() {
    let start = prepare();
    let _capture = Capture::start();
    let device = |operation, n| {
        let device = Arc::new(FaultDevice::new(start.clone()));
        device.fail(operation, n, true);
        device
    };
    for operation in [Operation::Write, Operation::Flush] {
        for n in 0.. {
            let device = device(operation, n);
            if work(&device).is_ok() {
                assert!(n > 20, "{n} of {operation:?}");
                break;
            }
            // What was done last may be missing, but nothing is wrong.
            let left = Arc::new(device.inner().clone());
            let again = mount(&left);
            picture(&again);
            assert_eq!(
                (again.breaches(), again.damage()),
                (0, 0),
                "{operation:?} {n}"
            );
            again.umount().unwrap();
        }
    }
}
