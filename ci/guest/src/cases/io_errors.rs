// SPDX-License-Identifier: GPL-2.0

//! Devices that fail: who was told that data is safe finds it, who was not told gets an error, and what is
//! left is consistent once the device works again.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::expect;
use super::Case;
use super::Run;
use super::Skip;
use crate::fs::Small;
use crate::pattern;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("io-error-data", data),
    ("io-error-direct", direct),
    ("io-error-truncate", truncate),
    ("io-error-journal", journal),
    ("io-error-all-but-journal", all_but_journal),
    ("io-error-all", all),
    ("io-error-checkpoint", checkpoint),
];

/// First block and length of xv6's journal.
fn journal_of(case: &Case, fs: &Small) -> Result<(u64, u64)> {
    if case.kind != "xv6" {
        return Err(Skip("only xv6's journal is known here").into());
    }
    let mut words = [0; 16];
    File::open(fs.device())?.read_exact_at(&mut words, 4096 + 104)?;
    let (start, len) = words.split_at(8);
    Ok((
        u64::from_le_bytes(start.try_into()?),
        u64::from_le_bytes(len.try_into()?),
    ))
}

/// What fsck finds may only be what the kernel has noted about the errors; then it is repaired.
fn repair(case: &Case, fs: &Small) -> Result<()> {
    // The next fsync of the device tells of a write that failed, although nobody will miss it: the journal
    // has it
    let _ = File::open(fs.device())?.sync_all();
    if case.kind != "xv6" {
        return crate::fs::run(&format!("fsck.{}", case.kind), &["-f", "-p", fs.device()])
            .map(drop);
    }
    let output = Command::new("fsck.xv6")
        .args(["-f", "-y", fs.device()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let notes = [
        "the journal was aborted",
        "marked as damaged",
        "transactions",
        "inodes,",
        "orphans",
        "problems, all repaired",
        "an empty journal",
        ": clean",
    ];
    let other = text
        .lines()
        .find(|line| !notes.iter().any(|note| line.contains(note)));
    ensure!(
        other.is_none() && [Some(0), Some(1)].contains(&output.status.code()),
        "fsck -y: {}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Writes files and fsyncs them; those for which it succeeded, and how many failed.
fn work(fs: &Small, stop: &AtomicBool) -> (Vec<u64>, u64) {
    let (mut promised, mut failed) = (Vec::new(), 0);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = fs.path(&format!("dir-{}/file-{n}", n % 5));
        let synced = || -> std::io::Result<()> {
            let file = File::create(&path)?;
            file.write_all_at(&pattern::bytes(n, 0, 9_000), 0)?;
            file.sync_all()
        };
        match synced() {
            Ok(()) => promised.push(n),
            Err(_) => failed += 1,
        }
        if n % 7 == 0 {
            let _ = fs::rename(fs.path(&format!("dir-{}/file-{n}", n % 5)), fs.path("last"));
            promised.retain(|other| *other != n);
        }
        if failed > 200 {
            break;
        }
    }
    (promised, failed)
}

/// Parts of the device fail while files are made; then it works again.
fn fail_under_load(case: &Case, fs: &mut Small, parts: &[(u64, u64)]) -> Result<()> {
    for round in 0..if case.long { 20 } else { 3 } {
        for n in 0..5 {
            fs::create_dir_all(fs.path(&format!("dir-{n}")))?;
        }
        sys::syncfs(&File::open(&fs.dir)?)?;
        let stop = AtomicBool::new(false);
        let (promised, failed) = std::thread::scope(|scope| -> Result<_> {
            let worker = scope.spawn(|| work(fs, &stop));
            std::thread::sleep(Duration::from_millis(400 + 60 * round));
            let failing = fs.fail(parts);
            if failing.is_ok() {
                // Write-back and checkpoints meet the errors, too
                let _ = sys::syncfs(&File::open("/")?);
                std::thread::sleep(Duration::from_millis(800));
                let _ = sys::drop_caches();
            }
            stop.store(true, Ordering::Relaxed);
            let result = worker.join().expect("it does not panic");
            failing.map(|()| result)
        })?;
        let umount = fs.umount();
        fs.fail(&[])?;
        umount.context("umount")?;
        println!(
            "# round {round}: {} promised, {failed} failed",
            promised.len()
        );
        repair(case, fs)?;
        fs.mount("")?;
        for n in promised {
            let path = fs.path(&format!("dir-{}/file-{n}", n % 5));
            let found = fs::read(&path).with_context(|| format!("promised: {}", path.display()))?;
            ensure!(
                found.len() == 9_000,
                "{}: {} bytes",
                path.display(),
                found.len()
            );
            let wrong = pattern::first_wrong(n, 0, &found, false);
            ensure!(wrong.is_none(), "{}: {wrong:?}", path.display());
        }
        for n in 0..5 {
            fs::remove_dir_all(fs.path(&format!("dir-{n}")))?;
        }
        fs.cycle()?;
    }
    Ok(())
}

fn journal(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let journal = journal_of(case, &fs)?;
    fail_under_load(case, &mut fs, &[journal])?;
    fs.finish()
}

fn all_but_journal(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let (start, len) = journal_of(case, &fs)?;
    let end = start + len;
    fail_under_load(case, &mut fs, &[(0, start), (end, 48 * 256 - end)])?;
    fs.finish()
}

fn all(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    fail_under_load(case, &mut fs, &[(0, 48 * 256)])?;
    fs.finish()
}

/// Blocks of one file fail: its users are told, nobody else notices, and it can be written again.
fn data(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let path = fs.path("file");
    fs::write(&path, vec![b'o'; 65_536])?;
    fs::write(fs.path("other"), b"other")?;
    let file = File::options().read(true).write(true).open(&path)?;
    file.sync_all()?;
    // FIBMAP is for few; FIEMAP's answer has the first extent at 32 bytes, its place at 8 more
    let mut map = [0_u64; 4 + 7];
    map[1] = u64::MAX;
    map[2] = 0;
    map[3] = 1;
    sys::ioctl(&file, sys::ioc(3, b'f', 11, 32), map.as_mut_ptr()).context("FIEMAP")?;
    let (block, blocks) = (map[5] / 4096, map[6] / 4096);
    ensure!(blocks == 16, "{blocks} blocks at {block}: {map:?}");
    fs.fail(&[(block + 2, 5)])?;

    expect(
        {
            file.write_all_at(&[b'n'; 65_536], 0)?;
            file.sync_all()
        },
        libc::EIO,
        "fsync",
    )?;
    // It was told, and the pages are clean: what they hold is not promised
    file.sync_all().context("the second fsync")?;
    let direct = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)?;
    let buffer = sys::Aligned::new(65_536);
    expect(direct.write_at(&buffer, 0), libc::EIO, "O_DIRECT write")?;
    sys::drop_caches()?;
    let mut byte = [0];
    expect(file.read_at(&mut byte, 3 * 4096), libc::EIO, "read")?;
    // New data goes elsewhere, and the volume is written to as before
    fs::write(fs.path("new"), vec![b'x'; 200_000])?;
    File::open(fs.path("new"))?.sync_all()?;
    ensure!(fs::read(fs.path("other"))? == b"other");
    // It tells of the file's error once, too
    let root = File::open(&fs.dir)?;
    let _ = sys::syncfs(&root);
    sys::syncfs(&root).context("syncfs")?;
    drop(root);
    fs.fail(&[])?;
    file.write_all_at(&[b'w'; 65_536], 0)?;
    file.sync_all()?;
    drop((file, direct));
    fs.cycle()?;
    ensure!(fs::read(&path)? == [b'w'; 65_536]);
    ensure!(fs::read(fs.path("new"))?.len() == 200_000);
    fs.finish()
}

/// Direct writes that fail write nothing, and take no space. Waited for or not.
fn direct(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let path = fs.path("file");
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_DIRECT)
            .open(&path)
    };
    let file = open()?;
    file.set_len(1 << 20)?;
    // Leads to the bitmaps, so that nothing is read while the device fails
    fs::write(fs.path("other"), b"other")?;
    let mut buffer = sys::Aligned::new(65_536);
    file.write_all_at(&buffer, 0)?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let before = sys::free(&fs.dir)?.0;

    fs.fail(&[(0, 48 * 256)])?;
    buffer.fill(1);
    expect(file.write_at(&buffer, 1 << 18), libc::EIO, "write")?;
    let waited = sys::free(&fs.dir)?.0;
    let mut aio = sys::Aio::new()?;
    aio.write(&file, &buffer, 1 << 19)?;
    let result = aio.wait(1)?;
    drop((aio, file));
    let not_waited = sys::free(&fs.dir)?.0;
    fs.fail(&[])?;
    ensure!(
        result == Some(-i64::from(libc::EIO)),
        "aio write: {result:?}"
    );
    ensure!(
        waited == before && not_waited == before,
        "{before} bytes free before, {waited} and {not_waited} after the writes"
    );
    let file = open()?;
    let mut all = sys::Aligned::new(1 << 20);
    all.fill(1);
    file.read_exact_at(&mut all, 0)?;
    ensure!(all.iter().all(|b| *b == 0), "data of failed writes");
    file.write_all_at(&buffer, 1 << 19)?;
    drop(file);
    fs.cycle()?;
    let data = fs::read(&path)?;
    let (zeros, rest) = data.split_at(1 << 19);
    let (ones, more) = rest.split_at(65_536);
    ensure!(ones.iter().all(|b| *b == 1));
    ensure!(zeros.iter().chain(more).all(|b| *b == 0));
    fs.finish()
}

