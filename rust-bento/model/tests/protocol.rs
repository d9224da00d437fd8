// SPDX-License-Identifier: GPL-2.0

//! The protocol under all interleavings, and what is found when a part of it is missing.

use bento_model::{
    mount::Mount,
    upgrade::{
        Error,
        Fails, //
    },
    Flaws,
};
use loom::{
    model::Builder,
    sync::Arc,
    thread::{
        self,
        JoinHandle, //
    },
};
use std::process::Command;

const NONE: Flaws = Flaws {
    no_drain: false,
    late_store: false,
    no_barrier: false,
    no_wake: false,
    early_put: false,
    same_generation: false,
    run_after_leaving: false,
    no_umount_lock: false,
    no_active: false,
    put_in_store: false,
};

/// Explores what `test` does with a mount. In an execution there are at most so many preemptions,
/// unless LOOM_MAX_PREEMPTIONS says otherwise.
fn explore_with(
    preemptions: usize,
    flaws: Flaws,
    test: impl Fn(Arc<Mount>) + Sync + Send + 'static,
) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(move || test(Arc::new(Mount::new(flaws))));
}

fn explore(flaws: Flaws, test: impl Fn(Arc<Mount>) + Sync + Send + 'static) {
    explore_with(3, flaws, test);
}

fn spawn<T: 'static>(
    mount: &Arc<Mount>,
    work: impl FnOnce(&Mount) -> T + 'static,
) -> JoinHandle<T> {
    let mount = mount.clone();
    thread::spawn(move || work(&mount))
}

/// Nothing but `serving` is alive or pinned.
fn check_end(mount: &Mount, serving: usize, others: &[usize]) {
    assert_eq!(mount.serving(), serving);
    assert_eq!(mount.instances[serving].module.pins(), 1);
    for &other in others {
        assert!(mount.instances[other].is_over(), "{other} is not over");
        assert_eq!(mount.instances[other].module.pins(), 0, "{other} is pinned");
    }
}

/// Tasks work while the version changes; the old module is unloaded at once.
fn readers_and_rmmod(mount: &Arc<Mount>, readers: usize) {
    let tasks: Vec<_> = (0..readers)
        .map(|_| spawn(mount, Mount::operation))
        .collect();
    assert_eq!(mount.upgrade(1, Fails::No), Ok(()));
    check_end(mount, 1, &[0]);
    assert!(
        mount.instances[0].module.unload(),
        "the old module cannot be unloaded"
    );
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(mount.done(), readers, "an operation was lost");
    assert_eq!(mount.operation(), 1);
}

fn reader_and_rmmod(mount: Arc<Mount>) {
    readers_and_rmmod(&mount, 1);
}

/// One task works before, meanwhile and after.
fn reader_twice(mount: Arc<Mount>) {
    let task = spawn(&mount, |mount| (mount.operation(), mount.operation()));
    assert_eq!(mount.upgrade(1, Fails::No), Ok(()));
    let (first, second) = task.join().unwrap();
    assert!(first <= second, "back to the old version");
    assert_eq!(mount.done(), 2);
    check_end(&mount, 1, &[0]);
}

/// Somebody tries to unload the modules all the time.
fn rmmod_at_any_time(mount: Arc<Mount>) {
    let rmmod = spawn(&mount, |mount| {
        [1, 0].map(|number| mount.instances[number].module.unload())
    });
    let task = spawn(&mount, Mount::operation);
    let result = mount.upgrade(1, Fails::No);
    let [new, old] = rmmod.join().unwrap();
    task.join().unwrap();
    match result {
        Ok(()) => assert!(!new, "the new module was unloaded under the mount"),
        Err(error) => {
            assert_eq!(error, Error::NotFound);
            assert!(new && !old);
        }
    }
    mount.operation();
}

/// The mount is frozen and thawed.
fn freeze(mount: Arc<Mount>) {
    let task = spawn(&mount, Mount::freeze);
    match mount.upgrade(1, Fails::No) {
        Ok(()) => check_end(&mount, 1, &[0]),
        Err(error) => {
            assert_eq!(error, Error::Busy);
            check_end(&mount, 0, &[1]);
        }
    }
    task.join().unwrap();
}

/// The mount goes away while its file in sysfs is written.
fn umount(mount: Arc<Mount>) {
    let task = spawn(&mount, Mount::put_active);
    let worker = mount.clone();
    let mut put = None;
    let result = mount.store_upgrade(1, || put = Some(spawn(&worker, Mount::put_active)));
    task.join().unwrap();
    if let Some(put) = put {
        put.join().unwrap();
    }
    assert!(mount.umount.read().unwrap().dying);
    let served = match result {
        Ok(()) => 1,
        Err(error) => {
            assert_eq!(error, Error::ShutDown);
            0
        }
    };
    for instance in &mount.instances[..=served] {
        assert!(instance.is_over());
        assert_eq!(instance.module.pins(), 0);
    }
    assert_eq!(mount.instances[1].module.pins(), 0);
}

#[test]
fn operations_go_on_and_the_old_module_can_be_unloaded() {
    explore(NONE, reader_and_rmmod);
    explore_with(1, NONE, |mount| readers_and_rmmod(&mount, 2));
}

