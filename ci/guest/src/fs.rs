// SPDX-License-Identifier: GPL-2.0

//! Making, mounting and checking the file system under test, whichever it is.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::sys;

/// Runs a program; its output is shown if it fails.
pub fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!(
            "{program} {}: {}: {}",
            args.join(" "),
            output.status,
            text.trim()
        );
    }
    Ok(text)
}

/// `mkfs` of the type, on a device or image.
pub fn mkfs(kind: &str, device: &str, inodes: Option<u64>) -> Result<()> {
    let inodes = inodes.map(|n| n.to_string());
    let mut args = Vec::new();
    match kind {
        // What is under test is not ext4's lazy initialisation, and a discard would wipe stale data
        "ext4" => args.extend(["-q", "-F", "-E", "nodiscard,lazy_itable_init=0", "-m", "0"]),
        _ => args.extend(["-q", "-F", "-K"]),
    }
    if let Some(inodes) = &inodes {
        args.extend(["-N", inodes]);
    }
    args.push(device);
    run(&format!("mkfs.{kind}"), &args)?;
    Ok(())
}

/// Mount options under which the file system promises what is tested here.
///
/// ext4 by default renames a new file over an old one before its extents are marked as written: after a
/// crash it has its size and zeros.
pub fn full_options(kind: &str, options: &str) -> String {
    match (kind, options) {
        ("ext4", "") => "dioread_lock".into(),
        ("ext4", options) => format!("dioread_lock,{options}"),
        (_, options) => options.into(),
    }
}

/// Full check that changes nothing and must find nothing. Left out by hand only, with FSTEST_NO_FSCK.
pub fn fsck(kind: &str, device: &str) -> Result<()> {
    if std::env::var_os("FSTEST_NO_FSCK").is_some() {
        return Ok(());
    }
    run(&format!("fsck.{kind}"), &["-f", "-n", device])
        .map(drop)
        .context("fsck")
}

/// A loop device on an image; detached on drop.
pub struct Loop {
    pub path: String,
    file: File,
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: [u64; 29],
    reserved: [u64; 8],
}

const LOOP_CONFIGURE: u64 = 0x4c0a;
const LOOP_CLR_FD: u64 = 0x4c01;
const LOOP_CTL_GET_FREE: u64 = 0x4c82;

impl Loop {
    pub fn new(image: &Path) -> Result<Self> {
        let backing = File::options().read(true).write(true).open(image)?;
        let control = File::open("/dev/loop-control").context("/dev/loop-control")?;
        for _ in 0..20 {
            let number = sys::ioctl::<u8>(&control, LOOP_CTL_GET_FREE, std::ptr::null_mut())?;
            let path = format!("/dev/loop{number}");
            let file = File::options()
                .read(true)
                .write(true)
                .open(&path)
                .with_context(|| path.clone())?;
            let mut config = LoopConfig {
                fd: backing.as_raw_fd() as u32,
                block_size: 0,
                info: [0; 29],
                reserved: [0; 8],
            };
            match sys::ioctl(&file, LOOP_CONFIGURE, &mut config) {
                Ok(_) => {
                    // A device that somebody has open for writing cannot be mounted
                    let file = File::open(&path)?;
                    return Ok(Self { path, file });
                }
                Err(e) if sys::errno(&e) == libc::EBUSY => continue,
                Err(e) => return Err(e).context("LOOP_CONFIGURE"),
            }
        }
        bail!("no free loop device");
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = sys::ioctl::<u8>(&self.file, LOOP_CLR_FD, std::ptr::null_mut());
    }
}

/// A device-mapper device over a whole loop device: it can be stopped in mid-flight.
struct Mapper {
    name: String,
    below: String,
    sectors: u64,
}

impl Mapper {
    fn new(name: &str, below: &str) -> Result<Self> {
        let sectors = run("blockdev", &["--getsz", below])?.trim().parse()?;
        let table = format!("0 {sectors} linear {below} 0");
        run(
            "dmsetup",
            &["create", "--noudevsync", name, "--table", &table],
        )?;
        Ok(Self {
            name: name.into(),
            below: below.into(),
            sectors,
        })
    }

