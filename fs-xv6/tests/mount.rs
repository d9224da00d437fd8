// SPDX-License-Identifier: GPL-2.0

//! xv6 through the core: what a program sees.

mod common;

use common::{
    format,
    format_with,
    mount,
    pattern,
    read_all,
    remount,
    umount,
    BLOCKS, //
};
use kernel::{
    bento::{
        Ino,
        Kind, //
    },
    error::code::*,
    print::Capture,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        fault::{
            Fault,
            Point, //
        },
        Errors,
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SeekFrom,
        SetAttr, //
    },
};
use std::collections::BTreeSet;
use xv6::Xv6;
use xv6_utils::mkfs::MkfsOptions;
use zerocopy::FromBytes;

const FILE: NewNode<'static> = NewNode {
    mode: 0o100_644,
    uid: 1,
    gid: 2,
    rdev: 0,
    target: &[],
};

fn file(mount: &Mount<Xv6>, dir: Ino, name: &str) -> Ino {
    mount.create(dir, name.as_bytes(), &FILE).unwrap().ino()
}

fn names(mount: &Mount<Xv6>, dir: Ino) -> BTreeSet<Vec<u8>> {
    let entries = mount.list(dir).unwrap();
    let names: BTreeSet<_> = entries.iter().map(|entry| entry.name.clone()).collect();
    assert_eq!(names.len(), entries.len(), "a name twice");
    names
}

fn truncate(mount: &Mount<Xv6>, ino: Ino, size: u64) -> kernel::error::Result {
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    mount.set_attr(ino, &change).map(drop)
}

#[test]
fn a_file_is_there_after_a_remount() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let data = pattern(1, 3_000_000);
    let ino = file(&m, m.root(), "a");
    assert_eq!(m.write(ino, 0, &data), Ok(data.len()));
    assert_eq!(read_all(&m, ino), data);
    let before = m.stat(ino).unwrap();
    let m = remount(m, &device);
    assert_eq!(m.lookup(m.root(), b"a").unwrap().ino(), ino);
    assert_eq!(m.stat(ino), Ok(before));
    assert_eq!(read_all(&m, ino), data);
    assert_eq!(before.attributes.sectors, 733 * 8);
    umount(m);
}

#[test]
fn names_come_and_go() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let ino = file(&m, root, "a");
    assert_eq!(m.create(root, b"a", &FILE).err(), Some(EEXIST));
    m.link(ino, root, b"b").unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.nlink, 2);
    m.unlink(root, b"a").unwrap();
    assert_eq!(m.lookup(root, b"a").err(), Some(ENOENT));
    assert_eq!(m.unlink(root, b"a"), Err(ENOENT));
    assert_eq!(names(&m, root), [b"b".to_vec()].into());
    assert_eq!(m.rmdir(root, b"b"), Err(ENOTDIR));
    m.unlink(root, b"b").unwrap();
    assert_eq!(m.stat(ino).err(), Some(ESTALE));
    assert_eq!(
        m.create(root, &[b'x'; 256], &FILE).err(),
        Some(ENAMETOOLONG)
    );
    m.create(root, &[b'x'; 255], &FILE).unwrap();
    umount(remount(m, &device));
}

#[test]
fn directories_nest() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let a = m.mkdir(root, b"a", 0o755).unwrap().ino();
    let b = m.mkdir(a, b"b", 0o755).unwrap().ino();
    assert_eq!(m.parent(b), Ok(a));
    assert_eq!(m.stat(root).unwrap().attributes.nlink, 3);
    assert_eq!(m.stat(a).unwrap().attributes.nlink, 3);
    assert_eq!(m.rmdir(root, b"a"), Err(ENOTEMPTY));
    assert_eq!(m.unlink(root, b"a"), Err(EISDIR));
    assert_eq!(
        m.rename(root, b"a", b, b"x", RenameMode::Replace),
        Err(EINVAL)
    );
    m.rmdir(a, b"b").unwrap();
    m.rmdir(root, b"a").unwrap();
    assert_eq!(m.stat(root).unwrap().attributes.nlink, 2);
    assert!(names(&m, root).is_empty());
    umount(m);
}

