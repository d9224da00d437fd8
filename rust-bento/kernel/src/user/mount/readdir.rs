// SPDX-License-Identifier: GPL-2.0

//! What is read of directories and symbolic links.

use super::{
    icache::InodeState,
    InodeRef,
    Mount, //
};
use crate::{
    bento::{
        DirSink,
        FileSystem,
        Ino,
        Kind,
        Name, //
    },
    error::{
        code::*,
        Result, //
    },
    user::types::Entry, //
};

/// Bytes that the kernel's buffer for entries has.
const SINK: usize = 4096;
/// The longest target of a symbolic link.
const PATH_MAX: usize = 4096;

impl<F: FileSystem> Mount<F> {
    /// The inode that a name names.
    ///
    /// # Errors
    ///
    /// `ENOENT`; `ENOTDIR` if `dir` is no directory; those of [`Name::new`].
    pub fn lookup(&self, dir: Ino, name: &[u8]) -> Result<InodeRef<'_, F>> {
        let name = Name::new(name)?;
        let dir = self.directory(dir)?;
        let _names = dir.state().lock_shared();
        self.find(dir.state(), name)?.ok_or(ENOENT)
    }

    /// The inode of a directory.
    pub(super) fn directory(&self, ino: Ino) -> Result<InodeRef<'_, F>> {
        let inode = self.get(ino)?;
        match inode.kind() {
            Kind::Directory => Ok(inode),
            _ => Err(ENOTDIR),
        }
    }

    /// Looks a name up in a directory that is locked.
    pub(super) fn find(
        &self,
        dir: &InodeState<F::Node>,
        name: Name<'_>,
    ) -> Result<Option<InodeRef<'_, F>>> {
        let Some(ino) = self.fs.lookup(self.volume(), dir.view(), name)? else {
            return Ok(None);
        };
        let inode = self.get_known(ino)?;
        if inode.state().attributes().nlink == 0 {
            return Err(self
                .volume()
                .corrupt(format_args!("inode {ino} has a name and no links")));
        }
        Ok(Some(inode))
    }

    /// The parent of a directory.
    pub fn parent(&self, ino: Ino) -> Result<Ino> {
        let dir = self.directory(ino)?;
        self.fs.parent(self.volume(), dir.state().view())
    }

    /// Entries of a directory from a position on, a kernel's buffer full at most; none at the end.
    /// Position 0 is the start. `.` and `..` are not among them.
    pub fn read_dir(&self, ino: Ino, position: u64) -> Result<Vec<Entry>> {
        self.read_dir_into(ino, position, SINK)
    }

    /// As [`Mount::read_dir`], with this room: an entry takes 24 bytes and its name, rounded up to
    /// eight.
    pub fn read_dir_into(&self, ino: Ino, position: u64, room: usize) -> Result<Vec<Entry>> {
        let dir = self.directory(ino)?;
        let dir = dir.state();
        let mut entries = Vec::new();
        let mut sink = DirSink::new(&mut entries, room);
        let _names = dir.lock_shared();
        if dir.attributes().nlink > 0 {
            self.fs
                .read_dir(self.volume(), dir.view(), position, &mut sink)?;
        }
        Ok(entries)
    }

    /// Whether a locked directory has no entries.
    pub(super) fn is_empty(&self, dir: &InodeState<F::Node>) -> Result<bool> {
        let mut entries = Vec::new();
        let mut sink = DirSink::new(&mut entries, SINK);
        self.fs.read_dir(self.volume(), dir.view(), 0, &mut sink)?;
        Ok(entries.is_empty())
    }

    /// All entries of a directory.
    pub fn list(&self, ino: Ino) -> Result<Vec<Entry>> {
        let mut all: Vec<Entry> = Vec::new();
        loop {
            let position = all.last().map_or(0, |entry| entry.next);
            let more = self.read_dir(ino, position)?;
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.get(ino)?;
        let inode = inode.state();
        if inode.kind() != Kind::Symlink {
            return Err(EINVAL);
        }
        if let Some(target) = inode.target().get() {
            return Ok(target.clone());
        }
        let mut target = vec![0; PATH_MAX - 1];
        let len = self
            .fs
            .read_link(self.volume(), inode.view(), &mut target)?;
        target.truncate(len);
        if len == 0 || len > target.len() || target.contains(&0) {
            return Err(self
                .volume()
                .corrupt(format_args!("symbolic link {}: bad target", inode.ino())));
        }
        Ok(inode.target().get_or_init(|| target).clone())
    }
}
