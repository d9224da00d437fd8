// SPDX-License-Identifier: GPL-2.0

//! Rename.

use super::{
    icache::InodeState,
    namei::Undo,
    InodeRef,
    Mount, //
};
use crate::{
    bento::{
        FileSystem,
        Ino,
        Kind,
        Name,
        Rename, //
    },
    error::{
        code::*,
        Result, //
    },
};
use std::sync::PoisonError;

/// What to do with a new name that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// Its inode loses it.
    #[default]
    Replace,
    /// `EEXIST` (`RENAME_NOREPLACE`).
    NoReplace,
    /// Both names trade inodes (`RENAME_EXCHANGE`).
    Exchange,
}

/// A longer chain of parents is a circle.
const MAX_NESTING: u32 = 1 << 20;

impl<F: FileSystem> Mount<F> {
    /// Renames. `RENAME_WHITEOUT` is not there.
    pub fn rename(
        &self,
        old_dir: Ino,
        old_name: &[u8],
        new_dir: Ino,
        new_name: &[u8],
        mode: RenameMode,
    ) -> Result {
        let old_name = Name::new(old_name)?;
        let new_name = Name::new(new_name)?;
        self.check_writable()?;
        let old_dir = self.directory(old_dir)?;
        let new_dir = self.directory(new_dir)?;
        // Put last: an eviction comes when the locks are gone.
        let mut put_later = [None, None];
        let result = {
            let (old, new) = (old_dir.state(), new_dir.state());
            let _order;
            let (first, second) = if old.ino() == new.ino() {
                (old, None)
            } else {
                _order = self.rename.lock().unwrap_or_else(PoisonError::into_inner);
                match self.is_ancestor(old.ino(), new.ino())? {
                    true => (old, Some(new)),
                    // The other way round, or nothing to do with each other.
                    false => (new, Some(old)),
                }
            };
            let _first = first.lock();
            let _second = second.map(|dir| dir.lock());
            self.rename_locked((old, old_name), (new, new_name), mode, &mut put_later)
        };
        drop(put_later);
        result
    }

    /// Whether `ancestor` lies on the way from `ino` to the root. Under the rename lock nothing
    /// moves.
    fn is_ancestor(&self, ancestor: Ino, ino: Ino) -> Result<bool> {
        let mut at = ino;
        for _ in 0..MAX_NESTING {
            if at == ancestor {
                return Ok(true);
            }
            if at == self.info.root {
                return Ok(false);
            }
            at = match self.parent(at) {
                Err(ESTALE | ENOTDIR) => {
                    return Err(self
                        .volume()
                        .corrupt(format_args!("directory {at}: bad parent")))
                }
                parent => parent?,
            };
        }
        Err(self
            .volume()
            .corrupt(format_args!("directory {ino}: a circle of parents")))
    }