#[test]
fn rename_replaces_exchanges_and_refuses() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let free = m.statfs();
    let (d, e) = (
        m.mkdir(root, b"d", 0o755).unwrap().ino(),
        m.mkdir(root, b"e", 0o755).unwrap().ino(),
    );
    let a = file(&m, root, "a");
    let b = file(&m, d, "b");
    assert_eq!(
        m.rename(root, b"a", d, b"b", RenameMode::NoReplace),
        Err(EEXIST)
    );
    m.rename(root, b"a", d, b"b", RenameMode::Replace).unwrap();
    assert_eq!(m.lookup(d, b"b").unwrap().ino(), a);
    assert_eq!(m.stat(b).err(), Some(ESTALE));
    // A directory for a file.
    m.rename(d, b"b", root, b"e", RenameMode::Exchange).unwrap();
    assert_eq!(m.lookup(d, b"b").unwrap().ino(), e);
    assert_eq!(m.parent(e), Ok(d));
    assert_eq!(m.stat(root).unwrap().attributes.nlink, 3);
    assert_eq!(m.stat(d).unwrap().attributes.nlink, 3);
    // A directory over an empty one, and not over one that is not.
    let f = m.mkdir(root, b"f", 0o755).unwrap().ino();
    assert_eq!(
        m.rename(root, b"f", root, b"d", RenameMode::Replace),
        Err(ENOTEMPTY)
    );
    m.rename(d, b"b", root, b"f", RenameMode::Replace).unwrap();
    assert_eq!(m.lookup(root, b"f").unwrap().ino(), e);
    assert_eq!(m.stat(f).err(), Some(ESTALE));
    assert_eq!(m.parent(e), Ok(root));
    assert_eq!(m.stat(root).unwrap().attributes.nlink, 4);
    assert_eq!(m.stat(d).unwrap().attributes.nlink, 2);
    // In one directory, with the same leaf for both names.
    m.rename(root, b"e", root, b"g", RenameMode::Replace)
        .unwrap();
    assert_eq!(
        names(&m, root),
        [b"d".to_vec(), b"f".to_vec(), b"g".to_vec()].into()
    );
    let m = remount(m, &device);
    m.rmdir(root, b"d").unwrap();
    m.rmdir(root, b"f").unwrap();
    m.unlink(root, b"g").unwrap();
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn an_open_file_outlives_its_name() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let free = m.statfs();
    let data = pattern(2, 100_000);
    let ino = m.create(root, b"a", &FILE).unwrap().pin();
    m.write(ino, 0, &data).unwrap();
    m.unlink(root, b"a").unwrap();
    assert_eq!(read_all(&m, ino), data);
    assert_eq!(m.link(ino, root, b"b"), Err(ENOENT));
    m.unpin(ino, 1);
    assert_eq!(m.stat(ino).err(), Some(ESTALE));
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn an_orphan_is_freed_by_the_next_mount() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let open = m.create(root, b"a", &FILE).unwrap();
    m.write(open.ino(), 0, &pattern(3, 500_000)).unwrap();
    m.unlink(root, b"a").unwrap();
    let tmp = m.tmpfile(root, &FILE).unwrap();
    m.write(tmp.ino(), 0, &pattern(4, 500_000)).unwrap();
    m.sync().unwrap();
    assert_ne!(m.statfs(), free);
    core::mem::forget((open, tmp));
    drop(m);
    let m = mount(&device);
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn a_cut_leaves_a_file_without_a_name_an_orphan() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let open = m.create(root, b"a", &FILE).unwrap();
    m.write(open.ino(), 0, &pattern(5, 500_000)).unwrap();
    m.unlink(root, b"a").unwrap();
    truncate(&m, open.ino(), 5000).unwrap();
    m.sync().unwrap();
    core::mem::forget(open);
    drop(m);
    let m = mount(&device);
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn a_file_without_a_name_can_get_one() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let tmp = m.tmpfile(root, &FILE).unwrap();
    let ino = tmp.ino();
    m.write(ino, 0, b"content").unwrap();
    m.link(ino, root, b"a").unwrap();
    drop(tmp);
    let m = remount(m, &device);
    assert_eq!(m.lookup(root, b"a").unwrap().ino(), ino);
    assert_eq!(read_all(&m, ino), b"content");
    umount(m);
}

