// SPDX-License-Identifier: GPL-2.0

//! Sizes, space, data and attributes of files.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::call;
use super::content;
use super::volume;
use super::walk;
use super::FailNth;
use super::MOST;
use crate::cases::Case;
use crate::fs::Small;
use crate::sys;

/// Sizes and attributes.
pub fn attributes(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    const LONG: i64 = 99 * 8192 + 5;
    crate::damage::fragmented(&fs.path("file"))?;
    let whole = fs::read(fs.path("file"))?;
    for (name, size) in [
        ("shrink", 40_000),
        ("shrink to nothing", 0),
        ("grow", LONG + 100_000),
    ] {
        walk(
            &mut fs,
            name,
            |fs| {
                fs::write(fs.path("file"), &whole)?;
                let path = sys::cstring(fs.path("file"));
                Ok(Box::new(move || {
                    // SAFETY: A valid string.
                    call(unsafe { libc::truncate(path.as_ptr(), size) })
                }))
            },
            |fs, result| {
                let mut wanted = whole.clone();
                if result == 0 {
                    wanted.resize(size as usize, 0);
                }
                content(&fs.path("file"), &wanted)
            },
        )?;
    }
    walk(
        &mut fs,
        "chmod and chown",
        |fs| {
            let path = sys::cstring(fs.path("file"));
            // SAFETY: A valid string.
            unsafe {
                libc::chown(path.as_ptr(), 0, 0);
                libc::chmod(path.as_ptr(), 0o600);
            }
            Ok(Box::new(move || {
                // SAFETY: A valid string.
                unsafe {
                    match call(libc::chmod(path.as_ptr(), 0o4755)) {
                        0 => call(libc::chown(path.as_ptr(), 3, 4)),
                        error => error,
                    }
                }
            }))
        },
        |fs, result| {
            let meta = fs.path("file").metadata()?;
            let owner = (meta.uid(), meta.gid());
            // A chown takes the setuid bit away
            match (meta.mode() & 0o7777, owner) {
                (0o755, (3, 4)) if result == 0 => Ok(()),
                (0o600 | 0o4755, (0, 0)) if result < 0 => Ok(()),
                other => bail!("{other:?} after {result}"),
            }
        },
    )?;
    fs.finish()
}

/// Space is made and freed inside of a file.
pub fn fallocate(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    let path = fs.path("file");
    crate::damage::fragmented(&path)?;
    let whole = fs::read(&path)?;
    let (keep, punch) = (libc::FALLOC_FL_KEEP_SIZE, libc::FALLOC_FL_PUNCH_HOLE);
    for (name, mode, offset, len) in [
        ("fallocate", 0, 100_000, 1_000_000),
        ("fallocate KEEP_SIZE", keep, 700_000, 1_000_000),
        ("PUNCH_HOLE", keep | punch, 50_001, 300_000),
        ("ZERO_RANGE", libc::FALLOC_FL_ZERO_RANGE, 50_001, 1_000_000),
    ] {
        walk(
            &mut fs,
            name,
            |fs| {
                fs::write(fs.path("file"), b"")?;
                crate::damage::fragmented(&fs.path("file"))?;
                let file = File::options().write(true).open(fs.path("file"))?;
                Ok(Box::new(move || {
                    // SAFETY: The descriptor is open.
                    call(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })
                }))
            },
            |fs, result| {
                let found = fs::read(fs.path("file"))?;
                let grown = (offset + len) as usize;
                let (from, to) = (offset as usize, grown.min(whole.len()));
                let zeroes = mode & (punch | libc::FALLOC_FL_ZERO_RANGE) != 0;
                ensure!(found.len() == whole.len() || mode & keep == 0 && found.len() == grown);
                if result == 0 {
                    ensure!(mode & keep != 0 || found.len() == grown.max(whole.len()));
                }
                ensure!(found[..from] == whole[..from], "before the range");
                ensure!(found[to..whole.len()] == whole[to..], "behind the range");
                ensure!(
                    found[whole.len()..].iter().all(|b| *b == 0),
                    "behind the end"
                );
                for (at, byte) in found[from..to].iter().enumerate() {
                    // What fails may have gone a part of the way
                    let old = whole[from + at];
                    ensure!(
                        *byte == old && (!zeroes || result < 0) || *byte == 0 && zeroes,
                        "byte {}",
                        from + at
                    );
                }
                Ok(())
            },
        )?;
    }
    fs.finish()
}

/// Data is written, through the cache and past it.
pub fn written(case: &Case) -> Result<()> {
    const OLD: usize = 50_000;
    const AT: usize = 16_384;
    const LEN: usize = 65_536;
    let mut fs = volume(case)?;
    for (name, flags) in [
        ("write", 0),
        ("O_SYNC write", libc::O_SYNC),
        ("O_DIRECT write", libc::O_DIRECT),
    ] {
        walk(
            &mut fs,
            name,
            |fs| {
                let path = fs.path("file");
                fs::write(&path, vec![b'o'; OLD])?;
                let file = sys::open(&path, libc::O_RDWR | flags, 0)?;
                file.sync_all()?;
                let mut buffer = sys::Aligned::new(LEN);
                buffer.fill(b'n');
                Ok(Box::new(move || {
                    // SAFETY: The descriptor is open, and the buffer has the length.
                    call(unsafe {
                        libc::pwrite(file.as_raw_fd(), buffer.as_ptr().cast(), LEN, AT as i64)
                    } as i64)
                }))
            },
            |fs, result| {
                let found = fs::read(fs.path("file"))?;
                let done = result.max(0) as usize;
                // O_SYNC fails after the write, in the fsync
                let synced = flags == libc::O_SYNC && result < 0 && found.len() == AT + LEN;
                ensure!(
                    found.len() == OLD.max(if done > 0 { AT + done } else { 0 }) || synced,
                    "{} bytes after {result}",
                    found.len()
                );
                ensure!(found[..AT].iter().all(|b| *b == b'o'), "before");
                ensure!(
                    found[AT..AT + done].iter().all(|b| *b == b'n'),
                    "what was written"
                );
                // Direct I/O that fails has written some of it over what was there
                let either = flags == libc::O_DIRECT || flags == libc::O_SYNC;
                let rest = &found[(AT + done).min(found.len())..];
                ensure!(
                    rest.iter().all(|b| *b == b'o' || either && *b == b'n'),
                    "behind"
                );
                File::open(fs.path("file"))?.sync_all()?;
                Ok(())
            },
        )?;
    }
    fs.finish()
}

