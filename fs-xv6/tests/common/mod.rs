// SPDX-License-Identifier: GPL-2.0

//! What the tests of xv6 share.

#![allow(dead_code, reason = "no test uses all of it")]

pub mod world;

use kernel::user::{
    device::MemDevice,
    Mount,
    MountOptions, //
};
use std::sync::Arc;
use xv6::Xv6;
use xv6_utils::{
    fsck::{
        FsckOptions,
        Mode, //
    },
    mkfs::MkfsOptions, //
};

/// Blocks of a volume that is large enough for most tests: 64 MiB.
pub const BLOCKS: u64 = 16_384;

/// A new volume in memory, the same each time.
pub fn format(blocks: u64) -> Arc<MemDevice> {
    format_with(blocks, &MkfsOptions::default())
}

/// A new volume in memory.
pub fn format_with(blocks: u64, options: &MkfsOptions) -> Arc<MemDevice> {
    let device = MemDevice::new(blocks);
    let options = MkfsOptions {
        uuid: Some(*b"xv6 test volume!"),
        hash_key: Some([1, 2]),
        time: Some(1_700_000_000),
        ..options.clone()
    };
    xv6_utils::mkfs(&device, &options).expect("mkfs");
    Arc::new(device)
}

/// Mounts a volume.
pub fn mount(device: &Arc<MemDevice>) -> Mount<Xv6> {
    Mount::mount(device.clone(), &MountOptions::default()).expect("mount")
}

/// Unmounts a volume and mounts it again.
pub fn remount(mount_: Mount<Xv6>, device: &Arc<MemDevice>) -> Mount<Xv6> {
    umount(mount_);
    fsck(device);
    mount(device)
}

/// Unmounts a volume on which nothing was wrong.
pub fn umount(mount: Mount<Xv6>) {
    assert_eq!((mount.breaches(), mount.damage()), (0, 0));
    mount.umount().expect("umount");
}

/// Bytes that tell where they belong.
pub fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

/// The whole content of a file.
pub fn read_all(mount: &Mount<Xv6>, ino: u64) -> Vec<u8> {
    let size = mount.stat(ino).expect("stat").attributes.size;
    let mut data = vec![0xee; size as usize];
    assert_eq!(mount.read(ino, 0, &mut data), Ok(data.len()));
    data
}

/// Removes everything but the root directory.
pub fn remove_all(mount: &Mount<Xv6>) {
    fn remove_below(mount: &Mount<Xv6>, dir: u64) {
        for entry in mount.list(dir).expect("list") {
            if entry.kind == kernel::bento::Kind::Directory {
                remove_below(mount, entry.ino);
                mount.rmdir(dir, &entry.name).expect("rmdir");
            } else {
                mount.unlink(dir, &entry.name).expect("unlink");
            }
        }
    }
    remove_below(mount, mount.root());
}

/// Nothing is wrong on a volume, which a crash may have left.
pub fn fsck(device: &dyn kernel::user::device::Device) {
    let options = FsckOptions {
        mode: Mode::Look,
        force: true,
        verbose: false,
    };
    let report = xv6_utils::fsck(device, &options).expect("fsck");
    assert!(report.problems == 0, "fsck: {:#?}", report.lines);
}

/// As [`fsck`], for what collects what is wrong.
pub fn check(device: &dyn kernel::user::device::Device) -> Result<(), String> {
    let options = FsckOptions {
        mode: Mode::Look,
        force: true,
        verbose: false,
    };
    match xv6_utils::fsck(device, &options) {
        Ok(report) if report.problems == 0 => Ok(()),
        Ok(report) => Err(format!("{:?}", report.lines)),
        Err(error) => Err(error.to_string()),
    }
}
