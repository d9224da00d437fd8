// SPDX-License-Identifier: GPL-2.0

//! Requests of the kernel, as operations of a mount.

use crate::{
    convert::{
        attributes,
        errno,
        file_type,
        nothing,
        requested_time, //
    },
    options::Behaviour,
    served::Served,
    writeback::{
        Seek,
        Writeback, //
    }, //
};
use fuser::{
    BsdFileFlags,
    Errno,
    FileAttr,
    FileHandle,
    Filesystem,
    FopenFlags,
    Generation,
    INodeNo,
    InitFlags,
    KernelConfig,
    LockOwner,
    OpenFlags,
    RenameFlags,
    ReplyAttr,
    ReplyCreate,
    ReplyData,
    ReplyDirectory,
    ReplyDirectoryPlus,
    ReplyEmpty,
    ReplyEntry,
    ReplyLseek,
    ReplyOpen,
    ReplyStatfs,
    ReplyWrite,
    Request,
    TimeOrNow,
    WriteFlags, //
};
use kernel::{
    bento::{
        FileSystem,
        Ino, //
    },
    error::{
        code::*,
        Result, //
    },
    user::{
        self,
        device::BLOCK_SIZE,
        Entry,
        InodeRef,
        Mount,
        NewNode,
        RenameMode,
        SetAttr,
        Stat, //
    },
};
use rustix::fs::{
    FallocateFlags,
    OFlags, //
};
use std::{
    cell::RefCell,
    ffi::OsStr,
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
    time::{
        Duration,
        SystemTime, //
    },
};

/// How long the kernel may believe what it was told: nobody but it changes anything.
const TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Positions of a directory that belong to `.` and `..`; the file system's come behind them.
const DOTS: u64 = 2;

/// Room that a step of reading a directory asks of the file system, in bytes.
const STEP: usize = 16 << 10;

const S_IFREG: u16 = 0o100_000;

