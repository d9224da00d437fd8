// SPDX-License-Identifier: GPL-2.0

//! What may be found after a crash. A crash is a copy of the stopped device: see `Small::crash_image`.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Case;
use super::Run;
use crate::pattern;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("crash-chmod-rename", chmod_rename),
    ("crash-rename-over", rename_over),
    ("crash-fsync-after-drop-caches", fsync_after_drop_caches),
    ("crash-no-stale-data", no_stale_data),
    ("crash-unlinked-open-file", unlinked_open),
    ("crash-truncate", truncate),
    ("crash-failed-mkdir", failed_mkdir),
    ("crash-removed-symlinks", removed_symlinks),
    ("crash-dirsync", dirsync),
    ("crash-synchronous-truncate", synchronous_truncate),
];

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// A chmod before a rename is never seen after it.
fn chmod_rename(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    let rounds = if case.long { 40 } else { 10 };
    let mut renamed = 0;
    for round in 0..rounds {
        let (from, to) = (format!("from-{round}"), format!("to-{round}"));
        for n in 0..8 {
            let (from, to) = (
                fs.path(&format!("{from}-{n}")),
                fs.path(&format!("{to}-{n}")),
            );
            fs::write(&from, b"x")?;
            chmod(&from, 0o600)?;
            // The older state must be on disk, else there would be nothing to see
            File::open(&from)?.sync_all()?;
            chmod(&from, 0o640)?;
            fs::rename(&from, &to)?;
            if n % 2 == 0 {
                // Commits, through another file
                let other = File::create(fs.path("other"))?;
                other.sync_all()?;
            }
        }
        renamed += case.after_crash(&fs, |dir| {
            let mut seen = 0;
            for n in 0..8 {
                match dir.join(format!("{to}-{n}")).metadata() {
                    Ok(meta) => {
                        ensure!(
                            meta.mode() & 0o777 == 0o640,
                            "{to}-{n} has the mode {:o} from before the chmod",
                            meta.mode()
                        );
                        seen += 1;
                    }
                    Err(e) if e.kind() == ErrorKind::NotFound => {
                        ensure!(
                            dir.join(format!("{from}-{n}")).exists(),
                            "{from}-{n} is lost"
                        );
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(seen)
        })?;
    }
    ensure!(
        renamed > 0,
        "no rename reached the disk: the test saw nothing"
    );
    fs.finish()
}

/// A file that is replaced by rename, without any sync, is never empty, torn or gone.
fn rename_over(case: &Case) -> Result<()> {
    let fs = case.small(64)?;
    let rounds = if case.long { 40 } else { 8 };
    const LEN: usize = 40_000;
    let write = |version: u64| -> Result<()> {
        let tmp = fs.path("file.tmp");
        let data = pattern::bytes(pattern::key("file", version), 0, LEN);
        fs::write(&tmp, data)?;
        fs::rename(&tmp, fs.path("file"))?;
        Ok(())
    };
    write(0)?;
    File::open(fs.path("file"))?.sync_all()?;
    File::open(&fs.dir)?.sync_all()?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut newer = 0;
    std::thread::scope(|scope| -> Result<()> {
        let writer = scope.spawn(|| -> Result<()> {
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                write(version)?;
                done.store(version, Ordering::Relaxed);
                if version % 3 == 0 {
                    // The rename gets to disk by a commit that has nothing to do with the file
                    File::create(fs.path("other"))?.sync_all()?;
                }
            }
            Ok(())
        });
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            std::thread::sleep(Duration::from_millis(40 + 13 * round));
            newer += case.after_crash(&fs, |dir| {
                let data = fs::read(dir.join("file")).context("file")?;
                ensure!(data.len() == LEN, "file has {} bytes", data.len());
                let latest = done.load(Ordering::Relaxed) + 2;
                for version in (0..=latest).rev() {
                    if pattern::first_wrong(pattern::key("file", version), 0, &data, false)
                        .is_none()
                    {
                        return Ok(u64::from(version > 0));
                    }
                }
                bail!("file is of no version");
            })?;
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        result
    })?;
    ensure!(
        newer > 0,
        "no rename reached the disk: the test saw nothing"
    );
    fs.finish()
}

/// fsync of a file whose inode was evicted since it was written still waits for its transaction.
fn fsync_after_drop_caches(case: &Case) -> Result<()> {
    // No commit of its own accord while this runs
    let fs = case.small_with(32, None, "commit=300")?;
    let rounds = if case.long { 20 } else { 5 };
    for round in 0..rounds {
        let name = format!("file-{round}");
        let key = pattern::key(&name, 0);
        let len = 3 * 4096 + 77;
        {
            let file = File::create(fs.path(&name))?;
            file.write_all_at(&pattern::bytes(key, 0, len), 0)?;
            // The data goes to disk, the inode stays dirty in the running transaction
            use std::os::fd::AsRawFd;
            // SAFETY: The descriptor is open.
            sys::cvt(unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, 7) }.into())?;
        }
        sys::drop_caches()?;
        let file = File::open(fs.path(&name))?;
        if round % 2 == 0 {
            file.sync_all()?;
        } else {
            file.sync_data()?;
        }
        case.after_crash(&fs, |dir| {
            let data = fs::read(dir.join(&name)).with_context(|| name.clone())?;
            ensure!(
                data.len() == len,
                "{} bytes of {len} after fsync",
                data.len()
            );
            let wrong = pattern::first_wrong(key, 0, &data, false);
            ensure!(wrong.is_none(), "wrong byte at {wrong:?}");
            Ok(())
        })?;
    }
    fs.finish()
}

