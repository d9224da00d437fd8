// SPDX-License-Identifier: GPL-2.0

//! The version of a mounted file system is replaced while programs use it. These are the upgrades
//! that succeed; `refusals` has the others.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::mounts::work;
use super::Case;
use super::Run;
use super::Skip;
use crate::fs as testfs;
use crate::fs::Small;
use crate::pattern;
use crate::sys;
use crate::upgrade::by_ioctl;
use crate::upgrade::by_sysfs;
use crate::upgrade::value;
use crate::upgrade::Request;

pub const CASES: &[(&str, Run)] = &[
    ("upgrade-once", once),
    ("upgrade-programs", programs),
    ("upgrade-chain", chain),
    ("upgrade-open-files", open_files),
    ("upgrade-under-load", under_load),
    ("upgrade-rmmod", rmmod),
    ("upgrade-two-mounts", two),
    ("upgrade-impl-option", impl_option),
    ("upgrade-large-state", large_state),
    ("upgrade-races", races),
    ("upgrade-soak", soak),
];

/// The two versions that a mount goes back and forth between.
pub const VERSIONS: [&str; 2] = ["xv6-next", "xv6"];

/// Loads the other versions, or says why the case is left out.
pub fn ready(case: &Case) -> Result<()> {
    if case.kind != "xv6" {
        return Err(Skip("only xv6 has other versions").into());
    }
    testfs::run("modprobe", &["xv6_next"]).map(drop)
}

fn once(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    fs::write(fs.path("before"), b"before")?;
    let request = by_ioctl(&fs, "xv6-next")?;
    println!(
        "# stage {} us, drain {} us, transfer {} us, switch {} us, pause {} us",
        request.stage_ns / 1000,
        request.drain_ns / 1000,
        request.transfer_ns / 1000,
        request.switch_ns / 1000,
        request.pause_ns / 1000,
    );
    ensure!(request.from() == "xv6", "from {}", request.from());
    ensure!((request.from_version, request.to_version) == (1, 2));
    ensure!(request.stage_ns > 0 && request.pause_ns >= request.transfer_ns);
    ensure!(value(&fs, "implementation")? == "xv6-next" && value(&fs, "version")? == "2");
    ensure!(value(&fs, "upgrades")? == "1" && value(&fs, "state")? == "serving");
    ensure!(value(&fs, "last_pause_ns")? == request.pause_ns.to_string());
    ensure!(fs::read(fs.path("before"))? == b"before");
    fs::write(fs.path("after"), b"after")?;
    ensure!(fs::read(fs.path("after"))? == b"after");
    by_sysfs(&fs, "xv6\n").context("back, by sysfs")?;
    ensure!(value(&fs, "implementation")? == "xv6" && value(&fs, "upgrades")? == "2");
    // To itself is an upgrade like others
    by_sysfs(&fs, "xv6").context("to itself")?;
    ensure!(value(&fs, "upgrades")? == "3" && value(&fs, "refusals")? == "0");
    fs::remove_file(fs.path("before"))?;
    fs.finish()
}

/// What the demo shows: programs that go on, and a record of theirs that has no hole.
fn programs(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(64)?;
    let records = crate::swap::show(&fs.dir, &VERSIONS)?;
    fs.cycle()?;
    crate::swap::check(&fs.dir, records)?;
    fs.finish()
}

