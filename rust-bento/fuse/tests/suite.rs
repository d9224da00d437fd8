// SPDX-License-Identifier: GPL-2.0

//! The suite of all file systems, on a mount.

mod common;

use bento_testing::{
    live::Live,
    run,
    tests,
    Outcome, //
};
use common::{
    can_mount,
    World, //
};
use kernel::user::device::FileDevice;

/// Runs the suite on a mount with these options, but for what it cannot do.
fn suite(options: &str, cannot: &[&str]) {
    if !can_mount() {
        return;
    }
    let world = World::with_blocks(65536);
    suite_on(&world, options, cannot);
    assert!(world.is_clean());
    world.check();
}

fn suite_on(world: &World, options: &str, cannot: &[&str]) {
    let server = world.serve(&format!("allow_other,dev,suid,{options}"));
    let live = Live::new(&world.point()).expect("directory");
    let mut failed = Vec::new();
    let mut passed = 0;
    for test in tests().iter().filter(|test| !cannot.contains(&test.name)) {
        match run(&live, test) {
            Outcome::Failed(why) => failed.push(format!("{}: {why}", test.name)),
            Outcome::Passed => passed += 1,
            Outcome::Skipped(_) => {}
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(passed > 40, "{passed} passed");
    drop(live);
    server.umount();
}

/// The crate `fuser` has no `FUSE_TMPFILE`.
const NO_TMPFILE: [&str; 2] = ["tmpfile", "space-of-open-files-returns"];

#[test]
fn with_all_caches() {
    suite(
        "rw",
        &[
            NO_TMPFILE[0],
            NO_TMPFILE[1],
            // The cache takes writes for which there may be no space later.
            "full-of-blocks",
            // A cached directory shows from the middle what was there when it was read.
            "readdir-positions",
        ],
    );
}

/// Another file system, whose root has another number than FUSE's.
#[test]
fn tinyfs() {
    if !can_mount() {
        return;
    }
    let world = World::made(32768, |device| {
        tinyfs::mkfs(device, 3000, *b"tinyfs by FUSE\0\0").expect("mkfs");
    });
    suite_on(
        &world,
        "impl=tinyfs,nowriteback,nodircache",
        // The last one makes a file without a name, too: a volume of xv6 has too many inodes for it.
        &[NO_TMPFILE[0], NO_TMPFILE[1], "full-of-inodes"],
    );
    let device = FileDevice::open_read_only(world.image()).expect("image");
    let report = tinyfs::fsck(&device).expect("fsck");
    assert!(report.problems.is_empty(), "{report:#?}");
    assert_eq!(report.orphans, 0);
}

#[test]
fn without_writeback_and_directory_cache() {
    suite("nowriteback,nodircache", &NO_TMPFILE);
}
