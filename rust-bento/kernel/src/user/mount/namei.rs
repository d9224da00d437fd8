// SPDX-License-Identifier: GPL-2.0

//! Making and removing names.

use super::{
    icache::InodeState,
    InodeRef,
    Mount, //
};
use crate::{
    bento::{
        Attributes,
        ClaimLog,
        Claims,
        FileSystem,
        Ino,
        Kind,
        Name,
        NewInode, //
    },
    error::{
        code::*,
        Result, //
    },
    user::space::From, //
};
use core::hash::{
    BuildHasher,
    Hasher, //
};

const S_IFMT: u16 = 0o170_000;
const S_ISGID: u16 = 0o2000;
const LINK_MAX: usize = 4095;

/// What a new inode is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewNode<'a> {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group, unless the directory hands on its own.
    pub gid: u32,
    /// Number of a device.
    pub rdev: u32,
    /// Target of a symbolic link.
    pub target: &'a [u8],
}

impl<'a> NewNode<'a> {
    /// Type and permissions; all else is zero.
    pub fn new(kind: Kind, permissions: u16) -> Self {
        Self {
            mode: u16::from(kind.dtype()) << 12 | permissions & !S_IFMT,
            uid: 0,
            gid: 0,
            rdev: 0,
            target: &[],
        }
    }

    /// A symbolic link.
    pub fn symlink(target: &'a [u8]) -> Self {
        Self {
            target,
            ..Self::new(Kind::Symlink, 0o777)
        }
    }
}

/// Attributes to go back to when an operation fails.
pub(super) struct Undo<'a, T>(Vec<(&'a InodeState<T>, Attributes)>);

impl<'a, T> Undo<'a, T> {
    pub(super) fn new(inodes: impl IntoIterator<Item = &'a InodeState<T>>) -> Self {
        Self(
            inodes
                .into_iter()
                .map(|inode| (inode, inode.attributes()))
                .collect(),
        )
    }

    pub(super) fn undo(&self) {
        for (inode, before) in &self.0 {
            inode.update(|attributes| *attributes = *before);
        }
    }
}

impl<F: FileSystem> Mount<F> {
    /// Makes an inode and a name for it.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOENT` if the directory has been removed, `EMLINK`, `ENOSPC`, and more.
    pub fn create(&self, dir: Ino, name: &[u8], new: &NewNode<'_>) -> Result<InodeRef<'_, F>> {
        let name = Name::new(name)?;
        self.with_space(|| self.make(dir, Some(name), new))
    }

    /// Makes a file without a name (`O_TMPFILE`).
    pub fn tmpfile(&self, dir: Ino, new: &NewNode<'_>) -> Result<InodeRef<'_, F>> {
        let inode = self.with_space(|| self.make(dir, None, new))?;
        inode.state().set_linkable(true);
        Ok(inode)
    }

    /// [`Mount::create`] of a directory.
    pub fn mkdir(&self, dir: Ino, name: &[u8], permissions: u16) -> Result<InodeRef<'_, F>> {
        self.create(dir, name, &NewNode::new(Kind::Directory, permissions))
    }

    fn make(&self, dir: Ino, name: Option<Name<'_>>, new: &NewNode<'_>) -> Result<InodeRef<'_, F>> {
        let kind = Kind::from_mode(new.mode).ok_or(EINVAL)?;
        match (kind, new.target.len()) {
            (Kind::Symlink, 0) => return Err(ENOENT),
            (Kind::Symlink, len) if len > LINK_MAX => return Err(ENAMETOOLONG),
            (Kind::Symlink, _) if new.target.contains(&0) => return Err(EINVAL),
            (kind, 1..) if kind != Kind::Symlink => return Err(EINVAL),
            _ => {}
        }
        self.check_writable()?;
        let dir = self.directory(dir)?;
        let dir = dir.state();
        let _names = dir.lock();
        self.check_alive(dir)?;
        if let Some(name) = name {
            if self.fs.lookup(self.volume(), dir.view(), name)?.is_some() {
                return Err(EEXIST);
            }
        }
        if kind == Kind::Directory && dir.attributes().nlink >= self.info.max_links {
            return Err(EMLINK);
        }

        let log = ClaimLog::default();
        let result = self.make_claimed(dir, name, new, kind, &log);
        match result.is_ok() {
            true => log.settle(self.volume()),
            false => log.drop_all(self.volume()),
        }
        result
    }

