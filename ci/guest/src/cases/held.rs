// SPDX-License-Identifier: GPL-2.0

//! What programs hold over an upgrade: leases, watches, locks, I/O in flight, half a directory.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::expect;
use super::upgrade::ready;
use super::upgrade::VERSIONS;
use super::Case;
use super::Run;
use crate::fs::Small;
use crate::pattern;
use crate::sys;
use crate::upgrade::by_ioctl;
use crate::upgrade::by_sysfs;
use crate::upgrade::object;

pub const CASES: &[(&str, Run)] = &[
    ("upgrade-leases", leases),
    ("upgrade-inotify", inotify),
    ("upgrade-fanotify", fanotify),
    ("upgrade-locks", locks),
    ("upgrade-io-in-flight", in_flight),
    ("upgrade-half-a-directory", directory),
    ("upgrade-mapped", mapped),
    ("upgrade-names", names),
    ("upgrade-uevents", uevents),
];

/// There and back, so that what was held is held by the version that it was taken under, and another.
fn swap(fs: &Small) -> Result<()> {
    VERSIONS.iter().try_for_each(|name| {
        by_ioctl(fs, name)
            .map(drop)
            .with_context(|| format!("to {name}"))
    })
}

fn fcntl(file: &File, command: i32, arg: i32) -> io::Result<i64> {
    // SAFETY: The descriptor is open; the commands used here take a number.
    sys::cvt(unsafe { libc::fcntl(file.as_raw_fd(), command, arg) }.into())
}

fn leases(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    // A lease that is broken is told by this signal, which ends a program that does not ask for it
    // SAFETY: No handler is installed.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    let (one, many) = (
        File::create(fs.path("one"))?,
        File::create(fs.path("many"))?,
    );
    drop(many);
    let many = File::open(fs.path("many"))?;
    fcntl(&one, libc::F_SETLEASE, libc::F_WRLCK).context("a write lease")?;
    fcntl(&many, libc::F_SETLEASE, libc::F_RDLCK).context("a read lease")?;
    by_ioctl(&fs, "xv6-next")?;
    ensure!(fcntl(&one, libc::F_GETLEASE, 0)? == libc::F_WRLCK.into());
    ensure!(fcntl(&many, libc::F_GETLEASE, 0)? == libc::F_RDLCK.into());
    let open = |name, flags| sys::open(fs.path(name), flags | libc::O_NONBLOCK, 0);
    expect(
        open("one", libc::O_RDONLY),
        libc::EAGAIN,
        "who reads what is leased to a writer",
    )?;
    expect(
        open("many", libc::O_WRONLY),
        libc::EAGAIN,
        "who writes what is leased to readers",
    )?;
    // The break began under one version and ends under another
    by_ioctl(&fs, "xv6")?;
    for (file, name) in [(&one, "one"), (&many, "many")] {
        fcntl(file, libc::F_SETLEASE, libc::F_UNLCK)?;
        open(name, libc::O_RDWR).with_context(|| format!("{name}, after the lease"))?;
    }
    drop((one, many));
    fs.finish()
}