thread_local! {
    /// Where what is read goes on its way to the kernel.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the crate calls for each request.
pub(crate) struct Adapter<F: FileSystem> {
    served: Arc<Served<F>>,
    behaviour: Behaviour,
    /// The kernel caches writes.
    writeback: Option<Writeback>,
    /// The root directory, which has number 1 here whatever it has there.
    root: Ino,
    /// The kernel asks no more to open files once it was told `ENOSYS`.
    no_open: bool,
    no_opendir: bool,
}

impl<F: FileSystem> Adapter<F> {
    pub(crate) fn new(
        served: Arc<Served<F>>,
        behaviour: Behaviour,
        writeback: Option<Writeback>,
    ) -> Self {
        let root = served.with(|mount| Ok(mount.root()));
        Self {
            served,
            behaviour,
            writeback,
            root: root.unwrap_or(INodeNo::ROOT.0),
            no_open: false,
            no_opendir: false,
        }
    }

    /// The file system's number of an inode, of the kernel's: the two trade that of the root.
    fn ino(&self, number: INodeNo) -> Ino {
        match number {
            INodeNo::ROOT => self.root,
            INodeNo(ino) if ino == self.root => INodeNo::ROOT.0,
            INodeNo(ino) => ino,
        }
    }

    /// The other way round.
    fn number(&self, ino: Ino) -> INodeNo {
        INodeNo(self.ino(INodeNo(ino)))
    }

    fn attributes(&self, stat: &Stat) -> FileAttr {
        FileAttr {
            ino: self.number(stat.ino),
            ..attributes(stat)
        }
    }

    fn empty(&self, reply: ReplyEmpty, act: impl FnMut(&Mount<F>) -> Result) {
        match self.served.with(act) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    /// Answers with an inode, which the kernel knows from then on.
    fn entry<A>(&self, reply: ReplyEntry, act: A)
    where
        A: for<'m> Fn(&'m Mount<F>) -> Result<InodeRef<'m, F>>,
    {
        match self.served.with(|mount| act(mount).map(known)) {
            Ok(stat) => reply.entry(&TTL, &self.attributes(&stat), generation(&stat)),
            // That there is no such name may be believed as well.
            Err(ENOENT) => reply.entry(&TTL, &nothing(), Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    /// As [`Adapter::entry`], for requests that cannot find nothing.
    fn new_entry<A>(&self, reply: ReplyEntry, act: A)
    where
        A: for<'m> Fn(&'m Mount<F>) -> Result<InodeRef<'m, F>>,
    {
        match self.served.with(|mount| act(mount).map(known)) {
            Ok(stat) => reply.entry(&TTL, &self.attributes(&stat), generation(&stat)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn accessed(&self, ino: INodeNo) {
        if self.behaviour.atime {
            let _ = self.served.with(|mount| {
                mount.accessed(self.ino(ino));
                Ok(())
            });
        }
    }

    /// Hands entries from `position` on to `add`, until that says that it is full.
    fn read_dir(
        &self,
        dir: INodeNo,
        position: u64,
        add: &mut dyn FnMut(&Mount<F>, &Entry) -> bool,
    ) -> Result {
        let end = i64::MAX as u64;
        let dir = self.ino(dir);
        let mut position = position;
        self.served.with(|mount| {
            for (at, name, ino) in [(0, &b"."[..], None), (1, b"..", Some(()))] {
                if position == at {
                    let ino = match ino {
                        None => dir,
                        Some(()) => mount.parent(dir)?,
                    };
                    let dots = Entry {
                        name: name.to_vec(),
                        ino,
                        kind: kernel::bento::Kind::Directory,
                        next: at + 1,
                    };
                    if add(mount, &dots) {
                        return Ok(());
                    }
                    position = at + 1;
                }
            }
            while position < end {
                let start = position;
                let entries = mount.read_dir_into(dir, position - DOTS, STEP)?;
                let mut entries = entries.into_iter().peekable();
                if entries.peek().is_none() {
                    return Ok(());
                }
                while let Some(mut entry) = entries.next() {
                    // Entries of one position are read again as a whole, rather than left out.
                    let group_goes_on = entries.peek().is_some_and(|next| next.next == entry.next);
                    entry.next = match group_goes_on {
                        true => position,
                        false => entry.next.saturating_add(DOTS).min(end),
                    };
                    if add(mount, &entry) {
                        return Ok(());
                    }
                    position = entry.next;
                }
                if position <= start {
                    // Damage: it would never end.
                    return Err(EUCLEAN);
                }
            }
            Ok(())
        })
    }

    /// Adds an entry with its inode, which the kernel knows if it was taken. True if it was not.
    fn add_with_attributes(
        &self,
        mount: &Mount<F>,
        entry: &Entry,
        reply: &mut ReplyDirectoryPlus,
    ) -> bool {
        let name = OsStr::from_bytes(&entry.name);
        let is_dot = matches!(&entry.name[..], b"." | b"..");
        let inode = match mount.get(entry.ino) {
            Ok(inode) => inode,
            // Removed in the meantime.
            Err(_) => {
                return reply.add(
                    INodeNo(0),
                    entry.next,
                    name,
                    &Duration::ZERO,
                    &nothing(),
                    Generation(0),
                )
            }
        };
        let stat = inode.stat();
        let full = reply.add(
            self.number(entry.ino),
            entry.next,
            name,
            &TTL,
            &self.attributes(&stat),
            generation(&stat),
        );
        // The kernel takes no reference for the dots.
        if !full && !is_dot {
            inode.pin();
        }
        full
    }
}

/// The kernel knows the inode, until it forgets it.
fn known<F: FileSystem>(inode: InodeRef<'_, F>) -> Stat {
    let stat = inode.stat();
    inode.pin();
    stat
}

fn generation(stat: &Stat) -> Generation {
    Generation(stat.attributes.generation.into())
}

fn time(time: TimeOrNow) -> user::TimeOrNow {
    match time {
        TimeOrNow::Now => user::TimeOrNow::Now,
        TimeOrNow::SpecificTime(time) => user::TimeOrNow::Time(requested_time(time)),
    }
}

/// What a request makes; the kernel has applied the umask.
fn new_node<'a>(req: &Request, mode: u32) -> NewNode<'a> {
    NewNode {
        mode: mode as u16,
        uid: req.uid(),
        gid: req.gid(),
        rdev: 0,
        target: &[],
    }
}

impl<F: FileSystem> Filesystem for Adapter<F> {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let mut wanted = vec![
            InitFlags::FUSE_ASYNC_READ,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_BIG_WRITES,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_EXPLICIT_INVAL_DATA,
            InitFlags::FUSE_EXPORT_SUPPORT,
            InitFlags::FUSE_MAX_PAGES,
            InitFlags::FUSE_NO_OPENDIR_SUPPORT,
            InitFlags::FUSE_NO_OPEN_SUPPORT,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
        ];
        if self.writeback.is_some() {
            wanted.push(InitFlags::FUSE_WRITEBACK_CACHE);
        }
        for flag in wanted {
            // What an older kernel lacks is left out.
            let _ = config.add_capabilities(flag);
        }
        let has = config.capabilities();
        self.no_open = has.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        // Who may not be asked caches directories.
        self.no_opendir =
            self.behaviour.dircache && has.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        let _ = config.set_max_write(self.behaviour.max_write);
        let _ = config.set_max_background(self.behaviour.background);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        // Dots come from file handles: the kernel has not got the directory.
        match name.as_bytes() {
            b"." => self.new_entry(reply, |mount| mount.get(self.ino(parent))),
            b".." => self.new_entry(reply, |mount| mount.get(mount.parent(self.ino(parent))?)),
            name => self.entry(reply, |mount| mount.lookup(self.ino(parent), name)),
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, count: u64) {
        self.served.forget(self.ino(ino), count);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.served.with(|mount| mount.stat(self.ino(ino))) {
            Ok(stat) => reply.attr(&TTL, &self.attributes(&stat)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            mode: mode.map(|mode| mode as u16),
            uid,
            gid,
            size,
            atime: atime.map(time),
            mtime: mtime.map(time),
            ctime: ctime.map(requested_time),
            flags: None,
        };
        match self
            .served
            .with(|mount| mount.set_attr(self.ino(ino), &change))
        {
            Ok(stat) => reply.attr(&TTL, &self.attributes(&stat)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.served.with(|mount| mount.read_link(self.ino(ino))) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(error)),
        }
        self.accessed(ino);
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let new = NewNode {
            rdev,
            ..new_node(req, mode)
        };
        self.new_entry(reply, |mount| {
            mount.create(self.ino(parent), name.as_bytes(), &new)
        });
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let new = NewNode {
            uid: req.uid(),
            gid: req.gid(),
            ..NewNode::new(kernel::bento::Kind::Directory, mode as u16)
        };
        self.new_entry(reply, |mount| {
            mount.create(self.ino(parent), name.as_bytes(), &new)
        });
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |mount| {
            mount.unlink(self.ino(parent), name.as_bytes())
        });
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |mount| {
            mount.rmdir(self.ino(parent), name.as_bytes())
        });
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let new = NewNode {
            uid: req.uid(),
            gid: req.gid(),
            ..NewNode::symlink(target.as_os_str().as_bytes())
        };
        self.new_entry(reply, |mount| {
            mount.create(self.ino(parent), name.as_bytes(), &new)
        });
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = match flags {
            RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
            RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
            flags if flags.is_empty() => RenameMode::Replace,
            _ => return reply.error(Errno::EINVAL),
        };
        let (name, new_name) = (name.as_bytes(), new_name.as_bytes());
        self.empty(reply, |mount| {
            mount.rename(self.ino(parent), name, self.ino(new_parent), new_name, mode)
        });
    }

    fn link(&self, _req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.new_entry(reply, |mount| {
            let inode = mount.get(self.ino(ino))?;
            mount.link(self.ino(ino), self.ino(parent), name.as_bytes())?;
            Ok(inode)
        });
    }

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.no_open {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
        }
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = match self.behaviour.dircache {
            true => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
            false => FopenFlags::empty(),
        };
        match self.no_opendir {
            true => reply.error(Errno::ENOSYS),
            false => reply.opened(FileHandle(0), flags),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let name = name.as_bytes();
        let mut new = new_node(req, mode);
        new.mode = new.mode & 0o7777 | S_IFREG;
        let flags = OFlags::from_bits_retain(flags as u32);
        let result = self.served.with(|mount| {
            let made = mount.create(self.ino(parent), name, &new);
            match made {
                Err(EEXIST) if !flags.contains(OFlags::EXCL) => {
                    let inode = mount.lookup(self.ino(parent), name)?;
                    if flags.contains(OFlags::TRUNC) {
                        let cut = SetAttr {
                            size: Some(0),
                            ..SetAttr::default()
                        };
                        mount.set_attr(inode.ino(), &cut)?;
                    }
                    Ok(known(inode))
                }
                made => made.map(known),
            }
        });
        match result {
            Ok(stat) => reply.created(
                &TTL,
                &self.attributes(&stat),
                generation(&stat),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let out = &mut buffer[..size];
            let result = self.served.with(|mount| {
                let count = mount.read(self.ino(ino), offset, out)?;
                if self.behaviour.atime {
                    mount.accessed(self.ino(ino));
                }
                Ok(count)
            });
            match result {
                Ok(count) => reply.data(&out[..count]),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut done = 0;
        let result = self.served.with(|mount| {
            while done < data.len() {
                match mount.write(self.ino(ino), offset + done as u64, &data[done..])? {
                    0 => return Err(EIO),
                    count => done += count,
                }
            }
            Ok(())
        });
        match result {
            Ok(()) => reply.written(done as u32),
            // What the page cache writes back is all written or in error: the kernel does not look
            // at the number.
            Err(_) if done > 0 && !write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) => {
                reply.written(done as u32)
            }
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let result = self.served.with(|mount| match datasync {
            true => mount.fdatasync(self.ino(ino)),
            false => mount.fsync(self.ino(ino)),
        });
        if let Some(writeback) = &self.writeback {
            writeback.refresh(ino);
        }
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fsyncdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(req, ino, fh, datasync, reply);
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        // Once told so, the kernel does not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let result = self.read_dir(ino, offset, &mut |_, entry| {
            let name = OsStr::from_bytes(&entry.name);
            let kind = file_type(entry.kind);
            reply.add(self.number(entry.ino), entry.next, kind, name)
        });
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
        self.accessed(ino);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let result = self.read_dir(ino, offset, &mut |mount, entry| {
            self.add_with_attributes(mount, entry, &mut reply)
        });
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(error)),
        }
        self.accessed(ino);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let free = self.served.with(|mount| {
            // Else a file that was removed a moment ago would still count.
            self.served.settle(mount);
            Ok(mount.statfs())
        });
        match free {
            Ok(free) => reply.statfs(
                free.space.total_blocks,
                free.space.free_blocks + free.freed_blocks,
                free.available_blocks + free.freed_blocks,
                free.space.total_inodes,
                free.space.free_inodes,
                BLOCK_SIZE as u32,
                free.name_max,
                BLOCK_SIZE as u32,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        len: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mode = FallocateFlags::from_bits_retain(mode as u32);
        let keep_size = mode.contains(FallocateFlags::KEEP_SIZE);
        let rest = mode - FallocateFlags::KEEP_SIZE;
        self.empty(reply, |mount| match rest {
            _ if rest.is_empty() => mount.allocate(self.ino(ino), offset, len, keep_size),
            FallocateFlags::ZERO_RANGE => mount.zero_range(self.ino(ino), offset, len, keep_size),
            FallocateFlags::PUNCH_HOLE if keep_size => mount.punch_hole(self.ino(ino), offset, len),
            _ => Err(EOPNOTSUPP),
        });
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        /// `SEEK_DATA` and `SEEK_HOLE`.
        const DATA: i32 = 3;
        const HOLE: i32 = 4;
        let what = match whence {
            DATA => user::SeekFrom::Data,
            HOLE => user::SeekFrom::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(offset) = u64::try_from(offset) else {
            return reply.error(Errno::ENXIO);
        };
        let (served, of) = (self.served.clone(), self.ino(ino));
        let act = move || match served.with(|mount| mount.seek(of, offset, what)) {
            Ok(at) => reply.offset(i64::try_from(at).unwrap_or(i64::MAX)),
            Err(error) => reply.error(errno(error)),
        };
        match &self.writeback {
            None => act(),
            Some(writeback) => writeback.seek(Seek {
                ino,
                offset,
                act: Box::new(act),
            }),
        }
    }
}
