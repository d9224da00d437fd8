// SPDX-License-Identifier: GPL-2.0

//! The generic suite of behaviour on xv6, mounted in user space.
//!
//! Each test has a new volume, which afterwards must have kept the core's rules and be clean.

mod common;

use bento_testing::{
    mounted::Mounted,
    run,
    tests,
    Outcome,
    Test, //
};
use std::{
    process::ExitCode,
    sync::atomic::{
        AtomicUsize,
        Ordering, //
    },
    thread,
};
use xv6::Xv6;
use xv6_utils::mkfs::MkfsOptions;

/// Size of a volume in blocks: more than one group.
const BLOCKS: u64 = 40_000;

/// Runs a test on a volume of its own.
fn run_one(test: &Test<Mounted<Xv6>>) -> Outcome {
    let options = MkfsOptions {
        inodes: Some(4096),
        ..MkfsOptions::default()
    };
    let device = common::format_with(BLOCKS, &options);
    let mounted = Mounted::new(device.clone(), common::fsck).expect("mount");
    let outcome = run(&mounted, test);
    if outcome != Outcome::Passed {
        return outcome;
    }
    let mount = mounted.mount();
    if mount.breaches() > 0 || mount.damage() > 0 {
        return Outcome::Failed(format!(
            "{} breaches of the contract, {} times damage",
            mount.breaches(),
            mount.damage()
        ));
    }
    drop(mount);
    match mounted.umount() {
        Ok(()) => {
            common::fsck(&*device);
            outcome
        }
        Err(error) => Outcome::Failed(format!("umount: {error}")),
    }
}

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let tests: Vec<Test<Mounted<Xv6>>> = tests()
        .into_iter()
        .filter(|test: &Test<_>| {
            wanted.is_empty() || wanted.iter().any(|text| test.name.contains(text.as_str()))
        })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run_one(test) {
                Outcome::Passed => println!("test {} ... ok", test.name),
                Outcome::Skipped(feature) => {
                    println!("test {} ... ignored, no {feature:?}", test.name);
                }
                Outcome::Failed(reason) => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    println!("test {} ... FAILED: {reason}", test.name);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    match failed.into_inner() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
