// SPDX-License-Identifier: GPL-2.0

//! The disk below a mount is pulled out, before an upgrade and during upgrades.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::expect;
use super::upgrade::ready;
use super::upgrade::VERSIONS;
use super::Case;
use super::Run;
use super::Skip;
use crate::fs as testfs;
use crate::pattern;
use crate::sys;
use crate::upgrade::write_name;
use crate::upgrade::Request;
use crate::upgrade::DRY_RUN;

pub const CASES: &[(&str, Run)] = &[
    ("upgrade-unplugged", unplugged),
    ("upgrade-unplug-races", races),
];

/// The longest that anything may take once the disk is out.
const LIMIT: Duration = Duration::from_secs(60);

/// The first NVMe disk, with a file system on it. It is plugged in again on drop.
struct Disk<'a> {
    case: &'a Case,
    dir: PathBuf,
    mounted: bool,
}

impl<'a> Disk<'a> {
    const NODE: &'static str = "/dev/nvme0n1";
    const OBJECT: &'static str = "/sys/fs/bento/mounts/nvme0n1";

    fn new(case: &'a Case) -> Result<Self> {
        if !Path::new(Self::NODE).exists() {
            return Err(Skip("there is no NVMe disk to pull out").into());
        }
        testfs::mkfs(&case.kind, Self::NODE, None)?;
        let dir = case.scratch.join(case.name);
        fs::create_dir_all(&dir)?;
        let mut this = Self {
            case,
            dir,
            mounted: false,
        };
        this.mount()?;
        Ok(this)
    }

    fn mount(&mut self) -> Result<()> {
        sys::mount(Self::NODE, &self.dir, &self.case.kind, 0, "").context("mount")?;
        self.mounted = true;
        Ok(())
    }

    fn umount(&mut self) -> Result<()> {
        sys::umount(&self.dir, 0).context("umount")?;
        self.mounted = false;
        Ok(())
    }

    fn object(&self, file: &str) -> PathBuf {
        Path::new(Self::OBJECT).join(file)
    }

    fn value(&self, file: &str) -> Result<String> {
        let text = fs::read_to_string(self.object(file)).with_context(|| file.to_string())?;
        Ok(text.trim_end().to_string())
    }

    /// Takes the PCI device away. Returns when the disk has gone; the driver lets nothing be written that
    /// is dirty then.
    fn pull(&self) -> Result<()> {
        let controller = fs::canonicalize("/sys/block/nvme0n1/device/device");
        let controller = controller.context("the PCI device")?;
        fs::write(controller.join("remove"), "1").context("the removal")
    }