    /// From now on these parts of the device fail: (first sector, sectors), in order.
    fn fail(&self, parts: &[(u64, u64)]) -> Result<()> {
        let mut table = String::new();
        let mut at = 0;
        let mut add = |at: &mut u64, len: u64, target: &str| {
            if len > 0 {
                table += &match target {
                    "error" => format!("{at} {len} error\n"),
                    _ => format!("{at} {len} linear {} {at}\n", self.below),
                };
                *at += len;
            }
        };
        for (start, len) in parts {
            let gap = start.checked_sub(at).context("parts in order")?;
            add(&mut at, gap, "linear");
            add(&mut at, *len, "error");
        }
        let rest = self.sectors.checked_sub(at).context("behind the end")?;
        add(&mut at, rest, "linear");
        let file = format!("/tmp/{}.table", self.name);
        std::fs::write(&file, table)?;
        run("dmsetup", &["load", &self.name, &file])?;
        run(
            "dmsetup",
            &["suspend", "--nolockfs", "--noflush", &self.name],
        )?;
        run("dmsetup", &["resume", "--noudevsync", &self.name]).map(drop)
    }

    fn path(&self) -> Result<String> {
        let node = run(
            "dmsetup",
            &["info", "-c", "--noheadings", "-o", "blkdevname", &self.name],
        )?;
        Ok(format!("/dev/{}", node.trim()))
    }
}

/// `struct dm_ioctl`.
#[repr(C)]
struct DmIoctl {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    event_nr: u32,
    padding: u32,
    dev: u64,
    name: [u8; 128],
    rest: [u8; 136],
}

const DM_DEV_SUSPEND: u64 = sys::ioc(3, 0xfd, 6, size_of::<DmIoctl>());
const DM_SUSPEND: u32 = 1 << 1;
const DM_SKIP_LOCKFS: u32 = 1 << 10;
const DM_NOFLUSH: u32 = 1 << 11;

impl Mapper {
    fn request(&self, suspend: bool) -> Box<DmIoctl> {
        let mut name = [0; 128];
        name[..self.name.len()].copy_from_slice(self.name.as_bytes());
        Box::new(DmIoctl {
            version: [4, 0, 0],
            data_size: size_of::<DmIoctl>() as u32,
            data_start: 0,
            target_count: 0,
            open_count: 0,
            flags: if suspend {
                DM_SUSPEND | DM_SKIP_LOCKFS | DM_NOFLUSH
            } else {
                0
            },
            event_nr: 0,
            padding: 0,
            dev: 0,
            name,
            rest: [0; 136],
        })
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        let _ = run(
            "dmsetup",
            &["remove", "--noudevsync", "--retry", &self.name],
        );
    }
}

/// A small file system of a test's own: an image in memory, a loop device, a mapper, a mount.
pub struct Small {
    kind: String,
    pub image: PathBuf,
    pub dir: PathBuf,
    device: String,
    mounted: bool,
    // Dropped in this order
    mapper: Option<Mapper>,
    _loop: Loop,
}

impl Small {
    /// Makes one of `bytes`, on a device full of stale data, and mounts it.
    pub fn new(kind: &str, scratch: &Path, name: &str, bytes: u64) -> Result<Self> {
        Self::with(kind, scratch, name, bytes, None, "")
    }

    pub fn with(
        kind: &str,
        scratch: &Path,
        name: &str,
        bytes: u64,
        inodes: Option<u64>,
        options: &str,
    ) -> Result<Self> {
        let image = scratch.join(format!("{name}.img"));
        stale(&image, bytes)?;
        let mut small = Self::attach(kind, scratch, name)?;
        mkfs(kind, &small.device, inodes)?;
        small.mount(options)?;
        Ok(small)
    }