/// Reads what a descriptor of events has, into room for several.
fn events(file: &mut File) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 4096];
    match file.read(&mut buffer) {
        Err(e) if sys::errno(&e) == libc::EAGAIN => bail!("no event"),
        len => buffer.truncate(len?),
    }
    Ok(buffer)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn inotify(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let file = File::create(fs.path("file"))?;
    // SAFETY: Takes flags only; the descriptor is new and ours.
    let mut watch = unsafe {
        let fd = sys::cvt(libc::inotify_init1(libc::IN_NONBLOCK).into())?;
        File::from_raw_fd(fd as i32)
    };
    for (path, mask) in [
        (
            &fs.dir,
            libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_DELETE,
        ),
        (&fs.path("file"), libc::IN_MODIFY),
    ] {
        let path = sys::cstring(path);
        // SAFETY: The descriptor is open, the string is valid.
        sys::cvt(
            unsafe { libc::inotify_add_watch(watch.as_raw_fd(), path.as_ptr(), mask) }.into(),
        )?;
    }
    let mut seen = |what: &str, mask: u32| -> Result<()> {
        let read = events(&mut watch).context(what.to_string())?;
        let have = u32_at(&read, 4);
        ensure!(have == mask, "{what}: {have:#x}, expected {mask:#x}");
        Ok(())
    };
    for name in VERSIONS {
        by_ioctl(&fs, name)?;
        file.write_all_at(b"text", 0)?;
        seen("a write", libc::IN_MODIFY)?;
        File::create(fs.path("new"))?;
        seen("a create", libc::IN_CREATE)?;
        sys::rename(&fs.path("new"), &fs.path("other"), 0)?;
        seen("a rename", libc::IN_MOVED_TO)?;
        fs::remove_file(fs.path("other"))?;
        seen("a removal", libc::IN_DELETE)?;
    }
    drop((watch, file));
    fs.finish()
}

fn fanotify(case: &Case) -> Result<()> {
    /// `struct fanotify_event_metadata`: the mask's offset.
    const MASK: usize = 8;
    ready(case)?;
    let fs = case.small(32)?;
    let kinds = [
        // Events of the whole file system, with file handles in them
        (
            libc::FAN_REPORT_FID,
            libc::FAN_MARK_FILESYSTEM,
            libc::FAN_CREATE,
        ),
        // Of one mount, with open files in them
        (0, libc::FAN_MARK_MOUNT, libc::FAN_MODIFY),
    ];
    let mut marks = Vec::new();
    for (report, mark, mask) in kinds {
        let init = libc::FAN_CLASS_NOTIF | libc::FAN_NONBLOCK | report;
        // SAFETY: Takes flags only; the descriptor is new and ours.
        let group = unsafe {
            let fd = sys::cvt(libc::fanotify_init(init, libc::O_RDONLY as u32).into())?;
            File::from_raw_fd(fd as i32)
        };
        let dir = sys::cstring(&fs.dir);
        let flags = libc::FAN_MARK_ADD | mark;
        let at = libc::AT_FDCWD;
        // SAFETY: The descriptor is open, the string is valid.
        sys::cvt(
            unsafe { libc::fanotify_mark(group.as_raw_fd(), flags, mask, at, dir.as_ptr()) }.into(),
        )
        .with_context(|| format!("a mark of {mask:#x}"))?;
        marks.push((group, mask));
    }
    for name in VERSIONS {
        by_ioctl(&fs, name)?;
        fs::write(fs.path(name), b"text")?;
        for (group, mask) in &mut marks {
            let read = events(group).with_context(|| format!("after {name}, {mask:#x}"))?;
            let have = u64::from(u32_at(&read, MASK));
            ensure!(have & *mask != 0, "{have:#x} is not {mask:#x}");
            // The open file that comes with it, if one does
            let fd = u32_at(&read, 16) as i32;
            if fd >= 0 {
                // SAFETY: The kernel made it for us.
                drop(unsafe { File::from_raw_fd(fd) });
            }
        }
    }
    drop(marks);
    fs.finish()
}

fn flock(kind: i32) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 10,
        l_len: 20,
        l_pid: 0,
    }
}

