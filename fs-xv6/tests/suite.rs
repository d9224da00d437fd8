// SPDX-License-Identifier: GPL-2.0

//! The generic suite of behaviour on xv6, mounted in user space.

mod common;

use bento_testing::runner::run_all;
use kernel::user::device::Device;
use std::{
    process::ExitCode,
    sync::Arc, //
};
use xv6::Xv6;
use xv6_utils::mkfs::MkfsOptions;

/// Size of a volume in blocks: more than one group.
const BLOCKS: u64 = 40_000;

fn make() -> Arc<dyn Device> {
    let options = MkfsOptions {
        inodes: Some(4096),
        ..MkfsOptions::default()
    };
    common::format_with(BLOCKS, &options)
}

fn main() -> ExitCode {
    run_all::<Xv6>(make, common::fsck)
}
