// SPDX-License-Identifier: GPL-2.0

//! A directory of a file system that the kernel has mounted.

use crate::system::*;
use rustix::{
    fs::{
        self,
        AtFlags,
        FallocateFlags,
        FileType,
        Mode,
        OFlags,
        RawDir,
        RenameFlags,
        SeekFrom,
        Timespec,
        Timestamps, //
    },
    io,
    process, //
};
use std::{
    cell::RefCell,
    fs::File,
    mem::MaybeUninit,
    os::fd::{
        AsFd,
        OwnedFd, //
    },
    path::Path,
};

/// A directory under test.
pub struct Live {
    root: OwnedFd,
    /// The directory of the test.
    dir: RefCell<Option<OwnedFd>>,
    is_root: bool,
    /// The directory is that of a mount.
    alone: bool,
    large_files: bool,
}

impl Live {
    /// Tests in `path`.
    pub fn new(path: &Path) -> Result<Self> {
        process::umask(Mode::empty());
        let root = fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let parent = fs::statat(&root, "..", AtFlags::empty())?;
        Ok(Self {
            alone: fs::fstat(&root)?.st_dev != parent.st_dev,
            large_files: large_files(&root)?,
            root,
            dir: RefCell::new(None),
            is_root: process::geteuid().is_root(),
        })
    }

    /// Acts on a path: gives the directory of the test, and the path within it.
    fn at<T>(&self, path: &[u8], act: impl FnOnce(&OwnedFd, &[u8]) -> io::Result<T>) -> Result<T> {
        let dir = self.dir.borrow();
        let dir = dir.as_ref().ok_or(Errno::BADF)?;
        act(dir, if path.is_empty() { b"." } else { path })
    }

    fn open_with(&self, path: &[u8], flags: OFlags, mode: u16) -> Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        self.at(path, |dir, path| {
            Ok(fs::openat(dir, path, flags, Mode::from_raw_mode(mode.into()))?.into())
        })
    }
}

/// Whether a file can have 4 TiB.
fn large_files(dir: &OwnedFd) -> Result<bool> {
    const NAME: &str = "suite-large-file";
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = fs::openat(dir, NAME, flags, Mode::RUSR | Mode::WUSR)?;
    let result = fs::ftruncate(&file, 1 << 42);
    fs::unlinkat(dir, NAME, AtFlags::empty())?;
    match result {
        Err(Errno::FBIG) => Ok(false),
        result => result.map(|()| true),
    }
}

