// SPDX-License-Identifier: GPL-2.0

//! Runs the suite on a file system that is mounted in user space: the main function of a cargo test
//! without a harness.

use crate::{
    mounted::Mounted,
    run,
    tests,
    Outcome,
    Test, //
};
use kernel::{
    bento::FileSystem,
    user::device::Device, //
};
use std::{
    process::ExitCode,
    sync::{
        atomic::{
            AtomicUsize,
            Ordering, //
        },
        Arc,
    },
    thread,
};

/// Runs the tests whose names contain one of the arguments, or all if there is none, two at a time.
///
/// Each has a volume of its own, which `make` makes. After the test the core's rules must have been
/// kept, and `check` looks at the volume; it panics if something is wrong.
pub fn run_all<F: FileSystem>(make: fn() -> Arc<dyn Device>, check: fn(&dyn Device)) -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    let tests: Vec<Test<Mounted<F>>> = tests()
        .into_iter()
        .filter(|test: &Test<_>| {
            wanted.is_empty() || wanted.iter().any(|text| test.name.contains(text.as_str()))
        })
        .collect();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
            match run_one(test, make(), check) {
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

fn run_one<F: FileSystem>(
    test: &Test<Mounted<F>>,
    device: Arc<dyn Device>,
    check: fn(&dyn Device),
) -> Outcome {
    let mounted = Mounted::new(device.clone(), check).expect("mount");
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
            check(&*device);
            outcome
        }
        Err(error) => Outcome::Failed(format!("umount: {error}")),
    }
}
