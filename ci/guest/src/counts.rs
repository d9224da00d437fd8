// SPDX-License-Identifier: GPL-2.0

//! What operations cost in instructions, as [`crate::cost`] has it for a few: those whose count is watched.
//!
//! All of them stay in memory. What waits for a disk has no count that repeats: the clock goes on while it waits.

use anyhow::ensure;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use crate::cost::median;
use crate::cost::ROUNDS;
use crate::sys;

const BLOCK: usize = 4096;
/// Names in the directory that is listed.
const NAMES: usize = 100;

/// The path of each call, made before it is measured.
fn paths(dir: &Path, tag: &str) -> Vec<PathBuf> {
    let path = |n| dir.join(format!("{tag}-{n:03}"));
    (0..=ROUNDS).map(path).collect()
}

/// Operations on the content of a file.
fn data(dir: &Path) -> Result<Vec<(&'static str, u64)>> {
    let mut block = [1; BLOCK];
    let path = dir.join("data");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    for n in 0..=ROUNDS {
        file.write_all_at(&block, (n * BLOCK) as u64)?;
    }
    file.sync_all()?;
    let at = |n: usize| (n * BLOCK) as u64;
    let read = median(|n| Ok(file.read_exact_at(&mut block, at(n))?))?;
    let overwrite = median(|n| Ok(file.write_all_at(&block, at(n))?))?;
    let log = File::create_new(dir.join("log"))?;
    let mut end = 0;
    let append = median(|_| {
        end += BLOCK as u64;
        Ok(log.write_all_at(&block, end - BLOCK as u64)?)
    })?;
    file.sync_all()?;
    let mut size = at(ROUNDS + 1);
    let truncate = median(|_| {
        size -= BLOCK as u64;
        Ok(file.set_len(size)?)
    })?;
    Ok(vec![
        ("read", read),
        ("overwrite", overwrite),
        ("append", append),
        ("truncate", truncate),
    ])
}

/// Operations on names and inodes.
fn names(dir: &Path) -> Result<Vec<(&'static str, u64)>> {
    let [file, moved, link, symbolic, folder] =
        ["file", "moved", "link", "symbolic", "folder"].map(|tag| paths(dir, tag));
    let private = fs::Permissions::from_mode(0o600);
    Ok(vec![
        (
            "create",
            median(|n| Ok(sys::mknod(&file[n], libc::S_IFREG | 0o644, 0)?))?,
        ),
        ("stat", median(|n| Ok(fs::metadata(&file[n]).map(drop)?))?),
        ("open", median(|n| Ok(File::open(&file[n]).map(drop)?))?),
        (
            "chmod",
            median(|n| Ok(fs::set_permissions(&file[n], private.clone())?))?,
        ),
        ("link", median(|n| Ok(fs::hard_link(&file[n], &link[n])?))?),
        ("rename", median(|n| Ok(fs::rename(&file[n], &moved[n])?))?),
        // The link keeps the inode
        ("unlink-name", median(|n| Ok(fs::remove_file(&moved[n])?))?),
        ("unlink", median(|n| Ok(fs::remove_file(&link[n])?))?),
        ("symlink", median(|n| Ok(symlink("target", &symbolic[n])?))?),
        ("mkdir", median(|n| Ok(fs::create_dir(&folder[n])?))?),
        ("rmdir", median(|n| Ok(fs::remove_dir(&folder[n])?))?),
    ])
}

/// Listing a directory.
fn list(dir: &Path) -> Result<u64> {
    for n in 0..NAMES {
        File::create_new(dir.join(format!("name-{n:03}")))?;
    }
    median(|_| {
        let number = fs::read_dir(dir)?.count();
        ensure!(number == NAMES, "{number} names, not {NAMES}");
        Ok(())
    })
}

/// Prints a line for each operation, in `dir`.
pub fn print(dir: &Path) -> Result<()> {
    let folder = |name: &str| {
        let path = dir.join(name);
        fs::create_dir(&path).map(|()| path)
    };
    let mut figures = names(&folder("names")?)?;
    figures.extend(data(&folder("data")?)?);
    figures.push(("readdir", list(&folder("list")?)?));
    for (what, instructions) in figures {
        println!("{what} {instructions}");
    }
    Ok(())
}
