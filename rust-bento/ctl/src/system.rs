// SPDX-License-Identifier: GPL-2.0

//! Where the kernel's files are.

use std::path::{
    Path,
    PathBuf, //
};

/// The root that `sys` and `proc` are looked for under: `/`, or a made-up one in tests.
#[derive(Clone, Debug)]
pub struct System {
    root: PathBuf,
}

impl System {
    /// The system under `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// `/sys/fs/bento`
    pub fn bento(&self) -> PathBuf {
        self.root.join("sys/fs/bento")
    }

    /// `/sys/fs/bento/mounts/ID`
    pub fn mount(&self, id: &str) -> PathBuf {
        self.bento().join("mounts").join(id)
    }

    /// What sysfs calls the block device of this number, as `nvme0n1`.
    pub fn block_device(&self, number: &str) -> Option<String> {
        let link = std::fs::read_link(self.root.join("sys/dev/block").join(number)).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    }

    /// `/proc/self/mountinfo`
    pub fn mountinfo(&self) -> PathBuf {
        self.root.join("proc/self/mountinfo")
    }

    /// Whether this is the system that the program runs on.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }
}
