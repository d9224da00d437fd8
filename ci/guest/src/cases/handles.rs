// SPDX-License-Identifier: GPL-2.0

//! File handles, as NFS servers use them: they outlive names, caches and mounts, but not their file.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use super::expect;
use super::Case;
use super::Run;
use crate::pattern::Rng;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("handle-reopen", reopen),
    ("handle-stale", stale),
    ("handle-nonsense", nonsense),
    ("handle-while-created", while_created),
];

const MAX: usize = 128;

/// `struct file_handle`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Handle {
    len: u32,
    kind: i32,
    bytes: [u8; MAX],
}

impl Handle {
    fn of(path: &Path) -> Result<Self> {
        let mut handle = Self {
            len: MAX as u32,
            kind: 0,
            bytes: [0; MAX],
        };
        let mut mount = 0_i32;
        let path = sys::cstring(path);
        // SAFETY: All pointers are valid over the call, and `len` is the room behind the header.
        sys::cvt(unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                libc::AT_FDCWD,
                path.as_ptr(),
                &raw mut handle,
                &raw mut mount,
                0,
            )
        })
        .context("name_to_handle_at")?;
        Ok(handle)
    }

    fn open(&self, mount: &File, flags: i32) -> io::Result<File> {
        let mut copy = *self;
        // SAFETY: The handle is valid over the call.
        let fd = sys::cvt(unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                &raw mut copy,
                flags | libc::O_CLOEXEC,
            )
        })?;
        // SAFETY: The descriptor is new and nobody else owns it.
        Ok(unsafe { File::from_raw_fd(fd as i32) })
    }
}

/// Handles work in a warm and in a cold cache and after another mount; a directory's finds its path again.
fn reopen(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::create_dir_all(fs.path("a/b/c"))?;
    fs::write(fs.path("a/b/c/file"), b"content")?;
    std::os::unix::fs::symlink("target", fs.path("a/link"))?;
    let file = Handle::of(&fs.path("a/b/c/file"))?;
    let dir = Handle::of(&fs.path("a/b/c"))?;
    let link = Handle::of(&fs.path("a/link"))?;
    let root = Handle::of(&fs.dir)?;
    let ino = fs.path("a/b/c/file").metadata()?.ino();
    fs::rename(fs.path("a/b/c/file"), fs.path("a/b/c/renamed"))?;
    for round in ["warm", "cold", "mounted again"] {
        match round {
            "cold" => {
                sys::syncfs(&File::open(&fs.dir)?)?;
                sys::drop_caches()?;
            }
            "mounted again" => fs.cycle()?,
            _ => {}
        }
        let mount = File::open(&fs.dir)?;
        let found = file.open(&mount, libc::O_RDWR).context(round)?;
        ensure!(found.metadata()?.ino() == ino, "{round}: another file");
        ensure!(io::read_to_string(&found)? == "content", "{round}");
        let found = dir
            .open(&mount, libc::O_RDONLY | libc::O_DIRECTORY)
            .context(round)?;
        let path = fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
        ensure!(path == fs.path("a/b/c"), "{round}: {}", path.display());
        ensure!(root
            .open(&mount, libc::O_RDONLY | libc::O_DIRECTORY)?
            .metadata()?
            .is_dir());
        let found = link
            .open(&mount, libc::O_PATH | libc::O_NOFOLLOW)
            .context(round)?;
        ensure!(found.metadata()?.file_type().is_symlink(), "{round}");
    }
    fs.finish()
}

