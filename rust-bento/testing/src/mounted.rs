// SPDX-License-Identifier: GPL-2.0

//! A file system that is mounted in user space.

use crate::system::*;
use kernel::{
    bento::{
        FileSystem,
        Ino,
        Time as KernelTime, //
    },
    error::Error,
    user::{
        self,
        device::Device,
        Mount,
        MountOptions,
        NewNode,
        SetAttr,
        TimeOrNow, //
    },
};
use std::{
    cell::{
        Cell,
        RefCell, //
    },
    sync::Arc,
};

/// A mount under test.
pub struct Mounted<F: FileSystem> {
    device: Arc<dyn Device>,
    mount: RefCell<Option<Arc<Mount<F>>>>,
    /// The directory of the test.
    dir: Cell<Ino>,
    /// Looks at the device after each test.
    check: fn(&dyn Device),
}

/// An open file.
pub struct File<F: FileSystem> {
    mount: Arc<Mount<F>>,
    ino: Ino,
}

impl<F: FileSystem> Drop for File<F> {
    fn drop(&mut self) {
        self.mount.unpin(self.ino, 1);
    }
}

impl<F: FileSystem> Mounted<F> {
    /// Mounts what is on `device`. After each test `check` looks at what that has left there; it
    /// panics if something is wrong.
    pub fn new(device: Arc<dyn Device>, check: fn(&dyn Device)) -> Result<Self> {
        let mount = Mount::mount(device.clone(), &MountOptions::default()).map_err(errno)?;
        Ok(Self {
            dir: Cell::new(mount.root()),
            device,
            mount: RefCell::new(Some(Arc::new(mount))),
            check,
        })
    }

    /// The mount.
    pub fn mount(&self) -> Arc<Mount<F>> {
        let mount = self.mount.borrow();
        mount.as_ref().expect("not mounted").clone()
    }

    /// Unmounts. No file may be open.
    pub fn umount(&self) -> Result {
        let mount = self.mount.take().expect("not mounted");
        let mount = Arc::try_unwrap(mount).map_err(|mount| {
            // A file is open.
            *self.mount.borrow_mut() = Some(mount);
            Errno::BUSY
        })?;
        mount.umount().map_err(errno)
    }

    /// The inode of a path.
    fn find(&self, path: &[u8]) -> Result<Ino> {
        let mount = self.mount();
        let mut at = self.dir.get();
        for name in path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
        {
            at = match name {
                b"." => at,
                b".." => mount.parent(at).map_err(errno)?,
                _ => mount.lookup(at, name).map_err(errno)?.ino(),
            };
        }
        Ok(at)
    }

    /// The directory and the name that a path ends with.
    fn split<'p>(&self, path: &'p [u8]) -> Result<(Ino, &'p [u8])> {
        let cut = path.iter().rposition(|byte| *byte == b'/');
        match cut {
            Some(cut) => Ok((self.find(&path[..cut])?, &path[cut + 1..])),
            None => Ok((self.dir.get(), path)),
        }
    }

    fn make(&self, path: &[u8], new: &NewNode<'_>) -> Result<File<F>> {
        let (dir, name) = self.split(path)?;
        let mount = self.mount();
        let ino = mount.create(dir, name, new).map_err(errno)?.pin();
        Ok(File { mount, ino })
    }

    fn change(&self, ino: Ino, change: SetAttr) -> Result {
        self.mount().set_attr(ino, &change).map_err(errno)?;
        Ok(())
    }

    /// Removes what is in a directory.
    fn empty(&self, dir: Ino) -> Result {
        let mount = self.mount();
        for entry in mount.list(dir).map_err(errno)? {
            if kind(entry.kind) == Kind::Directory {
                self.empty(entry.ino)?;
                mount.rmdir(dir, &entry.name).map_err(errno)?;
            } else {
                mount.unlink(dir, &entry.name).map_err(errno)?;
            }
        }
        Ok(())
    }
}

fn errno(error: Error) -> Errno {
    Errno::from_raw_os_error(-error.to_errno())
}

fn kind(kind: kernel::bento::Kind) -> Kind {
    use kernel::bento::Kind as K;
    match kind {
        K::Fifo => Kind::Fifo,
        K::CharDevice => Kind::CharDevice,
        K::Directory => Kind::Directory,
        K::BlockDevice => Kind::BlockDevice,
        K::Regular => Kind::Regular,
        K::Symlink => Kind::Symlink,
        K::Socket => Kind::Socket,
    }
}

