// SPDX-License-Identifier: GPL-2.0

//! What is measured: groups of rows. A group works in a folder of its own, so that several can share a volume.

use super::visit::Visit;
use std::io;

pub mod append;
pub mod data;
pub mod directory;
pub mod filebench;
pub mod fileset;
pub mod growth;
pub mod mapping;
pub mod metadata;
pub mod names;
pub mod sqlite;
pub mod tree;
pub mod volumes;

/// A group of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Metadata,
    Directory,
    Read,
    Write,
    Append,
    Varmail,
    Fileserver,
    Webserver,
    Tree,
    Sqlite,
    Volumes,
    /// So many files.
    Growth(u64),
}

impl Group {
    /// Whether it makes volumes itself.
    fn makes_volumes(self) -> bool {
        matches!(self, Group::Volumes | Group::Growth(_))
    }

    /// Measures its rows.
    pub fn run(self, visit: &mut Visit<'_>) -> io::Result<()> {
        match self {
            Group::Metadata => metadata::run(visit),
            Group::Directory => directory::run(visit),
            Group::Read => data::read::run(visit),
            Group::Write => data::write::run(visit),
            Group::Append => append::run(visit),
            Group::Varmail => filebench::run(visit, &filebench::VARMAIL),
            Group::Fileserver => filebench::run(visit, &filebench::FILESERVER),
            Group::Webserver => filebench::run(visit, &filebench::WEBSERVER),
            Group::Tree => tree::run(visit),
            Group::Sqlite => sqlite::run(visit),
            Group::Volumes => volumes::run(visit),
            Group::Growth(files) => growth::run(visit, files),
        }
    }
}

/// Makes a volume where one is needed, and measures the groups' rows on it.
pub fn run(groups: &[Group], visit: &mut Visit<'_>) -> io::Result<()> {
    if !groups.iter().any(|group| group.makes_volumes()) {
        visit.start(Default::default())?;
    }
    for group in groups {
        group.run(visit)?;
    }
    visit.umount()
}
