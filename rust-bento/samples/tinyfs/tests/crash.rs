// SPDX-License-Identifier: GPL-2.0

//! After a crash at any moment, with any part of the writes in flight lost, a volume mounts, and
//! then nothing is wrong on it; and a file that was synced has what was written.

use kernel::{
    bento::Kind,
    error::Error,
    user::{
        device::{
            MemDevice,
            RecordingDevice, //
        },
        fault::{
            Fault,
            Point, //
        },
        Mount,
        MountOptions,
        NewNode,
        RenameMode,
        SetAttr, //
    },
};
use std::sync::Arc;
use tinyfs::TinyFs;

/// A small volume: the journal takes half of it.
const BLOCKS: u64 = 2048;
const STEPS: u64 = 300;
const STATES: u64 = 1000;

/// Random numbers, the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// One random change of the root directory. Errors such as `ENOENT` are part of it.
fn step(mount: &Mount<TinyFs>, random: &mut Random) -> Result<(), Error> {
    let root = mount.root();
    let name = |random: &mut Random| format!("name-{}", random.below(20)).into_bytes();
    let (old, new) = (name(random), name(random));
    let ino = mount.lookup(root, &old).map(|inode| inode.ino());
    match random.below(9) {
        0 | 1 => drop(mount.create(root, &old, &NewNode::new(Kind::Regular, 0o600))?),
        2 => drop(mount.create(root, &old, &NewNode::new(Kind::Directory, 0o700))?),
        3 => {
            let target = vec![b'x'; 1 + random.below(4000) as usize];
            let link = NewNode {
                target: &target,
                ..NewNode::new(Kind::Symlink, 0o777)
            };
            drop(mount.create(root, &old, &link)?);
        }
        4 => {
            let data = vec![7; 1 + random.below(40_000) as usize];
            mount.write(ino?, random.below(100_000), &data)?;
        }
        5 => {
            let change = SetAttr {
                size: Some(random.below(100_000)),
                ..SetAttr::default()
            };
            mount.set_attr(ino?, &change)?;
        }
        6 => mount.rename(root, &old, root, &new, RenameMode::Replace)?,
        7 => mount.rename(root, &old, root, &new, RenameMode::Exchange)?,
        _ => mount
            .unlink(root, &old)
            .or_else(|_| mount.rmdir(root, &old))?,
    }
    Ok(())
}

fn make() -> MemDevice {
    let device = MemDevice::new(BLOCKS);
    tinyfs::mkfs(&device, 64, *b"tinyfs in memory").unwrap();
    device
}

/// A truncation is several transactions. The next mount goes on where one stopped.
#[test]
fn a_cut_that_stops_halfway_is_finished() {
    let mut happened = true;
    for n in 0.. {
        let device = Arc::new(make());
        let mount = Mount::<TinyFs>::mount(device.clone(), &MountOptions::default()).unwrap();
        let new = NewNode::new(Kind::Regular, 0o600);
        let ino = mount.create(mount.root(), b"file", &new).unwrap().ino();
        for hole in 0..3 {
            mount.write(ino, hole * 20_000, &[7; 10_000]).unwrap();
        }
        mount.sync().unwrap();
        let change = SetAttr {
            size: Some(1),
            ..SetAttr::default()
        };
        let fault = Fault::at(Point::Access, n);
        let _ = mount.set_attr(ino, &change);
        happened &= fault.happened();
        drop(fault);
        if !happened {
            assert!(n > 8, "there are more blocks to change");
            break;
        }
        mount.sync().unwrap();
        drop(mount);
        check(&device, n);
        let mount = Mount::<TinyFs>::mount(device.clone(), &MountOptions::default()).unwrap();
        mount.umount().unwrap();
        assert_eq!(check(&device, n), 0, "fault {n}");
    }
}

/// Checks a volume, and gives the number of its orphans.
fn check(device: &MemDevice, n: u64) -> u64 {
    let report = tinyfs::fsck(device).unwrap();
    assert!(report.problems.is_empty(), "fault {n}: {report:#?}");
    report.orphans
}

#[test]
fn crashes_leave_whole_volumes() {
    let empty = make();
    let device = Arc::new(RecordingDevice::new(&empty));
    let mount = Mount::<TinyFs>::mount(device.clone(), &MountOptions::default()).unwrap();
    let mut random = Random(1);
    let (mut done, mut synced) = (0, Vec::new());
    for number in 0..STEPS {
        done += u64::from(step(&mount, &mut random).is_ok());
        // A file that is open while it loses its name, and when the crash comes.
        if number % 50 == 30 {
            let new = NewNode::new(Kind::Regular, 0o600);
            let open = mount.create(mount.root(), b"open", &new).unwrap().pin();
            mount.write(open, 0, &[9; 10_000]).unwrap();
            mount.unlink(mount.root(), b"open").unwrap();
        }
        if number % 20 == 19 {
            let file = mount
                .create(mount.root(), b"synced", &NewNode::new(Kind::Regular, 0o600))
                .or_else(|_| mount.lookup(mount.root(), b"synced"))
                .unwrap();
            let content = format!("step {number:0>4}").into_bytes();
            mount.write(file.ino(), 0, &content).unwrap();
            mount.fsync(file.ino()).unwrap();
            device.mark(synced.len() as u64);
            synced.push(content);
        }
    }
    assert!(done > STEPS / 3, "only {done} steps did anything");
    assert_eq!((mount.breaches(), mount.damage()), (0, 0));
    drop(mount);

    let log = device.recorded();
    let mut crashes = log.crashes();
    for state in 1..=STATES {
        let end = (log.len() as u64 * state / STATES) as usize;
        // Each write in flight survives with the same chance, which differs from state to state.
        let chance = random.below(5);
        let device = Arc::new(crashes.state(end, |_| random.below(4) < chance));
        let mount = Mount::<TinyFs>::mount(device.clone(), &MountOptions::default())
            .unwrap_or_else(|error| panic!("after {end} writes: {error}"));
        if let Some(mark) = log.mark(end) {
            let file = mount.lookup(mount.root(), b"synced").unwrap();
            let mut content = [0; 9];
            mount.read(file.ino(), 0, &mut content).unwrap();
            let newest = synced[mark as usize..].iter().position(|c| **c == content);
            assert!(
                newest.is_some_and(|newest| newest <= 1),
                "after {end} writes"
            );
        }
        assert_eq!(mount.damage(), 0, "after {end} writes");
        mount.umount().unwrap();
        let report = tinyfs::fsck(&*device).unwrap();
        assert!(
            report.problems.is_empty() && report.orphans == 0,
            "after {end} writes: {report:#?}"
        );
    }
}
