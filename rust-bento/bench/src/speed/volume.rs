// SPDX-License-Identifier: GPL-2.0

//! A mounted volume.

use super::{
    command::Line,
    system::System, //
};
use std::{
    fs::{
        self,
        File, //
    },
    io,
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Child,
        Stdio, //
    },
    thread,
    time::{
        Duration,
        Instant, //
    },
};

/// How long a server of FUSE may take to mount.
const PATIENCE: Duration = Duration::from_secs(60);

/// Mounted until it is dropped.
#[derive(Debug)]
pub struct Volume {
    system: System,
    dir: PathBuf,
    server: Option<Child>,
    mounted: bool,
}

fn is_mounted(dir: &Path) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mounts")?;
    let dir = dir.to_string_lossy();
    Ok(table
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(dir.as_ref())))
}

impl Volume {
    /// Mounts what is on `disk` at `dir`.
    pub fn mount(system: System, disk: &Path, dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let line = system.mount(disk, dir);
        let server = match system {
            System::Xv6Fuse => Some(serve(&line, dir)?),
            _ => {
                line.run()?;
                None
            }
        };
        Ok(Self {
            system,
            dir: dir.into(),
            server,
            mounted: true,
        })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns when all that was done is on the disk.
    pub fn settle(&self) -> io::Result<()> {
        let root = File::open(&self.dir)?;
        rustix::fs::syncfs(&root)?;
        match self.system.syncs() {
            true => Ok(()),
            false => root.sync_all(),
        }
    }

    /// Returns when it is no longer mounted and nobody uses the disk any more.
    pub fn umount(mut self) -> io::Result<()> {
        self.unmount()
    }

    fn unmount(&mut self) -> io::Result<()> {
        self.mounted = false;
        Line::new(&format!("umount {}", self.dir.display())).run()?;
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        match server.wait()? {
            status if status.success() => Ok(()),
            status => Err(io::Error::other(format!("bento-fuse: {status}"))),
        }
    }
}

/// Starts the server and returns when it has mounted.
fn serve(line: &Line, dir: &Path) -> io::Result<Child> {
    let mut server = line.command().stdout(Stdio::null()).spawn()?;
    let begin = Instant::now();
    while !is_mounted(dir)? {
        if let Some(status) = server.try_wait()? {
            return Err(io::Error::other(format!("{line}: {status}")));
        }
        if begin.elapsed() > PATIENCE {
            server.kill()?;
            server.wait()?;
            return Err(io::Error::other(format!("{line}: it does not mount")));
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(server)
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            // The failure that led here is the one to tell
            let _ = self.unmount();
        }
    }
}

/// Forgets cached pages, names and inodes, of all file systems.
pub fn drop_caches() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3")
}