/// Files that were being written in every way show their own bytes or zeros, never the disk's earlier
/// contents.
fn no_stale_data(case: &Case) -> Result<()> {
    let fs = case.small(48)?;
    let rounds = if case.long { 40 } else { 8 };
    let stop = AtomicBool::new(false);
    let mut bytes = 0;
    std::thread::scope(|scope| -> Result<()> {
        let mut writers = Vec::new();
        for way in 0..3_u64 {
            let (stop, fs) = (&stop, &fs);
            writers.push(scope.spawn(move || -> Result<()> {
                let mut rng = pattern::Rng::new(way);
                while !stop.load(Ordering::Relaxed) {
                    let name = format!("{way}-{}", rng.below(20));
                    let key = pattern::key(&name, 0);
                    let path = fs.path(&name);
                    let _ = fs::remove_file(&path);
                    let flags = libc::O_RDWR | libc::O_CREAT;
                    let direct = if way == 1 { libc::O_DIRECT } else { 0 };
                    let file = sys::open(&path, flags | direct, 0o644)?;
                    let len = 64 * 1024;
                    if way == 2 {
                        file.set_len(len)?;
                        let mut map = sys::Map::shared(&file, len as usize)?;
                        for _ in 0..8 {
                            let at = rng.below(len - 100);
                            map.write(at as usize, &pattern::bytes(key, at, 100));
                        }
                        continue;
                    }
                    for _ in 0..8 {
                        let at = rng.below(len / 512) * 512;
                        let mut data = sys::Aligned::new(1536);
                        pattern::fill(key, at, &mut data);
                        file.write_all_at(&data, at)?;
                    }
                    if rng.below(4) == 0 {
                        file.sync_data()?;
                    }
                }
                Ok(())
            }));
        }
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            std::thread::sleep(Duration::from_millis(50 + 17 * round));
            if round % 2 == 0 {
                File::create(fs.path("other"))?.sync_all()?;
            }
            bytes += case.after_crash(&fs, |dir| {
                let mut bytes = 0;
                for entry in fs::read_dir(dir)? {
                    let entry = entry?;
                    let name = entry.file_name().to_string_lossy().into_owned();
                    if !entry.file_type()?.is_file() {
                        continue;
                    }
                    let data = fs::read(entry.path())?;
                    if let Some(at) = pattern::first_wrong(pattern::key(&name, 0), 0, &data, true) {
                        let around = &data[at as usize..data.len().min(at as usize + 16)];
                        bail!(
                            "{name}: foreign bytes at {at}: {:?}",
                            String::from_utf8_lossy(around)
                        );
                    }
                    bytes += data.iter().filter(|b| **b != 0).count();
                }
                Ok(bytes)
            })?;
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        result
    })?;
    ensure!(bytes > 0, "no data reached the disk: the test saw nothing");
    fs.finish()
}

