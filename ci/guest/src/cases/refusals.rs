// SPDX-License-Identifier: GPL-2.0

//! Upgrades that have to be refused, each with its errno, while the old version goes on serving.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::upgrade::ready;
use super::upgrade::VERSIONS;
use super::Case;
use super::Run;
use crate::fs::Small;
use crate::sys;
use crate::upgrade::by_ioctl;
use crate::upgrade::by_sysfs;
use crate::upgrade::object;
use crate::upgrade::value;
use crate::upgrade::write_name;
use crate::upgrade::Request;
use crate::upgrade::DRY_RUN;

pub const CASES: &[(&str, Run)] = &[
    ("upgrade-refused", refused),
    ("upgrade-refused-on-the-way-back", way_back),
    ("upgrade-damaged-state", damaged_state),
    ("upgrade-bad-request", bad_request),
    ("upgrade-no-privilege", no_privilege),
    ("upgrade-dry-run", dry_run),
    ("upgrade-frozen", frozen),
    ("upgrade-shut-down", shut_down),
    ("upgrade-read-only", read_only),
    ("upgrade-held-up", held_up),
    ("upgrade-vanished", vanished),
    ("upgrade-aborted", aborted),
    ("upgrade-grace-period", grace_period),
    ("upgrade-umount-races", umount_races),
    ("upgrade-then-umount", then_umount),
];

fn expect<T>(result: io::Result<T>, errno: i32, what: &str) -> Result<()> {
    match result {
        Err(e) if sys::errno(&e) == errno => Ok(()),
        Err(e) => bail!(
            "{what}: {e}, expected {}",
            io::Error::from_raw_os_error(errno)
        ),
        Ok(_) => bail!(
            "{what}: was done, expected {}",
            io::Error::from_raw_os_error(errno)
        ),
    }
}

/// The versions that are wrong, and the errno that each is refused with.
const WRONG: &[(&str, i32)] = &[
    ("no-such-version", libc::ENOENT),
    ("xv6-bad-format", libc::EINVAL),
    ("xv6-bad-state", libc::EPROTONOSUPPORT),
    ("xv6-bad-feature", libc::EOPNOTSUPP),
    ("xv6-bad-limits", libc::EOPNOTSUPP),
    ("xv6-bad-credits", libc::EOPNOTSUPP),
    ("xv6-bad-tree", libc::EOPNOTSUPP),
    ("xv6-bad-stage", libc::EUCLEAN),
    ("xv6-bad-memory", libc::ENOMEM),
    ("xv6-bad-import", libc::ENODATA),
    ("xv6-bad-unknown", libc::EBADMSG),
];

/// The old version serves: it makes and reads files, also those that were open.
fn serves(fs: &Small, name: &str, open: &File) -> Result<()> {
    use std::os::unix::fs::FileExt;
    ensure!(
        value(fs, "implementation")? == name,
        "{name} does not serve"
    );
    ensure!(
        value(fs, "state")? == "serving",
        "state {}",
        value(fs, "state")?
    );
    open.write_all_at(b"still here", 0)?;
    let path = fs.path("made-after");
    fs::write(&path, b"content")?;
    ensure!(fs::read(&path)? == b"content");
    fs::remove_file(&path)?;
    Ok(())
}

fn refused(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let open = File::create(fs.path("open"))?;
    for (round, serving) in ["xv6", "xv6-next"].into_iter().enumerate() {
        by_ioctl(&fs, serving)?;
        for (n, (name, errno)) in WRONG.iter().enumerate() {
            expect(by_ioctl(&fs, name), *errno, name)?;
            serves(&fs, serving, &open).context(*name)?;
            ensure!(
                value(&fs, "last_error")? == errno.to_string(),
                "{name}: last_error"
            );
            expect(by_sysfs(&fs, name), *errno, name)?;
            let refusals = (round * WRONG.len() + n + 1) * 2;
            ensure!(
                value(&fs, "refusals")? == refusals.to_string(),
                "{name}: refusals"
            );
        }
    }
    ensure!(value(&fs, "upgrades")? == "2");
    drop(open);
    fs.finish()
}

