// SPDX-License-Identifier: GPL-2.0

//! Who uses a device or an image file already: mounts, loop devices, other file systems.

use crate::failure::{
    Context,
    Result, //
};
use kernel::user::device::{
    Device,
    BLOCK_SIZE, //
};
use rustix::fs::{
    major,
    minor, //
};
use std::{
    fs,
    os::unix::fs::{
        FileTypeExt,
        MetadataExt, //
    },
    path::Path, //
};

/// Where `path`, a block device or an image file, is mounted.
pub fn mount_point(path: &Path) -> Result<Option<String>> {
    let metadata = fs::metadata(path).context(path.display())?;
    let mut devices = Vec::new();
    if metadata.file_type().is_block_device() {
        devices.push(format!(
            "{}:{}",
            major(metadata.rdev()),
            minor(metadata.rdev())
        ));
    } else {
        let path = fs::canonicalize(path).context(path.display())?;
        devices.extend(loop_devices(&path));
    }
    // Without /proc nothing is known; an exclusive open still refuses a block device.
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Ok(table.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let device = fields.nth(2)?;
        let point = fields.nth(1)?;
        devices
            .iter()
            .any(|used| used == device)
            .then(|| point.replace("\\040", " "))
    }))
}

/// The loop devices over a file, as `major:minor`.
fn loop_devices(file: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| {
            fs::read_to_string(entry.path().join("loop/backing_file"))
                .is_ok_and(|backing| Path::new(backing.trim_end()) == file)
        })
        .filter_map(|entry| fs::read_to_string(entry.path().join("dev")).ok())
        .map(|numbers| numbers.trim_end().to_string())
        .collect()
}

/// Signatures of what may be on a device: offset, bytes, name.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (4096, b"xv6fs\0\r\n", "an xv6 file system"),
    (1080, b"\x53\xef", "an ext2, ext3 or ext4 file system"),
    (0, b"XFSB", "an XFS file system"),
    (0x10040, b"_BHRfS_M", "a btrfs file system"),
    (1024, b"\x10\x20\xf5\xf2", "an f2fs file system"),
    (0, b"hsqs", "a squashfs file system"),
    (1024, b"\xe2\xe1\xf5\xe0", "an erofs file system"),
    (32769, b"CD001", "an ISO 9660 file system"),
    (3, b"NTFS    ", "an NTFS file system"),
    (3, b"EXFAT   ", "an exFAT file system"),
    (0, b"LUKS\xba\xbe", "a LUKS volume"),
    (536, b"LVM2 001", "an LVM physical volume"),
    (24, b"LVM2 001", "an LVM physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "a member of a RAID array"),
    (4086, b"SWAPSPACE2", "a swap area"),
    (512, b"EFI PART", "a GUID partition table"),
    (4096, b"EFI PART", "a GUID partition table"),
    (82, b"FAT32   ", "a FAT file system"),
    (54, b"FAT1", "a FAT file system"),
    (510, b"\x55\xaa", "a boot sector or a partition table"),
];

/// What is on a device, as far as known signatures tell.
pub fn signature(device: &dyn Device) -> Result<Option<&'static str>> {
    /// Blocks at the start that may hold a signature.
    const LOOK: u64 = 17;
    let blocks = LOOK.min(device.blocks());
    let mut start = vec![0; blocks as usize * BLOCK_SIZE];
    device
        .read(0, &mut start)
        .context("cannot read the start of the device")?;
    Ok(SIGNATURES
        .iter()
        .find(|(offset, bytes, _)| start.get(*offset..*offset + bytes.len()) == Some(*bytes))
        .map(|(_, _, name)| *name))
}