/// An open file without a name is freed at the next mount, with all its blocks.
fn unlinked_open(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let before = sys::free(&fs.dir)?;
    let mut open = Vec::new();
    for n in 0..20 {
        let path = fs.path(&format!("open-{n}"));
        let file = File::create(&path)?;
        file.write_all_at(&vec![7; 256 * 1024], 0)?;
        file.sync_all()?;
        fs::remove_file(&path)?;
        open.push(file);
    }
    sys::syncfs(&File::open(&fs.dir)?)?;
    case.after_crash(&fs, |dir| {
        ensure!(!dir.join("open-0").exists(), "the name is back");
        let after = sys::free(dir)?;
        ensure!(
            after.1 == before.1,
            "{} free inodes, {} before",
            after.1,
            before.1
        );
        let lost = before.0.saturating_sub(after.0);
        ensure!(lost <= 64 * 1024, "{lost} bytes did not come back");
        Ok(())
    })?;
    drop(open);
    fs.finish()
}

/// A crash while big files are cut leaves each with its old or new size, whole.
fn truncate(case: &Case) -> Result<()> {
    let fs = case.small(96)?;
    let rounds = if case.long { 20 } else { 4 };
    let (long, short) = (6 << 20, 5000);
    for round in 0..rounds {
        let name = format!("file-{}", round % 3);
        let key = pattern::key(&name, round);
        let file = File::create(fs.path(&name))?;
        // Every other block, so that there are many extents to free
        for block in (0..long / 4096).step_by(2) {
            file.write_all_at(&pattern::bytes(key, block * 4096, 4096), block * 4096)?;
        }
        file.set_len(long)?;
        file.sync_all()?;
        std::thread::scope(|scope| -> Result<()> {
            let cutter = scope.spawn(|| file.set_len(short));
            case.after_crash(&fs, |dir| {
                let data = fs::read(dir.join(&name))?;
                let len = data.len() as u64;
                ensure!(len == long || len == short, "{name} has {len} bytes");
                for (block, bytes) in (0..).zip(data.chunks(4096)) {
                    let wrong = match block % 2 {
                        0 => pattern::first_wrong(key, block * 4096, bytes, false),
                        _ => bytes.iter().position(|b| *b != 0).map(|b| b as u64),
                    };
                    ensure!(
                        wrong.is_none(),
                        "{name}: block {block} is wrong at {wrong:?}"
                    );
                }
                Ok(())
            })?;
            cutter.join().expect("it does not panic")?;
            Ok(())
        })?;
    }
    fs.finish()
}

/// A mkdir that finds no space changes nothing on disk: not the parent's link count either, which
/// fsync of the parent may store meanwhile.
fn failed_mkdir(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    let rounds = if case.long { 60 } else { 12 };
    let dir = fs.path("dir");
    fs::create_dir(&dir)?;
    let filler = File::create(fs.path("filler"))?;
    let mut at = 0;
    for piece in [1 << 20, 1 << 16, 1 << 12] {
        while filler.write_all_at(&vec![1; piece], at).is_ok() {
            at += piece as u64;
        }
    }
    filler.sync_all().context("sync of a full disk")?;
    let (stop, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| -> Result<()> {
        let maker = scope.spawn(|| -> Result<()> {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match fs::create_dir(dir.join(format!("new-{n}"))) {
                    // What the file was promised for its tree may come back in the end
                    Ok(()) => {}
                    Err(error) if sys::errno(&error) == libc::ENOSPC => {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => return Err(error).context("mkdir on a full disk"),
                }
            }
            Ok(())
        });
        let syncer = scope.spawn(|| -> Result<()> {
            let dir = File::open(&dir)?;
            while !stop.load(Ordering::Relaxed) {
                dir.sync_all()?;
            }
            Ok(())
        });
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            std::thread::sleep(Duration::from_millis(20 + 7 * round));
            case.after_crash(&fs, |root| {
                let dir = root.join("dir");
                let (links, made) = (dir.metadata()?.nlink(), fs::read_dir(dir)?.count());
                ensure!(
                    links == 2 + made as u64,
                    "{links} links of a directory with {made} in it"
                );
                Ok(())
            })
        });
        stop.store(true, Ordering::Relaxed);
        maker.join().expect("no panic")?;
        syncer.join().expect("no panic")?;
        result
    })?;
    ensure!(failed.load(Ordering::Relaxed) > 0, "no mkdir was tried");
    drop(filler);
    fs.finish()
}

