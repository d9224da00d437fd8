// SPDX-License-Identifier: GPL-2.0

//! Pass 2: every directory's names, and the inodes that they name.

use super::{
    check::Check,
    directory::{
        self,
        printable,
        Entry, //
    },
    log::Severity,
};
use crate::failure::Result;
use kernel::bento::Kind;
use std::collections::HashSet;
use xv6::layout::{
    RawInode,
    FIRST_INO,
    MAX_LINKS, //
};

/// A directory as it was read.
pub struct Listing {
    /// Its record.
    pub raw: RawInode,
    /// The blocks of its tree.
    pub nodes: Vec<u64>,
    /// Its entries, in the order of the tree.
    pub entries: Vec<Entry>,
    /// What is wrong with the tree.
    pub damaged: bool,
}

impl Check<'_, '_, '_> {
    /// Reads a directory.
    pub fn read_directory(&self, ino: u64) -> Result<Listing> {
        let raw = self.volume.record(ino)?;
        let mut nodes = Vec::new();
        let mut entries = Vec::new();
        let damage = directory::walk(&self.volume, ino, &raw, &mut |found| match found {
            directory::Found::Node(block) => nodes.push(block),
            directory::Found::Entry(entry) => entries.push(entry),
        })?;
        Ok(Listing {
            raw,
            nodes,
            entries,
            damaged: !damage.is_empty(),
        })
    }

    /// Puts entries into a directory, in place of what it held. Those for which there is no place
    /// are taken for unnamed.
    pub fn write_directory(
        &mut self,
        ino: u64,
        mut raw: RawInode,
        entries: Vec<Entry>,
        nodes: &[u64],
    ) -> Result {
        let no_place = match self.rebuild_directory(ino, &mut raw, entries, nodes)? {
            Ok(refused) => {
                for entry in &refused {
                    self.log.major(format_args!(
                        "directory {ino}: no place for `{}`",
                        printable(&entry.name)
                    ));
                }
                refused
            }
            Err(_) => {
                self.log.problem(
                    Severity::Unfixable,
                    format_args!("directory {ino}: no free blocks to build it anew"),
                );
                return Ok(());
            }
        };
        for entry in no_place {
            self.forget_name(ino, &entry);
        }
        Ok(())
    }

    /// Checks all directories.
    pub fn check_names(&mut self) -> Result {
        let all: Vec<u64> = self.dirs.keys().copied().collect();
        let total = all.len() as u64;
        for (done, ino) in all.into_iter().enumerate() {
            if done % 256 == 0 {
                self.log.progress(2, done as u64, total)?;
            }
            self.check_directory_names(ino)?;
        }
        Ok(())
    }

    fn check_directory_names(&mut self, dir: u64) -> Result {
        let mut listing = self.read_directory(dir)?;
        let mut changed = listing.damaged;
        let mut kept = Vec::with_capacity(listing.entries.len());
        let mut run: HashSet<Box<[u8]>> = HashSet::new();
        let mut run_hash = 0;
        let lost = self.lost_entries.remove(&dir).unwrap_or_default();
        for mut entry in std::mem::take(&mut listing.entries).into_iter().chain(lost) {
            let hash = self.volume.hasher.key(&entry.name);
            // Equal names have equal hashes, and those stand together, unless the tree is damaged:
            // then `arrange` sees to them.
            if hash != run_hash {
                run.clear();
                run_hash = hash;
            }
            match self.check_name(dir, &entry) {
                Ok(kind) => {
                    if !run.insert(entry.name.clone()) {
                        self.problem_name(dir, &entry, "comes twice");
                        changed = true;
                        continue;
                    }
                    if kind.dtype() != entry.kind {
                        self.problem_name(dir, &entry, "is of another kind than its inode");
                        entry.kind = kind.dtype();
                        changed = true;
                    }
                    self.count_name(dir, &entry);
                    kept.push(entry);
                }
                Err(what) => {
                    self.problem_name(dir, &entry, what);
                    changed = true;
                }
            }
        }
        let mut root = directory::root(&listing.raw);
        if changed {
            self.write_directory(dir, listing.raw, kept, &listing.nodes)?;
        } else if root.entries.get() != kept.len() as u64
            || (root.block.get() == 0 && root.level.get() != 0)
        {
            self.log.minor(format_args!(
                "directory {dir}: says {} entries, has {}",
                root.entries,
                kept.len()
            ));
            root.entries = (kept.len() as u64).into();
            if root.block.get() == 0 {
                root.level = 0.into();
            }
            directory::set_root(&mut listing.raw, &root);
            self.volume.store_record(dir, &mut listing.raw)?;
        }
        Ok(())
    }

    fn problem_name(&mut self, dir: u64, entry: &Entry, what: &str) {
        self.log.major(format_args!(
            "directory {dir}: `{}` (inode {}) {what}",
            printable(&entry.name),
            entry.ino
        ));
    }

    /// The kind of the inode that an entry names; or what is wrong with that inode.
    fn check_name(&self, dir: u64, entry: &Entry) -> Result<Kind, &'static str> {
        let ino = entry.ino;
        if ino < FIRST_INO || !self.inodes.is_ino(ino) {
            return Err("names an inode that cannot be");
        }
        let info = self.inodes.get(ino);
        let Some(kind) = Kind::from_dtype(info.kind) else {
            return Err("names an inode that is not in use");
        };
        if kind != Kind::Directory && u32::from(info.found) >= MAX_LINKS {
            return Err("names an inode that has too many names");
        }
        if kind == Kind::Directory {
            if ino == dir {
                return Err("names its own directory");
            }
            if self.dirs.get(&ino).is_none_or(|info| info.named_in != 0) {
                return Err("names a directory that has a name already");
            }
            if !self.has_room_for_directory(dir) {
                return Err("is one directory too many");
            }
        }
        Ok(kind)
    }

    /// Whether a directory may hold one directory more.
    pub fn has_room_for_directory(&self, dir: u64) -> bool {
        u32::from(self.inodes.get(dir).found) + 2 < MAX_LINKS
    }

    /// Counts a name.
    pub fn count_name(&mut self, dir: u64, entry: &Entry) {
        if let Some(info) = self.dirs.get_mut(&entry.ino) {
            info.named_in = dir;
            self.inodes
                .update(dir, |info| info.found = info.found.saturating_add(1));
        } else {
            self.inodes
                .update(entry.ino, |info| info.found = info.found.saturating_add(1));
        }
    }

    /// Takes back what [`Self::count_name`] counted.
    pub fn forget_name(&mut self, dir: u64, entry: &Entry) {
        if let Some(info) = self.dirs.get_mut(&entry.ino) {
            info.named_in = 0;
            self.inodes
                .update(dir, |info| info.found = info.found.saturating_sub(1));
        } else {
            self.inodes
                .update(entry.ino, |info| info.found = info.found.saturating_sub(1));
        }
    }
}
