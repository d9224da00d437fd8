// SPDX-License-Identifier: GPL-2.0

//! Passes 3 and 4: what has no name gets one in `lost+found`; parents and link counts.

use super::{
    check::Check,
    directory::{
        self,
        Entry, //
    },
    log::Severity,
};
use crate::failure::Result;
use kernel::bento::Kind;
use std::collections::BTreeSet;
use xv6::layout::{
    RawExtent,
    FIRST_INO,
    INLINE_LINK,
    LOG_INO,
    MAX_LINKS,
    ROOT_INO, //
};

/// The directory for what has no name.
const LOST_FOUND: &str = "lost+found";

/// Most names that one run puts there.
const MOST: usize = 1 << 20;

/// A name, and those that are taken in its place if it is there already: of any number of names one
/// is free.
fn alternatives(name: String) -> impl Iterator<Item = Box<[u8]>> {
    let others = (1u64..).map({
        let name = name.clone();
        move |n| format!("{name}~{n}")
    });
    std::iter::once(name)
        .chain(others)
        .map(|name| name.into_bytes().into())
}

impl Check<'_, '_, '_> {
    /// Pass 3: gives a name to all that has none, and puts parents right.
    pub fn connect(&mut self) -> Result {
        self.cut_loops()?;
        let mut unnamed: Vec<u64> = self
            .dirs
            .iter()
            .filter(|(&ino, info)| ino != ROOT_INO && info.named_in == 0)
            .map(|(&ino, _)| ino)
            .collect();
        for &ino in &unnamed {
            self.log
                .major(format_args!("directory {ino}: no way leads there"));
        }
        let groups = self.volume.geometry.groups();
        let mut dropped = Vec::new();
        for group in 0..groups {
            self.log.progress(3, group, groups)?;
            for (ino, info) in self.inodes.used_in(group) {
                let file = info.kind != Kind::Directory.dtype();
                if !file || info.found > 0 || ino < FIRST_INO {
                    continue;
                }
                if info.nlink == 0 {
                    dropped.push(ino);
                } else {
                    unnamed.push(ino);
                }
            }
        }
        for ino in dropped {
            self.log.major(format_args!(
                "inode {ino}: no links, no name, and no orphan: freed"
            ));
            self.drop_inode(ino)?;
        }
        if let Some(more) = unnamed.len().checked_sub(MOST).filter(|more| *more > 0) {
            self.log.problem(
                Severity::Unfixable,
                format_args!("{more} more inodes without a name: check again to name them"),
            );
        }
        unnamed.truncate(MOST);
        self.name_in_lost_found(&unnamed)?;
        self.check_parents()
    }

    /// Takes one directory of each loop out of its parent, so that it has no name.
    fn cut_loops(&mut self) -> Result {
        let mut reached: BTreeSet<u64> = BTreeSet::from([ROOT_INO]);
        let all: Vec<u64> = self.dirs.keys().copied().collect();
        for start in all {
            let mut way = BTreeSet::new();
            let mut at = start;
            while at != 0 && !reached.contains(&at) {
                if !way.insert(at) {
                    // Back on the way: a loop.
                    let parent = self.dirs.get(&at).map_or(0, |info| info.named_in);
                    self.log.major(format_args!(
                        "directory {at}: lies within itself: taken out of directory {parent}"
                    ));
                    let mut listing = self.read_directory(parent)?;
                    let entries = std::mem::take(&mut listing.entries);
                    let (out, kept): (Vec<Entry>, Vec<Entry>) =
                        entries.into_iter().partition(|entry| entry.ino == at);
                    for entry in &out {
                        self.forget_name(parent, entry);
                    }
                    self.write_directory(parent, listing.raw, kept, &listing.nodes)?;
                    if let Some(info) = self.dirs.get_mut(&at) {
                        info.named_in = 0;
                    }
                    break;
                }
                at = self.dirs.get(&at).map_or(0, |info| info.named_in);
            }
            reached.extend(way);
        }
        Ok(())
    }

    /// Frees an inode and its blocks.
    fn drop_inode(&mut self, ino: u64) -> Result {
        use super::extents;
        let raw = self.volume.record(ino)?;
        match Kind::from_mode(raw.mode.get()) {
            Some(Kind::Regular) => {
                let mut runs = Vec::new();
                extents::walk(&self.volume, ino, &raw, &mut |found| match found {
                    extents::Found::Node(block) => runs.push((block, 1)),
                    extents::Found::Extent(extent) => runs.push((extent.block, extent.len)),
                })?;
                for (start, len) in runs {
                    for block in start..start + len {
                        self.release(block);
                    }
                }
            }
            Some(Kind::Symlink) if raw.size.get() > INLINE_LINK as u64 => {
                if let Some(extent) = crate::image::load::<RawExtent>(&raw.root, 0) {
                    self.release(extent.block.get());
                }
            }
            _ => {}
        }
        self.inodes.update(ino, |info| info.kind = 0);
        self.clear_record(ino)
    }

    /// Gives inodes without a name one in `lost+found`.
    fn name_in_lost_found(&mut self, unnamed: &[u64]) -> Result {
        if unnamed.is_empty() {
            return Ok(());
        }
        let Some(dir) = self.lost_found()? else {
            self.log.problem(
                Severity::Unfixable,
                format_args!(
                    "no room for lost+found: {} inodes stay without a name",
                    unnamed.len()
                ),
            );
            return Ok(());
        };
        let mut listing = self.read_directory(dir)?;
        let mut entries = std::mem::take(&mut listing.entries);
        let taken: BTreeSet<Box<[u8]>> = entries.iter().map(|e| e.name.clone()).collect();
        for &ino in unnamed {
            let info = self.inodes.get(ino);
            if ino == dir || info.kind == 0 {
                continue;
            }
            if info.kind == Kind::Directory.dtype() && !self.has_room_for_directory(dir) {
                self.log.problem(
                    Severity::Unfixable,
                    format_args!("directory {ino}: lost+found has no room for more directories"),
                );
                continue;
            }
            let mut names = alternatives(format!("#{ino}"));
            let Some(name) = names.find(|name| !taken.contains(name)) else {
                continue;
            };
            if info.kind != Kind::Directory.dtype() {
                self.log.major(format_args!(
                    "inode {ino}: no name: it gets one in lost+found"
                ));
            }
            let entry = Entry {
                key: 0,
                ino,
                kind: info.kind,
                name,
            };
            self.count_name(dir, &entry);
            entries.push(entry);
        }
        self.write_directory(dir, listing.raw, entries, &listing.nodes)
    }

    /// The directory `lost+found`, made if it is not there.
    fn lost_found(&mut self) -> Result<Option<u64>> {
        let mut listing = self.read_directory(ROOT_INO)?;
        let mut entries = std::mem::take(&mut listing.entries);
        let mut unused = None;
        for name in alternatives(LOST_FOUND.into()) {
            match entries.iter().find(|entry| entry.name == name) {
                Some(entry) if entry.kind == Kind::Directory.dtype() => return Ok(Some(entry.ino)),
                Some(_) => {}
                None => {
                    unused = Some(name);
                    break;
                }
            }
        }
        let (Some(name), Some(ino)) = (unused, self.inodes.find_free()) else {
            return Ok(None);
        };
        self.make_directory(ino, ROOT_INO, 0o700)?;
        let entry = Entry {
            key: 0,
            ino,
            kind: Kind::Directory.dtype(),
            name,
        };
        self.count_name(ROOT_INO, &entry);
        entries.push(entry.clone());
        let before = self.log.unfixable;
        self.write_directory(ROOT_INO, listing.raw, entries, &listing.nodes)?;
        if self.log.unfixable > before {
            self.forget_name(ROOT_INO, &entry);
            self.inodes.update(ino, |info| info.kind = 0);
            self.dirs.remove(&ino);
            return Ok(None);
        }
        Ok(Some(ino))
    }

    /// Puts the parents in the records right.
    fn check_parents(&mut self) -> Result {
        let wrong: Vec<(u64, u64)> = self
            .dirs
            .iter()
            .map(|(&ino, info)| {
                let parent = if ino == ROOT_INO {
                    ROOT_INO
                } else {
                    info.named_in
                };
                (ino, info.parent, parent)
            })
            .filter(|(_, says, is)| says != is && *is != 0)
            .map(|(ino, _, is)| (ino, is))
            .collect();
        for (ino, parent) in wrong {
            let mut raw = self.volume.record(ino)?;
            let mut root = directory::root(&raw);
            self.log.major(format_args!(
                "directory {ino}: says that {} is its parent, which is {parent}",
                root.parent
            ));
            root.parent = parent.into();
            directory::set_root(&mut raw, &root);
            self.volume.store_record(ino, &mut raw)?;
        }
        Ok(())
    }

    /// Pass 4: link counts.
    pub fn check_links(&mut self) -> Result {
        let groups = self.volume.geometry.groups();
        for group in 0..groups {
            self.log.progress(4, group, groups)?;
            let wrong: Vec<(u64, u32)> = self
                .inodes
                .used_in(group)
                .filter_map(|(ino, info)| {
                    let directory = info.kind == Kind::Directory.dtype();
                    if !directory && info.found == 0 && ino != LOG_INO {
                        // It has no name, and got none: who stored that it has no links would free
                        // it the next time.
                        return None;
                    }
                    let links = if directory {
                        u32::from(info.found) + 2
                    } else if ino == LOG_INO {
                        1
                    } else {
                        u32::from(info.found)
                    };
                    let links = links.min(MAX_LINKS);
                    (links != u32::from(info.nlink)).then_some((ino, links))
                })
                .collect();
            for (ino, links) in wrong {
                let mut raw = self.volume.record(ino)?;
                self.log.major(format_args!(
                    "inode {ino}: says {} links, has {links}",
                    raw.nlink
                ));
                raw.nlink = links.into();
                self.volume.store_record(ino, &mut raw)?;
            }
        }
        Ok(())
    }
}