fn stat(stat: user::Stat) -> Stat {
    let a = stat.attributes;
    let time = |time: KernelTime| Time {
        sec: time.sec,
        nsec: time.nsec,
    };
    Stat {
        ino: stat.ino,
        kind: kind(stat.kind),
        mode: a.mode & 0o7777,
        nlink: a.nlink.into(),
        uid: a.uid,
        gid: a.gid,
        rdev: (
            (a.rdev >> 8) & 0xfff,
            (a.rdev & 0xff) | ((a.rdev >> 12) & 0xfff00),
        ),
        size: a.size,
        sectors: a.sectors,
        atime: time(a.atime),
        mtime: time(a.mtime),
        ctime: time(a.ctime),
    }
}

impl<F: FileSystem> System for Mounted<F> {
    type File = File<F>;

    fn has(&self, feature: Feature) -> bool {
        match feature {
            // Permissions are checked by who calls a mount.
            Feature::Users => false,
            Feature::Owners | Feature::Devices | Feature::Remount | Feature::Alone => true,
            Feature::LargeFiles => self.mount().info().max_file_size >= 1 << 42,
            Feature::FewInodes => self.space().is_ok_and(|space| space.has_few_inodes()),
        }
    }

    fn create(&self, path: &[u8], mode: u16) -> Result<File<F>> {
        self.make(path, &NewNode::new(kernel::bento::Kind::Regular, mode))
    }

    fn open(&self, path: &[u8]) -> Result<File<F>> {
        let ino = self.find(path)?;
        let mount = self.mount();
        let ino = mount.get(ino).map_err(errno)?.pin();
        Ok(File { mount, ino })
    }

    fn tmpfile(&self, dir: &[u8], mode: u16) -> Result<File<F>> {
        let dir = self.find(dir)?;
        let mount = self.mount();
        let new = NewNode::new(kernel::bento::Kind::Regular, mode);
        let ino = mount.tmpfile(dir, &new).map_err(errno)?.pin();
        Ok(File { mount, ino })
    }

    fn link_file(&self, file: &File<F>, path: &[u8]) -> Result {
        let (dir, name) = self.split(path)?;
        file.mount.link(file.ino, dir, name).map_err(errno)
    }

    fn stat_file(&self, file: &File<F>) -> Result<Stat> {
        file.mount.stat(file.ino).map(stat).map_err(errno)
    }

    fn read(&self, file: &File<F>, offset: u64, out: &mut [u8]) -> Result<usize> {
        file.mount.read(file.ino, offset, out).map_err(errno)
    }

    fn write(&self, file: &File<F>, offset: u64, bytes: &[u8]) -> Result<usize> {
        file.mount.write(file.ino, offset, bytes).map_err(errno)
    }

    fn append(&self, path: &[u8], bytes: &[u8]) -> Result<usize> {
        let ino = self.find(path)?;
        let (_, count) = self.mount().append(ino, bytes).map_err(errno)?;
        Ok(count)
    }

    fn set_len(&self, file: &File<F>, len: u64) -> Result {
        let size = Some(len);
        self.change(
            file.ino,
            SetAttr {
                size,
                ..SetAttr::default()
            },
        )
    }

    fn fallocate(&self, file: &File<F>, mode: Fallocate, offset: u64, len: u64) -> Result {
        let (mount, ino) = (&file.mount, file.ino);
        match mode {
            Fallocate::Allocate => mount.allocate(ino, offset, len, false),
            Fallocate::KeepSize => mount.allocate(ino, offset, len, true),
            Fallocate::PunchHole => mount.punch_hole(ino, offset, len),
            Fallocate::ZeroRange => mount.zero_range(ino, offset, len, false),
        }
        .map_err(errno)
    }

    fn seek(&self, file: &File<F>, what: Seek, offset: u64) -> Result<u64> {
        let what = match what {
            Seek::Data => user::SeekFrom::Data,
            Seek::Hole => user::SeekFrom::Hole,
        };
        file.mount.seek(file.ino, offset, what).map_err(errno)
    }

    fn fsync(&self, file: &File<F>) -> Result {
        file.mount.fsync(file.ino).map_err(errno)
    }

    fn stat(&self, path: &[u8]) -> Result<Stat> {
        let ino = self.find(path)?;
        self.mount().stat(ino).map(stat).map_err(errno)
    }

    fn mkdir(&self, path: &[u8], mode: u16) -> Result {
        self.make(path, &NewNode::new(kernel::bento::Kind::Directory, mode))?;
        Ok(())
    }