/// Versions that hand over what nobody can take.
fn way_back(case: &Case) -> Result<()> {
    ready(case)?;
    for name in ["xv6-bad-export", "xv6-bad-record"] {
        let mut fs = case.small(32)?;
        let open = File::create(fs.path("open"))?;
        by_ioctl(&fs, name)?;
        for to in ["xv6", "xv6-next", name] {
            expect(by_ioctl(&fs, to), libc::EBADMSG, name)?;
            serves(&fs, name, &open)?;
        }
        drop(open);
        fs.umount()?;
        fs.mount("")?;
        fs.finish()?;
    }
    Ok(())
}

/// States that are not whole, each in another way.
fn damaged_state(case: &Case) -> Result<()> {
    const WAYS: [&str; 6] = [
        "whole",
        "cut short",
        "too long",
        "a wrong sum",
        "a wrong sum of a record",
        "a record that reaches beyond the end",
    ];
    ready(case)?;
    let reload = |parameters: &[&str]| -> Result<()> {
        crate::fs::run("rmmod", &["xv6_next"])?;
        crate::fs::run("modprobe", &[&["xv6_next"], parameters].concat()).map(drop)
    };
    let mut fs = case.small(32)?;
    for (number, way) in WAYS.into_iter().enumerate() {
        reload(&[&format!("spoil={number}")])?;
        let open = File::create(fs.path("open"))?;
        by_ioctl(&fs, "xv6-bad-bytes")?;
        for to in ["xv6", "xv6-next", "xv6-bad-bytes"] {
            if number == 0 {
                // So it is the damage that the others are refused for
                by_ioctl(&fs, to).context(way)?;
                by_ioctl(&fs, "xv6-bad-bytes")?;
                continue;
            }
            expect(by_ioctl(&fs, to), libc::EBADMSG, way)?;
            ensure!(value(&fs, "last_error")? == libc::EBADMSG.to_string());
            expect(by_sysfs(&fs, to), libc::EBADMSG, way)?;
            serves(&fs, "xv6-bad-bytes", &open).context(way)?;
        }
        let refusals = if number == 0 { "0" } else { "6" };
        ensure!(value(&fs, "refusals")? == refusals, "{way}: refusals");
        drop(open);
        fs.cycle()?;
    }
    reload(&[])?;
    fs.finish()
}

fn bad_request(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let dir = File::open(&fs.dir)?;
    let bad = |change: fn(&mut Request)| {
        let mut request = Request::new("xv6-next");
        change(&mut request);
        request.send(&dir)
    };
    expect(bad(|r| r.flags = 2), libc::EINVAL, "an unknown flag")?;
    expect(bad(|r| r.pad = 1), libc::EINVAL, "padding")?;
    expect(bad(|r| r.size = 128), libc::EINVAL, "another size")?;
    expect(bad(|r| r.name = [0; 32]), libc::EINVAL, "no name")?;
    expect(
        bad(|r| r.name = [b'x'; 32]),
        libc::EINVAL,
        "a name without end",
    )?;
    let mut request = Request::new("xv6-next");
    request.size = 128;
    expect(
        Request::send_sized(&dir, 128, &mut request),
        libc::EINVAL,
        "too small",
    )?;
    // A later kernel's structure: what this one does not know must be zero
    let mut large = (Request::new("xv6-next"), 1_u64);
    let size = size_of_val(&large);
    large.0.size = size as u32;
    expect(
        Request::send_sized(&dir, size, &mut large),
        libc::E2BIG,
        "an unknown field",
    )?;
    large.1 = 0;
    Request::send_sized(&dir, size, &mut large).context("a larger structure")?;
    ensure!(large.0.to_version == 2);
    let null = std::ptr::null_mut::<Request>();
    expect(
        sys::ioctl(&dir, sys::ioc(3, 0xbe, 1, size_of::<Request>()), null),
        libc::EFAULT,
        "no structure",
    )?;
    expect(
        Request::new("xv6").send(&File::open("/proc/self/status")?),
        libc::ENOTTY,
        "a file of another file system",
    )?;
    Request::new("xv6")
        .send(&File::create(fs.path("file"))?)
        .context("on a file")?;
    for text in ["", "\n", "two names", &"x".repeat(40)] {
        ensure!(by_sysfs(&fs, text).is_err() || text.is_empty(), "{text:?}");
    }
    for (file, text) in [
        ("drain_limit_us", "0"),
        ("try_limit", "no"),
        ("total_limit_ms", "-1"),
    ] {
        expect(fs::write(object(&fs).join(file), text), libc::EINVAL, file)?;
    }
    ensure!(value(&fs, "implementation")? == "xv6");
    drop(dir);
    fs.finish()
}

