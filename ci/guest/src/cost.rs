// SPDX-License-Identifier: GPL-2.0

//! What an operation costs, under `qemu/run --icount`: there a nanosecond of the guest is an instruction,
//! so that the figures do not depend on the machine below.

use anyhow::Result;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use crate::sys;

/// Calls of an operation that count.
pub const ROUNDS: usize = 200;

/// The median of `ROUNDS` calls, in nanoseconds: an interrupt in one of them does not count.
pub fn median(mut call: impl FnMut(usize) -> Result<()>) -> Result<u64> {
    // What is cold the first time
    call(ROUNDS)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for n in 0..ROUNDS {
        let begin = Instant::now();
        call(n)?;
        times.push(begin.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}

/// Prints a line for each operation, in `dir`.
pub fn print(dir: &Path) -> Result<()> {
    let (path, mut block) = (dir.join("file"), [1; 4096]);
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)?;
    file.write_all_at(&block, 0)?;
    file.sync_all()?;
    let name = sys::cstring(&path);
    // SAFETY: All-zero is a valid stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let names: Vec<_> = (0..=ROUNDS)
        .map(|n| sys::cstring(dir.join(format!("new-{n}"))))
        .collect();
    let warm_stat = median(|_| {
        // SAFETY: A valid string and a valid place.
        sys::cvt(unsafe { libc::stat(name.as_ptr(), &mut stat) }.into())?;
        Ok(())
    })?;
    let read = median(|_| Ok(file.read_exact_at(&mut block, 0)?))?;
    let overwrite = median(|_| Ok(file.write_all_at(&block, 0)?))?;
    let create = median(|n| {
        // SAFETY: A valid string; mknod leaves no open file behind.
        sys::cvt(unsafe { libc::mknod(names[n].as_ptr(), libc::S_IFREG | 0o644, 0) }.into())?;
        Ok(())
    })?;
    let unlink = median(|n| {
        // SAFETY: A valid string.
        sys::cvt(unsafe { libc::unlink(names[n].as_ptr()) }.into())?;
        Ok(())
    })?;
    sys::syncfs(&file)?;
    let figures = [
        ("stat", warm_stat),
        // Of 4 KiB
        ("read", read),
        ("overwrite", overwrite),
        ("create", create),
        ("unlink", unlink),
    ];
    for (what, instructions) in figures {
        println!("{what} {instructions}");
    }
    Ok(())
}