/// A file whose new data could not be written is truncated: that is its users' loss alone, and the volume is
/// written to as before.
fn truncate(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let whole = [(0, 48 * 256)];
    let path = fs.path("file");
    let file = File::create(&path)?;
    // Leads to the bitmaps, so that nothing is read while the device fails
    fs::write(fs.path("other"), b"other")?;
    sys::syncfs(&File::open(&fs.dir)?)?;

    // The error is an old one when the file is truncated
    fs.fail(&whole)?;
    file.write_all_at(&[b'a'; 8192], 0)?;
    sys::start_writeback(&file).context("sync_file_range")?;
    std::thread::sleep(Duration::from_millis(500));
    fs.fail(&[])?;
    file.set_len(4096).context("ftruncate after an error")?;
    expect(file.sync_all(), libc::EIO, "fsync")?;
    file.sync_all().context("the second fsync")?;
    fs::write(fs.path("next"), b"next")?;
    File::open(fs.path("next"))?.sync_all().context("next")?;

    // It is found by the truncation itself, which flushes in Bento and does not in other file systems
    if case.kind == "xv6" {
        file.set_len(0)?;
        file.sync_all()?;
        fs.fail(&whole)?;
        file.write_all_at(&[b'b'; 8192], 0)?;
        expect(file.set_len(4096), libc::EIO, "ftruncate")?;
        ensure!(file.metadata()?.len() == 8192);
        fs.fail(&[])?;
        file.set_len(4096).context("the second ftruncate")?;
        expect(file.sync_all(), libc::EIO, "fsync after both")?;
    }
    file.write_all_at(&[b'c'; 8192], 0)?;
    file.sync_all().context("fsync of new data")?;
    fs::write(fs.path("last"), b"last")?;
    File::open(fs.path("last"))?.sync_all().context("last")?;
    drop(file);
    fs.cycle()?;
    ensure!(fs::read(&path)? == [b'c'; 8192]);
    ensure!(fs::read(fs.path("next"))? == b"next");
    ensure!(fs::read(fs.path("last"))? == b"last");
    fs.finish()
}

