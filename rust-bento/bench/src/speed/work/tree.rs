// SPDX-License-Identifier: GPL-2.0

//! What people do with a source tree: part of a kernel's, some 5,000 files. The archive and the repository lie in memory.

use super::super::{
    command::Line,
    sample::{
        Row,
        Unit, //
    },
    visit::{
        Ends,
        Visit, //
    },
};
use std::{
    io,
    path::Path, //
};

/// The files of `input`: an archive of the tree, and a bare repository of it.
pub const ARCHIVE: &str = "tree.tar";
pub const REPOSITORY: &str = "tree.git";

/// The rows: name, whether caches are dropped first, which time counts, and what a shell is told, with TREE, CLONE, INPUT in place
/// of paths.
pub const COMMANDS: [(&str, bool, Ends, &str); 6] = [
    (
        "untar",
        false,
        Ends::Settled,
        "mkdir TREE; tar -xf INPUT/tree.tar -C TREE",
    ),
    (
        "grep -r",
        false,
        Ends::Done,
        "grep -r -F no_such_word_anywhere TREE || test $? = 1",
    ),
    (
        "grep -r cold",
        true,
        Ends::Done,
        "grep -r -F no_such_word_anywhere TREE || test $? = 1",
    ),
    // tar reads no file if it sees that its output goes nowhere
    (
        "tar cold",
        true,
        Ends::Done,
        "tar -cf - -C TREE . | cat >/dev/null",
    ),
    (
        "git clone",
        false,
        Ends::Settled,
        "git -c safe.directory=* clone -q --no-hardlinks INPUT/tree.git CLONE",
    ),
    ("rm -rf", false, Ends::Settled, "rm -rf TREE"),
];

/// One of them, for a shell.
pub fn line(command: &str, dir: &Path, input: &Path) -> Line {
    let place = |name: &str| dir.join(name).display().to_string();
    Line::shell(
        &command
            .replace("TREE", &place("tree"))
            .replace("CLONE", &place("clone"))
            .replace("INPUT", &input.display().to_string()),
    )
}

pub fn run(visit: &mut Visit<'_>) -> io::Result<()> {
    let dir = visit.folder("work")?;
    for (name, cold, ends, command) in COMMANDS {
        let line = line(command, &dir, visit.input);
        let row = Row::new("tree", name, Unit::Runs);
        let work = |_: &mut Visit<'_>| line.run().map(|()| 1);
        match cold {
            true => drop(visit.measure_cold(row, ends, work)?),
            false => drop(visit.measure(row, ends, work)?),
        }
    }
    Ok(())
}