/// Symbolic links that were being removed are no damage: the rest of them goes at the next mount.
fn removed_symlinks(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    let rounds = if case.long { 100 } else { 25 };
    let target = "t".repeat(2000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let remover = scope.spawn(|| -> Result<()> {
            let link = fs.path("link");
            while !stop.load(Ordering::Relaxed) {
                std::os::unix::fs::symlink(&target, &link)?;
                fs::remove_file(&link)?;
            }
            Ok(())
        });
        let syncer = scope.spawn(|| -> Result<()> {
            let root = File::open(&fs.dir)?;
            while !stop.load(Ordering::Relaxed) {
                sys::syncfs(&root)?;
            }
            Ok(())
        });
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            std::thread::sleep(Duration::from_millis(5 + 3 * round));
            case.after_crash(&fs, |root| {
                // A volume that met damage is read-only
                fs::write(root.join("after"), b"x").context("a write after the mount")
            })
        });
        stop.store(true, Ordering::Relaxed);
        remover.join().expect("no panic")?;
        syncer.join().expect("no panic")?;
        result
    })?;
    fs.finish()
}

/// Names that change in a directory with the attribute D are on disk when the call returns, whichever of the two
/// directories of a rename it is.
fn dirsync(case: &Case) -> Result<()> {
    const FS_DIRSYNC_FL: u32 = 0x0001_0000;
    let fs = case.small(32)?;
    for dir in ["plain", "sync"] {
        fs::create_dir(fs.path(dir))?;
    }
    sys::add_flags(&File::open(fs.path("sync"))?, FS_DIRSYNC_FL)?;
    for name in ["out", "away"] {
        fs::write(fs.path(&format!("plain/{name}")), b"x")?;
        fs::write(fs.path(&format!("sync/{name}")), b"x")?;
    }
    sys::syncfs(&File::open(&fs.dir)?)?;
    let moves = [
        ("sync/out", "plain/from-sync"),
        ("plain/out", "sync/from-plain"),
    ];
    for (from, to) in moves {
        fs::rename(fs.path(from), fs.path(to))?;
        case.after_crash(&fs, |dir| {
            ensure!(
                dir.join(to).exists() && !dir.join(from).exists(),
                "{from} was renamed to {to}, and is what it was"
            );
            Ok(())
        })?;
    }
    fs::remove_file(fs.path("sync/away"))?;
    case.after_crash(&fs, |dir| {
        ensure!(!dir.join("sync/away").exists(), "what was removed is there");
        Ok(())
    })?;
    fs.finish()
}

/// A file with the attribute S is as short on disk as it was cut when the call returns.
fn synchronous_truncate(case: &Case) -> Result<()> {
    const FS_SYNC_FL: u32 = 0x8;
    let fs = case.small(32)?;
    let file = File::create(fs.path("file"))?;
    file.write_all_at(&[b'x'; 100_000], 0)?;
    sys::add_flags(&file, FS_SYNC_FL)?;
    file.sync_all()?;
    for size in [50_000, 8192, 0] {
        file.set_len(size)?;
        case.after_crash(&fs, |dir| {
            let found = dir.join("file").metadata()?.len();
            ensure!(found == size, "{found} bytes, cut to {size}");
            Ok(())
        })?;
    }
    drop(file);
    fs.finish()
}