/// Removes what is in a directory.
fn empty(dir: &OwnedFd) -> Result {
    loop {
        let mut buffer = [MaybeUninit::uninit(); 16384];
        let here = fs::openat(dir, ".", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut names = Vec::new();
        let mut entries = RawDir::new(&here, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        for name in &names {
            if fs::unlinkat(dir, name, AtFlags::empty()).is_err() {
                let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                empty(&fs::openat(dir, name, flags, Mode::empty())?)?;
                fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
            }
        }
    }
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::Directory => Kind::Directory,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Symlink => Kind::Symlink,
        FileType::Socket => Kind::Socket,
        _ => Kind::Regular,
    }
}

fn stat(raw: fs::Stat) -> Stat {
    let time = |sec, nsec| Time {
        sec,
        nsec: nsec as u32,
    };
    Stat {
        ino: raw.st_ino,
        kind: kind(FileType::from_raw_mode(raw.st_mode)),
        mode: (raw.st_mode & 0o7777) as u16,
        nlink: raw.st_nlink as u64,
        uid: raw.st_uid,
        gid: raw.st_gid,
        rdev: (fs::major(raw.st_rdev), fs::minor(raw.st_rdev)),
        size: raw.st_size as u64,
        sectors: raw.st_blocks as u64,
        atime: time(raw.st_atime as i64, raw.st_atime_nsec as i64),
        mtime: time(raw.st_mtime as i64, raw.st_mtime_nsec as i64),
        ctime: time(raw.st_ctime as i64, raw.st_ctime_nsec as i64),
    }
}

impl System for Live {
    type File = File;

    fn has(&self, feature: Feature) -> bool {
        match feature {
            Feature::Users | Feature::Owners | Feature::Devices => self.is_root,
            Feature::Remount => false,
            Feature::Alone => self.alone,
            Feature::LargeFiles => self.large_files,
            Feature::FewInodes => self.space().is_ok_and(|space| space.has_few_inodes()),
        }
    }

    fn create(&self, path: &[u8], mode: u16) -> Result<File> {
        self.open_with(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, mode)
    }

    fn open(&self, path: &[u8]) -> Result<File> {
        self.open_with(path, OFlags::RDWR, 0)
    }

    fn tmpfile(&self, dir: &[u8], mode: u16) -> Result<File> {
        self.at(dir, |fd, path| {
            let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
            Ok(fs::openat(fd, path, flags, Mode::from_raw_mode(mode.into()))?.into())
        })
    }

    fn link_file(&self, file: &File, path: &[u8]) -> Result {
        use std::os::fd::AsRawFd;
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.at(path, |dir, path| {
            fs::linkat(fs::CWD, open, dir, path, AtFlags::SYMLINK_FOLLOW)
        })
    }

    fn stat_file(&self, file: &File) -> Result<Stat> {
        Ok(stat(fs::fstat(file)?))
    }

    fn read(&self, file: &File, offset: u64, out: &mut [u8]) -> Result<usize> {
        io::pread(file, out, offset)
    }

    fn write(&self, file: &File, offset: u64, bytes: &[u8]) -> Result<usize> {
        io::pwrite(file, bytes, offset)
    }

    fn append(&self, path: &[u8], bytes: &[u8]) -> Result<usize> {
        io::write(
            self.open_with(path, OFlags::WRONLY | OFlags::APPEND, 0)?,
            bytes,
        )
    }

    fn set_len(&self, file: &File, len: u64) -> Result {
        fs::ftruncate(file, len)
    }

    fn fallocate(&self, file: &File, mode: Fallocate, offset: u64, len: u64) -> Result {
        let flags = match mode {
            Fallocate::Allocate => FallocateFlags::empty(),
            Fallocate::KeepSize => FallocateFlags::KEEP_SIZE,
            Fallocate::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            Fallocate::ZeroRange => FallocateFlags::ZERO_RANGE,
        };
        fs::fallocate(file, flags, offset, len)
    }

    fn seek(&self, file: &File, what: Seek, offset: u64) -> Result<u64> {
        let from = match what {
            Seek::Data => SeekFrom::Data(offset),
            Seek::Hole => SeekFrom::Hole(offset),
        };
        fs::seek(file, from)
    }

    fn fsync(&self, file: &File) -> Result {
        fs::fsync(file)
    }

    fn stat(&self, path: &[u8]) -> Result<Stat> {
        self.at(path, |dir, path| {
            Ok(stat(fs::statat(dir, path, AtFlags::SYMLINK_NOFOLLOW)?))
        })
    }

    fn mkdir(&self, path: &[u8], mode: u16) -> Result {
        self.at(path, |dir, path| {
            fs::mkdirat(dir, path, Mode::from_raw_mode(mode.into()))
        })
    }

    fn mknod(&self, path: &[u8], kind: Kind, mode: u16, (major, minor): (u32, u32)) -> Result {
        let file_type = match kind {
            Kind::Fifo => FileType::Fifo,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::Socket => FileType::Socket,
            _ => return Err(Errno::INVAL),
        };
        let mode = Mode::from_raw_mode(mode.into());
        self.at(path, |dir, path| {
            fs::mknodat(dir, path, file_type, mode, fs::makedev(major, minor))
        })
    }

    fn symlink(&self, target: &[u8], path: &[u8]) -> Result {
        self.at(path, |dir, path| fs::symlinkat(target, dir, path))
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        self.at(path, |dir, path| {
            Ok(fs::readlinkat(dir, path, Vec::new())?.into_bytes())
        })
    }

    fn link(&self, old: &[u8], new: &[u8]) -> Result {
        self.at(old, |dir, old| {
            fs::linkat(dir, old, dir, new, AtFlags::empty())
        })
    }

    fn unlink(&self, path: &[u8]) -> Result {
        self.at(path, |dir, path| fs::unlinkat(dir, path, AtFlags::empty()))
    }

    fn rmdir(&self, path: &[u8]) -> Result {
        self.at(path, |dir, path| {
            fs::unlinkat(dir, path, AtFlags::REMOVEDIR)
        })
    }

    fn rename(&self, old: &[u8], new: &[u8], mode: RenameMode) -> Result {
        let flags = match mode {
            RenameMode::Plain => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::NOREPLACE,
            RenameMode::Exchange => RenameFlags::EXCHANGE,
        };
        self.at(old, |dir, old| fs::renameat_with(dir, old, dir, new, flags))
    }

    fn chmod(&self, path: &[u8], mode: u16) -> Result {
        let mode = Mode::from_raw_mode(mode.into());
        self.at(path, |dir, path| {
            fs::chmodat(dir, path, mode, AtFlags::empty())
        })
    }

    fn chown(&self, path: &[u8], uid: u32, gid: u32) -> Result {
        let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
        self.at(path, |dir, path| {
            fs::chownat(dir, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn set_times(&self, path: &[u8], atime: Time, mtime: Time) -> Result {
        let time = |time: Time| Timespec {
            tv_sec: time.sec,
            tv_nsec: time.nsec.into(),
        };
        let times = Timestamps {
            last_access: time(atime),
            last_modification: time(mtime),
        };
        self.at(path, |dir, path| {
            fs::utimensat(dir, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn read_dir(&self, path: &[u8], mut position: u64) -> Result<Vec<Entry>> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let dir = self.at(path, |dir, path| {
            fs::openat(dir, path, flags, Mode::empty())
        })?;
        let mut entries = Vec::new();
        // What a call gives may be `.` and `..` alone.
        while entries.is_empty() {
            if position != 0 {
                fs::seek(&dir, SeekFrom::Start(position))?;
            }
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut raw = RawDir::new(dir.as_fd(), &mut buffer);
            let start = position;
            while let Some(entry) = raw.next() {
                let entry = entry?;
                position = entry.next_entry_cookie();
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    entries.push(Entry {
                        name: entry.file_name().to_bytes().to_vec(),
                        ino: entry.ino(),
                        kind: kind(entry.file_type()),
                        next: position,
                    });
                }
                if raw.is_buffer_empty() {
                    break;
                }
            }
            if position == start {
                break;
            }
        }
        Ok(entries)
    }

    fn as_user<T>(&self, uid: u32, gid: u32, act: impl FnOnce() -> T) -> T {
        use rustix::thread::{
            set_thread_groups,
            set_thread_res_gid,
            set_thread_res_uid, //
        };
        let set = |uid, gid| {
            let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
            let root = (fs::Uid::ROOT, fs::Gid::ROOT);
            // Back to the superuser first: another user may change neither groups nor group.
            set_thread_res_uid(root.0, root.0, root.0).expect("setresuid");
            set_thread_groups(&[]).expect("setgroups");
            set_thread_res_gid(gid, gid, root.1).expect("setresgid");
            set_thread_res_uid(uid, uid, root.0).expect("setresuid");
        };
        set(uid, gid);
        let result = act();
        set(0, 0);
        result
    }

    fn space(&self) -> Result<Space> {
        let space = fs::fstatvfs(&self.root)?;
        Ok(Space {
            free: space.f_bavail * space.f_frsize,
            free_inodes: space.f_ffree,
        })
    }

    fn sync(&self) -> Result {
        fs::syncfs(&self.root)
    }

    fn remount(&self) -> Result {
        Err(Errno::NOTSUP)
    }

    fn enter(&self, dir: &str) -> Result {
        fs::mkdirat(&self.root, dir, Mode::from_raw_mode(0o777))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        *self.dir.borrow_mut() = Some(fs::openat(&self.root, dir, flags, Mode::empty())?);
        Ok(())
    }

    fn leave(&self, dir: &str) -> Result {
        if let Some(fd) = self.dir.borrow_mut().take() {
            empty(&fd)?;
        }
        fs::unlinkat(&self.root, dir, AtFlags::REMOVEDIR)
    }
}
