// SPDX-License-Identifier: GPL-2.0

//! The volume that is measured on: one directory of very many files, and a tree of files to cache.

use std::{
    fs::{
        self,
        File, //
    },
    io,
    path::{
        Path,
        PathBuf, //
    },
};

/// Files in one folder of the tree.
const FOLDER: u64 = 1000;

/// The directory of very many files.
pub fn many(root: &Path) -> PathBuf {
    root.join("many")
}

/// File `number` of the tree.
fn cached(root: &Path, number: u64) -> PathBuf {
    let folder = root.join("cached").join((number / FOLDER).to_string());
    folder.join((number % FOLDER).to_string())
}

/// Makes both.
pub fn prepare(root: &Path, in_one: u64, to_cache: u64) -> io::Result<()> {
    let many = many(root);
    fs::create_dir_all(&many)?;
    for number in 0..in_one {
        File::create(many.join(format!("file-{number}")))?;
    }
    for number in 0..to_cache {
        let path = cached(root, number);
        if number % FOLDER == 0 {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
        }
        File::create(path)?;
    }
    Ok(())
}

/// Brings so many inodes into memory.
pub fn warm(root: &Path, number: u64) -> io::Result<()> {
    for number in 0..number {
        fs::symlink_metadata(cached(root, number))?;
    }
    Ok(())
}