/// POSIX locks, and those who wait for a lock.
fn locks(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let file = File::create(fs.path("file"))?;
    let mut lock = flock(libc::F_WRLCK);
    // SAFETY: The descriptor is open, the structure is what the command asks for.
    sys::cvt(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &mut lock) }.into())?;
    let ours = std::process::id() as i32;
    // Another process is told whose lock it is
    let holder = || -> Result<i32> {
        // SAFETY: The child does system calls only, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut lock = flock(libc::F_WRLCK);
            // SAFETY: As above; the descriptor is the parent's, and open here too.
            unsafe {
                libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &mut lock);
                let held = i32::from(lock.l_type) == libc::F_WRLCK && lock.l_pid == ours;
                libc::_exit(i32::from(held));
            }
        }
        let mut status = 0;
        // SAFETY: The child is ours.
        sys::cvt(unsafe { libc::waitpid(child, &mut status, 0) }.into())?;
        Ok(libc::WEXITSTATUS(status))
    };
    for name in VERSIONS {
        ensure!(holder()? == 1, "the lock is not there");
        by_ioctl(&fs, name)?;
        ensure!(holder()? == 1, "the lock is gone with {name}");
    }
    // Who waits for a lock while the version goes gets it after that
    let (first, second) = (File::open(fs.path("file"))?, File::open(fs.path("file"))?);
    // SAFETY: The descriptors are open.
    sys::cvt(unsafe { libc::flock(first.as_raw_fd(), libc::LOCK_EX) }.into())?;
    let got = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let waiter = scope.spawn(|| -> io::Result<()> {
            // SAFETY: The descriptor is open.
            sys::cvt(unsafe { libc::flock(second.as_raw_fd(), libc::LOCK_EX) }.into())?;
            got.store(true, Ordering::SeqCst);
            Ok(())
        });
        std::thread::sleep(Duration::from_millis(100));
        let swapped = swap(&fs);
        let early = got.load(Ordering::SeqCst);
        // SAFETY: The descriptor is open.
        sys::cvt(unsafe { libc::flock(first.as_raw_fd(), libc::LOCK_UN) }.into())?;
        waiter
            .join()
            .expect("it does not panic")
            .context("the one who waited")?;
        swapped?;
        ensure!(!early, "two held the lock");
        Ok(())
    })?;
    drop((file, first, second));
    fs.finish()
}

/// A direct write of each kind is under way, on a device that stands still, while the version goes.
fn in_flight(case: &Case) -> Result<()> {
    const PIECE: usize = 64 << 10;
    ready(case)?;
    let fs = case.small(64)?;
    let path = fs.path("file");
    for round in 0..if case.long { 50 } else { 5_u64 } {
        let piece = |n: u64| {
            let mut data = sys::Aligned::new(PIECE);
            pattern::fill(round, n * PIECE as u64, &mut data);
            data
        };
        fs::write(&path, vec![1; 4 * PIECE])?;
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(&path)?;
        file.sync_all()?;
        let (aio, uring, plain) = (piece(0), piece(1), piece(2));
        let mut context = sys::Aio::new()?;
        let mut ring = io_uring::IoUring::new(8)?;
        let suspended = fs.suspend()?;
        std::thread::scope(|scope| -> Result<()> {
            context.write(&file, &aio, 0)?;
            let fd = io_uring::types::Fd(file.as_raw_fd());
            let entry = io_uring::opcode::Write::new(fd, uring.as_ptr(), PIECE as u32)
                .offset(PIECE as u64)
                .build();
            // SAFETY: Buffer and descriptor live until the completion is seen below.
            unsafe { ring.submission().push(&entry) }.context("a full ring")?;
            ring.submit()?;
            let writer = scope.spawn(|| file.write_all_at(&plain, 2 * PIECE as u64));
            std::thread::sleep(Duration::from_millis(50));
            let swapped = scope.spawn(|| by_ioctl(&fs, VERSIONS[round as usize % 2]));
            let begin = Instant::now();
            while !swapped.is_finished() && begin.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let (held, still) = (!swapped.is_finished(), !writer.is_finished());
            let none = ring.completion().is_empty() && context.wait(0)?.is_none();
            drop(suspended);
            swapped
                .join()
                .expect("it does not panic")
                .context("the upgrade")?;
            ensure!(!held, "the upgrade waited for the device");
            ensure!(still && none, "nothing was in flight");
            writer
                .join()
                .expect("it does not panic")
                .context("pwrite")?;
            ensure!(context.wait(1)? == Some(PIECE as i64), "the AIO write");
            ring.submit_and_wait(1)?;
            let result = ring.completion().next().context("no completion")?.result();
            ensure!(result == PIECE as i32, "io_uring: {result}");
            Ok(())
        })?;
        let mut read = sys::Aligned::new(3 * PIECE);
        file.read_exact_at(&mut read, 0)?;
        let wrong = pattern::first_wrong(round, 0, &read, false);
        ensure!(wrong.is_none(), "round {round}: wrong byte at {wrong:?}");
    }
    fs.finish()
}