    /// Finds it again.
    fn plug() -> Result<()> {
        fs::write("/sys/bus/pci/rescan", "1").context("the rescan")?;
        let begin = Instant::now();
        while !Path::new(Self::NODE).exists() {
            ensure!(begin.elapsed() < LIMIT, "the disk does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The journal is replayed, then nothing is wrong, and the mount can be upgraded.
    fn plug_and_check(&mut self, check: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        Self::plug()?;
        self.mount()?;
        check(self)?;
        write_name(&self.object("upgrade"), VERSIONS[0]).context("with the disk back")?;
        self.umount()?;
        testfs::fsck(&self.case.kind, Self::NODE)
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if self.mounted {
            let _ = sys::umount(&self.dir, libc::MNT_DETACH);
        }
        let _ = Self::plug();
    }
}

/// How an upgrade is asked for.
const WAYS: [&str; 3] = ["ioctl", "system call", "sysfs"];

fn ask(way: &str, disk: &Disk<'_>, dir: &File, name: &str) -> io::Result<()> {
    match way {
        "ioctl" => Request::new(name).send(dir),
        "system call" => Request::new(name).send_by_syscall(dir),
        _ => write_name(&disk.object("upgrade"), name),
    }
}

/// Nothing is left to serve: each way is refused at once, the old version stays, and umount cleans up.
fn unplugged(case: &Case) -> Result<()> {
    ready(case)?;
    let mut disk = Disk::new(case)?;
    let dir = File::open(&disk.dir)?;
    for way in WAYS {
        ask(way, &disk, &dir, "xv6-next").context(way)?;
        ask(way, &disk, &dir, "xv6").context(way)?;
    }
    let data = pattern::bytes(1, 0, 300_000);
    fs::write(disk.dir.join("file"), &data)?;
    let mut open = File::options().append(true).open(disk.dir.join("file"))?;
    open.sync_all()?;
    // Of this nothing was promised
    fs::write(disk.dir.join("dirty"), &data)?;
    disk.pull()?;
    ensure!(!Path::new(Disk::NODE).exists(), "the disk is still there");
    ensure!(
        open.write_all(b"more").is_err(),
        "a write without a disk succeeded"
    );
    let begin = Instant::now();
    for (refused, way) in WAYS.into_iter().enumerate() {
        expect(ask(way, &disk, &dir, "xv6-next"), libc::EIO, way)?;
        ensure!(disk.value("refusals")? == (refused + 1).to_string());
        ensure!(disk.value("last_error")? == libc::EIO.to_string());
    }
    let mut dry = Request::new("xv6-next");
    dry.flags = DRY_RUN;
    expect(dry.send(&dir), libc::EIO, "a dry run")?;
    ensure!(disk.value("implementation")? == "xv6" && disk.value("upgrades")? == "6");
    ensure!(disk.value("state")? == "shutdown");
    drop((open, dir));
    disk.umount()?;
    ensure!(
        begin.elapsed() < LIMIT,
        "it took {} s",
        begin.elapsed().as_secs()
    );
    ensure!(
        !Path::new(Disk::OBJECT).exists(),
        "the mount is still in sysfs"
    );
    // Nobody has kept the successor
    testfs::run("rmmod", &["xv6_next"])?;
    testfs::run("modprobe", &["xv6_next"])?;
    disk.plug_and_check(|disk| {
        let found = fs::read(disk.dir.join("file")).context("what was synced")?;
        ensure!(found == data, "other content");
        Ok(())
    })
}

/// The disk goes while programs work, and while upgrades are asked for in all ways.
fn races(case: &Case) -> Result<()> {
    ready(case)?;
    let mut disk = Disk::new(case)?;
    let done = AtomicU32::new(0);
    for round in 0..if case.long { 60 } else { 5 } {
        let out = AtomicBool::new(false);
        let ended = |error: &io::Error| {
            // While the disk is there no operation fails
            ensure!(out.load(Ordering::SeqCst), "before the disk went: {error}");
            Ok(())
        };
        let worker = |disk: &Disk<'_>, tag: &str| -> Result<()> {
            for n in 0.. {
                let path = disk.dir.join(format!("{tag}-{}", n % 20));
                let step = || -> io::Result<()> {
                    fs::write(&path, pattern::bytes(n, 0, 20_000))?;
                    if n % 5 == 0 {
                        File::open(&path)?.sync_all()?;
                    }
                    fs::rename(&path, disk.dir.join(format!("{tag}-renamed-{}", n % 7)))
                };
                if let Err(error) = step() {
                    return ended(&error);
                }
            }
            Ok(())
        };
        let upgrader = |disk: &Disk<'_>, dir: &File, way: &str| -> Result<()> {
            for n in 0.. {
                match ask(way, disk, dir, VERSIONS[n % 2]) {
                    Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Err(error) if sys::errno(&error) == libc::EBUSY => {}
                    Err(error) => {
                        ensure!(
                            sys::errno(&error) == libc::EIO,
                            "{way}, an upgrade without a disk: {error}"
                        );
                        return ended(&error);
                    }
                }
            }
            Ok(())
        };
        let dir = File::open(&disk.dir)?;
        let begin = std::thread::scope(|scope| -> Result<Instant> {
            let (disk, dir) = (&disk, &dir);
            let (worker, upgrader) = (&worker, &upgrader);
            let mut threads = Vec::new();
            for tag in ["a", "b"] {
                threads.push(scope.spawn(move || worker(disk, tag)));
            }
            for way in WAYS {
                threads.push(scope.spawn(move || upgrader(disk, dir, way)));
            }
            std::thread::sleep(Duration::from_millis(150 + 70 * (round % 8)));
            out.store(true, Ordering::SeqCst);
            let begin = Instant::now();
            // Without it the threads would not end either
            if let Err(error) = disk.pull() {
                eprintln!("{error:#}");
                std::process::abort();
            }
            for thread in threads {
                thread
                    .join()
                    .expect("it does not panic")
                    .with_context(|| format!("round {round}"))?;
            }
            Ok(begin)
        })?;
        ensure!(disk.value("state")? == "shutdown");
        drop(dir);
        disk.umount()?;
        ensure!(
            begin.elapsed() < LIMIT,
            "round {round} took {} s",
            begin.elapsed().as_secs()
        );
        ensure!(
            !Path::new(Disk::OBJECT).exists(),
            "the mount is still in sysfs"
        );
        disk.plug_and_check(|_| Ok(()))?;
        disk.mount()?;
    }
    disk.umount()?;
    let done = done.load(Ordering::Relaxed);
    ensure!(done > 0, "no upgrade");
    println!("# {done} upgrades before the disk went");
    Ok(())
}