/// A metadata block that is in the journal cannot be brought to its place: what is read afterwards is what was
/// stored, and not what the place still has.
fn checkpoint(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let (start, len) = journal_of(case, &fs)?;
    let end = start + len;
    // More than one, so that the directory has a leaf on disk
    for n in 0..10 {
        fs::create_dir(fs.path(&format!("old-{n}")))?;
    }
    let root = File::open(&fs.dir)?;
    sys::syncfs(&root)?;
    // Empties the journal
    sys::freeze(&root)?;
    sys::thaw(&root)?;

    fs::create_dir(fs.path("new"))?;
    root.sync_all()?;
    fs.fail(&[(0, start), (end, 48 * 256 - end)])?;
    // Brings everything to its place, in vain. Whether it says so is not the matter here.
    if sys::freeze(&root).is_ok() {
        sys::thaw(&root)?;
    }
    fs.fail(&[])?;
    let seen = fs::read_dir(&fs.dir)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        seen.iter().any(|name| name == "new"),
        "a directory that was synced is not seen: {seen:?}"
    );
    drop(root);
    let _ = fs.umount();
    repair(case, &fs)?;
    fs.mount("")?;
    ensure!(
        fs.path("new").is_dir(),
        "a directory that was synced is lost"
    );
    fs.finish()
}
