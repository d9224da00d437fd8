// SPDX-License-Identifier: GPL-2.0

//! Damaged volumes, mounted by the file system itself: it may refuse what it meets, but not panic
//! and not hang; and what fsck has repaired it takes whole.

mod common;

use common::{
    cases,
    populated, //
};
use kernel::{
    bento::Kind,
    error::Result,
    user::{
        device::{
            Device,
            MemDevice, //
        },
        Errors,
        Mount,
        MountOptions,
        NewNode,
        RenameMode, //
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

/// Reads all that can be reached: names, attributes, targets, the data of small files and the ends
/// of large ones. Gives the errors that it met, with what it was doing.
fn walk(mount: &Mount<Xv6>) -> Vec<String> {
    let mut errors = Vec::new();
    let mut dirs = vec![(mount.root(), 0)];
    let mut seen = 0;
    while let Some((dir, depth)) = dirs.pop() {
        let entries = match mount.list(dir) {
            Ok(entries) => entries,
            Err(error) => {
                errors.push(format!("list {dir}: {error:?}"));
                continue;
            }
        };
        for entry in entries {
            seen += 1;
            // Directories that contain themselves end somewhere, too.
            if seen > 20_000 {
                errors.push("too many names".into());
                return errors;
            }
            if let Err(error) = look_at(mount, dir, &entry.name) {
                let name = entry.name.escape_ascii();
                errors.push(format!("{dir}/{name}: {error:?}"));
            }
            if entry.kind == Kind::Directory && depth < 30 {
                dirs.push((entry.ino, depth + 1));
            }
        }
    }
    errors
}

fn look_at(mount: &Mount<Xv6>, dir: u64, name: &[u8]) -> Result {
    let inode = mount.lookup(dir, name)?;
    let stat = mount.stat(inode.ino())?;
    let mut buffer = vec![0; 1 << 16];
    match inode.kind() {
        Kind::Regular => {
            let size = stat.attributes.size;
            let mut offset = 0;
            while offset < size.min(1 << 20) {
                offset += mount.read(inode.ino(), offset, &mut buffer)?.max(1) as u64;
            }
            mount.read(inode.ino(), size.saturating_sub(5000), &mut buffer)?;
        }
        Kind::Symlink => {
            mount.read_link(inode.ino())?;
        }
        _ => {}
    }
    Ok(())
}

/// Changes this and that. Errors are what damage may cause.
fn change(mount: &Mount<Xv6>) {
    let root = mount.root();
    let file = NewNode::new(Kind::Regular, 0o600);
    if let Ok(inode) = mount.create(root, b"new", &file) {
        let _ = mount.write(inode.ino(), 0, &[1; 100_000]);
        let _ = mount.fsync(inode.ino());
    }
    let _ = mount.mkdir(root, b"newdir", 0o755).map(|inode| inode.ino());
    for dir in [&b"many"[..], b"links", b"dir0", b"dir1"] {
        let Ok(dir) = mount.lookup(root, dir) else {
            continue;
        };
        for entry in mount.list(dir.ino()).unwrap_or_default().iter().take(40) {
            let _ = match entry.ino % 3 {
                0 => mount.unlink(dir.ino(), &entry.name),
                1 => mount.rename(
                    dir.ino(),
                    &entry.name,
                    root,
                    &entry.name,
                    RenameMode::Replace,
                ),
                _ => mount.rmdir(dir.ino(), &entry.name),
            };
        }
    }
    for name in [&b"fragmented"[..], b"holes", b"preallocated"] {
        if let Ok(inode) = mount.lookup(root, name) {
            let _ = mount.write(inode.ino(), 1 << 22, &[1; 50_000]);
            let _ = mount.punch_hole(inode.ino(), 1 << 20, 1 << 20);
        }
        let _ = mount.unlink(root, name);
    }
    let _ = mount.sync();
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