/// A handle of a file that is gone is stale, also when another file has its number.
fn stale(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"old")?;
    fs::create_dir(fs.path("dir"))?;
    let file = Handle::of(&fs.path("file"))?;
    let dir = Handle::of(&fs.path("dir"))?;
    let ino = fs.path("file").metadata()?.ino();
    fs::remove_file(fs.path("file"))?;
    fs::remove_dir(fs.path("dir"))?;
    for round in ["removed", "cold", "mounted again"] {
        match round {
            "cold" => sys::drop_caches()?,
            "mounted again" => fs.cycle()?,
            _ => {}
        }
        let mount = File::open(&fs.dir)?;
        expect(file.open(&mount, libc::O_RDONLY), libc::ESTALE, round)?;
        expect(dir.open(&mount, libc::O_RDONLY), libc::ESTALE, round)?;
    }
    // The number comes back, with another generation
    for n in 0..5_000 {
        let path = fs.path(&format!("new-{n}"));
        fs::write(&path, b"new")?;
        if path.metadata()?.ino() == ino {
            break;
        }
        ensure!(n < 4_999, "the number is not used again");
    }
    expect(
        file.open(&File::open(&fs.dir)?, libc::O_RDONLY),
        libc::ESTALE,
        "the number of another file",
    )?;
    fs.finish()
}

/// Whatever a client sends is refused or names a file, and nothing else happens.
fn nonsense(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    fs::write(fs.path("file"), b"file")?;
    let good = Handle::of(&fs.path("file"))?;
    let mount = File::open(&fs.dir)?;
    let mut rng = Rng::new(7);
    let mut opened = 0;
    for n in 0..20_000_u64 {
        let mut handle = good;
        if n % 3 == 0 {
            handle.kind = [0, 1, 2, 0x81, 0x82, 0xff, rng.next() as i32][rng.below(7) as usize];
        }
        if n % 5 == 0 {
            handle.len = rng.below(MAX as u64 + 1) as u32;
        }
        match n % 4 {
            // Another number of the right generation, among them the reserved ones
            0 => handle.bytes[..8].copy_from_slice(&(n / 4).to_le_bytes()),
            1 => handle.bytes[..8].copy_from_slice(&rng.next().to_le_bytes()),
            2 => handle.bytes[rng.below(12) as usize] ^= 1 << rng.below(8),
            _ => handle.bytes.iter_mut().for_each(|b| *b = rng.next() as u8),
        }
        match handle.open(&mount, libc::O_RDONLY | libc::O_NONBLOCK) {
            Ok(file) => {
                opened += 1;
                let meta = file.metadata()?;
                ensure!(
                    meta.ino() == fs.path("file").metadata()?.ino(),
                    "round {n} opens inode {}",
                    meta.ino()
                );
            }
            Err(e) => ensure!(
                [libc::ESTALE, libc::EINVAL].contains(&sys::errno(&e)),
                "round {n}: {e}"
            ),
        }
    }
    println!("# {opened} of them named the file");
    drop(mount);
    fs.finish()
}

/// An inode that is only being made cannot be had by a handle: that is stale, not out of memory.
///
/// A number that is made, removed and begun anew between two looks still gives ENOMEM: rare, and open.
fn while_created(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    // All handles of a number, but for the generation
    fs::write(fs.path("file"), b"")?;
    let handle = Handle::of(&fs.path("file"))?;
    fs::remove_file(fs.path("file"))?;
    let stop = AtomicBool::new(false);
    let end = Instant::now() + Duration::from_secs(if case.long { 20 } else { 3 });
    let (made, asked) = std::thread::scope(|scope| -> Result<(u64, u64)> {
        let maker = scope.spawn(|| -> Result<u64> {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                fs::write(fs.path("file"), b"")?;
                fs::remove_file(fs.path("file"))?;
                n += 1;
            }
            Ok(n)
        });
        let mount = File::open(&fs.dir)?;
        let mut n = 0;
        let result = loop {
            if Instant::now() > end {
                break Ok(n);
            }
            n += 1;
            if let e @ Err(_) = expect(handle.open(&mount, libc::O_RDONLY), libc::ESTALE, "open") {
                break e.map(|()| 0);
            }
        };
        stop.store(true, Ordering::Relaxed);
        let made = maker.join().expect("it does not panic")?;
        Ok((made, result?))
    })?;
    println!("# {made} made, {asked} asked for");
    ensure!(made > 0 && asked > 0);
    fs.finish()
}
