// SPDX-License-Identifier: GPL-2.0

//! Damaged volumes, mounted by the file system itself: it may refuse what it meets, but not panic
//! and not hang; and what fsck has repaired it takes whole.

mod common;

use bento_testing::{
    cases,
    hostile::{
        change,
        use_up,
        walk, //
    }, //
};
use common::populated;
use kernel::{
    error,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Errors,
        Mount,
        MountOptions, //
    }, //
};
use rustix::time::{
    clock_gettime,
    ClockId, //
};
use std::sync::Arc;
use xv6::{
    layout::{
        SuperBlock,
        FIRST_INO,
        SUPER_BLOCK, //
    },
    Xv6, //
};
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode,
        Report, //
    },
    groups,
    image,
    mutate,
    mutate::What,
    populate::Leave, //
};

fn mount(device: &Arc<MemDevice>) -> error::Result<Mount<Xv6>> {
    let device: Arc<dyn Device> = device.clone();
    let options = MountOptions {
        errors: Errors::Continue,
        ..MountOptions::default()
    };
    Mount::mount(device, &options)
}

/// Seconds of the processor that one volume may take.
const LIMIT: i64 = 20;

/// Seconds of the processor that this thread has taken.
fn spent() -> i64 {
    clock_gettime(ClockId::ThreadCPUTime).tv_sec
}

const REPAIR: FsckOptions = FsckOptions {
    mode: Mode::Repair,
    force: true,
    verbose: false,
};
const LOOK: FsckOptions = FsckOptions {
    mode: Mode::Look,
    ..REPAIR
};

/// A sound volume, to be damaged.
struct Base {
    device: MemDevice,
    super_block: SuperBlock,
    blocks: Vec<(u64, What)>,
}

impl Base {
    fn new(leave: Leave) -> Self {
        let device = populated(leave);
        let (super_block, blocks) = mutate::metadata(&device).unwrap();
        Self {
            device,
            super_block,
            blocks,
        }
    }

    /// Damages the volume and uses it, repairs it and uses it up. Whether it could be mounted
    /// without repair.
    fn damaged(&self, seed: u64) -> bool {
        let start = spent();
        let device = Arc::new(self.device.clone());
        let how = mutate::mutate_among(&*device, &self.super_block, &self.blocks, seed).unwrap();
        let _quiet = kernel::print::Capture::start();
        let mended = Arc::new((*device).clone());
        let mounted = mount(&device).map(|mount| {
            walk(&mount);
            change(&mount);
            let _ = mount.umount();
        });
        // Another version, unknown features, a device too small: it is left alone.
        if let Ok(report) = fsck(&*mended, &REPAIR) {
            if let Err(what) = is_whole(&mended, &report) {
                panic!("seed {seed}: {how:#?}: {report:#?}, and then {what}");
            }
        }
        assert!(spent() - start < LIMIT, "seed {seed}: {how:#?}");
        mounted.is_ok()
    }
}

/// What is wrong with a volume that was repaired.
fn is_whole(device: &Arc<MemDevice>, repaired: &Report) -> Result<(), String> {
    let no_errors = |mount: &Mount<Xv6>, errors: Vec<String>| match errors.is_empty()
        && mount.damage() == 0
        && mount.breaches() == 0
    {
        true => Ok(()),
        false => Err(format!("{} times damage, {errors:#?}", mount.damage())),
    };
    let clean = || match fsck(&**device, &LOOK) {
        Ok(report) if report.lines.is_empty() => Ok(report),
        Ok(report) => Err(format!("{:#?}", report.lines)),
        Err(error) => Err(error.to_string()),
    };
    if repaired.left > 0 {
        return Err("not all is repaired".into());
    }
    clean()?;
    let mount = mount(device).map_err(|error| format!("no mount: {error:?}"))?;
    no_errors(&mount, walk(&mount))?;
    change(&mount);
    no_errors(&mount, use_up(&mount))?;
    mount.umount().map_err(|error| format!("{error:?}"))?;
    let after = clean().map_err(|lines| format!("used up, and {lines}"))?;

    // As on a new volume of this form.
    let s: SuperBlock = image::load(&image::read(device, SUPER_BLOCK).unwrap()[..], 0).unwrap();
    let geometry = s.geometry();
    let journal = groups::Run {
        start: s.journal_start.get(),
        len: s.journal_blocks.get(),
    };
    let free: u64 = (0..geometry.groups())
        .map(|group| groups::fresh_free_blocks(&geometry, journal, group))
        .sum();
    match (after.inodes, after.blocks) == (FIRST_INO - 1, geometry.blocks - free) {
        true => Ok(()),
        false => Err(format!("all was removed, and not all is free: {after:?}")),
    }
}

fn damaged(leave: Leave, seeds: u64) {
    let base = Base::new(leave);
    let taken = (0..seeds).filter(|&seed| base.damaged(seed)).count() as u64;
    assert!(taken > seeds / 2, "{taken} of {seeds} mounted");
}

#[test]
fn clean_volumes() {
    damaged(Leave::Clean, cases(40));
}

#[test]
fn crashed_volumes() {
    damaged(Leave::Crashed, cases(30));
}
