// SPDX-License-Identifier: GPL-2.0

//! The generic suite of behaviour on tinyfs, mounted in user space.

use bento_testing::runner::run_all;
use kernel::user::device::{
    Device,
    MemDevice, //
};
use std::{
    process::ExitCode,
    sync::Arc, //
};
use tinyfs::TinyFs;

/// Size of the device in blocks: more than a volume can have.
const BLOCKS: u64 = 40_000;

fn make() -> Arc<dyn Device> {
    let device = MemDevice::new(BLOCKS);
    tinyfs::mkfs(&device, 3000, *b"tinyfs in memory").expect("mkfs");
    Arc::new(device)
}

fn check(device: &dyn Device) {
    let report = tinyfs::fsck(device).expect("fsck");
    assert!(report.problems.is_empty(), "fsck: {report:#?}");
    assert_eq!(report.orphans, 0);
}

fn main() -> ExitCode {
    run_all::<TinyFs>(make, check)
}
