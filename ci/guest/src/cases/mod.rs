// SPDX-License-Identifier: GPL-2.0

//! The named cases. Each makes a small file system of its own on a device full of stale data, ends
//! with umount and a full fsck, and prints one line of TAP.

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use std::io;
use std::path::PathBuf;
use std::time::Instant;

use crate::fs::Small;
use crate::sys;

mod crash;
mod damage;
mod data;
mod faults;
mod handles;
mod held;
mod idmap;
mod io_errors;
mod mounts;
mod names;
pub use names::many;
pub use names::unmany;
mod posix;
mod refusals;
mod space;
mod unplug;
pub mod upgrade;

/// What a case is given.
pub struct Case {
    /// Type of the file system under test.
    pub kind: String,
    /// A folder in memory for images and mount points.
    pub scratch: PathBuf,
    /// The full numbers, not the short ones.
    pub long: bool,
    name: &'static str,
}

/// The error that an operation must give.
pub fn expect<T: std::fmt::Debug>(result: io::Result<T>, errno: i32, what: &str) -> Result<()> {
    match result {
        Err(e) if sys::errno(&e) == errno => Ok(()),
        other => bail!(
            "{what}: {other:?}, expected {}",
            io::Error::from_raw_os_error(errno)
        ),
    }
}

pub const MIB: u64 = 1 << 20;

impl Case {
    /// A mounted file system of `mib` MiB.
    pub fn small(&self, mib: u64) -> Result<Small> {
        Small::new(&self.kind, &self.scratch, self.name, mib * MIB)
    }

    /// The same with a number of inodes and mount options.
    pub fn small_with(&self, mib: u64, inodes: Option<u64>, options: &str) -> Result<Small> {
        Small::with(
            &self.kind,
            &self.scratch,
            self.name,
            mib * MIB,
            inodes,
            options,
        )
    }

    /// Another one beside it.
    pub fn second(&self, mib: u64) -> Result<Small> {
        Small::new(
            &self.kind,
            &self.scratch,
            &format!("{}-2", self.name),
            mib * MIB,
        )
    }

    /// Checks what a crash at this moment would leave.
    pub fn after_crash<T>(
        &self,
        fs: &Small,
        check: impl FnOnce(&std::path::Path) -> Result<T>,
    ) -> Result<T> {
        fs.after_crash(&self.scratch, &format!("{}-c", self.name), check)
    }
}

type Run = fn(&Case) -> Result<()>;

/// Ok with this text is a skip with its reason.
pub struct Skip(pub &'static str);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::fmt::Debug for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Skip {}

fn all() -> Vec<(&'static str, Run)> {
    let mut all = Vec::new();
    all.extend_from_slice(posix::CASES);
    all.extend_from_slice(names::CASES);
    all.extend_from_slice(data::CASES);
    all.extend_from_slice(space::CASES);
    all.extend_from_slice(mounts::CASES);
    all.extend_from_slice(damage::CASES);
    all.extend_from_slice(handles::CASES);
    all.extend_from_slice(idmap::CASES);
    all.extend_from_slice(faults::CASES);
    all.extend_from_slice(io_errors::CASES);
    all.extend_from_slice(crash::CASES);
    all.extend_from_slice(upgrade::CASES);
    all.extend_from_slice(held::CASES);
    all.extend_from_slice(refusals::CASES);
    all.extend_from_slice(unplug::CASES);
    all
}

pub fn list() {
    for (name, _) in all() {
        println!("{name}");
    }
}

/// Runs the cases whose names contain one of `patterns` (all, if there is none).
pub fn run(kind: &str, scratch: PathBuf, long: bool, patterns: &[String]) -> Result<()> {
    std::fs::create_dir_all(&scratch)?;
    let (mut failed, mut ran) = (0, 0);
    for (name, run) in all() {
        // Upgrades and faults have suites of their own
        let wanted = match patterns {
            [] => !name.starts_with("upgrade") && !name.starts_with("fault"),
            patterns => patterns.iter().any(|p| name.contains(p.as_str())),
        };
        if !wanted {
            continue;
        }
        ran += 1;
        let case = Case {
            kind: kind.into(),
            scratch: scratch.clone(),
            long,
            name,
        };
        let begin = Instant::now();
        let result = std::panic::catch_unwind(|| run(&case)).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            bail!("panicked: {}", text.unwrap_or_default());
        });
        let took = begin.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("ok - {name} ({took:.1} s)"),
            Err(e) => match e.downcast_ref::<Skip>() {
                Some(reason) => println!("ok - {name} # SKIP {reason}"),
                None => {
                    failed += 1;
                    println!("# {e:#}");
                    println!("not ok - {name} ({took:.1} s)");
                }
            },
        }
        for entry in std::fs::read_dir(&scratch)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "img") {
                std::fs::remove_file(path)?;
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {ran} cases failed");
    }
    (ran > 0).then_some(()).context("no case has such a name")
}
