// SPDX-License-Identifier: GPL-2.0

//! Mounts: several, read-only, frozen, busy, shut down; and the module below.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::expect;
use super::Case;
use super::Run;
use super::Skip;
use crate::fs as testfs;
use crate::fs::Small;
use crate::pattern;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("mount-two-at-once", two),
    ("mount-remount", remount),
    ("mount-forced-read-only", forced),
    ("mount-freeze-thaw", freeze),
    ("mount-umount-under-load", umount_under_load),
    ("mount-shutdown", shutdown),
    ("mount-bad-options", bad_options),
    ("mount-rmmod", rmmod),
];

/// Writes, reads back and removes files in `fs` until told to stop; the number of files.
pub fn work(fs: &Small, tag: &str, stop: &AtomicBool) -> Result<u64> {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let name = format!("{tag}-{}", n % 30);
        let key = pattern::key(&name, n);
        let path = fs.path(&name);
        fs::write(&path, pattern::bytes(key, 0, 20_000))?;
        if n % 5 == 0 {
            File::open(&path)?.sync_all()?;
        }
        let wrong = pattern::first_wrong(key, 0, &fs::read(&path)?, false);
        ensure!(wrong.is_none(), "{name}: wrong byte at {wrong:?}");
        if n % 3 == 0 {
            fs::remove_file(&path)?;
        }
        n += 1;
    }
    Ok(n)
}

fn two(case: &Case) -> Result<()> {
    let (first, mut second) = (case.small(48)?, case.second(32)?);
    for round in 0..3 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let a = scope.spawn(|| work(&first, "a", &stop));
            let b = scope.spawn(|| work(&second, "b", &stop));
            std::thread::sleep(Duration::from_millis(700));
            stop.store(true, Ordering::Relaxed);
            let a = a.join().expect("it does not panic")?;
            let b = b.join().expect("it does not panic")?;
            ensure!(a > 0 && b > 0, "round {round}: {a} and {b} files");
            Ok(())
        })?;
        // One goes and comes while the other works
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let a = scope.spawn(|| work(&first, "a", &stop));
            let result = second.cycle();
            stop.store(true, Ordering::Relaxed);
            a.join().expect("it does not panic")?;
            result
        })?;
        for entry in fs::read_dir(&first.dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            ensure!(!name.starts_with("b-"), "{name} of the other mount");
        }
    }
    first.finish()?;
    second.finish()
}

fn remount(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"before")?;
    let writer = File::options().append(true).open(fs.path("file"))?;
    expect(
        fs.remount(libc::MS_RDONLY, ""),
        libc::EBUSY,
        "ro with a writer",
    )?;
    drop(writer);
    for round in 0..5 {
        fs.remount(libc::MS_RDONLY, "").context("remount ro")?;
        expect(File::create(fs.path("new")), libc::EROFS, "create on ro")?;
        expect(
            fs::remove_file(fs.path("file")),
            libc::EROFS,
            "unlink on ro",
        )?;
        expect(
            File::options().write(true).open(fs.path("file")),
            libc::EROFS,
            "open on ro",
        )?;
        ensure!(!fs::read(fs.path("file"))?.is_empty());
        // Read-only means that the device is as umount would leave it
        fs::copy(&fs.image, case.scratch.join("ro.img"))?;
        testfs::fsck(
            &case.kind,
            &case.scratch.join("ro.img").display().to_string(),
        )
        .context("after remount ro")?;
        fs.remount(0, "").context("remount rw")?;
        fs::write(fs.path(&format!("rw-{round}")), b"after")?;
    }
    fs.umount()?;
    fs.mount_flags(libc::MS_RDONLY, "").context("mount -o ro")?;
    ensure!(fs::read(fs.path("rw-4"))? == b"after");
    expect(fs::create_dir(fs.path("d")), libc::EROFS, "mkdir on ro")?;
    fs.remount(0, "").context("ro to rw")?;
    fs::create_dir(fs.path("d"))?;
    fs.finish()
}

