// SPDX-License-Identifier: GPL-2.0

//! System calls that std has no name for.

use anyhow::Context;
use anyhow::Result;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub fn cstring(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).expect("a path without NUL")
}

/// The result of a call that returns -1 and sets errno.
pub fn cvt(ret: i64) -> io::Result<i64> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// The errno of an error, or 0.
pub fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

pub fn mount(source: &str, target: &Path, fs: &str, flags: u64, options: &str) -> io::Result<()> {
    let (source, fs, options) = (cstring(source), cstring(fs), cstring(options));
    let target = cstring(target);
    // SAFETY: All pointers are to NUL-terminated strings that live over the call.
    cvt(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            fs.as_ptr(),
            flags,
            options.as_ptr().cast(),
        )
    }
    .into())?;
    Ok(())
}

pub fn umount(target: &Path, flags: i32) -> io::Result<()> {
    let target = cstring(target);
    // SAFETY: The pointer is to a NUL-terminated string that lives over the call.
    cvt(unsafe { libc::umount2(target.as_ptr(), flags) }.into())?;
    Ok(())
}

/// Writes everything back and drops clean pages, dentries and inodes.
pub fn drop_caches() -> Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop_caches")
}

pub fn syncfs(file: &File) -> io::Result<()> {
    // SAFETY: The descriptor is open.
    cvt(unsafe { libc::syncfs(file.as_raw_fd()) }.into())?;
    Ok(())
}

/// Starts write-back of all that is dirty of a file, and does not wait: so it takes no error either.
pub fn start_writeback(file: &File) -> io::Result<()> {
    // SAFETY: Plain numbers.
    let ret = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
    cvt(ret.into()).map(drop)
}

/// Opens with any flags and mode.
pub fn open(path: impl AsRef<Path>, flags: i32, mode: u32) -> io::Result<File> {
    let path = cstring(path);
    // SAFETY: The pointer is to a NUL-terminated string that lives over the call.
    let fd = cvt(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, mode) }.into())?;
    // SAFETY: The descriptor is new and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

pub fn fallocate(file: &File, mode: i32, offset: u64, len: u64) -> io::Result<()> {
    // SAFETY: The descriptor is open.
    cvt(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as i64, len as i64) }.into())?;
    Ok(())
}

/// Writes a range of the page cache back and waits for it; nothing else is synced.
pub fn sync_file_range(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: The descriptor is open.
    cvt(
        unsafe { libc::sync_file_range(file.as_raw_fd(), offset as i64, len as i64, flags) }.into(),
    )?;
    Ok(())
}

/// Copies the first `len` bytes, without a buffer.
pub fn copy_range(from: &File, to: &File, len: u64) -> io::Result<()> {
    let (mut at, mut out) = (0_i64, 0_i64);
    while (at as u64) < len {
        // SAFETY: Both descriptors are open and the offsets are ours.
        let n = cvt(unsafe {
            libc::copy_file_range(
                from.as_raw_fd(),
                &mut at,
                to.as_raw_fd(),
                &mut out,
                (len - at as u64) as usize,
                0,
            )
        } as i64)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

pub fn seek(file: &File, offset: u64, whence: i32) -> io::Result<u64> {
    // SAFETY: The descriptor is open.
    let at = cvt(unsafe { libc::lseek(file.as_raw_fd(), offset as i64, whence) })?;
    Ok(at as u64)
}

pub fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (cstring(from), cstring(to));
    // SAFETY: Both pointers are to NUL-terminated strings that live over the call.
    cvt(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    }
    .into())?;
    Ok(())
}

pub fn mknod(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    let path = cstring(path);
    // SAFETY: The pointer is to a NUL-terminated string that lives over the call.
    cvt(unsafe { libc::mknod(path.as_ptr(), mode, device) }.into())?;
    Ok(())
}

/// Free blocks (in bytes) and free inodes.
pub fn free(path: &Path) -> Result<(u64, u64)> {
    let c = cstring(path);
    // SAFETY: All-zero is a valid statvfs.
    let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: Both pointers are valid over the call.
    cvt(unsafe { libc::statvfs(c.as_ptr(), &mut s) }.into()).context("statvfs")?;
    Ok((s.f_bfree * s.f_frsize, s.f_ffree))
}

/// `_IO(type, nr)`, `_IOR`, `_IOW`, `_IOWR`.
pub const fn ioc(dir: u64, ty: u8, nr: u8, size: usize) -> u64 {
    (dir << 30) | ((size as u64) << 16) | ((ty as u64) << 8) | nr as u64
}

pub fn ioctl<T>(file: &File, request: u64, arg: *mut T) -> io::Result<i64> {
    // SAFETY: Callers pass what the request asks for.
    cvt(unsafe { libc::ioctl(file.as_raw_fd(), request, arg) }.into())
}

/// Stops all writers of a file system and empties its journal.
pub fn freeze(file: &File) -> io::Result<()> {
    ioctl(file, ioc(3, b'X', 119, 4), &mut 0).map(drop)
}

/// Ends [`freeze`].
pub fn thaw(file: &File) -> io::Result<()> {
    ioctl(file, ioc(3, b'X', 120, 4), &mut 0).map(drop)
}

/// Gives a file more of the attributes that chattr sets.
pub fn add_flags(file: &File, more: u32) -> io::Result<()> {
    // The kernel takes an int, whatever the number of the request says
    let request = |dir, nr| ioc(dir, b'f', nr, size_of::<libc::c_long>());
    let mut flags = 0_u32;
    ioctl(file, request(2, 1), &mut flags)?;
    flags |= more;
    ioctl(file, request(1, 2), &mut flags).map(drop)
}

/// A buffer aligned for O_DIRECT.
pub struct Aligned {
    at: *mut u8,
    layout: std::alloc::Layout,
}