/// A directory that is read in small steps, with an upgrade between any two.
fn directory(case: &Case) -> Result<()> {
    const FILES: usize = 600;
    ready(case)?;
    let fs = case.small(32)?;
    fs::create_dir(fs.path("dir"))?;
    for n in 0..FILES {
        File::create(fs.path(&format!("dir/entry-{n}")))?;
    }
    let dir = File::open(fs.path("dir"))?;
    let (mut names, mut steps) = (Vec::new(), 0_usize);
    let mut buffer = vec![0_u8; 1024];
    loop {
        // SAFETY: The buffer is valid for its length.
        let len = sys::cvt(unsafe {
            libc::syscall(
                libc::SYS_getdents64,
                dir.as_raw_fd(),
                buffer.as_mut_ptr(),
                buffer.len(),
            )
        })? as usize;
        if len == 0 {
            break;
        }
        let mut at = 0;
        while at < len {
            let size = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
            let name = buffer[at + 19..at + size].split(|b| *b == 0).next();
            names.push(String::from_utf8_lossy(name.unwrap_or_default()).into_owned());
            at += size;
        }
        by_ioctl(&fs, VERSIONS[steps % 2])?;
        // What comes and goes meanwhile does not move the others
        let other = fs.path(&format!("dir/other-{steps}"));
        File::create(&other)?;
        fs::remove_file(other)?;
        steps += 1;
    }
    names.retain(|name| name.starts_with("entry-"));
    ensure!(names.len() == FILES, "{} of {FILES} entries", names.len());
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == FILES, "entries were read twice");
    ensure!(steps > 10, "{steps} steps");
    println!("# {steps} upgrades in one reading");
    drop(dir);
    fs.finish()
}