/// Runs `call` in a child that is nobody, and gives its errno (0 if it succeeded).
fn as_nobody(call: impl FnOnce() -> io::Result<()>) -> Result<i32> {
    // SAFETY: The child does system calls only, and ends.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error().into()),
        0 => {
            // SAFETY: As above.
            let ready = unsafe { libc::setuid(65_534) } == 0;
            let status = match (ready, call()) {
                (false, _) => 255,
                (_, Ok(())) => 0,
                (_, Err(e)) => sys::errno(&e),
            };
            // SAFETY: As above.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: The child is ours.
            sys::cvt(unsafe { libc::waitpid(child, &mut status, 0) }.into())?;
            Ok(libc::WEXITSTATUS(status))
        }
    }
}

fn no_privilege(case: &Case) -> Result<()> {
    use std::io::Write;
    ready(case)?;
    let fs = case.small(32)?;
    let dir = File::open(&fs.dir)?;
    let errno = as_nobody(|| Request::new("xv6-next").send(&dir))?;
    ensure!(errno == libc::EPERM, "the ioctl gave {errno}");
    // An open file is no privilege
    let mut file = File::options()
        .write(true)
        .open(object(&fs).join("upgrade"))?;
    let errno = as_nobody(|| file.write_all(b"xv6-next"))?;
    ensure!(errno == libc::EPERM, "sysfs gave {errno}");
    ensure!(value(&fs, "implementation")? == "xv6" && value(&fs, "upgrades")? == "0");
    drop((dir, file));
    fs.finish()
}

fn dry_run(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let dir = File::open(&fs.dir)?;
    let dry = |name: &str| {
        let mut request = Request::new(name);
        request.flags = DRY_RUN;
        request.send(&dir).map(|()| request)
    };
    let request = dry("xv6-next")?;
    ensure!((request.from_version, request.to_version) == (1, 2) && request.pause_ns == 0);
    expect(dry("no-such-version"), libc::ENOENT, "dry run of nothing")?;
    expect(
        dry("xv6-bad-state"),
        libc::EPROTONOSUPPORT,
        "dry run of another state",
    )?;
    expect(
        dry("xv6-bad-limits"),
        libc::EOPNOTSUPP,
        "dry run of other limits",
    )?;
    ensure!(value(&fs, "implementation")? == "xv6");
    ensure!(value(&fs, "upgrades")? == "0" && value(&fs, "refusals")? == "0");
    drop(dir);
    fs.finish()
}

fn frozen(case: &Case) -> Result<()> {
    const FIFREEZE: u64 = sys::ioc(3, b'X', 119, 4);
    const FITHAW: u64 = sys::ioc(3, b'X', 120, 4);
    ready(case)?;
    let fs = case.small(32)?;
    let dir = File::open(&fs.dir)?;
    let mut arg = 0_i32;
    sys::ioctl(&dir, FIFREEZE, &mut arg).context("FIFREEZE")?;
    let result = expect(by_ioctl(&fs, "xv6-next"), libc::EBUSY, "frozen, ioctl").and(expect(
        by_sysfs(&fs, "xv6-next"),
        libc::EBUSY,
        "frozen, sysfs",
    ));
    let state = value(&fs, "state");
    sys::ioctl(&dir, FITHAW, &mut arg).context("FITHAW")?;
    result?;
    ensure!(state? == "frozen");
    by_ioctl(&fs, "xv6-next").context("after thaw")?;
    drop(dir);
    fs.finish()
}

fn shut_down(case: &Case) -> Result<()> {
    const FS_IOC_SHUTDOWN: u64 = sys::ioc(2, b'X', 125, 4);
    ready(case)?;
    for how in [0_u32, 1, 2] {
        let mut fs = case.small(32)?;
        let dir = File::open(&fs.dir)?;
        let mut arg = how;
        sys::ioctl(&dir, FS_IOC_SHUTDOWN, &mut arg).context("FS_IOC_SHUTDOWN")?;
        expect(by_ioctl(&fs, "xv6-next"), libc::EIO, "shut down")?;
        ensure!(value(&fs, "state")? == "shutdown");
        drop(dir);
        fs.umount()?;
        fs.mount("")?;
        by_ioctl(&fs, "xv6-next").context("after the next mount")?;
        fs.finish()?;
    }
    Ok(())
}

