// SPDX-License-Identifier: GPL-2.0

//! fsck: good volumes are clean, damaged ones are repaired.

mod common;

use bento_testing::cases;
use common::{
    fresh,
    populated, //
};
use kernel::user::device::{
    Device,
    MemDevice, //
};
use xv6::layout::*;
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode,
        Report, //
    },
    image,
    mutate,
    populate::Leave, //
};

const LOOK: FsckOptions = FsckOptions {
    mode: Mode::Look,
    force: true,
    verbose: false,
};
const REPAIR: FsckOptions = FsckOptions {
    mode: Mode::Repair,
    ..LOOK
};

#[track_caller]
fn assert_clean(device: &MemDevice) -> Report {
    let report = fsck(device, &LOOK).unwrap();
    assert_eq!(report.lines, Vec::<String>::new());
    assert_eq!(report.exit_code(), 0);
    report
}

#[test]
fn fresh_volumes_are_clean() {
    for blocks in [MIN_BLOCKS, GROUP_BLOCKS, 40 * GROUP_BLOCKS] {
        let report = assert_clean(&fresh(blocks));
        assert_eq!(report.inodes, FIRST_INO - 1);
    }
}

#[test]
fn populated_volume_is_clean() {
    let report = assert_clean(&populated(Leave::Clean));
    assert!(report.inodes > 2000 && report.orphans == 0 && report.replayed == 0);
}

#[test]
fn crashed_volume_is_clean() {
    let device = populated(Leave::Crashed);
    let before = device.clone();
    let report = assert_clean(&device);
    assert!(report.replayed > 0, "{report:?}");
    assert_eq!(report.orphans, 2, "{report:?}");
    // Looking has written nothing.
    for block in 0..device.blocks() {
        let (was, is) = (image::read(&before, block), image::read(&device, block));
        assert_eq!(was.unwrap(), is.unwrap(), "block {block}");
    }
    assert_eq!(fsck(&device, &REPAIR).unwrap().exit_code(), 0);
    let report = assert_clean(&device);
    assert_eq!((report.replayed, report.orphans), (0, 0));
}

/// Whatever happens to a volume: it is repaired, or there is a reason why not.
fn repaired(from: &MemDevice, seeds: std::ops::Range<u64>) {
    let (super_block, all) = mutate::metadata(from).unwrap();
    let mut refused = 0;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let device = from.clone();
        let how = mutate::mutate_among(&device, &super_block, &all, seed).unwrap();
        match fsck(&device, &REPAIR) {
            Ok(report) => {
                assert!(
                    report.exit_code() < 4,
                    "seed {seed}: {how:#?}: {:#?}",
                    report.lines
                );
                let again = fsck(&device, &LOOK).unwrap();
                assert!(
                    again.lines.is_empty(),
                    "seed {seed}: {how:#?}: repaired {:#?}, and then {:#?}",
                    report.lines,
                    again.lines
                );
            }
            // Another version, unknown features, a device too small.
            Err(_) => refused += 1,
        }
    }
    assert!(refused < count / 8, "{refused} of {count} refused");
}

#[test]
fn mutated_clean_volumes_are_repaired() {
    repaired(&populated(Leave::Clean), 0..cases(100));
}

#[test]
fn mutated_crashed_volumes_are_repaired() {
    repaired(&populated(Leave::Crashed), 0..cases(60));
}