/// Stores through a shared mapping: another process, since a signal may end it.
pub fn mapped(case: &Case) -> Result<()> {
    const LEN: usize = 65_536;
    let mut fs = volume(case)?;
    walk_mapped(&mut fs, LEN)?;
    fs.finish()
}

fn walk_mapped(fs: &mut Small, len: usize) -> Result<()> {
    FailNth::new()?;
    let path = fs.path("file");
    let (mut faults, mut killed) = (0, 0);
    let mut n = 1;
    while n < MOST {
        // Half of it is a hole
        fs::write(&path, vec![b'o'; len / 2])?;
        let file = File::options().read(true).write(true).open(&path)?;
        file.set_len(len as u64)?;
        file.sync_all()?;
        sys::drop_caches()?;
        let mut map = sys::Map::shared(&file, len)?;
        let text = n.to_string();
        let nth = sys::cstring("/proc/thread-self/fail-nth");
        // SAFETY: The child makes system calls and stores into the mapping, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut left = [0_u8; 2];
            // SAFETY: Valid strings and buffers.
            unsafe {
                let fd = libc::open(nth.as_ptr(), libc::O_RDWR);
                libc::pwrite(fd, text.as_ptr().cast(), text.len(), 0);
                for page in 0..len / 4096 {
                    map.write(page * 4096 + 8, b"new");
                }
                libc::pread(fd, left.as_mut_ptr().cast(), 2, 0);
                libc::pwrite(fd, c"0".as_ptr().cast(), 1, 0);
                libc::_exit(if left == *b"0\n" { 0 } else { 1 });
            }
        }
        let mut status = 0;
        // SAFETY: The child is ours, and the status is valid.
        sys::cvt(unsafe { libc::waitpid(child, &mut status, 0) }.into())?;
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        ensure!(
            signal.is_none() || signal == Some(libc::SIGBUS),
            "allocation {n}: signal {signal:?}"
        );
        killed += u32::from(signal.is_some());
        drop(map);
        file.sync_all().context("fsync")?;
        sys::drop_caches()?;
        let found = fs::read(&path)?;
        let mut ended = false;
        for (number, page) in found.chunks(4096).enumerate() {
            let old = if number < len / 8192 { b'o' } else { 0 };
            let new = &page[8..11] == b"new";
            ensure!(
                new || signal.is_some(),
                "allocation {n}: page {number} has lost a store"
            );
            ensure!(!(new && ended), "allocation {n}: page {number}");
            ended |= !new;
            ensure!(
                page[..8].iter().chain(&page[11..]).all(|b| *b == old),
                "allocation {n}: page {number}"
            );
        }
        if signal.is_none() && libc::WEXITSTATUS(status) == 1 {
            ensure!(faults > 0, "no fault was reached");
            println!("# stores: {faults} faults, {killed} of them a SIGBUS");
            drop(file);
            return fs.cycle();
        }
        faults += 1;
        n = super::after(n);
    }
    bail!("there is no end")
}

/// An fsync that fails may be repeated, and the one that succeeds promises all: data, size and times.
pub fn fsync(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    walk(
        &mut fs,
        "fsync",
        |fs| {
            let path = fs.path("file");
            fs::write(&path, vec![b'o'; 30_000])?;
            let file = File::options().write(true).open(&path)?;
            file.sync_all()?;
            file.write_at(&[b'n'; 10_000], 25_000)?;
            Ok(Box::new(move || {
                // SAFETY: The descriptor is open.
                call(unsafe { libc::fsync(file.as_raw_fd()) })
            }))
        },
        |fs, result| {
            let path = fs.path("file");
            if result < 0 {
                File::open(&path)?.sync_all().context("the next fsync")?;
            }
            let times = |at: &Path| -> Result<(i64, i64)> {
                let meta = at.join("file").metadata()?;
                Ok((meta.mtime_nsec(), meta.ctime_nsec()))
            };
            let wanted = times(&fs.dir)?;
            fs.after_crash(&case.scratch, "fault-fsync-c", |at| {
                let found = fs::read(at.join("file"))?;
                ensure!(found.len() == 35_000, "{} bytes", found.len());
                ensure!(found[25_000..].iter().all(|b| *b == b'n'), "data");
                ensure!(
                    times(at)? == wanted,
                    "times: {:?}, not {wanted:?}",
                    times(at)?
                );
                Ok(())
            })
            .context("after a crash")
        },
    )?;
    fs.finish()
}