    /// A file system that is in the image already; not mounted.
    pub fn attach(kind: &str, scratch: &Path, name: &str) -> Result<Self> {
        let image = scratch.join(format!("{name}.img"));
        let dir = scratch.join(name);
        std::fs::create_dir_all(&dir)?;
        let below = Loop::new(&image)?;
        let mapper = Mapper::new(name, &below.path)?;
        let device = mapper.path()?;
        Ok(Self {
            kind: kind.into(),
            image,
            dir,
            device,
            mounted: false,
            mapper: Some(mapper),
            _loop: below,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn mount(&mut self, options: &str) -> Result<()> {
        self.mount_flags(0, options)
            .with_context(|| format!("mount of {}", self.image.display()))
    }

    pub fn mount_flags(&mut self, flags: u64, options: &str) -> io::Result<()> {
        let options = full_options(&self.kind, options);
        sys::mount(&self.device, &self.dir, &self.kind, flags, &options)?;
        self.mounted = true;
        Ok(())
    }

    /// It was mounted by other means.
    pub fn set_mounted(&mut self) {
        self.mounted = true;
    }

    pub fn remount(&self, flags: u64, options: &str) -> io::Result<()> {
        sys::mount(
            &self.device,
            &self.dir,
            &self.kind,
            flags | libc::MS_REMOUNT,
            options,
        )
    }

    /// From now on these parts of the device fail: (first block of 4 KiB, blocks), in order. None: it is
    /// whole again.
    pub fn fail(&self, parts: &[(u64, u64)]) -> Result<()> {
        let parts: Vec<_> = parts
            .iter()
            .map(|(start, len)| (start * 8, len * 8))
            .collect();
        self.mapper.as_ref().context("no mapper")?.fail(&parts)
    }

    /// umount; an EBUSY of a program that is just ending is waited for.
    pub fn umount(&mut self) -> Result<()> {
        for _ in 0..100 {
            match sys::umount(&self.dir, 0) {
                Err(e) if sys::errno(&e) == libc::EBUSY => {
                    std::thread::sleep(Duration::from_millis(20))
                }
                result => {
                    result.context("umount")?;
                    self.mounted = false;
                    return Ok(());
                }
            }
        }
        bail!("umount: the file system stays busy");
    }

    /// umount, fsck, mount: everything again from the device.
    pub fn cycle(&mut self) -> Result<()> {
        self.umount()?;
        fsck(&self.kind, &self.device)?;
        self.mount("")
    }

    /// The end of a test: umount and fsck.
    pub fn finish(mut self) -> Result<()> {
        self.umount()?;
        fsck(&self.kind, &self.device)
    }

    /// Lets the device stand still until the value is dropped.
    pub fn suspend(&self) -> Result<Suspended> {
        let mapper = self.mapper.as_ref().context("no mapper")?;
        let control = File::open("/dev/mapper/control").context("/dev/mapper/control")?;
        let (mut suspend, resume) = (mapper.request(true), mapper.request(false));
        sys::ioctl(&control, DM_DEV_SUSPEND, &mut *suspend).context("DM_DEV_SUSPEND")?;
        Ok(Suspended { control, resume })
    }

    /// What a loss of power at this moment would leave on a disk without a volatile cache: the device
    /// is stopped, copied and started again, and the file system does not notice.
    pub fn crash_image(&self, scratch: &Path, name: &str) -> Result<()> {
        let mapper = self.mapper.as_ref().context("no mapper")?;
        let from = File::open(&self.image)?;
        let to = File::create(scratch.join(format!("{name}.img")))?;
        let control = File::open("/dev/mapper/control").context("/dev/mapper/control")?;
        let (mut suspend, mut resume) = (mapper.request(true), mapper.request(false));
        let len = from.metadata()?.len();
        // No memory is asked for while the device stands still: another thread may hold this
        // process's mmap_lock in a page fault that waits for it.
        sys::ioctl(&control, DM_DEV_SUSPEND, &mut *suspend).context("DM_DEV_SUSPEND")?;
        let copied = sys::copy_range(&from, &to, len);
        sys::ioctl(&control, DM_DEV_SUSPEND, &mut *resume).context("DM_DEV_SUSPEND (resume)")?;
        copied.context("copying the image")
    }

    /// Mounts what `crash_image` leaves now (the journal is replayed), lets `check` look at it,
    /// unmounts it and runs fsck.
    pub fn after_crash<T>(
        &self,
        scratch: &Path,
        name: &str,
        check: impl FnOnce(&Path) -> Result<T>,
    ) -> Result<T> {
        self.crash_image(scratch, name)?;
        let mut copy = Self::attach(&self.kind, scratch, name)?;
        copy.mount("")?;
        let found = check(&copy.dir)?;
        let image = copy.image.clone();
        copy.finish()?;
        std::fs::remove_file(image)?;
        Ok(found)
    }
}

/// A device that stands still.
pub struct Suspended {
    control: File,
    resume: Box<DmIoctl>,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let _ = sys::ioctl(&self.control, DM_DEV_SUSPEND, &mut *self.resume);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if self.mounted {
            let _ = sys::umount(&self.dir, libc::MNT_DETACH);
        }
        self.mapper.take();
    }
}

/// An image full of what an earlier owner of the disk left: seen at once where it shows through.
pub fn stale(image: &Path, bytes: u64) -> Result<()> {
    use std::io::Write;
    ensure!(bytes % 4096 == 0);
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create(image)?);
    let block: Vec<u8> = STALE.iter().copied().cycle().take(4096).collect();
    for _ in 0..bytes / 4096 {
        file.write_all(&block)?;
    }
    file.flush()?;
    Ok(())
}

const STALE: &[u8; 16] = b"stale data here ";