#[test]
fn truncate_goes_both_ways_and_shows_nothing_old() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let ino = file(&m, m.root(), "a");
    let data = pattern(5, 20_000);
    m.write(ino, 0, &data).unwrap();
    truncate(&m, ino, 5_000).unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 16);
    truncate(&m, ino, 30_000).unwrap();
    let mut expected = data[..5_000].to_vec();
    expected.resize(30_000, 0);
    assert_eq!(read_all(&m, ino), expected);
    // A write behind the end, in the block of the end.
    truncate(&m, ino, 100).unwrap();
    m.write(ino, 200, b"x").unwrap();
    let mut expected = data[..100].to_vec();
    expected.resize(200, 0);
    expected.push(b'x');
    assert_eq!(read_all(&m, ino), expected);
    truncate(&m, ino, 0).unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 0);
    let most = m.info().max_file_size;
    truncate(&m, ino, most).unwrap();
    assert_eq!(truncate(&m, ino, most + 1), Err(EFBIG));
    m.write(ino, most - 1, b"end").unwrap();
    assert_eq!(m.write(ino, most, b"x"), Err(EFBIG));
    assert_eq!(
        m.seek(ino, 0, SeekFrom::Data),
        Ok(most - 1 - (most - 1) % 4096)
    );
    umount(remount(m, &device));
}

#[test]
fn holes_and_preallocation() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let ino = file(&m, m.root(), "a");
    m.write(ino, 1_000_000, b"x").unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 8);
    assert_eq!(m.seek(ino, 0, SeekFrom::Hole), Ok(0));
    assert_eq!(m.seek(ino, 0, SeekFrom::Data), Ok(999_424));
    assert_eq!(m.seek(ino, 999_424, SeekFrom::Hole), Ok(1_000_001));
    assert_eq!(m.seek(ino, 1_000_001, SeekFrom::Hole), Err(ENXIO));

    m.allocate(ino, 0, 500_000, false).unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 124 * 8);
    assert_eq!(m.seek(ino, 0, SeekFrom::Data), Ok(999_424));
    let mut expected = vec![0; 1_000_000];
    expected.push(b'x');
    let data = pattern(6, 100_000);
    m.write(ino, 12_345, &data).unwrap();
    expected[12_345..112_345].copy_from_slice(&data);
    assert_eq!(read_all(&m, ino), expected);
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 124 * 8);

    m.punch_hole(ino, 20_000, 50_000).unwrap();
    expected[20_000..70_000].fill(0);
    assert_eq!(read_all(&m, ino), expected);
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 112 * 8);
    m.zero_range(ino, 100_000, 50_000, true).unwrap();
    expected[100_000..150_000].fill(0);
    assert_eq!(read_all(&m, ino), expected);
    m.allocate(ino, 2_000_000, 100_000, true).unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.size, 1_000_001);
    m.allocate(ino, 2_000_000, 100_000, false).unwrap();
    expected.resize(2_100_000, 0);
    let m = remount(m, &device);
    assert_eq!(read_all(&m, ino), expected);
    truncate(&m, ino, 0).unwrap();
    assert_eq!(m.stat(ino).unwrap().attributes.sectors, 0);
    umount(m);
}