    fn rename_locked<'m>(
        &'m self,
        (old_dir, old_name): (&InodeState<F::Node>, Name<'_>),
        (new_dir, new_name): (&InodeState<F::Node>, Name<'_>),
        mode: RenameMode,
        put_later: &mut [Option<InodeRef<'m, F>>; 2],
    ) -> Result {
        self.check_alive(old_dir)?;
        self.check_alive(new_dir)?;
        let [inode, target] = put_later;
        let inode = &*inode.insert(self.find(old_dir, old_name)?.ok_or(ENOENT)?);
        *target = self.find(new_dir, new_name)?;
        let target = target.as_ref();
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(EEXIST),
            (RenameMode::Exchange, None) => return Err(ENOENT),
            (_, Some(target)) if target.ino() == inode.ino() => return Ok(()),
            _ => {}
        }
        let (inode, target) = (inode.state(), target.map(InodeRef::state));
        self.check_nesting(old_dir, new_dir, inode, target, mode)?;

        let mut locked = vec![inode];
        locked.extend(target);
        locked.sort_by_key(|inode| inode.ino());
        let _contents: Vec<_> = locked.iter().map(|inode| inode.lock()).collect();
        if let (Some(target), true) = (target, mode != RenameMode::Exchange) {
            self.check_replaceable(new_dir, inode, target)?;
        }
        self.check_links(old_dir, new_dir, inode, target, mode)?;

        self.with_space(|| {
            let undo = Undo::new([old_dir, new_dir, inode].into_iter().chain(target));
            self.count_links(old_dir, new_dir, inode, target, mode);
            let mut changes = vec![old_dir, new_dir, inode];
            changes.extend(target);
            let credits = &self.credits;
            self.transact(credits.rename, credits.free_revokes, &changes, |handle| {
                self.fs.rename(
                    handle,
                    &Rename {
                        old_dir: old_dir.view(),
                        old_name,
                        inode: inode.view(),
                        new_dir: new_dir.view(),
                        new_name,
                        target: target.map(InodeState::view),
                        exchange: mode == RenameMode::Exchange,
                        whiteout: None,
                    },
                )
            })
            .inspect_err(|_| undo.undo())
        })
    }

    /// A directory does not move into itself, and does not replace one that it is in.
    fn check_nesting(
        &self,
        old_dir: &InodeState<F::Node>,
        new_dir: &InodeState<F::Node>,
        inode: &InodeState<F::Node>,
        target: Option<&InodeState<F::Node>>,
        mode: RenameMode,
    ) -> Result {
        for (moved, dir) in [(Some(inode), old_dir), (target, new_dir)] {
            if moved.is_some_and(|moved| moved.ino() == dir.ino()) {
                return Err(self
                    .volume()
                    .corrupt(format_args!("directory {} contains itself", dir.ino())));
            }
        }
        if old_dir.ino() == new_dir.ino() {
            return Ok(());
        }
        if inode.kind() == Kind::Directory && self.is_ancestor(inode.ino(), new_dir.ino())? {
            return Err(EINVAL);
        }
        match target {
            Some(target)
                if target.kind() == Kind::Directory
                    && self.is_ancestor(target.ino(), old_dir.ino())? =>
            {
                Err(match mode {
                    RenameMode::Exchange => EINVAL,
                    _ => ENOTEMPTY,
                })
            }
            _ => Ok(()),
        }
    }

    fn check_replaceable(
        &self,
        new_dir: &InodeState<F::Node>,
        inode: &InodeState<F::Node>,
        target: &InodeState<F::Node>,
    ) -> Result {
        match (
            inode.kind() == Kind::Directory,
            target.kind() == Kind::Directory,
        ) {
            (true, false) => Err(ENOTDIR),
            (false, true) => Err(EISDIR),
            (true, true) => self.check_removable(new_dir, target),
            (false, false) => Ok(()),
        }
    }

    /// How the numbers of subdirectories change, of the old and of the new directory.
    fn moved(
        inode: &InodeState<F::Node>,
        target: Option<&InodeState<F::Node>>,
        mode: RenameMode,
    ) -> (i32, i32) {
        let is_dir = |inode: &InodeState<F::Node>| i32::from(inode.kind() == Kind::Directory);
        let inode = is_dir(inode);
        let target = target.map_or(0, is_dir);
        match mode {
            RenameMode::Exchange => (target - inode, inode - target),
            // In one directory this adds up: the target's link goes.
            _ => (-inode, inode - target),
        }
    }

    fn check_links(
        &self,
        old_dir: &InodeState<F::Node>,
        new_dir: &InodeState<F::Node>,
        inode: &InodeState<F::Node>,
        target: Option<&InodeState<F::Node>>,
        mode: RenameMode,
    ) -> Result {
        if old_dir.ino() == new_dir.ino() {
            return Ok(());
        }
        let (old, new) = Self::moved(inode, target, mode);
        for (dir, change) in [(old_dir, old), (new_dir, new)] {
            let links = dir.attributes().nlink;
            if change < 0 && links < 3 {
                return Err(self.volume().corrupt(format_args!(
                    "directory {} has {links} links and a subdirectory",
                    dir.ino()
                )));
            }
            if change > 0 && links >= self.info.max_links {
                return Err(EMLINK);
            }
        }
        Ok(())
    }

    fn count_links(
        &self,
        old_dir: &InodeState<F::Node>,
        new_dir: &InodeState<F::Node>,
        inode: &InodeState<F::Node>,
        target: Option<&InodeState<F::Node>>,
        mode: RenameMode,
    ) {
        let (old, new) = Self::moved(inode, target, mode);
        if old_dir.ino() == new_dir.ino() {
            self.touch(old_dir, old + new);
        } else {
            self.touch(old_dir, old);
            self.touch(new_dir, new);
        }
        self.relink(inode, 0);
        if let Some(target) = target {
            let links = match (mode, target.kind()) {
                (RenameMode::Exchange, _) => 0,
                (_, Kind::Directory) => -(target.attributes().nlink as i32),
                _ => -1,
            };
            self.relink(target, links);
        }
    }
}