/// A read-only mount can be upgraded, and be remounted afterwards.
fn read_only(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"content")?;
    fs.umount()?;
    fs.mount_flags(libc::MS_RDONLY, "")?;
    ensure!(value(&fs, "state")? == "readonly");
    by_ioctl(&fs, "xv6-next")?;
    ensure!(fs::read(fs.path("file"))? == b"content");
    fs.remount(0, "")?;
    fs::write(fs.path("file"), b"other")?;
    by_ioctl(&fs, "xv6")?;
    ensure!(fs::read(fs.path("file"))? == b"other");
    fs.finish()
}

/// An operation waits for the disk inside the gate: it is tried again, and then given up, and the
/// operation goes on.
fn held_up(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(32)?;
    fs::create_dir(fs.path("dir"))?;
    for n in 0..300 {
        fs::write(fs.path(&format!("dir/file-{n}")), b"")?;
    }
    fs.cycle()?;
    fs::write(object(&fs).join("total_limit_ms"), "200")?;
    let suspended = fs.suspend()?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let reader = scope.spawn(|| {
            let count = fs::read_dir(fs.path("dir")).map(Iterator::count);
            ended.store(true, Ordering::Relaxed);
            count
        });
        std::thread::sleep(Duration::from_millis(300));
        let begin = Instant::now();
        let result = by_sysfs(&fs, "xv6-next");
        let took = begin.elapsed();
        let waits = !ended.load(Ordering::Relaxed);
        drop(suspended);
        let count = reader.join().expect("it does not panic")?;
        ensure!(waits, "the reader did not wait for the disk");
        expect(result, libc::EBUSY, "held up")?;
        ensure!(took < Duration::from_secs(3), "it took {took:?}");
        ensure!(count == 300, "{count} entries");
        Ok(())
    })?;
    ensure!(value(&fs, "implementation")? == "xv6");
    by_ioctl(&fs, "xv6-next").context("with the disk back")?;
    fs.finish()
}

/// A version whose module has gone, also while it is asked for again and again.
fn vanished(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let open = File::create(fs.path("open"))?;
    crate::fs::run("rmmod", &["xv6_next"])?;
    expect(by_ioctl(&fs, "xv6-next"), libc::ENOENT, "ioctl")?;
    expect(by_sysfs(&fs, "xv6-next"), libc::ENOENT, "sysfs")?;
    serves(&fs, "xv6", &open)?;
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| -> Result<u32> {
        let asker = scope.spawn(|| -> Result<u32> {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                match by_ioctl(&fs, "xv6-next") {
                    Ok(_) => done += 1,
                    Err(e) if [libc::ENOENT, libc::EBUSY].contains(&sys::errno(&e)) => {}
                    Err(e) => return Err(e).context("a version that comes and goes"),
                }
                by_ioctl(&fs, "xv6")?;
                // Time for rmmod
                std::thread::sleep(Duration::from_millis(10));
            }
            Ok(done)
        });
        let result = (0..if case.long { 200 } else { 15 }).try_for_each(|_| -> Result<()> {
            crate::fs::run("modprobe", &["xv6_next"])?;
            std::thread::sleep(Duration::from_millis(20));
            // While it serves it does not go
            while crate::fs::run("rmmod", &["xv6_next"]).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let done = asker.join().expect("it does not panic")?;
        result.map(|()| done)
    })?;
    ensure!(done > 0, "no upgrade");
    println!("# {done} upgrades to a version that came and went");
    serves(&fs, "xv6", &open)?;
    drop(open);
    fs.finish()
}

/// The device is gone, and the journal with it.
fn aborted(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"content")?;
    let dir = File::open(&fs.dir)?;
    sys::syncfs(&dir)?;
    let all = fs::metadata(&fs.image)?.len() / 4096;
    fs.fail(&[(0, all)])?;
    // Nothing has failed yet; this does
    let _ = fs::write(fs.path("new"), b"new");
    ensure!(sys::syncfs(&dir).is_err(), "a sync without a device");
    expect(by_ioctl(&fs, "xv6-next"), libc::EIO, "aborted, ioctl")?;
    expect(by_sysfs(&fs, "xv6-next"), libc::EIO, "aborted, sysfs")?;
    ensure!(value(&fs, "implementation")? == "xv6" && value(&fs, "upgrades")? == "0");
    // What is in memory can still be read
    ensure!(fs::read(fs.path("file"))? == b"content");
    drop(dir);
    fs.umount()?;
    fs.fail(&[])?;
    fs.mount("")?;
    by_ioctl(&fs, "xv6-next").context("with the device back")?;
    ensure!(fs::read(fs.path("file"))? == b"content");
    fs.finish()
}

