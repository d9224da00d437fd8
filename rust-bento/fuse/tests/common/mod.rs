// SPDX-License-Identifier: GPL-2.0

//! Images, and servers on them.

#![allow(dead_code, reason = "not every test wants all of it")]

use kernel::user::device::FileDevice;
use rustix::{
    io::Errno,
    mount::{
        unmount,
        UnmountFlags, //
    },
    process::{
        kill_process,
        Pid,
        Signal, //
    },
};
use std::{
    fs,
    io::Read,
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Child,
        Command,
        ExitStatus,
        Stdio, //
    },
    thread::sleep,
    time::{
        Duration,
        Instant, //
    },
};
use xv6_utils::{
    fsck,
    fsck::{
        FsckOptions,
        Report, //
    },
    mkfs,
    mkfs::MkfsOptions,
};

const SERVER: &str = env!("CARGO_BIN_EXE_bento-fuse");

/// How long a server may take to do what it is asked for.
const LIMIT: Duration = Duration::from_secs(60);
/// How long it may take where nothing else has to do with its mount.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether this system lets the test mount; if not it says why.
pub fn can_mount() -> bool {
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    let why = match opened {
        Err(error) => format!("/dev/fuse: {error}"),
        Ok(_) if !rustix::process::geteuid().is_root() => "mounting needs root".to_string(),
        Ok(_) => return true,
    };
    eprintln!("skipped: {why}");
    false
}

/// A folder with an image of 64 MiB and a mount point.
pub struct World(tempfile::TempDir);

impl World {
    /// An empty volume.
    pub fn new() -> Self {
        Self::with_blocks(16384)
    }

    pub fn with_blocks(blocks: u64) -> Self {
        Self::made(blocks, |device| {
            mkfs(device, &MkfsOptions::default()).expect("mkfs");
        })
    }

    /// With what `make` makes on an image.
    pub fn made(blocks: u64, make: impl FnOnce(&FileDevice)) -> Self {
        let this = Self(tempfile::tempdir().expect("folder"));
        fs::create_dir(this.point()).expect("mount point");
        make(&FileDevice::create(this.image(), blocks).expect("image"));
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn image(&self) -> PathBuf {
        self.path("image")
    }

    pub fn point(&self) -> PathBuf {
        self.path("mnt")
    }

    /// Serves the image in the foreground, and waits until it is mounted.
    pub fn serve(&self, options: &str) -> Server {
        let mut server = self.start(&self.image(), options);
        let start = Instant::now();
        while !is_mounted(&self.point()) {
            let is_late = start.elapsed() > LIMIT;
            if server.child.try_wait().expect("wait").is_some() {
                let said = server.said();
                // The lock that this process had on the image may be in a process that another test
                // is starting, see `Server::umount`.
                assert!(!is_late && said.contains("is in use"), "no mount: {said}");
                server = self.start(&self.image(), options);
            }
            assert!(!is_late, "no mount: {}", server.said());
            sleep(Duration::from_millis(5));
        }
        server
    }

    /// Starts a server that is expected to fail: its status and what it said.
    pub fn refused(&self, image: &Path, options: &str) -> (Option<i32>, String) {
        let mut server = self.start(image, options);
        let status = server.wait();
        assert!(!is_mounted(&self.point()), "mounted");
        (status.code(), server.said())
    }

    fn start(&self, image: &Path, options: &str) -> Server {
        let mut command = Command::new(SERVER);
        command.arg("-f").arg(image).arg(self.point());
        if !options.is_empty() {
            command.args(["-o", options]);
        }
        Server {
            child: command.stderr(Stdio::piped()).spawn().expect("server"),
            point: self.point(),
        }
    }

    /// Checks the volume. It must not be in use.
    pub fn check(&self) -> Report {
        let device = FileDevice::open_read_only(self.image()).expect("image");
        let options = FsckOptions {
            force: true,
            ..FsckOptions::default()
        };
        let report = fsck(&device, &options).expect("fsck");
        assert_eq!(report.problems, 0, "{:?}", report.lines);
        report
    }

    /// Whether the volume was left clean.
    pub fn is_clean(&self) -> bool {
        let device = FileDevice::open_read_only(self.image()).expect("image");
        let report = fsck(&device, &FsckOptions::default()).expect("fsck");
        assert_eq!(report.problems, 0, "{:?}", report.lines);
        report.skipped
    }
}

pub fn is_mounted(point: &Path) -> bool {
    let point = fs::canonicalize(point).unwrap_or_else(|_| point.to_owned());
    let point = point.to_string_lossy();
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&point))
}

/// A server in the foreground.
pub struct Server {
    child: Child,
    point: PathBuf,
}

impl Server {
    /// What it said until it ended.
    pub fn said(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).expect("UTF-8");
        }
        said
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("kill");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_none()
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        let mut signalled = 0;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(start.elapsed() < LIMIT, "the server does not end");
            // A process that made itself a mount namespace meanwhile has a copy of the mount, which
            // then ends with that or with a second signal.
            if start.elapsed() > PATIENCE && signalled < 2 && !is_mounted(&self.point) {
                self.signal(Signal::TERM);
                signalled += 1;
                sleep(Duration::from_millis(200));
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Unmounts as `umount` does, and expects that all went well.
    pub fn umount(mut self) {
        // A process that another test is starting may have a file open that was open here, for as
        // long as it takes to run its program.
        let start = Instant::now();
        while let Err(error) = unmount(&self.point, UnmountFlags::empty()) {
            let is_busy = error == Errno::BUSY && start.elapsed() < LIMIT;
            assert!(is_busy, "umount: {error}");
            sleep(Duration::from_millis(10));
        }
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = unmount(&self.point, UnmountFlags::DETACH);
    }
}
