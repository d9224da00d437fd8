// SPDX-License-Identifier: GPL-2.0

//! The systems that are compared, and the commands that make, mount and check them: what the report tells is what is run.
//!
//! All have the defaults of their tools, but for two things: nothing is discarded first, and ext4's tables are written by
//! mkfs and not in the background of the first minutes, which would be measured with it.

use super::command::Line;
use clap::ValueEnum;
use std::{
    env,
    fs,
    path::Path, //
};

/// A system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum System {
    Ext4,
    Ext4Journal,
    Xfs,
    Xv6,
    Xv6Prov,
    Xv6Fuse,
    Tmpfs,
}

/// How large a volume is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// All of the disk if there is none.
    pub mib: Option<u64>,
    /// Room for so many files, where a volume has a number of them; the tool's default if there is none.
    pub files: Option<u64>,
}

impl System {
    /// What all the others are compared with.
    pub const BASE: System = System::Ext4;

    pub const ALL: [System; 7] = [
        System::Ext4,
        System::Ext4Journal,
        System::Xfs,
        System::Xv6,
        System::Xv6Prov,
        System::Xv6Fuse,
        System::Tmpfs,
    ];

    pub fn name(self) -> &'static str {
        match self {
            System::Ext4 => "ext4",
            System::Ext4Journal => "ext4-journal",
            System::Xfs => "xfs",
            System::Xv6 => "xv6",
            System::Xv6Prov => "xv6-prov",
            System::Xv6Fuse => "xv6-fuse",
            System::Tmpfs => "tmpfs",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|system| system.name() == name)
    }

    pub fn about(self) -> &'static str {
        match self {
            System::Ext4 => "ext4, data=ordered, its default",
            System::Ext4Journal => "ext4, data=journal",
            System::Xfs => "XFS",
            System::Xv6 => "xv6 in the kernel, on Bento",
            System::Xv6Prov => "xv6 with provenance, on Bento",
            System::Xv6Fuse => {
                "xv6 in user space, by bento-fuse: many threads, writeback cache, its defaults"
            }
            System::Tmpfs => "tmpfs: no disk, so what the VFS and the page cache allow at most",
        }
    }

    pub fn has_disk(self) -> bool {
        self != System::Tmpfs
    }

    /// Whether a sync of the whole file system reaches the disk; the server of FUSE commits for fsync only.
    pub fn syncs(self) -> bool {
        self != System::Xv6Fuse
    }

    /// What mount is told.
    fn kind(self) -> &'static str {
        match self {
            System::Ext4 | System::Ext4Journal => "ext4",
            System::Xv6Fuse => "fuse",
            _ => self.name(),
        }
    }

    /// Makes a volume. `None` where there is none to make.
    pub fn mkfs(self, disk: &Path, size: Size) -> Option<Line> {
        let disk = disk.display();
        let files = |option: &str| {
            size.files
                .map_or(String::new(), |n| format!(" {option} {n}"))
        };
        let mib = |before: &str, after: &str| {
            size.mib
                .map_or(String::new(), |n| format!(" {before}{n}{after}"))
        };
        let text = match self {
            System::Ext4 | System::Ext4Journal => format!(
                "mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0{} {disk}{}",
                files("-N"),
                mib("", "M")
            ),
            System::Xfs => format!("mkfs.xfs -q -f -K{} {disk}", mib("-d size=", "m")),
            System::Xv6 | System::Xv6Prov | System::Xv6Fuse => {
                format!("mkfs.xv6 -q -F -K{} {disk}{}", files("-N"), mib("", "M"))
            }
            System::Tmpfs => return None,
        };
        Some(Line::new(&text))
    }

    /// Mounts it. For [`System::Xv6Fuse`] it is the server, which stays.
    pub fn mount(self, disk: &Path, dir: &Path) -> Line {
        let (disk, dir) = (disk.display(), dir.display());
        Line::new(&match self {
            System::Ext4Journal => format!("mount -t ext4 -o data=journal {disk} {dir}"),
            System::Xv6Fuse => format!("bento-fuse -f -o dev,suid {disk} {dir}"),
            System::Tmpfs => format!("mount -t tmpfs -o size=75%,nr_inodes=0 tmpfs {dir}"),
            _ => format!("mount -t {} {disk} {dir}", self.kind()),
        })
    }

    /// Checks all of it and changes nothing.
    pub fn fsck(self, disk: &Path) -> Option<Line> {
        let disk = disk.display();
        Some(Line::new(&match self {
            System::Ext4 | System::Ext4Journal => format!("fsck.ext4 -f -n {disk}"),
            System::Xfs => format!("xfs_repair -n {disk}"),
            System::Xv6 | System::Xv6Prov | System::Xv6Fuse => format!("fsck.xv6 -f -n {disk}"),
            System::Tmpfs => return None,
        }))
    }

    /// Why it cannot be measured here, if so.
    pub fn missing(self) -> Option<String> {
        let (disk, dir) = (Path::new("disk"), Path::new("dir"));
        let lines = [
            self.mkfs(disk, Size::default()),
            Some(self.mount(disk, dir)),
            self.fsck(disk),
        ];
        for line in lines.iter().flatten() {
            if !in_path(line.program()) {
                return Some(format!("there is no {}", line.program()));
            }
        }
        // What is built in knows no module, so only the list tells
        let module = self.kind().replace('-', "_");
        let _ = Line::new(&format!("modprobe -q {module}")).run();
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let found = known
            .lines()
            .any(|line| line.split_whitespace().last() == Some(self.kind()));
        (!found).then(|| format!("the kernel has no {}", self.kind()))
    }
}

fn in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
