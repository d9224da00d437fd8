// SPDX-License-Identifier: GPL-2.0

//! What is fuzzed. Each target takes any bytes and panics if the file system errs: a panic of its
//! own, a wrong result, or no end. The runner sets limits of time and memory.

#![forbid(unsafe_code)]

mod patch;
mod state;

use bento_testing::{
    hostile::{
        change,
        use_up,
        walk, //
    },
    workload::{
        Op,
        Player,
        World, //
    },
};
use kernel::{
    print::Capture,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Errors,
        Mount,
        MountOptions, //
    },
};
use std::sync::{
    Arc,
    LazyLock, //
};
use xv6::Xv6;
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Mode, //
    },
    mkfs,
    mkfs::MkfsOptions,
    mutate::What, //
};

/// A target by name.
pub type Target = fn(&[u8]);

/// All targets.
pub const TARGETS: [(&str, Target); 3] = [
    ("image", image),
    ("operations", operations),
    ("state", state),
];

/// Blocks of a volume.
const VOLUME: u64 = 4096;

/// Operations of a sequence, at most: each may write 70,000 bytes.
const MOST: usize = 60;

fn format() -> MemDevice {
    let device = MemDevice::new(VOLUME);
    let options = MkfsOptions {
        uuid: Some(*b"xv6 fuzz volume!"),
        hash_key: Some([1, 2]),
        time: Some(1_700_000_000),
        inodes: Some(512),
        ..MkfsOptions::default()
    };
    mkfs(&device, &options).expect("mkfs");
    device
}

fn check(device: &dyn Device) -> Result<(), String> {
    let options = FsckOptions {
        mode: Mode::Look,
        force: true,
        verbose: false,
    };
    match fsck(device, &options) {
        Ok(report) if report.problems == 0 => Ok(()),
        Ok(report) => Err(format!("{:?}", report.lines)),
        Err(error) => Err(error.to_string()),
    }
}

/// Operations against the model, with crashes and injected errors.
pub fn operations(data: &[u8]) {
    static WORLD: LazyLock<World> =
        LazyLock::new(|| World::new::<Xv6>(format(), check).expect("world"));
    let _quiet = Capture::start();
    let ops = Op::decode(data, MOST);
    let mut player = Player::<Xv6>::new(&WORLD).expect("mount");
    for (number, op) in ops.iter().enumerate() {
        if let Err(how) = player.step(op) {
            panic!("{number} of {ops:#?}: {how}");
        }
    }
    if let Err(how) = player.finish() {
        panic!("{ops:#?}: {how}");
    }
}

/// States that a version is told to take over: see [`state::import`].
pub fn state(data: &[u8]) {
    static VOLUME: LazyLock<MemDevice> = LazyLock::new(format);
    let _quiet = Capture::start();
    let left = state::import(data, &VOLUME);
    if let Err(how) = check(&*left) {
        panic!("after an upgrade: {how}");
    }
}

/// A volume to damage, and where its metadata lies.
struct Base {
    device: MemDevice,
    blocks: Vec<(u64, What)>,
}

/// Volumes that were left clean and by a crash.
static BASES: LazyLock<[Base; 2]> = LazyLock::new(|| {
    [true, false].map(|clean| {
        let device = Arc::new(format());
        let mount = Mount::<Xv6>::mount(device.clone(), &MountOptions::default()).expect("mount");
        patch::furnish(&mount).expect("furnish");
        match clean {
            true => mount.umount().expect("umount"),
            // What is not committed is lost, what is has to be replayed.
            false => drop(mount),
        }
        let device = MemDevice::clone(&device);
        let (_, blocks) = xv6_utils::mutate::metadata(&device).expect("metadata");
        Base { device, blocks }
    })
});

/// A damaged volume: mounted, walked and changed; then repaired, and whole.
pub fn image(data: &[u8]) {
    let Some((first, patches)) = data.split_first() else {
        return;
    };
    let base = &BASES[usize::from(first & 1)];
    let device = Arc::new(base.device.clone());
    patch::apply(&device, &base.blocks, patches);
    let mended = Arc::new(MemDevice::clone(&device));
    let _quiet = Capture::start();
    let options = MountOptions {
        errors: match first & 2 {
            0 => Errors::Continue,
            _ => Errors::RemountReadOnly,
        },
        ..MountOptions::default()
    };
    if let Ok(mount) = Mount::<Xv6>::mount(device, &options) {
        walk(&mount);
        change(&mount);
        assert_eq!(mount.breaches(), 0, "breaches of the contract");
        let _ = mount.umount();
    }
    let repair = FsckOptions {
        mode: Mode::Repair,
        force: true,
        verbose: false,
    };
    let Ok(report) = fsck(&*mended, &repair) else {
        return;
    };
    let mount = Mount::<Xv6>::mount(mended.clone(), &MountOptions::default())
        .unwrap_or_else(|error| panic!("repaired, and no mount: {error:?}: {report:#?}"));
    let errors = walk(&mount);
    assert!(errors.is_empty(), "repaired, and {errors:#?}: {report:#?}");
    change(&mount);
    let errors = use_up(&mount);
    assert!(errors.is_empty(), "repaired, and {errors:#?}: {report:#?}");
    assert_eq!(mount.damage(), 0, "repaired, and damage: {report:#?}");
    mount.umount().expect("umount of a repaired volume");
    if let Err(how) = check(&*mended) {
        panic!("repaired, used, and then {how}: {report:#?}");
    }
}