    fn make_claimed(
        &self,
        dir: &InodeState<F::Node>,
        name: Option<Name<'_>>,
        new: &NewNode<'_>,
        kind: Kind,
        log: &ClaimLog,
    ) -> Result<InodeRef<'_, F>> {
        let claims = Claims::new(self.volume(), log, From::Free);
        let ino = self
            .fs
            .alloc_inode(self.volume(), &claims, dir.view(), kind)?;
        let undo = Undo::new([dir]);
        let attributes = self.first_attributes(&dir.attributes(), name, new, kind);
        self.new_inode(ino, attributes, |inode| {
            if name.is_some() {
                self.touch(dir, i32::from(kind == Kind::Directory));
            }
            let new = NewInode {
                name,
                target: new.target,
            };
            self.transact(self.credits.create, 0, &[dir, inode], |handle| {
                self.fs.create(handle, dir.view(), inode.view(), &new)
            })
        })
        .inspect_err(|_| undo.undo())
    }

    fn first_attributes(
        &self,
        dir: &Attributes,
        name: Option<Name<'_>>,
        new: &NewNode<'_>,
        kind: Kind,
    ) -> Attributes {
        let now = self.now();
        let mut attributes = Attributes {
            mode: new.mode,
            nlink: match (name, kind) {
                (None, _) => 0,
                (_, Kind::Directory) => 2,
                _ => 1,
            },
            uid: new.uid,
            gid: new.gid,
            size: new.target.len() as u64,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            generation: random(),
            rdev: match kind {
                Kind::CharDevice | Kind::BlockDevice => new.rdev,
                _ => 0,
            },
            ..Attributes::default()
        };
        if dir.mode & S_ISGID != 0 {
            attributes.gid = dir.gid;
            if kind == Kind::Directory {
                attributes.mode |= S_ISGID;
            }
        }
        attributes
    }

    /// Gives an inode one more name.
    pub fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result {
        let name = Name::new(name)?;
        self.check_writable()?;
        let inode = self.get(ino)?;
        let inode = inode.state();
        if inode.kind() == Kind::Directory {
            return Err(EPERM);
        }
        let dir = self.directory(dir)?;
        let dir = dir.state();
        let _names = dir.lock();
        let _content = inode.lock();
        self.check_alive(dir)?;
        if self.fs.lookup(self.volume(), dir.view(), name)?.is_some() {
            return Err(EEXIST);
        }
        match inode.attributes().nlink {
            0 if !inode.is_linkable() => return Err(ENOENT),
            nlink if nlink >= self.info.max_links => return Err(EMLINK),
            _ => {}
        }
        self.with_space(|| {
            let undo = Undo::new([dir, inode]);
            self.touch(dir, 0);
            self.relink(inode, 1);
            self.transact(self.credits.link, 0, &[dir, inode], |handle| {
                self.fs.link(handle, dir.view(), inode.view(), name)
            })
            .inspect_err(|_| undo.undo())
        })?;
        inode.set_linkable(false);
        Ok(())
    }

    /// Removes a name of something that is not a directory.
    pub fn unlink(&self, dir: Ino, name: &[u8]) -> Result {
        self.remove(dir, name, false)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, dir: Ino, name: &[u8]) -> Result {
        self.remove(dir, name, true)
    }

    fn remove(&self, dir: Ino, name: &[u8], directory: bool) -> Result {
        let name = Name::new(name)?;
        self.check_writable()?;
        let dir = self.directory(dir)?;
        let dir = dir.state();
        // Put last: the eviction comes when the locks are gone.
        let victim;
        {
            let _names = dir.lock();
            self.check_alive(dir)?;
            victim = self.find(dir, name)?.ok_or(ENOENT)?;
            let inode = victim.state();
            match (inode.kind() == Kind::Directory, directory) {
                (true, false) => return Err(EISDIR),
                (false, true) => return Err(ENOTDIR),
                _ => {}
            }
            if inode.ino() == dir.ino() {
                return Err(self
                    .volume()
                    .corrupt(format_args!("directory {} contains itself", dir.ino())));
            }
            let _content = inode.lock();
            if directory {
                self.check_removable(dir, inode)?;
            }
            self.with_space(|| {
                let undo = Undo::new([dir, inode]);
                self.touch(dir, -i32::from(directory));
                let links = inode.attributes().nlink as i32;
                self.relink(inode, if directory { -links } else { -1 });
                let credits = &self.credits;
                self.transact(
                    credits.unlink,
                    credits.free_revokes,
                    &[dir, inode],
                    |handle| self.fs.unlink(handle, dir.view(), inode.view(), name),
                )
                .inspect_err(|_| undo.undo())
            })?;
        }
        drop(victim);
        Ok(())
    }

    /// Whether a locked directory can be removed from another.
    pub(super) fn check_removable(
        &self,
        dir: &InodeState<F::Node>,
        victim: &InodeState<F::Node>,
    ) -> Result {
        if !self.is_empty(victim)? {
            return Err(ENOTEMPTY);
        }
        if dir.attributes().nlink < 3 {
            return Err(self.volume().corrupt(format_args!(
                "directory {} has {} links and a subdirectory",
                dir.ino(),
                dir.attributes().nlink
            )));
        }
        Ok(())
    }

    /// `ENOENT` if a directory has been removed.
    pub(super) fn check_alive(&self, dir: &InodeState<F::Node>) -> Result {
        match dir.attributes().nlink {
            0 => Err(ENOENT),
            _ => Ok(()),
        }
    }

    /// The names of a directory change, and the number of its subdirectories.
    pub(super) fn touch(&self, dir: &InodeState<F::Node>, subdirectories: i32) {
        let now = self.now();
        dir.update(|attributes| {
            attributes.mtime = now;
            attributes.ctime = now;
            attributes.version = attributes.version.wrapping_add(1);
            attributes.nlink = attributes.nlink.saturating_add_signed(subdirectories);
        });
    }

    /// The names of an inode change.
    pub(super) fn relink(&self, inode: &InodeState<F::Node>, links: i32) {
        let now = self.now();
        inode.update(|attributes| {
            attributes.ctime = now;
            attributes.version = attributes.version.wrapping_add(1);
            attributes.nlink = attributes.nlink.saturating_add_signed(links);
        });
    }
}

/// A number that nobody can guess.
fn random() -> u32 {
    std::hash::RandomState::new().build_hasher().finish() as u32
}