impl Aligned {
    pub fn new(len: usize) -> Self {
        assert!(len > 0);
        let layout = std::alloc::Layout::from_size_align(len, 4096).expect("a layout");
        // SAFETY: The layout's size is not zero.
        let at = unsafe { std::alloc::alloc_zeroed(layout) };
        assert!(!at.is_null());
        Self { at, layout }
    }
}

// SAFETY: It owns its memory, and gives it out as a slice.
unsafe impl Sync for Aligned {}
// SAFETY: As above.
unsafe impl Send for Aligned {}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: The allocation has this size and is initialised.
        unsafe { std::slice::from_raw_parts(self.at, self.layout.size()) }
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As above, and we have it alone.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.layout.size()) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: Allocated with this layout.
        unsafe { std::alloc::dealloc(self.at, self.layout) }
    }
}

/// A shared mapping of a whole file.
pub struct Map {
    at: *mut u8,
    len: usize,
}

impl Map {
    pub fn shared(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: A new mapping at a place that the kernel chooses.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: at.cast(), len })
    }

    /// Copies `data` into the mapping. A store that the file system cannot serve is a SIGBUS.
    pub fn write(&mut self, at: usize, data: &[u8]) {
        assert!(at
            .checked_add(data.len())
            .is_some_and(|end| end <= self.len));
        // SAFETY: The range is inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.at.add(at), data.len()) }
    }

    pub fn read(&self, at: usize, out: &mut [u8]) {
        assert!(at.checked_add(out.len()).is_some_and(|end| end <= self.len));
        // SAFETY: The range is inside the mapping.
        unsafe { std::ptr::copy_nonoverlapping(self.at.add(at), out.as_mut_ptr(), out.len()) }
    }

    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: The range is the mapping.
        cvt(unsafe { libc::msync(self.at.cast(), self.len, libc::MS_SYNC) }.into())?;
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: The range is the mapping, and nobody uses it any more.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

/// The processors that the kernel's workers may run on which are bound to none.
const WORKERS: &str = "/sys/devices/virtual/workqueue/cpumask";

/// Keeps the kernel's workers on the first processor, until it is dropped.
pub struct WorkersOnFirst(String);

impl WorkersOnFirst {
    pub fn new() -> Result<Self> {
        let before = std::fs::read_to_string(WORKERS).context(WORKERS)?;
        std::fs::write(WORKERS, "1").context(WORKERS)?;
        Ok(Self(before))
    }
}

impl Drop for WorkersOnFirst {
    fn drop(&mut self) {
        let _ = std::fs::write(WORKERS, self.0.trim());
    }
}

/// Puts this thread on the first processor, and before all others there.
pub fn first_on_first() -> io::Result<()> {
    // SAFETY: All-zero is an empty set, and the pointers are valid over the calls.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        cvt(libc::sched_setaffinity(0, size_of_val(&set), &set).into())?;
        let param = libc::sched_param { sched_priority: 1 };
        cvt(libc::sched_setscheduler(0, libc::SCHED_FIFO, &param).into()).map(drop)
    }
}

/// Writes from memory of which only the first `there` of `len` bytes can be read.
pub fn write_torn(file: &File, there: usize, len: usize, offset: u64) -> io::Result<i64> {
    // SAFETY: A new mapping at a place that the kernel chooses; nobody else knows it, and it is gone
    // when this returns.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let torn = cvt(libc::mprotect(at.byte_add(there), len - there, libc::PROT_NONE).into());
        let result =
            torn.and_then(|_| cvt(libc::pwrite(file.as_raw_fd(), at, len, offset as i64) as i64));
        libc::munmap(at, len);
        result
    }
}

/// A socket that gets the kernel's uevents; a read of it does not wait.
pub fn uevents() -> Result<File> {
    // SAFETY: All-zero is a valid address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = 1;
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: The descriptor is new and ours; the address is valid for its size.
    unsafe {
        let fd = cvt(libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT).into())?;
        let socket = File::from_raw_fd(fd as i32);
        let size = size_of_val(&address) as u32;
        cvt(libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size).into())?;
        Ok(socket)
    }
}

/// `struct iocb`.
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    reqprio: i16,
    fd: u32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// A context of the kernel's AIO.
pub struct Aio(u64);

impl Aio {
    pub fn new() -> io::Result<Self> {
        let mut context = 0_u64;
        // SAFETY: The pointer is valid over the call.
        cvt(unsafe { libc::syscall(libc::SYS_io_setup, 8, &raw mut context) })?;
        Ok(Self(context))
    }

    /// Begins to write. `data` and `file` stay until [`Aio::wait`] has told that it is done.
    pub fn write(&mut self, file: &File, data: &[u8], offset: u64) -> io::Result<()> {
        const IOCB_CMD_PWRITE: u16 = 1;
        let mut request = Iocb {
            opcode: IOCB_CMD_PWRITE,
            fd: file.as_raw_fd() as u32,
            buffer: data.as_ptr() as u64,
            len: data.len() as u64,
            offset: offset as i64,
            ..Iocb::default()
        };
        let list = [&raw mut request];
        // SAFETY: The kernel copies the request; the data outlives the write by this function's demand.
        cvt(unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, list.as_ptr()) })?;
        Ok(())
    }

    /// The result of a write, if there is one. Waits for `least` of them.
    pub fn wait(&mut self, least: u64) -> io::Result<Option<i64>> {
        let mut event = [0_i64; 4];
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let time = if least == 0 {
            &raw const now
        } else {
            std::ptr::null()
        };
        // SAFETY: There is room for one event.
        let number = cvt(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                least,
                1,
                event.as_mut_ptr(),
                time,
            )
        })?;
        Ok((number > 0).then_some(event[2]))
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: Made by `new`.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}