/// An upgrade that comes at once after another, while the gate is still on its way back to counting
/// on each processor by itself: without anybody else, and while others ask too.
fn grace_period(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let dir = File::open(&fs.dir)?;
    let rounds = if case.long { 2000 } else { 100 };
    let run = |first: usize| -> Result<()> {
        (0..rounds).try_for_each(|round| {
            let name = VERSIONS[(first + round) % 2];
            Request::new(name)
                .send(&dir)
                .with_context(|| format!("{round}, to {name}"))
        })
    };
    run(0)?;
    std::thread::scope(|scope| {
        let others = [0, 1].map(|first| scope.spawn(move || run(first)));
        others
            .into_iter()
            .try_for_each(|other| other.join().expect("it does not panic"))
    })?;
    ensure!(value(&fs, "upgrades")? == (3 * rounds).to_string());
    ensure!(value(&fs, "refusals")? == "0");
    drop(dir);
    fs.finish()
}

/// Writes to sysfs, ioctls, mounts and umounts race.
fn umount_races(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(32)?;
    let rounds = if case.long { 300 } else { 25 };
    let stop = AtomicBool::new(false);
    let path = object(&fs).join("upgrade");
    std::thread::scope(|scope| -> Result<()> {
        let dir = fs.dir.clone();
        let writers = [0, 1, 2].map(|first| {
            let (path, stop, dir) = (&path, &stop, dir.clone());
            scope.spawn(move || -> Result<u32> {
                let mut done = 0;
                for round in first.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let name = VERSIONS[round % 2];
                    let result = match first {
                        2 => File::open(&dir).and_then(|dir| Request::new(name).send(&dir)),
                        _ => write_name(path, name),
                    };
                    // ENOTTY: what is below the mount
                    const GOING: [i32; 5] = [
                        libc::ENOENT,
                        libc::ENODEV,
                        libc::ESHUTDOWN,
                        libc::EBUSY,
                        libc::ENOTTY,
                    ];
                    if first == 2 {
                        // Or the open directory would keep the mount busy all the time
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    match result {
                        Ok(()) => done += 1,
                        Err(e) if GOING.contains(&sys::errno(&e)) => {}
                        Err(e) => return Err(e).context("a request"),
                    }
                }
                Ok(done)
            })
        });
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            let name = format!("file-{round}");
            fs::write(fs.path(&name), name.as_bytes())?;
            std::thread::sleep(Duration::from_millis(round % 20));
            fs.umount().with_context(|| format!("umount {round}"))?;
            // The last who wrote may still hold the mount, and the device with it
            for _ in 0..200 {
                match fs.mount_flags(0, "") {
                    Err(e) if sys::errno(&e) == libc::EBUSY => {
                        std::thread::sleep(Duration::from_millis(5))
                    }
                    result => {
                        result.with_context(|| format!("mount {round}"))?;
                        break;
                    }
                }
            }
            ensure!(fs::read(fs.path(&name))? == name.as_bytes());
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let mut done = 0;
        for writer in writers {
            done += writer.join().expect("it does not panic")?;
        }
        result?;
        ensure!(done > 0, "no upgrade");
        println!("# {done} upgrades, {rounds} umounts");
        Ok(())
    })?;
    fs.finish()
}

/// An umount after an upgrade through sysfs has returned is one: the device is nobody's.
fn then_umount(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(32)?;
    let rounds = if case.long { 400 } else { 40 };
    for round in 0..rounds {
        by_sysfs(&fs, VERSIONS[(round + 1) % 2]).with_context(|| format!("upgrade {round}"))?;
        fs.umount()?;
        sys::open(fs.device(), libc::O_RDONLY | libc::O_EXCL, 0)
            .with_context(|| format!("the device after umount {round}"))?;
        fs.mount(&format!("impl={}", VERSIONS[(round + 1) % 2]))?;
    }
    fs.finish()
}
