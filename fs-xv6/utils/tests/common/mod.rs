// SPDX-License-Identifier: GPL-2.0

//! Volumes to test with.

use kernel::user::device::MemDevice;
use std::sync::{
    Arc,
    OnceLock, //
};
use xv6::layout::GROUP_BLOCKS;
use xv6_utils::{
    mkfs,
    mkfs::MkfsOptions,
    populate::{
        populate,
        Leave, //
    }, //
};

/// An empty volume, the same each time.
pub fn fresh(blocks: u64) -> MemDevice {
    let device = MemDevice::new(blocks);
    let options = MkfsOptions {
        uuid: Some([7; 16]),
        hash_key: Some([1, 2]),
        ..MkfsOptions::default()
    };
    mkfs(&device, &options).unwrap();
    device
}

/// A volume with something of everything; made once for each way to leave it.
pub fn populated(leave: Leave) -> MemDevice {
    static CLEAN: OnceLock<MemDevice> = OnceLock::new();
    static CRASHED: OnceLock<MemDevice> = OnceLock::new();
    let made = match leave {
        Leave::Clean => &CLEAN,
        Leave::Crashed => &CRASHED,
    };
    made.get_or_init(|| {
        let device = Arc::new(fresh(2 * GROUP_BLOCKS + 3000));
        populate(device.clone(), 1, leave).unwrap();
        (*device).clone()
    })
    .clone()
}