/// A program stores to a mapping all the time, while pages are written back and the version goes.
fn mapped(case: &Case) -> Result<()> {
    const LEN: usize = 1 << 20;
    ready(case)?;
    let mut fs = case.small(64)?;
    // Half of it has blocks already
    fs::write(fs.path("file"), vec![1; LEN / 2])?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(fs.path("file"))?;
    file.set_len(LEN as u64)?;
    let stop = AtomicBool::new(false);
    let last = std::thread::scope(|scope| -> Result<u64> {
        let writer = scope.spawn(|| -> Result<u64> {
            let mut map = sys::Map::shared(&file, LEN)?;
            for round in 1.. {
                for at in (0..LEN).step_by(4096) {
                    map.write(at, &pattern::bytes(round, at as u64, 64));
                }
                if stop.load(Ordering::Relaxed) {
                    return Ok(round);
                }
            }
            bail!("unreachable")
        });
        let result = (0..if case.long { 500 } else { 40 }).try_for_each(|round| -> Result<()> {
            by_ioctl(&fs, VERSIONS[round % 2])?;
            match round % 3 {
                0 => file.sync_all()?,
                1 => sys::drop_caches()?,
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let last = writer.join().expect("it does not panic")?;
        result.map(|()| last)
    })?;
    drop(file);
    fs.cycle()?;
    let data = fs::read(fs.path("file"))?;
    for at in (0..LEN).step_by(4096) {
        let wrong = pattern::first_wrong(last, at as u64, &data[at..at + 64], false);
        ensure!(wrong.is_none(), "page at {at} is not of round {last}");
    }
    fs.finish()
}

/// Renames, links, truncates and nameless files that get a name, each begun and ended among upgrades.
fn names(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(64)?;
    fs::write(fs.path("a"), b"a")?;
    fs::write(fs.path("b"), b"b")?;
    let stop = AtomicBool::new(false);
    let done = std::thread::scope(|scope| -> Result<u64> {
        let worker = scope.spawn(|| -> Result<u64> {
            for n in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return Ok(n);
                }
                sys::rename(&fs.path("a"), &fs.path("b"), libc::RENAME_EXCHANGE)?;
                let (a, b) = (fs::read(fs.path("a"))?, fs::read(fs.path("b"))?);
                let swapped = n % 2 == 0;
                ensure!(
                    (a == b"b") == swapped && (b == b"a") == swapped,
                    "exchange {n}"
                );
                let nameless = sys::open(&fs.dir, libc::O_TMPFILE | libc::O_RDWR, 0o644)?;
                nameless.write_all_at(&pattern::bytes(n, 0, 30_000), 0)?;
                nameless.set_len(10_000)?;
                let (from, to) = (
                    sys::cstring(format!("/proc/self/fd/{}", nameless.as_raw_fd())),
                    sys::cstring(fs.path("c")),
                );
                let (at, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
                // SAFETY: Valid strings.
                sys::cvt(
                    unsafe { libc::linkat(at, from.as_ptr(), at, to.as_ptr(), follow) }.into(),
                )?;
                ensure!(
                    fs::read(fs.path("c"))? == pattern::bytes(n, 0, 10_000),
                    "file {n}"
                );
                fs::create_dir(fs.path("dir"))?;
                sys::rename(&fs.path("c"), &fs.path("dir/c"), 0)?;
                fs::remove_dir_all(fs.path("dir"))?;
            }
            bail!("unreachable")
        });
        let result = (0..if case.long { 1000 } else { 100 }).try_for_each(|round| -> Result<()> {
            by_ioctl(&fs, VERSIONS[round % 2]).with_context(|| format!("round {round}"))?;
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let done = worker.join().expect("it does not panic")?;
        result.map(|()| done)
    })?;
    ensure!(done > 0, "no operation");
    println!("# {done} rounds of names");
    fs.finish()
}

/// An event of each swap and each refusal, received by netlink.
fn uevents(case: &Case) -> Result<()> {
    ready(case)?;
    let fs = case.small(32)?;
    let mut socket = sys::uevents()?;
    let mut wait = |what: &str| -> Result<Vec<String>> {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            let Ok(message) = events(&mut socket) else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let fields = message.split(|b| *b == 0).map(String::from_utf8_lossy);
            let fields: Vec<String> = fields.map(String::from).collect();
            if fields.iter().any(|field| field.starts_with("BENTO_EVENT=")) {
                return Ok(fields);
            }
        }
        bail!("{what}: no event")
    };
    let object = object(&fs);
    let path = object.strip_prefix("/sys")?.display().to_string();
    let from_to = |from: &str, to: &str| [format!("BENTO_FROM={from}"), format!("BENTO_TO={to}")];
    let has = |event: &[String], wanted: &[String]| {
        ensure!(
            event[0] == format!("change@/{}", path.trim_start_matches('/')),
            "{}",
            event[0]
        );
        match wanted.iter().find(|field| !event.contains(field)) {
            Some(field) => bail!("no {field} in {event:?}"),
            None => Ok(()),
        }
    };
    by_ioctl(&fs, "xv6-next")?;
    let event = wait("a swap")?;
    has(&event, &["BENTO_EVENT=upgrade".to_string()])?;
    has(&event, &from_to("xv6", "xv6-next"))?;
    let pause = fs::read_to_string(object.join("last_pause_ns"))?;
    has(&event, &[format!("BENTO_PAUSE_NS={}", pause.trim())])?;
    ensure!(by_sysfs(&fs, "xv6-bad-import").is_err());
    let event = wait("a refusal")?;
    has(&event, &["BENTO_EVENT=refused".to_string()])?;
    has(&event, &from_to("xv6-next", "xv6-bad-import"))?;
    let error = event
        .iter()
        .find_map(|field| field.strip_prefix("BENTO_ERROR="));
    let error: i32 = error.context("no error")?.parse()?;
    ensure!(error.abs() == libc::ENODATA, "BENTO_ERROR={error}");
    fs.finish()
}
