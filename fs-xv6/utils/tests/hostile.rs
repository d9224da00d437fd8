// SPDX-License-Identifier: GPL-2.0

//! Damaged volumes, mounted by the file system itself: it may refuse what it meets, but not panic
//! and not hang; and what fsck has repaired it takes whole.

mod common;

use bento_testing::{
    cases,
    hostile::{
        change,
        walk, //
    }, //
};
use common::populated;
use kernel::{
    error::Result,
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
use std::{
    sync::Arc,
    time::{
        Duration,
        Instant, //
    },
};
use xv6::Xv6;
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode, //
    },
    mutate,
    populate::Leave, //
};

fn mount(device: &Arc<MemDevice>) -> Result<Mount<Xv6>> {
    let device: Arc<dyn Device> = device.clone();
    let options = MountOptions {
        errors: Errors::Continue,
        ..MountOptions::default()
    };
    Mount::mount(device, &options)
}

/// The longest that one volume may take, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn damaged(from: &MemDevice, seeds: u64) {
    let (super_block, all) = mutate::metadata(from).unwrap();
    let repair = FsckOptions {
        mode: Mode::Repair,
        force: true,
        verbose: false,
    };
    let mut taken = 0;
    for seed in 0..seeds {
        let start = Instant::now();
        let device = Arc::new(from.clone());
        let how = mutate::mutate_among(&*device, &super_block, &all, seed).unwrap();
        let _quiet = kernel::print::Capture::start();
        let mended = Arc::new((*device).clone());
        if let Ok(mount) = mount(&device) {
            walk(&mount);
            change(&mount);
            let _ = mount.umount();
            taken += 1;
        }
        if let Ok(report) = fsck(&*mended, &repair) {
            let mount = mount(&mended)
                .unwrap_or_else(|error| panic!("seed {seed}: {how:#?}: {error:?}: {report:#?}"));
            let errors = walk(&mount);
            assert!(
                errors.is_empty() && mount.damage() == 0,
                "seed {seed}: {how:#?}: {:#?}: {errors:#?}",
                report.lines
            );
            change(&mount);
            assert_eq!(
                mount.damage(),
                0,
                "seed {seed}: {how:#?}: {:#?}",
                report.lines
            );
            mount.umount().unwrap();
            let after = fsck(
                &*mended,
                &FsckOptions {
                    mode: Mode::Look,
                    ..repair
                },
            )
            .unwrap();
            assert!(
                after.lines.is_empty(),
                "seed {seed}: {how:#?}: {:#?}: changed, and then {:#?}",
                report.lines,
                after.lines
            );
        }
        assert!(start.elapsed() < LIMIT, "seed {seed}: {how:#?}");
    }
    assert!(taken > seeds / 2, "{taken} of {seeds} mounted");
}

#[test]
fn clean_volumes() {
    damaged(&populated(Leave::Clean), cases(40));
}

#[test]
fn crashed_volumes() {
    damaged(&populated(Leave::Crashed), cases(30));
}
