// SPDX-License-Identifier: GPL-2.0

//! mkfs: what it writes, and what it refuses.

use kernel::user::{
    device::{
        Device,
        MemDevice, //
    },
    journal::{
        look,
        JournalState, //
    }, //
};
use std::{
    sync::Arc,
    time::{
        Duration,
        Instant, //
    }, //
};
use xv6::layout::*;
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode, //
    },
    groups,
    image,
    mkfs,
    mkfs::{
        plan,
        MkfsOptions, //
    },
    populate::{
        populate,
        Leave, //
    }, //
};

fn super_block(device: &MemDevice, block: u64) -> SuperBlock {
    let data = image::read(device, block).unwrap();
    assert!(image::is_sealed_super(&data), "checksum of block {block}");
    image::load(&data[..], 0).unwrap()
}

/// Every size from the least on, around the ends of groups above all: the volume is one that
/// mounts.
#[test]
fn sizes() {
    let edges = [
        MIN_BLOCKS,
        MIN_BLOCKS + 1,
        GROUP_BLOCKS - 1,
        GROUP_BLOCKS,
        GROUP_BLOCKS + 1,
        GROUP_BLOCKS + 200,
        GROUP_BLOCKS + 2000,
        3 * GROUP_BLOCKS + 506,
        1 << 18,
        1 << 28,
        MAX_BLOCKS,
    ];
    for blocks in edges {
        let plan = plan(blocks, &MkfsOptions::default()).unwrap();
        let geometry = plan.super_block.geometry();
        assert!(geometry.is_valid(), "{blocks}: {geometry:?}");
        assert!(geometry.blocks <= blocks && geometry.blocks > blocks - 2000);
        let journal = plan.journal();
        assert!(geometry.is_data(journal.start, journal.len), "{blocks}");
        assert!(plan.super_block.free_blocks.get() > 0, "{blocks}");
    }
}

#[test]
fn refusals() {
    let refused = |blocks, options: MkfsOptions| plan(blocks, &options).unwrap_err().to_string();
    let default = MkfsOptions::default();
    assert!(refused(MIN_BLOCKS - 1, default.clone()).contains("too small"));
    assert!(refused(MAX_BLOCKS + 1, default.clone()).contains("too large"));
    let larger = MkfsOptions {
        blocks: Some(MIN_BLOCKS + 1),
        ..default.clone()
    };
    assert!(refused(MIN_BLOCKS, larger).contains("more than the device"));
    let journal = |blocks| MkfsOptions {
        journal_blocks: Some(blocks),
        ..MkfsOptions::default()
    };
    assert!(refused(1 << 20, journal(1023)).contains("journal"));
    assert!(refused(1 << 20, journal(30721)).contains("journal"));
    assert!(refused(MIN_BLOCKS, journal(2048)).contains("no group has room"));
    let inodes = |inodes| MkfsOptions {
        inodes: Some(inodes),
        ..MkfsOptions::default()
    };
    assert!(refused(1 << 14, inodes(1 << 20)).contains("too many"));
    let crowded = MkfsOptions {
        journal_blocks: Some(1040),
        ..inodes(16128)
    };
    assert!(refused(MIN_BLOCKS, crowded).contains("room"));
    let label = MkfsOptions {
        label: "a label of more than 32 bytes, in all".into(),
        ..default
    };
    assert!(refused(1 << 14, label).contains("label"));
}

/// Every block that mkfs leaves is what the format says: super block and copies, descriptors,
/// bitmaps, the root directory, the journal.
#[test]
fn content() {
    let blocks = 30 * GROUP_BLOCKS + 5000;
    let device = MemDevice::new(blocks);
    let options = MkfsOptions {
        label: "disk".into(),
        ..MkfsOptions::default()
    };
    mkfs(&device, &options).unwrap();

    let first = super_block(&device, SUPER_BLOCK);
    assert_eq!(&first.label[..5], b"disk\0");
    let (geometry, seed) = (first.geometry(), first.seed());
    assert_eq!(geometry.blocks, blocks);
    let copies = [1, 3, 5, 7, 9, 25, 27];
    for group in 0..geometry.groups() {
        assert_eq!(
            geometry.has_super(group),
            group == 0 || copies.contains(&group)
        );
    }
    for group in copies {
        let mut copy = super_block(&device, geometry.super_block(group));
        assert_eq!(u64::from(copy.group), group);
        copy.group = 0.into();
        copy.checksum = first.checksum;
        assert_eq!(format!("{copy:?}"), format!("{first:?}"));
    }
    let (start, len) = (first.journal_start.get(), first.journal_blocks.get());
    assert_eq!(look(&device, start, len).unwrap(), JournalState::Empty);

    let mut free = 0;
    for group in 0..geometry.groups() {
        let (block, offset) = geometry.descriptor(group);
        let data = image::read(&device, block).unwrap();
        assert!(image::is_sealed(seed, &data));
        let descriptor: GroupDescriptor = image::load(&data[..], offset).unwrap();
        if descriptor.flags.get() & GROUP_BLOCKS_UNINIT == 0 {
            let data = image::read(&device, geometry.block_bitmap(group)).unwrap();
            assert!(image::is_sealed(seed, &data));
            let clear = (0..GROUP_BLOCKS as usize)
                .filter(|&bit| !groups::bit(&data[..], BITMAP_HEADER, bit))
                .count();
            let header: BitmapHeader = image::load(&data[..], 0).unwrap();
            assert_eq!(header.free.get() as usize, clear);
            free += clear as u64;
        } else {
            assert_ne!(group, geometry.group_of(start));
            free += geometry.group_end(group) - geometry.data_start(group);
        }
    }
    assert_eq!(first.free_blocks.get(), free);

    let (block, offset) = geometry.inode_place(ROOT_INO);
    let data = image::read(&device, block).unwrap();
    let root = image::inode_at(&data, offset / INODE_SIZE).unwrap();
    assert!(image::is_sealed_inode(seed, &root));
    assert_eq!((root.mode.get(), root.nlink.get()), (0o40755, 2));
}

