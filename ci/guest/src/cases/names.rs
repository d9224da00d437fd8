// SPDX-License-Identifier: GPL-2.0

//! Directories: large ones, busy ones, and reading while they change.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::collections::HashSet;
use std::fs;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use super::Case;
use super::Run;
use super::MIB;
use crate::pattern::Rng;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("names-any-bytes", any_bytes),
    ("names-four-tasks", four_tasks),
    ("names-readdir-while-unlinking", readdir_while_unlinking),
    ("names-many-small", many_small),
];

fn count(dir: &Path) -> Result<usize> {
    let mut seen = HashSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        ensure!(
            seen.insert(entry.file_name()),
            "{:?} twice",
            entry.file_name()
        );
    }
    Ok(seen.len())
}

/// Names of 1 to 255 bytes, all bytes but '/' and NUL; 256 are too many.
fn any_bytes(case: &Case) -> Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut fs = case.small(32)?;
    let mut names = Vec::new();
    for byte in (1..=255_u8).filter(|b| *b != b'/' && *b != b'.') {
        names.push(vec![byte]);
        names.push(vec![byte; 255]);
        names.push(vec![byte; usize::from(byte)]);
    }
    names.sort();
    names.dedup();
    for name in &names {
        fs::write(fs.dir.join(OsStr::from_bytes(name)), name)?;
    }
    let long = fs.dir.join("x".repeat(256));
    match File::create(long) {
        Err(e) if sys::errno(&e) == libc::ENAMETOOLONG => {}
        other => bail!("a name of 256 bytes: {other:?}"),
    }
    fs.cycle()?;
    for name in &names {
        ensure!(
            &fs::read(fs.dir.join(OsStr::from_bytes(name)))? == name,
            "{name:?}"
        );
    }
    let listed: HashSet<Vec<u8>> = fs::read_dir(&fs.dir)?
        .map(|e| Ok(e?.file_name().as_bytes().to_vec()))
        .collect::<Result<_>>()?;
    for name in &names {
        ensure!(listed.contains(name), "{name:?} is not listed");
    }
    fs.finish()
}

/// Four tasks create, rename and unlink in one directory; at the end each name is as its task left it.
fn four_tasks(case: &Case) -> Result<()> {
    let mut fs = case.small(128)?;
    let dir = fs.path("dir");
    fs::create_dir(&dir)?;
    let time = Duration::from_secs(if case.long { 60 } else { 5 });
    let end = Instant::now() + time;
    let (mut want, mut done) = (HashSet::new(), 0);
    std::thread::scope(|scope| -> Result<()> {
        let tasks: Vec<_> = (0..4_u64)
            .map(|task| {
                let dir = &dir;
                scope.spawn(move || task_of_four(dir, task, end))
            })
            .collect();
        for task in tasks {
            let (names, steps) = task.join().expect("a task does not panic")?;
            want.extend(names);
            done += steps;
        }
        Ok(())
    })?;
    for round in 0..2 {
        let have: HashSet<String> = fs::read_dir(&dir)?
            .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
            .filter(|n| !matches!(n, Ok(n) if n.starts_with("shared")))
            .collect::<Result<_>>()?;
        ensure!(
            have == want,
            "round {round}: {} names are missing, {} too many",
            want.difference(&have).count(),
            have.difference(&want).count()
        );
        let directories = want.iter().filter(|n| n.contains("-d-")).count() as u64;
        let shared = fs::read_dir(&dir)?
            .filter_map(|e| e.ok())
            .filter(|e| {
                e.file_name()
                    .to_string_lossy()
                    .into_owned()
                    .starts_with("shared")
            })
            .filter(|e| e.path().is_dir())
            .count() as u64;
        let links = dir.metadata()?.nlink();
        ensure!(
            links == 2 + directories + shared || links == 1,
            "{links} links"
        );
        for name in &want {
            let meta = dir
                .join(name)
                .symlink_metadata()
                .with_context(|| name.clone())?;
            ensure!(
                meta.is_dir() == name.contains("-d-"),
                "{name} is of another kind"
            );
        }
        fs.cycle()?;
    }
    println!("# {done} steps, {} names left", want.len());
    fs.finish()
}