#[test]
fn symbolic_links_of_every_length() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let lengths = [1, 59, 80, 81, 95, 96, 97, 255, 4000, 4095];
    for len in lengths {
        let target = vec![b'a' + (len % 26) as u8; len];
        let name = len.to_string();
        m.create(root, name.as_bytes(), &NewNode::symlink(&target))
            .unwrap();
    }
    assert_eq!(
        m.create(root, b"x", &NewNode::symlink(&[b'x'; 4096])).err(),
        Some(ENAMETOOLONG)
    );
    let m = remount(m, &device);
    for len in lengths {
        let name = len.to_string();
        let link = m.lookup(root, name.as_bytes()).unwrap().ino();
        assert_eq!(m.read_link(link), Ok(vec![b'a' + (len % 26) as u8; len]));
        assert_eq!(m.stat(link).unwrap().attributes.size, len as u64);
        m.unlink(root, name.as_bytes()).unwrap();
    }
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn attributes_are_kept() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    let dev = NewNode {
        rdev: 0x1234_5678,
        ..NewNode::new(Kind::CharDevice, 0o4600)
    };
    let node = m.create(root, b"dev", &dev).unwrap().ino();
    let fifo = m
        .create(root, b"fifo", &NewNode::new(Kind::Fifo, 0o600))
        .unwrap()
        .ino();
    let shared = m.mkdir(root, b"shared", 0o2775).unwrap().ino();
    m.set_attr(
        shared,
        &SetAttr {
            gid: Some(77),
            ..SetAttr::default()
        },
    )
    .unwrap();
    let inside = m.create(shared, b"f", &FILE).unwrap().ino();
    let below = m.mkdir(shared, b"d", 0o755).unwrap().ino();
    let all = [node, fifo, shared, inside, below];
    let before = all.map(|ino| m.stat(ino).unwrap());
    assert_eq!(before[0].attributes.rdev, 0x1234_5678);
    assert_eq!(before[3].attributes.gid, 77);
    assert_eq!(before[4].attributes.gid, 77);
    assert_eq!(before[4].attributes.mode, 0o42755);
    let m = remount(m, &device);
    assert_eq!(all.map(|ino| m.stat(ino).unwrap()), before);
    umount(m);
}