/// A file is made right after each upgrade; at the end all content is compared.
fn chain(case: &Case) -> Result<()> {
    ready(case)?;
    let rounds = if case.long { 1000 } else { 60 };
    let fs = case.small(64)?;
    let free = sys::free(&fs.dir)?;
    let dir = File::open(&fs.dir)?;
    for round in 0..rounds {
        Request::new(VERSIONS[round % 2])
            .send(&dir)
            .with_context(|| format!("upgrade {round}"))?;
        let name = format!("file-{round}");
        let data = pattern::bytes(pattern::key(&name, 0), 0, 1000 + 13 * round);
        fs::write(fs.path(&name), data)?;
        if round % 7 == 0 {
            fs::create_dir(fs.path(&format!("dir-{round}")))?;
        }
    }
    for round in 0..rounds {
        let name = format!("file-{round}");
        let data = fs::read(fs.path(&name))?;
        ensure!(data.len() == 1000 + 13 * round, "{name}: {}", data.len());
        let wrong = pattern::first_wrong(pattern::key(&name, 0), 0, &data, false);
        ensure!(wrong.is_none(), "{name}: wrong byte at {wrong:?}");
        fs::remove_file(fs.path(&name))?;
        if round % 7 == 0 {
            fs::remove_dir(fs.path(&format!("dir-{round}")))?;
        }
    }
    sys::syncfs(&dir)?;
    let left = sys::free(&fs.dir)?;
    ensure!(
        left.1 == free.1,
        "{} inodes are free, not {}",
        left.1,
        free.1
    );
    drop(dir);
    fs.finish()
}

fn lock(file: &File, command: i32) -> io::Result<()> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 10,
        l_len: 20,
        l_pid: 0,
    };
    // SAFETY: The descriptor is open, the structure is what the command asks for.
    sys::cvt(unsafe { libc::fcntl(file.as_raw_fd(), command, &mut lock) }.into()).map(drop)
}

/// Files that are open, unlinked, mapped and dirty, locked, and a directory that is half read.
fn open_files(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(64)?;
    let flags = libc::O_RDWR | libc::O_CREAT;
    for i in 0..500 {
        fs::write(fs.path(&format!("entry-{i}")), b"")?;
    }
    let open = sys::open(fs.path("open"), flags, 0o644)?;
    let unlinked = sys::open(fs.path("unlinked"), flags, 0o644)?;
    unlinked.write_all_at(&pattern::bytes(1, 0, 50_000), 0)?;
    fs::remove_file(fs.path("unlinked"))?;
    let nameless = sys::open(&fs.dir, libc::O_TMPFILE | libc::O_RDWR, 0o644)?;
    nameless.write_all_at(&pattern::bytes(2, 0, 50_000), 0)?;
    let mapped = sys::open(fs.path("mapped"), flags, 0o644)?;
    mapped.set_len(200_000)?;
    let mut map = sys::Map::shared(&mapped, 200_000)?;
    let locked = sys::open(fs.path("locked"), flags, 0o644)?;
    // SAFETY: The descriptor is open.
    sys::cvt(unsafe { libc::flock(open.as_raw_fd(), libc::LOCK_EX) }.into())?;
    lock(&locked, libc::F_OFD_SETLK)?;
    let mut names = fs::read_dir(&fs.dir)?;
    let mut seen = names.by_ref().take(100).count();

    for round in 0..10_usize {
        let at = round as u64 * 10_000;
        open.write_all_at(&pattern::bytes(3, at, 10_000), at)?;
        map.write(round * 20_000, &pattern::bytes(4, at * 2, 20_000));
        by_ioctl(&fs, VERSIONS[round % 2])?;
        unlinked.write_all_at(&pattern::bytes(1, 50_000 + at, 10_000), 50_000 + at)?;
        if round % 3 == 0 {
            unlinked.sync_all()?;
            map.sync()?;
        }
        let other = File::options().write(true).open(fs.path("locked"))?;
        match lock(&other, libc::F_OFD_SETLK) {
            Err(e) if sys::errno(&e) == libc::EAGAIN => {}
            other => bail!("the lock is gone: {other:?}"),
        }
        let other = File::open(fs.path("open"))?;
        // SAFETY: The descriptor is open.
        let taken = unsafe { libc::flock(other.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        ensure!(taken == -1, "the flock is gone");
    }
    seen += names.count();
    // 500, and open, mapped and locked
    ensure!(seen == 503, "{seen} entries were read");
    let check = |file: &File, key, len: usize| -> Result<()> {
        let mut data = vec![0; len];
        file.read_exact_at(&mut data, 0)?;
        let wrong = pattern::first_wrong(key, 0, &data, false);
        ensure!(wrong.is_none(), "file {key}: wrong byte at {wrong:?}");
        Ok(())
    };
    check(&open, 3, 100_000)?;
    check(&unlinked, 1, 150_000)?;
    check(&nameless, 2, 50_000)?;
    check(&mapped, 4, 200_000)?;
    drop((open, unlinked, nameless, mapped, map, locked));
    fs.cycle()?;
    check(&File::open(fs.path("mapped"))?, 4, 200_000)?;
    fs.finish()
}

/// Runs `steps` while three threads work in `fs` and a fourth reads a file without its cache.
fn with_load(fs: &Small, steps: impl FnOnce() -> Result<()>) -> Result<Duration> {
    fs::write(fs.path("streamed"), pattern::bytes(9, 0, 2_000_000))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<Duration> {
        let workers: Vec<_> = ["a", "b", "c"]
            .map(|tag| {
                let stop = &stop;
                scope.spawn(move || work(fs, tag, stop))
            })
            .into();
        let reader = scope.spawn(|| -> Result<Duration> {
            let mut longest = Duration::ZERO;
            let flags = libc::O_RDONLY | libc::O_DIRECT;
            let file = sys::open(fs.path("streamed"), flags, 0)?;
            let mut buffer = sys::Aligned::new(65_536);
            let mut at = 0;
            while !stop.load(Ordering::Relaxed) {
                let begin = Instant::now();
                file.read_exact_at(&mut buffer, at)?;
                longest = longest.max(begin.elapsed());
                let wrong = pattern::first_wrong(9, at, &buffer, false);
                ensure!(wrong.is_none(), "streamed: wrong byte at {wrong:?}");
                at = (at + 65_536) % (1 << 20);
            }
            Ok(longest)
        });
        let result = steps();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            let files = worker.join().expect("it does not panic")?;
            ensure!(files > 0, "a worker did nothing");
        }
        let longest = reader.join().expect("it does not panic")?;
        result.map(|()| longest)
    })
}