/// A remount that is forced, by SysRq-U, does not wait for files that are open for writing, or that
/// have no name any more.
fn forced(case: &Case) -> Result<()> {
    if case.kind == "ext4" {
        return Err(Skip("it lets a write into the page cache, and marks the volume").into());
    }
    let mut fs = case.small(32)?;
    let mut writer = File::create(fs.path("file"))?;
    writer.write_all(&[1; 100_000])?;
    let nameless = File::create(fs.path("gone"))?;
    nameless.write_all_at(&[2; 100_000], 0)?;
    nameless.sync_all()?;
    fs::remove_file(fs.path("gone"))?;
    fs::write("/proc/sysrq-trigger", "u")?;
    let dir = fs.dir.display().to_string();
    let read_only = || -> Result<bool> {
        Ok(fs::read_to_string("/proc/mounts")?
            .lines()
            .any(|line| line.contains(&dir) && line.contains(" ro,")))
    };
    for _ in 0..500 {
        if read_only()? {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ensure!(read_only()?, "SysRq-U made nothing read-only");
    // The file that is open keeps the volume from being clean
    fs.crash_image(&case.scratch, "forced-c")?;
    let image = case.scratch.join("forced-c.img").display().to_string();
    testfs::fsck(&case.kind, &image).context("after the remount")?;
    expect(writer.write(&[3; 1 << 20]), libc::EROFS, "write")?;
    expect(writer.set_len(0), libc::EROFS, "truncate")?;
    expect(
        sys::fallocate(&writer, 0, 0, 1 << 20),
        libc::EROFS,
        "fallocate",
    )?;
    writer.sync_all().context("what was written before")?;
    drop((writer, nameless));
    ensure!(fs::read(fs.path("file"))? == [1; 100_000]);
    fs.cycle().context("umount")?;
    fs.finish()
}

const FIFREEZE: u64 = sys::ioc(3, b'X', 119, 4);
const FITHAW: u64 = sys::ioc(3, b'X', 120, 4);

fn freeze(case: &Case) -> Result<()> {
    let fs = case.small(48)?;
    let (stop, steps) = (AtomicBool::new(false), AtomicU64::new(0));
    let dir = File::open(&fs.dir)?;
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                let path = fs.path(&format!("f-{}", n % 50));
                let data = pattern::bytes(n, 0, 30_000);
                fs::write(&path, data)?;
                if n % 4 == 0 {
                    fs::rename(&path, fs.path("renamed"))?;
                }
                steps.store(n, Ordering::Relaxed);
            }
            Ok(())
        });
        let mut arg = 0_i32;
        let result = (0..if case.long { 20 } else { 4 }).try_for_each(|round| -> Result<()> {
            std::thread::sleep(Duration::from_millis(100));
            sys::ioctl(&dir, FIFREEZE, &mut arg).context("FIFREEZE")?;
            let frozen = (|| -> Result<()> {
                std::thread::sleep(Duration::from_millis(50));
                let at = steps.load(Ordering::Relaxed);
                let copy = case.scratch.join("frozen.img");
                fs::copy(&fs.image, &copy)?;
                std::thread::sleep(Duration::from_millis(100));
                let now = steps.load(Ordering::Relaxed);
                ensure!(
                    now <= at + 1,
                    "round {round}: {} steps while frozen",
                    now - at
                );
                testfs::fsck(&case.kind, &copy.display().to_string()).context("frozen image")
            })();
            sys::ioctl(&dir, FITHAW, &mut arg).context("FITHAW")?;
            frozen?;
            let at = steps.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(300));
            ensure!(
                steps.load(Ordering::Relaxed) > at,
                "round {round}: no step after thaw"
            );
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("it does not panic")?;
        result
    })?;
    drop(dir);
    fs.finish()
}

fn umount_under_load(case: &Case) -> Result<()> {
    let mut fs = case.small(64)?;
    for round in 0..if case.long { 40 } else { 8 } {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let work: Vec<_> = ["a", "b"]
                .map(|tag| {
                    scope.spawn({
                        let (fs, stop) = (&fs, &stop);
                        move || work(fs, tag, stop)
                    })
                })
                .into();
            std::thread::sleep(Duration::from_millis(60 + 20 * round));
            let held = File::open(&fs.dir)?;
            let result = expect(sys::umount(&fs.dir, 0), libc::EBUSY, "umount under load");
            drop(held);
            stop.store(true, Ordering::Relaxed);
            for work in work {
                work.join().expect("it does not panic")?;
            }
            result
        })?;
        // Much is dirty, an unlinked file is open, and the mount goes while it is in use
        let path = fs.path("open");
        let open = sys::open(&path, libc::O_RDWR | libc::O_CREAT, 0o644)?;
        open.write_all_at(&[1; 100_000], 0)?;
        fs::remove_file(&path)?;
        if round % 2 == 0 {
            sys::umount(&fs.dir, libc::MNT_DETACH).context("umount -l")?;
            open.write_all_at(&[2; 100_000], 50_000)?;
            drop(open);
            // The device is free when the last file is closed
            std::thread::sleep(Duration::from_millis(50));
            for _ in 0..50 {
                if testfs::fsck(&case.kind, fs.device()).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            testfs::fsck(&case.kind, fs.device())?;
            fs.mount("")?;
        } else {
            drop(open);
            fs.cycle()?;
        }
    }
    fs.finish()
}