fn task_of_four(dir: &Path, task: u64, end: Instant) -> Result<(HashSet<String>, u64)> {
    let mut rng = Rng::new(task);
    let mut names: Vec<String> = Vec::new();
    let (mut next, mut steps) = (0, 0);
    let mut fresh = |kind: &str| {
        next += 1;
        format!("{task}-{kind}-{next}")
    };
    // What others may have done to a shared name in the meantime
    let shared_ok = |r: std::io::Result<()>| match r {
        Err(e)
            if [
                libc::ENOENT,
                libc::EEXIST,
                libc::EISDIR,
                libc::ENOTDIR,
                libc::ENOTEMPTY,
            ]
            .contains(&sys::errno(&e)) =>
        {
            Ok(())
        }
        other => other,
    };
    while Instant::now() < end {
        steps += 1;
        let pick = rng.below(names.len().max(1) as u64) as usize;
        match rng.below(10) {
            0..=2 if names.len() < 300 => {
                let name = fresh("f");
                fs::write(dir.join(&name), b"")?;
                names.push(name);
            }
            3 if names.len() < 300 => {
                let name = fresh("d");
                fs::create_dir(dir.join(&name))?;
                names.push(name);
            }
            4 | 5 if !names.is_empty() => {
                let from = names.swap_remove(pick);
                let to = fresh(if from.contains("-d-") { "d" } else { "f" });
                sys::rename(&dir.join(&from), &dir.join(&to), libc::RENAME_NOREPLACE)?;
                names.push(to);
            }
            6 | 7 if !names.is_empty() => {
                let name = names.swap_remove(pick);
                match name.contains("-d-") {
                    true => fs::remove_dir(dir.join(&name))?,
                    false => fs::remove_file(dir.join(&name))?,
                }
            }
            _ => {
                let a = dir.join(format!("shared-{}", rng.below(6)));
                let b = dir.join(format!("shared-{}", rng.below(6)));
                shared_ok(match rng.below(6) {
                    0 => File::create(&a).map(drop),
                    1 => fs::create_dir(&a),
                    2 => fs::rename(&a, &b),
                    3 => sys::rename(&a, &b, libc::RENAME_EXCHANGE),
                    4 => fs::remove_file(&a),
                    _ => fs::remove_dir(&a),
                })?;
            }
        }
    }
    Ok((names.into_iter().collect(), steps))
}

/// A reader sees every name that stays, once, while others come and go.
fn readdir_while_unlinking(case: &Case) -> Result<()> {
    let fs = case.small(64)?;
    let dir = fs.path("dir");
    fs::create_dir(&dir)?;
    let number = if case.long { 20_000 } else { 3_000 };
    for n in 0..number {
        File::create(dir.join(format!("stays-{n}")))?;
        File::create(dir.join(format!("goes-{n}")))?;
    }
    let mut seen = HashSet::new();
    for (at, entry) in fs::read_dir(&dir)?.enumerate() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        ensure!(seen.insert(name.clone()), "{name} twice");
        if at < number {
            fs::remove_file(dir.join(format!("goes-{at}")))?;
            File::create(dir.join(format!("comes-{at}")))?;
        }
    }
    let stays = seen.iter().filter(|n| n.starts_with("stays-")).count();
    ensure!(
        stays == number,
        "{stays} of {number} names that stayed were read"
    );
    // Empty it while reading it, as rm -r does, in one pass
    for entry in fs::read_dir(&dir)? {
        fs::remove_file(entry?.path())?;
    }
    ensure!(count(&dir)? == 0, "{} names left", count(&dir)?);
    fs::remove_dir(&dir)?;
    fs.finish()
}

fn many_small(case: &Case) -> Result<()> {
    let mut fs = case.small_with(96, Some(8_000), "")?;
    let dir = fs.path("dir");
    fs::create_dir(&dir)?;
    many(&dir, 5_000)?;
    fs.cycle()?;
    unmany(&dir, 5_000)?;
    fs.finish()
}

/// Makes `number` files in one directory and finds them all; then some are looked up, some are not there.
pub fn many(dir: &Path, number: u64) -> Result<()> {
    let name = |n: u64| dir.join(format!("file-with-a-name-{n:08}"));
    let begin = Instant::now();
    for n in 0..number {
        sys::open(
            name(n),
            libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
            0o644,
        )
        .with_context(|| format!("file {n}"))?;
    }
    let made = begin.elapsed();
    let seen = count(dir)?;
    ensure!(seen as u64 == number, "{seen} of {number} names are listed");
    sys::drop_caches()?;
    let begin = Instant::now();
    let mut rng = Rng::new(number);
    for _ in 0..2_000 {
        name(rng.below(number)).symlink_metadata()?;
        match name(number + rng.below(number)).symlink_metadata() {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            other => bail!("a name that was never made: {other:?}"),
        }
    }
    println!(
        "# {number} files in one directory: made in {:.1} s, 4000 lookups {:.1} s, directory {} MiB",
        made.as_secs_f32(),
        begin.elapsed().as_secs_f32(),
        dir.metadata()?.len() / MIB
    );
    Ok(())
}

/// Removes what `many` made: every other one, then the rest.
pub fn unmany(dir: &Path, number: u64) -> Result<()> {
    let begin = Instant::now();
    for from in [0, 1] {
        for n in (from..number).step_by(2) {
            fs::remove_file(dir.join(format!("file-with-a-name-{n:08}")))?;
        }
        let left = count(dir)? as u64;
        let want = if from == 0 { number / 2 } else { 0 };
        ensure!(left == want, "{left} names left, not {want}");
        if from == 0 {
            match fs::remove_dir(dir) {
                Err(e) if sys::errno(&e) == libc::ENOTEMPTY => {}
                other => bail!("rmdir of a full directory: {other:?}"),
            }
        }
    }
    println!("# removed in {:.1} s", begin.elapsed().as_secs_f32());
    fs::remove_dir(dir)?;
    Ok(())
}