    fn mknod(&self, path: &[u8], kind: Kind, mode: u16, (major, minor): (u32, u32)) -> Result {
        use kernel::bento::Kind as K;
        let kind = match kind {
            Kind::Fifo => K::Fifo,
            Kind::CharDevice => K::CharDevice,
            Kind::BlockDevice => K::BlockDevice,
            Kind::Socket => K::Socket,
            _ => return Err(Errno::INVAL),
        };
        let new = NewNode {
            // As the kernel's new_encode_dev().
            rdev: minor & 0xff | major << 8 | (minor & !0xff) << 12,
            ..NewNode::new(kind, mode)
        };
        self.make(path, &new)?;
        Ok(())
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result {
        self.make(path, &NewNode::symlink(target))?;
        Ok(())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        let ino = self.find(path)?;
        self.mount().read_link(ino).map_err(errno)
    }

    fn link(&self, old: &[u8], new: &[u8]) -> Result {
        let file = self.open(old)?;
        self.link_file(&file, new)
    }

    fn unlink(&self, path: &[u8]) -> Result {
        let (dir, name) = self.split(path)?;
        self.mount().unlink(dir, name).map_err(errno)
    }

    fn rmdir(&self, path: &[u8]) -> Result {
        let (dir, name) = self.split(path)?;
        self.mount().rmdir(dir, name).map_err(errno)
    }

    fn rename(&self, old: &[u8], new: &[u8], mode: RenameMode) -> Result {
        let mode = match mode {
            RenameMode::Plain => user::RenameMode::Replace,
            RenameMode::NoReplace => user::RenameMode::NoReplace,
            RenameMode::Exchange => user::RenameMode::Exchange,
        };
        let (old_dir, old) = self.split(old)?;
        let (new_dir, new) = self.split(new)?;
        self.mount()
            .rename(old_dir, old, new_dir, new, mode)
            .map_err(errno)
    }

    fn chmod(&self, path: &[u8], mode: u16) -> Result {
        let mode = Some(mode);
        self.change(
            self.find(path)?,
            SetAttr {
                mode,
                ..SetAttr::default()
            },
        )
    }

    fn chown(&self, path: &[u8], uid: u32, gid: u32) -> Result {
        let (uid, gid) = (Some(uid), Some(gid));
        self.change(
            self.find(path)?,
            SetAttr {
                uid,
                gid,
                ..SetAttr::default()
            },
        )
    }

    fn set_times(&self, path: &[u8], atime: Time, mtime: Time) -> Result {
        let time = |time: Time| {
            Some(TimeOrNow::Time(KernelTime {
                sec: time.sec,
                nsec: time.nsec,
            }))
        };
        self.change(
            self.find(path)?,
            SetAttr {
                atime: time(atime),
                mtime: time(mtime),
                ..SetAttr::default()
            },
        )
    }

    fn read_dir(&self, path: &[u8], position: u64) -> Result<Vec<Entry>> {
        let ino = self.find(path)?;
        let entries = self.mount().read_dir(ino, position).map_err(errno)?;
        Ok(entries
            .into_iter()
            .map(|entry| Entry {
                name: entry.name,
                ino: entry.ino,
                kind: kind(entry.kind),
                next: entry.next,
            })
            .collect())
    }

    fn as_user<T>(&self, _uid: u32, _gid: u32, _act: impl FnOnce() -> T) -> T {
        unreachable!("has no users")
    }

    fn space(&self) -> Result<Space> {
        let statfs = self.mount().statfs();
        Ok(Space {
            free: statfs.available_blocks * 4096,
            free_inodes: statfs.space.free_inodes,
        })
    }

    fn sync(&self) -> Result {
        self.mount().sync().map_err(errno)
    }

    fn remount(&self) -> Result {
        self.umount()?;
        let mount = Mount::mount(self.device.clone(), &MountOptions::default()).map_err(errno)?;
        *self.mount.borrow_mut() = Some(Arc::new(mount));
        Ok(())
    }

    fn enter(&self, dir: &str) -> Result {
        let mount = self.mount();
        let made = mount
            .mkdir(mount.root(), dir.as_bytes(), 0o777)
            .map_err(errno)?;
        self.dir.set(made.ino());
        Ok(())
    }

    fn leave(&self, dir: &str) -> Result {
        self.sync()?;
        (self.check)(&*self.device);
        self.empty(self.dir.get())?;
        let mount = self.mount();
        mount.rmdir(mount.root(), dir.as_bytes()).map_err(errno)
    }
}