/// FS_IOC_SHUTDOWN: later operations fail, umount works, fsync'ed data is there afterwards.
fn shutdown(case: &Case) -> Result<()> {
    const FS_IOC_SHUTDOWN: u64 = sys::ioc(2, b'X', 125, 4);
    let mut fs = case.small(32)?;
    for how in [2_u32, 1, 0] {
        let name = format!("synced-{how}");
        let key = pattern::key(&name, 0);
        fs::write(fs.path(&name), pattern::bytes(key, 0, 50_000))?;
        File::open(fs.path(&name))?.sync_all()?;
        fs::write(fs.path(&format!("lost-{how}")), b"not synced")?;
        let dir = File::open(&fs.dir)?;
        let mut arg = how;
        match sys::ioctl(&dir, FS_IOC_SHUTDOWN, &mut arg) {
            Err(e) if [libc::ENOTTY, libc::EOPNOTSUPP].contains(&sys::errno(&e)) => {
                drop(dir);
                return Err(Skip("no FS_IOC_SHUTDOWN").into());
            }
            result => result.context("FS_IOC_SHUTDOWN")?,
        };
        match File::create(fs.path("after")) {
            Err(e) if [libc::EIO, libc::EROFS].contains(&sys::errno(&e)) => {}
            other => bail!("create after shutdown: {other:?}"),
        }
        drop(dir);
        fs.umount()?;
        fs.mount("")?;
        let data = fs::read(fs.path(&name))?;
        ensure!(data.len() == 50_000, "{name} has {} bytes", data.len());
        ensure!(
            pattern::first_wrong(key, 0, &data, false).is_none(),
            "{name}"
        );
        fs.cycle()?;
    }
    fs.finish()
}

fn bad_options(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs.umount()?;
    for option in [
        "no-such-option",
        "errors=sometimes",
        "commit=soon",
        "no-such-option=7",
    ] {
        expect(fs.mount_flags(0, option), libc::EINVAL, option)?;
        let log = testfs::run("dmesg", &[])?;
        let word = option.split('=').next().unwrap_or(option);
        let named = log.lines().rev().take(3).any(|line| line.contains(word));
        ensure!(named, "the kernel does not name {word}");
    }
    fs.mount("errors=remount-ro,commit=7")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = fs.dir.display().to_string();
    let line = mounts
        .lines()
        .find(|l| l.contains(&dir))
        .context("no line in mountinfo")?;
    ensure!(line.contains("commit=7"), "commit=7 is not shown: {line}");
    fs.finish()
}

/// The module cannot go while something is mounted, and can afterwards.
fn rmmod(case: &Case) -> Result<()> {
    let loaded = || -> Result<bool> {
        Ok(fs::read_to_string("/proc/modules")?
            .lines()
            .any(|l| l.split(' ').next() == Some(&case.kind)))
    };
    if !loaded()? {
        return Err(Skip("it is not a module").into());
    }
    for _ in 0..5 {
        let mut fs = case.small(32)?;
        fs::write(fs.path("file"), b"x")?;
        ensure!(
            testfs::run("rmmod", &[&case.kind]).is_err(),
            "rmmod of a mounted file system"
        );
        let held = File::open(fs.path("file"))?;
        sys::umount(&fs.dir, libc::MNT_DETACH)?;
        ensure!(
            testfs::run("rmmod", &[&case.kind]).is_err(),
            "rmmod while a file is open"
        );
        drop(held);
        std::thread::sleep(Duration::from_millis(100));
        fs.mount("").context("mount again")?;
        fs.finish()?;
        testfs::run("rmmod", &[&case.kind]).context("rmmod after umount")?;
        ensure!(!loaded()?);
        testfs::run("modprobe", &[&case.kind])?;
    }
    Ok(())
}