#[test]
fn a_full_volume_is_an_error_and_no_more() {
    let device = format(4096);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let ino = file(&m, root, "a");
    let data = pattern(7, 1 << 20);
    let mut written = 0;
    let error = loop {
        match m.write(ino, written, &data) {
            Ok(len) => written += len as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error, ENOSPC);
    assert_eq!(m.statfs().available_blocks, 0);
    assert_eq!(m.write(ino, 0, b"overwrite"), Ok(9));
    assert_eq!(m.stat(ino).unwrap().attributes.size, written);
    let m = remount(m, &device);
    // Freed and at once used again.
    for _ in 0..3 {
        m.unlink(root, b"a").unwrap();
        let ino = file(&m, root, "a");
        assert_eq!(m.write(ino, 0, &data), Ok(data.len()));
        assert_eq!(m.allocate(ino, 0, written, false), Ok(()));
    }
    m.unlink(root, b"a").unwrap();
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn inodes_can_run_out() {
    let options = MkfsOptions {
        inodes: Some(64),
        ..MkfsOptions::default()
    };
    let device = format_with(BLOCKS, &options);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let mut made = 0;
    while m.create(root, made.to_string().as_bytes(), &FILE).is_ok() {
        made += 1;
    }
    assert_eq!(m.create(root, b"x", &FILE).err(), Some(ENOSPC));
    assert_eq!(m.mkdir(root, b"x", 0o755).err(), Some(ENOSPC));
    assert_eq!(m.statfs().space.free_inodes, 0);
    assert_eq!(made, free.space.free_inodes);
    assert_eq!(m.stat(root).unwrap().attributes.nlink, 2);
    for name in 0..made {
        m.unlink(root, name.to_string().as_bytes()).unwrap();
    }
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn a_hundred_thousand_names() {
    const COUNT: u64 = 100_000;
    let options = MkfsOptions {
        inodes: Some(COUNT + 1000),
        ..MkfsOptions::default()
    };
    let device = format_with(262_144, &options);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    let dir = m.mkdir(root, b"dir", 0o755).unwrap().ino();
    let name = |i: u64| format!("name-{i:07}").into_bytes();
    for i in 0..COUNT {
        m.create(dir, &name(i), &FILE).unwrap();
    }
    let m = remount(m, &device);
    assert_eq!(names(&m, dir), (0..COUNT).map(name).collect());
    for i in (0..COUNT).step_by(997) {
        assert_eq!(
            m.lookup(dir, &name(i)).map(|inode| inode.kind()),
            Ok(Kind::Regular)
        );
    }
    for i in 0..COUNT {
        m.unlink(dir, &name(i)).unwrap();
    }
    m.rmdir(root, b"dir").unwrap();
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn readdir_goes_on_while_names_change() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let dir = m.mkdir(m.root(), b"dir", 0o755).unwrap().ino();
    for i in 0..2000 {
        file(&m, dir, &format!("stays-{i}"));
    }
    let mut seen = Vec::new();
    let mut position = 0;
    let mut round = 0;
    loop {
        let entries = m.read_dir(dir, position).unwrap();
        let Some(last) = entries.last() else { break };
        position = last.next;
        seen.extend(entries.into_iter().map(|entry| entry.name));
        for i in 0..50 {
            let name = format!("comes-{round}-{i}");
            file(&m, dir, &name);
            if i % 2 == 0 {
                m.unlink(dir, name.as_bytes()).unwrap();
            }
        }
        round += 1;
    }
    let unique: BTreeSet<_> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len());
    for i in 0..2000 {
        assert!(unique.contains(format!("stays-{i}").as_bytes()));
    }
    umount(m);
}

#[test]
fn two_mounts_of_nothing_are_refused() {
    let device = std::sync::Arc::new(kernel::user::device::MemDevice::new(4096));
    let capture = Capture::start();
    let result = Mount::<Xv6>::mount(device, &Default::default());
    assert_eq!(result.err(), Some(EINVAL));
    assert!(capture
        .take()
        .iter()
        .any(|(_, text)| text.contains("magic")));
}

#[test]
fn a_read_only_mount_changes_nothing() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let ino = file(&m, m.root(), "a");
    m.write(ino, 0, b"content").unwrap();
    umount(m);
    let options = kernel::user::MountOptions {
        read_only: true,
        ..Default::default()
    };
    let m = Mount::<Xv6>::mount(device.clone(), &options).unwrap();
    assert_eq!(read_all(&m, ino), b"content");
    assert_eq!(m.write(ino, 0, b"x"), Err(EROFS));
    assert_eq!(m.create(m.root(), b"b", &FILE).err(), Some(EROFS));
    assert_eq!(m.unlink(m.root(), b"a"), Err(EROFS));
    // There is nothing that could be missing on the device.
    assert_eq!(
        (m.sync(), m.fsync(ino), m.fdatasync(ino)),
        (Ok(()), Ok(()), Ok(()))
    );
    umount(m);
}

/// What was written and is not on the device does not get there any more: whoever asks is told, as
/// the kernel's `syncfs()` and `fsync()` tell.
#[test]
fn nothing_is_durable_once_writing_was_given_up() {
    let device = format(BLOCKS);
    let stops: [fn(&Mount<Xv6>); 2] = [
        |m| {
            m.volume().corrupt(format_args!("for a test"));
        },
        |m| {
            // An error behind the first store aborts the journal.
            let _fault = Fault::at(Point::Store, 1);
            assert!(m.create(m.root(), b"b", &FILE).is_err());
        },
    ];
    for stop in stops {
        let m = mount(&device);
        let ino = m.create(m.root(), b"a", &FILE).unwrap().ino();
        m.write(ino, 0, b"x").unwrap();
        stop(&m);
        assert_eq!(m.sync(), Err(EROFS));
        assert_eq!((m.fsync(ino), m.fdatasync(ino)), (Err(EIO), Err(EIO)));
        assert_eq!(m.fsync(m.root()), Err(EIO));
        drop(m);
    }
}

#[test]
fn threads_in_one_directory() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let root = m.root();
    m.sync().unwrap();
    let free = m.statfs();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let m = &m;
            scope.spawn(move || {
                let mine = m
                    .mkdir(root, format!("d{thread}").as_bytes(), 0o755)
                    .unwrap()
                    .ino();
                for i in 0..300 {
                    let (a, b) = (format!("{thread}-{i}"), format!("x{}", i % 7));
                    let ino = file(m, root, &a);
                    m.write(ino, i * 100, &pattern(i, 5000)).unwrap();
                    m.rename(root, a.as_bytes(), mine, b.as_bytes(), RenameMode::Replace)
                        .unwrap();
                    let other = m.lookup(root, format!("d{}", (thread + 1) % 4).as_bytes());
                    if let Ok(other) = other.map(|dir| dir.ino()) {
                        let _ = m.rename(
                            mine,
                            b.as_bytes(),
                            other,
                            b.as_bytes(),
                            RenameMode::Exchange,
                        );
                    }
                    if i % 50 == 0 {
                        m.sync().unwrap();
                    }
                }
            });
        }
    });
    let m = remount(m, &device);
    for entry in m.list(root).unwrap() {
        for inner in m.list(entry.ino).unwrap() {
            m.unlink(entry.ino, &inner.name).unwrap();
        }
        m.rmdir(root, &entry.name).unwrap();
    }
    m.sync().unwrap();
    assert_eq!(m.statfs(), free);
    umount(m);
}