fn under_load(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(96)?;
    let rounds = if case.long { 500 } else { 40 };
    let (mut pauses, mut retries, mut waits) = (Vec::new(), 0, Vec::new());
    let mut busy = 0;
    let gap = with_load(&fs, || {
        for round in 0..rounds {
            match by_ioctl(&fs, VERSIONS[round % 2]) {
                Ok(request) => {
                    pauses.push(request.pause_ns / 1000);
                    waits.push(request.longest_wait_ns / 1000);
                    retries += request.retries;
                }
                // Two processors that emulate may not get everybody out in time, try after try.
                Err(e) if sys::errno(&e) == libc::EBUSY => busy += 1,
                Err(e) => return Err(e).with_context(|| format!("upgrade {round}")),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    pauses.sort_unstable();
    waits.sort_unstable();
    println!(
        "# {} upgrades, {retries} retries, {busy} held up; pause us: median {:?}, most {:?}; \
         longest wait us: {:?}; longest direct read {} ms",
        pauses.len(),
        pauses.get(pauses.len() / 2),
        pauses.last(),
        waits.last(),
        gap.as_millis()
    );
    ensure!(
        pauses.len() * 10 >= rounds * 9,
        "{busy} of {rounds} were held up"
    );
    fs.cycle()?;
    fs.finish()
}

/// The old module goes at once, under load, and comes back at another address.
fn rmmod(case: &Case) -> Result<()> {
    ready(case)?;
    let mut fs = case.small(96)?;
    let rounds = if case.long { 1000 } else { 10 };
    with_load(&fs, || {
        for round in 0..rounds {
            let (new, old) = match round % 2 {
                0 => ("xv6-next", "xv6"),
                _ => ("xv6", "xv6_next"),
            };
            ensure!(
                testfs::run("rmmod", &[["xv6", "xv6_next"][round % 2]]).is_err(),
                "rmmod of the version that serves"
            );
            by_ioctl(&fs, new).with_context(|| format!("round {round}"))?;
            testfs::run("rmmod", &[old]).with_context(|| format!("round {round}"))?;
            std::thread::sleep(Duration::from_millis(30));
            testfs::run("modprobe", &[old])?;
        }
        Ok(())
    })?;
    fs.cycle()?;
    fs.finish()
}

/// Two mounts go their own ways.
fn two(case: &Case) -> Result<()> {
    ready(case)?;
    let (first, second) = (case.small(48)?, case.second(32)?);
    let users = || fs::read_to_string("/sys/fs/bento/implementations/xv6-next/users");
    by_ioctl(&first, "xv6-next")?;
    ensure!(value(&second, "implementation")? == "xv6");
    ensure!(users()?.trim() == "1");
    by_ioctl(&second, "xv6-next")?;
    ensure!(users()?.trim() == "2");
    by_ioctl(&first, "xv6")?;
    ensure!(value(&second, "implementation")? == "xv6-next");
    fs::write(first.path("a"), b"a")?;
    fs::write(second.path("b"), b"b")?;
    first.finish()?;
    second.finish()?;
    ensure!(users()?.trim() == "0");
    Ok(())
}

/// `-o impl=` chooses; the name in the options follows an upgrade.
fn impl_option(case: &Case) -> Result<()> {
    ready(case)?;
    let shown = |fs: &Small| -> Result<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let dir = fs.dir.display().to_string();
        let line = mounts.lines().find(|line| line.contains(&dir));
        let line = line.context("no line in mountinfo")?;
        let (_, name) = line.split_once("impl=").context("no impl=")?;
        Ok(name.split(',').next().unwrap_or(name).to_string())
    };
    let mut fs = case.small_with(32, None, "impl=xv6-next,testing")?;
    ensure!(shown(&fs)? == "xv6-next");
    match by_ioctl(&fs, "xv6") {
        Err(e) if sys::errno(&e) == libc::EOPNOTSUPP => {}
        other => bail!(
            "an option that the successor does not know: {:?}",
            other.err()
        ),
    }
    ensure!(shown(&fs)? == "xv6-next");
    fs.umount()?;
    fs.mount("impl=xv6-next")?;
    by_ioctl(&fs, "xv6")?;
    ensure!(shown(&fs)? == "xv6");
    fs.remount(0, "impl=xv6-next,commit=3")?;
    ensure!(shown(&fs)? == "xv6", "a remount changed the version");
    fs.umount()?;
    match fs.mount_flags(0, "impl=no-such-version") {
        Err(e) if sys::errno(&e) == libc::ENODEV => {}
        other => bail!("impl= of a version that is not loaded: {other:?}"),
    }
    fs.mount("")?;
    fs.finish()
}

/// The largest state that a version may hand over.
fn large_state(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    by_ioctl(&fs, "xv6-large-state")?;
    let request = by_ioctl(&fs, "xv6")?;
    println!(
        "# 32 KiB were handed over in {} us",
        request.transfer_ns / 1000
    );
    fs::write(fs.path("file"), b"x")?;
    fs.finish()
}

/// Upgrades by both ways, remounts, freezes, syncs and renames at the same time.
fn races(case: &Case) -> Result<()> {
    const FIFREEZE: u64 = sys::ioc(3, b'X', 119, 4);
    const FITHAW: u64 = sys::ioc(3, b'X', 120, 4);
    ready(case)?;
    let mut fs = case.small(96)?;
    let time = Duration::from_secs(if case.long { 60 } else { 4 });
    let end = Instant::now() + time;
    let good = |result: io::Result<()>| match result {
        Err(e) if sys::errno(&e) != libc::EBUSY => Err(e),
        result => Ok(result.is_ok()),
    };
    with_load(&fs, || {
        std::thread::scope(|scope| -> Result<()> {
            let upgrades = [true, false].map(|ioctl| {
                let fs = &fs;
                scope.spawn(move || -> Result<u32> {
                    let mut done = 0;
                    for round in 0.. {
                        if Instant::now() > end {
                            break;
                        }
                        let name = VERSIONS[round % 2];
                        let result = match ioctl {
                            true => by_ioctl(fs, name).map(drop),
                            false => by_sysfs(fs, name),
                        };
                        done += u32::from(good(result).with_context(|| format!("round {round}"))?);
                    }
                    Ok(done)
                })
            });
            let dir = File::open(&fs.dir)?;
            let mut arg = 0_i32;
            for round in 0_u32.. {
                if Instant::now() > end {
                    break;
                }
                fs.remount(0, ["commit=3", "commit=7"][round as usize % 2])?;
                sys::syncfs(&dir)?;
                sys::ioctl(&dir, FIFREEZE, &mut arg).context("FIFREEZE")?;
                std::thread::sleep(Duration::from_millis(10));
                sys::ioctl(&dir, FITHAW, &mut arg).context("FITHAW")?;
                std::thread::sleep(Duration::from_millis(50));
            }
            for upgrades in upgrades {
                let done = upgrades.join().expect("it does not panic")?;
                ensure!(done > 0, "no upgrade");
            }
            Ok(())
        })
    })?;
    fs.cycle()?;
    fs.finish()
}

/// Kernel memory that cannot be reclaimed, in KiB, once all that can be is.
fn kernel_memory() -> Result<u64> {
    for _ in 0..3 {
        sys::drop_caches()?;
        std::thread::sleep(Duration::from_millis(300));
    }
    let text = fs::read_to_string("/proc/meminfo")?;
    let field = |name: &str| -> Result<u64> {
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number.context("no such line in meminfo")?.parse()?)
    };
    Ok(field("SUnreclaim:")? + field("VmallocUsed:")? + field("KernelStack:")? + field("Percpu:")?)
}

/// What kmemleak finds, where the kernel has it.
fn no_leaks() -> Result<()> {
    let file = "/sys/kernel/debug/kmemleak";
    if !std::path::Path::new(file).exists() {
        return Ok(());
    }
    // What is found once may be in a register; what is found twice is lost
    for _ in 0..2 {
        fs::write(file, "scan").context("kmemleak")?;
        std::thread::sleep(Duration::from_secs(6));
    }
    let found = fs::read_to_string(file)?;
    ensure!(found.is_empty(), "kmemleak: {found}");
    Ok(())
}

/// Very many upgrades under load: memory does not grow with their number.
fn soak(case: &Case) -> Result<()> {
    /// What the load itself may leave, in KiB.
    const SPREAD: u64 = 4096;
    ready(case)?;
    let mut fs = case.small(96)?;
    let rounds = if case.long { 10_000 } else { 150 };
    let part = |fs: &Small| {
        with_load(fs, || {
            let mut busy = 0;
            for round in 0..rounds / 2 {
                match by_ioctl(fs, VERSIONS[round % 2]) {
                    Err(e) if sys::errno(&e) == libc::EBUSY => busy += 1,
                    result => drop(result.with_context(|| format!("upgrade {round}"))?),
                }
            }
            ensure!(busy * 10 < rounds, "{busy} of {} were held up", rounds / 2);
            Ok(())
        })
    };
    // The first half fills what is kept for reuse
    part(&fs)?;
    let before = kernel_memory()?;
    part(&fs)?;
    let after = kernel_memory()?;
    println!("# {rounds} upgrades; kernel memory: {before} KiB, then {after} KiB");
    ensure!(
        after < before + SPREAD,
        "memory grows from {before} KiB to {after} KiB"
    );
    no_leaks()?;
    fs.cycle()?;
    fs.finish()
}