/// 1 TiB takes less than a second, and next to no space.
#[test]
fn large_volume_is_quick() {
    let device = MemDevice::new(1 << 28);
    let start = Instant::now();
    mkfs(&device, &MkfsOptions::default()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
}

/// A volume that stops half-way has no super block.
#[test]
fn interrupted() {
    struct Short(MemDevice, std::sync::atomic::AtomicU64);
    impl Device for Short {
        fn blocks(&self) -> u64 {
            self.0.blocks()
        }
        fn read(&self, block: u64, out: &mut [u8]) -> kernel::error::Result {
            self.0.read(block, out)
        }
        fn write(&self, block: u64, data: &[u8]) -> kernel::error::Result {
            let left = self.1.load(std::sync::atomic::Ordering::Relaxed);
            if left == 0 {
                return Err(kernel::error::code::EIO);
            }
            self.1.store(left - 1, std::sync::atomic::Ordering::Relaxed);
            self.0.write(block, data)
        }
        fn flush(&self) -> kernel::error::Result {
            Ok(())
        }
    }
    let mut writes = 0;
    loop {
        let device = Short(MemDevice::new(3 * GROUP_BLOCKS), writes.into());
        let done = mkfs(&device, &MkfsOptions::default()).is_ok();
        let data = image::read(&device.0, SUPER_BLOCK).unwrap();
        assert_eq!(image::is_sealed_super(&data), done, "after {writes} writes");
        if done {
            break;
        }
        writes += 1;
    }
    assert!(writes > 3);
}

/// A device on which a volume was in use, and another one of the same UUID was then made, of
/// `blocks` blocks. Gives the device before that, too.
fn made_again(device_blocks: u64, blocks: Option<u64>) -> (MemDevice, MemDevice) {
    let device = Arc::new(MemDevice::new(device_blocks));
    let options = MkfsOptions {
        uuid: Some([7; 16]),
        ..MkfsOptions::default()
    };
    mkfs(&*device, &options).unwrap();
    populate(device.clone(), 1, Leave::Clean).unwrap();
    let before = MemDevice::clone(&device);
    mkfs(&*device, &MkfsOptions { blocks, ..options }).unwrap();
    (before, MemDevice::clone(&device))
}

/// Nothing that an earlier volume of the same UUID has left can be taken for a part of the new one.
#[test]
fn earlier_life_is_foreign() {
    let (before, device) = made_again(4 * GROUP_BLOCKS, None);
    let s = super_block(&device, SUPER_BLOCK);
    let (geometry, seed) = (s.geometry(), s.seed());
    let mut left = 0;
    for block in 1..device.blocks() {
        let data = image::read(&device, block).unwrap();
        if data[..] == [0; BLOCK_SIZE] || data != image::read(&before, block).unwrap() {
            continue;
        }
        left += 1;
        assert!(!image::is_sealed(seed, &data), "block {block}");
        let group = geometry.group_of(block);
        if (geometry.inode_table(group)..geometry.data_start(group)).contains(&block) {
            let slots = 0..INODES_PER_BLOCK as usize;
            let alive = |slot| image::is_sealed_inode(seed, &image::inode_at(&data, slot).unwrap());
            assert!(!slots.into_iter().any(alive), "block {block}");
        }
    }
    assert!(left > 1000, "{left} blocks are as they were");
}

/// And so a check finds nothing, even where it looks for inodes without their bitmap.
#[test]
fn earlier_life_does_not_come_back() {
    let (_, device) = made_again(4 * GROUP_BLOCKS, None);
    let check = |mode| {
        let options = FsckOptions {
            mode,
            force: true,
            verbose: false,
        };
        fsck(&device, &options).unwrap()
    };
    assert_eq!(check(Mode::Look).lines, Vec::<String>::new());

    let s = super_block(&device, SUPER_BLOCK);
    let flags = groups::descriptors(&s.geometry(), s.seed(), 0, SUPER_BLOCK + 1, |_| 0);
    device.write(SUPER_BLOCK + 1, &flags[..]).unwrap();
    let report = check(Mode::Repair);
    assert!(report.problems > 0);
    assert_eq!(report.inodes, FIRST_INO - 1, "{report:#?}");
    assert_eq!(check(Mode::Look).lines, Vec::<String>::new());
}

/// A copy of the super block that lies behind a volume's end is of an earlier one, and would be
/// taken if the volume's own were lost.
#[test]
fn earlier_super_blocks_are_gone() {
    const LARGE: u64 = 4 * GROUP_BLOCKS;
    let sizes = [
        (LARGE, 2 * GROUP_BLOCKS),
        (LARGE, GROUP_BLOCKS),
        (LARGE, 5000),
        (GROUP_BLOCKS, 5000),
    ];
    for (device_blocks, blocks) in sizes {
        let (_, device) = made_again(device_blocks, Some(blocks));
        device.write(SUPER_BLOCK, &image::zeroed()[..]).unwrap();
        match fsck(&device, &FsckOptions::default()) {
            Ok(_) => assert_eq!(super_block(&device, GROUP_BLOCKS).blocks.get(), blocks),
            Err(failure) => assert!(failure.to_string().contains("no copy"), "{failure}"),
        }
    }
}