#[test]
fn who_saw_the_new_version_never_sees_the_old_one() {
    explore(NONE, reader_twice);
}

#[test]
fn what_serves_cannot_be_unloaded() {
    explore(NONE, rmmod_at_any_time);
}

#[test]
fn a_frozen_mount_is_left_alone() {
    explore(NONE, freeze);
}

#[test]
fn umount_and_the_file_in_sysfs_do_not_wait_for_each_other() {
    explore(NONE, umount);
}

#[test]
fn a_successor_that_fails_leaves_the_old_version() {
    for fails in [Fails::Check, Fails::Stage, Fails::Import] {
        explore(NONE, move |mount| {
            let task = spawn(&mount, Mount::operation);
            assert_eq!(mount.upgrade(1, fails), Err(Error::Failed));
            assert_eq!(task.join().unwrap(), 0);
            assert_eq!(mount.done(), 1);
            check_end(&mount, 0, if fails == Fails::Import { &[1] } else { &[] });
            assert_eq!(mount.instances[1].module.pins(), 0);
            // And the next one finds nothing in its way
            assert_eq!(mount.upgrade(2, Fails::No), Ok(()));
            check_end(&mount, 2, &[0]);
        });
    }
}

#[test]
fn a_drain_that_takes_too_long_is_undone() {
    explore(NONE, |mount| {
        let task = spawn(&mount, Mount::operation);
        let clock = spawn(&mount, |mount| mount.gate.expire());
        let result = mount.upgrade(1, Fails::No);
        clock.join().unwrap();
        let done_by = task.join().unwrap();
        match result {
            Ok(()) => check_end(&mount, 1, &[0]),
            Err(error) => {
                assert_eq!((error, done_by), (Error::Busy, 0));
                check_end(&mount, 0, &[1]);
                assert_eq!(mount.upgrade(2, Fails::No), Ok(()));
                check_end(&mount, 2, &[0, 1]);
            }
        }
        assert_eq!(mount.done(), 1, "the operation was lost");
    });
}

#[test]
fn who_must_not_wait_does_not() {
    explore(NONE, |mount| {
        let task = spawn(&mount, |mount| {
            let first = mount.operation_nowait();
            (first, mount.operation())
        });
        assert_eq!(mount.upgrade(1, Fails::No), Ok(()));
        let (first, second) = task.join().unwrap();
        assert_eq!(mount.done(), 1 + usize::from(first.is_some()));
        assert!(first.is_none_or(|first| first <= second));
    });
}

#[test]
fn upgrades_come_one_after_the_other() {
    explore(NONE, |mount| {
        let other = spawn(&mount, |mount| mount.upgrade(2, Fails::No));
        assert_eq!(mount.upgrade(1, Fails::No), Ok(()));
        assert_eq!(other.join().unwrap(), Ok(()));
        let serving = mount.serving();
        check_end(&mount, serving, &[0, 3 - serving]);
    });
}

#[test]
fn a_chain_of_upgrades_is_like_one() {
    explore(NONE, |mount| {
        let task = spawn(&mount, Mount::operation);
        assert_eq!(mount.upgrade(1, Fails::No), Ok(()));
        assert_eq!(mount.upgrade(2, Fails::No), Ok(()));
        task.join().unwrap();
        assert_eq!(mount.done(), 1);
        check_end(&mount, 2, &[0, 1]);
    });
}

/// Runs the test `name` again in a process of its own, which must end with `message`: where loom
/// finds a deadlock the tasks' locks are dropped as it panics, which ends the process.
fn must_be_found(name: &str, message: &str) {
    let program = std::env::current_exe().expect("a path");
    let output = Command::new(program)
        .args(["--exact", name, "--nocapture"])
        .env(FLAWED, "1")
        .output()
        .expect("the test runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "nothing was found");
    assert!(text.contains(message), "{text}");
}

/// Set in that process.
const FLAWED: &str = "BENTO_MODEL_FLAWED";

/// What must be found when a part of the protocol is missing.
macro_rules! found {
    ($($name:ident: $flaw:ident, $test:ident, $message:literal;)*) => {$(
        #[test]
        fn $name() {
            match std::env::var_os(FLAWED) {
                Some(_) => explore(Flaws { $flaw: true, ..NONE }, $test),
                None => must_be_found(stringify!($name), $message),
            }
        }
    )*};
}

found! {
    the_drain_is_needed: no_drain, reader_and_rmmod, "Causality violation";
    the_version_comes_before_the_opening: late_store, reader_and_rmmod, "Causality violation";
    the_barrier_is_needed: no_barrier, reader_and_rmmod, "Causality violation";
    waking_is_needed: no_wake, reader_and_rmmod, "deadlock";
    the_pin_is_needed_to_the_end: early_put, rmmod_at_any_time, "Causality violation";
    generations_are_needed: same_generation, reader_twice, "a node of another version";
    leaving_must_be_the_last_thing: run_after_leaving, reader_and_rmmod, "Causality violation";
    the_lock_is_needed_up_to_the_switch: no_umount_lock, freeze, "an upgrade while frozen";
    the_mount_must_be_kept: no_active, umount, "deadlock";
    the_mount_must_be_put_elsewhere: put_in_store, umount, "deadlock";
}