#[test]
fn a_volume_on_which_damage_was_met_is_not_clean() {
    let device = format(BLOCKS);
    let m = mount(&device);
    let ino = file(&m, m.root(), "a");
    for i in 0..100 {
        m.write(ino, i * 8192, b"x").unwrap();
    }
    umount(m);
    // A node of the extent tree: the only block of its kind.
    let mut bytes = vec![0; 4096];
    let magic = u32::to_le_bytes(xv6::layout::MAGIC_EXTENTS);
    let node = (0..BLOCKS)
        .find(|block| {
            device.read(*block, &mut bytes).unwrap();
            // Not its copy in the journal, which stands elsewhere than it says.
            bytes[..4] == magic && bytes[8..16] == block.to_le_bytes()
        })
        .unwrap();
    bytes[2000] ^= 1;
    device.write(node, &bytes).unwrap();
    let options = MountOptions {
        errors: Errors::Continue,
        ..MountOptions::default()
    };
    let capture = Capture::start();
    let m = Mount::<Xv6>::mount(device.clone(), &options).unwrap();
    assert_eq!(m.read(ino, 0, &mut [0; 10]), Err(EUCLEAN));
    assert_eq!(m.read(ino, 0, &mut [0; 10]), Err(EUCLEAN));
    assert_eq!(m.damage(), 2);
    assert_eq!(capture.take().len(), 1, "one message for each mount");
    m.create(m.root(), b"b", &FILE).unwrap();
    m.umount().unwrap();
    let error = xv6::layout::STATE_ERROR;
    let state = |device: &MemDevice| {
        let mut bytes = vec![0; 4096];
        device.read(1, &mut bytes).unwrap();
        let (super_block, _) = xv6::layout::SuperBlock::read_from_prefix(&bytes).unwrap();
        super_block.state.get()
    };
    assert_eq!(state(&device), error, "damaged, and not clean");

    // With the default the volume is read-only from then on.
    let m = mount(&device);
    assert_eq!(m.read(ino, 0, &mut [0; 10]), Err(EUCLEAN));
    assert_eq!(m.create(m.root(), b"c", &FILE).err(), Some(EROFS));
    m.umount().unwrap();
    assert_eq!(state(&device), error, "nothing forgets it but fsck");
}
