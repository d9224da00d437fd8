// SPDX-License-Identifier: GPL-2.0

//! Full disks.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use super::Case;
use super::Run;
use crate::fs::Small;
use crate::pattern;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("enospc-blocks", blocks),
    ("enospc-rm-then-write", rm_then_write),
    ("enospc-inodes", inodes),
    ("enospc-fallocate-mmap", fallocate_mmap),
    ("enospc-fallocate-keep-size", fallocate_keep_size),
    ("enospc-fallocate-scattered", fallocate_scattered),
    ("space-short-write", short_write),
];

const CHUNK: usize = 64 * 1024;

/// Writes a file until the disk is full or it has `most` bytes; what `write` accepted.
fn fill(fs: &Small, name: &str, most: u64) -> Result<(u64, bool)> {
    let key = pattern::key(name, 0);
    let file = match File::create(fs.path(name)) {
        Ok(file) => file,
        Err(e) if sys::errno(&e) == libc::ENOSPC => return Ok((0, true)),
        Err(e) => return Err(e).context(name.to_string()),
    };
    let mut at = 0;
    while at < most {
        let chunk = CHUNK.min((most - at) as usize);
        match file.write_at(&pattern::bytes(key, at, chunk), at) {
            Ok(0) => bail!("write wrote nothing"),
            Ok(n) => at += n as u64,
            Err(e) if sys::errno(&e) == libc::ENOSPC => return Ok((at, true)),
            Err(e) => return Err(e).context("write"),
        }
    }
    Ok((at, false))
}

fn verify(fs: &Small, name: &str, len: u64) -> Result<()> {
    let data = fs::read(fs.path(name))?;
    ensure!(
        data.len() as u64 == len,
        "{name} has {} bytes of {len}",
        data.len()
    );
    let wrong = pattern::first_wrong(pattern::key(name, 0), 0, &data, false);
    ensure!(wrong.is_none(), "{name}: wrong byte at {wrong:?}");
    Ok(())
}

/// Everything that write accepted is there after sync and remount; all comes back when deleted.
fn blocks(case: &Case) -> Result<()> {
    let mut fs = case.small(64)?;
    // Directory blocks stay with the directory: what it grows to is in the figure
    fs::create_dir(fs.path("dir"))?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let before = sys::free(&fs.dir)?;
    let mut written = 0;
    for round in 0..2 {
        let mut files = Vec::new();
        for n in 0..10_000 {
            let name = format!("dir/{round}-{n}");
            let (len, full) = fill(&fs, &name, 1 << 20)?;
            if len > 0 {
                files.push((name, len));
                written += len;
            }
            if full {
                break;
            }
        }
        let total: u64 = files.iter().map(|f| f.1).sum();
        ensure!(
            total >= before.0 / 10 * 8,
            "full after {total} of {} bytes",
            before.0
        );
        // Nothing here may end half done; each fails or succeeds as a whole
        for n in 0..50 {
            let _ = fs::create_dir(fs.path(&format!("dir/sub-{n}")));
            let _ = std::os::unix::fs::symlink("t".repeat(1000), fs.path(&format!("dir/ln-{n}")));
        }
        sys::syncfs(&File::open(&fs.dir)?).context("sync of a full disk")?;
        sys::drop_caches()?;
        for (name, len) in &files {
            verify(&fs, name, *len)?;
        }
        fs.cycle()?;
        for (name, len) in &files {
            verify(&fs, name, *len)?;
        }
        fs::remove_dir_all(fs.path("dir"))?;
        fs::create_dir(fs.path("dir"))?;
        sys::syncfs(&File::open(&fs.dir)?)?;
        let after = sys::free(&fs.dir)?;
        ensure!(
            after.1 == before.1,
            "{} free inodes, {} before",
            after.1,
            before.1
        );
        ensure!(
            after.0 + 128 * 1024 >= before.0,
            "{} bytes free, {} before",
            after.0,
            before.0
        );
    }
    println!("# {written} bytes written to two full disks");
    fs.finish()
}

/// Space that rm gives back can be used at once, though its transaction has not committed.
fn rm_then_write(case: &Case) -> Result<()> {
    let fs = case.small(64)?;
    let rounds = if case.long { 20 } else { 4 };
    let mut files = Vec::new();
    for n in 0..1000 {
        let name = format!("base-{n}");
        let (len, full) = fill(&fs, &name, 4 << 20)?;
        files.push((name, len));
        if full {
            break;
        }
    }
    ensure!(files.len() > 4, "the disk was full too soon");
    sys::syncfs(&File::open(&fs.dir)?)?;
    for round in 0..rounds {
        let (name, len) = files.remove(0);
        fs::remove_file(fs.path(&name))?;
        let name = format!("again-{round}");
        let want = len / 10 * 7;
        let (got, full) = fill(&fs, &name, want)?;
        ensure!(
            !full && got == want,
            "ENOSPC after {got} of {want} bytes: {len} had been freed"
        );
        if round % 2 == 0 {
            File::open(fs.path(&name))?.sync_all().context("fsync")?;
        }
        files.push((name, got));
    }
    sys::syncfs(&File::open(&fs.dir)?)?;
    sys::drop_caches()?;
    for (name, len) in &files {
        verify(&fs, name, *len)?;
    }
    fs.finish()
}

fn inodes(case: &Case) -> Result<()> {
    let mut fs = case.small_with(64, Some(512), "")?;
    let before = sys::free(&fs.dir)?;
    let mut made = 0;
    let full = |e: &std::io::Error| sys::errno(e) == libc::ENOSPC;
    loop {
        match File::create(fs.path(&format!("f-{made}"))) {
            Ok(mut file) => file.write_all(b"one")?,
            Err(e) if full(&e) => break,
            Err(e) => return Err(e.into()),
        }
        made += 1;
        ensure!(made < 100_000, "the inodes do not end");
    }
    ensure!(
        made == before.1,
        "{made} files made, {} inodes were free",
        before.1
    );
    ensure!(sys::free(&fs.dir)?.1 == 0, "statfs still shows free inodes");
    for _ in 0..10 {
        let results = [
            fs::create_dir(fs.path("d")).map(drop),
            std::os::unix::fs::symlink("x", fs.path("s")),
            sys::mknod(&fs.path("p"), libc::S_IFIFO | 0o600, 0),
            sys::open(&fs.dir, libc::O_TMPFILE | libc::O_RDWR, 0o600).map(drop),
        ];
        for result in results {
            match result {
                Err(e) if full(&e) => {}
                other => bail!("expected ENOSPC, got {other:?}"),
            }
        }
    }
    // A link needs no inode; a file less makes room for a file more
    fs::hard_link(fs.path("f-0"), fs.path("link"))?;
    fs::remove_file(fs.path("f-1"))?;
    File::create(fs.path("f-1"))?;
    fs.cycle()?;
    for n in 0..made {
        fs::remove_file(fs.path(&format!("f-{n}")))?;
    }
    fs::remove_file(fs.path("link"))?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let after = sys::free(&fs.dir)?;
    ensure!(
        after.1 == before.1,
        "{} free inodes, {} before",
        after.1,
        before.1
    );
    fs.finish()
}

/// Writes files until the disk is full.
fn fill_all(fs: &Small) -> Result<()> {
    for n in 0..1000 {
        if fill(fs, &format!("filler-{n}"), 4 << 20)?.1 {
            return Ok(());
        }
    }
    bail!("the disk is never full");
}

/// Space promised by fallocate is there when the disk is full, in every way of writing.
fn fallocate_mmap(case: &Case) -> Result<()> {
    let mut fs = case.small(64)?;
    let len = 2 << 20;
    let key = pattern::key("reserved", 0);
    let file = sys::open(fs.path("reserved"), libc::O_RDWR | libc::O_CREAT, 0o644)?;
    sys::fallocate(&file, 0, 0, len)?;
    let mut zeros = vec![1; len as usize];
    file.read_exact_at(&mut zeros, 0)?;
    ensure!(
        zeros.iter().all(|b| *b == 0),
        "fallocated space does not read as zeros"
    );
    fill_all(&fs)?;
    let part = len / 4;
    let mut map = sys::Map::shared(&file, len as usize)?;
    map.write(0, &pattern::bytes(key, 0, part as usize));
    map.sync().context("msync")?;
    drop(map);
    file.write_all_at(&pattern::bytes(key, part, part as usize), part)
        .context("write into fallocated space on a full disk")?;
    let direct = sys::open(fs.path("reserved"), libc::O_WRONLY | libc::O_DIRECT, 0)?;
    let mut data = sys::Aligned::new(2 * part as usize);
    pattern::fill(key, 2 * part, &mut data);
    direct
        .write_all_at(&data, 2 * part)
        .context("direct write into fallocated space on a full disk")?;
    file.sync_all().context("fsync")?;
    drop((file, direct));
    fs.cycle()?;
    verify(&fs, "reserved", len)?;
    fs.finish()
}

/// The same behind the end of the file, for a file that is appended to.
fn fallocate_keep_size(case: &Case) -> Result<()> {
    let mut fs = case.small(64)?;
    let len = 2 << 20;
    let key = pattern::key("log", 0);
    let file = sys::open(fs.path("log"), libc::O_WRONLY | libc::O_CREAT, 0o644)?;
    sys::fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 0, len)?;
    fill_all(&fs)?;
    for at in (0..len).step_by(5000) {
        let part = (len - at).min(5000);
        file.write_all_at(&pattern::bytes(key, at, part as usize), at)
            .with_context(|| format!("append at {at} on a full disk"))?;
        if at % 7 == 0 {
            file.sync_data().context("fdatasync")?;
        }
    }
    file.sync_all().context("fsync")?;
    drop(file);
    fs.cycle()?;
    verify(&fs, "log", len)?;
    fs.finish()
}

/// Writes to every second block of fallocated space leave many small extents, whose mapping needs blocks
/// that the disk may not have. Whether it has them is told by the write, never by its write-back.
fn fallocate_scattered(case: &Case) -> Result<()> {
    const FILES: u64 = 600;
    const BLOCK: usize = 4096;
    const BLOCKS: usize = 16;
    let mut fs = case.small(64)?;
    let path = |fs: &Small, n: u64| fs.path(&format!("file-{n}"));
    for n in 0..FILES {
        let file = File::create(path(&fs, n))?;
        sys::fallocate(&file, 0, 0, (BLOCK * BLOCKS) as u64)?;
    }
    fill_all(&fs)?;
    let mut written = vec![[false; BLOCKS]; FILES as usize];
    let mut count = 0;
    'full: for n in 0..FILES {
        let file = File::options().write(true).open(path(&fs, n))?;
        for block in (0..BLOCKS).step_by(2) {
            let at = (block * BLOCK) as u64;
            match file.write_at(&pattern::bytes(n, at, BLOCK), at) {
                Ok(BLOCK) => written[n as usize][block] = true,
                Err(e) if sys::errno(&e) == libc::ENOSPC => break 'full,
                other => bail!("write: {other:?}"),
            }
            count += 1;
        }
    }
    println!(
        "# {count} blocks of {} written",
        FILES as usize * BLOCKS / 2
    );
    ensure!(count >= 1000, "ENOSPC after {count} blocks");
    sys::syncfs(&File::open(&fs.dir)?).context("sync of what write accepted")?;
    fs.cycle()?;
    for n in 0..FILES {
        let data = fs::read(path(&fs, n))?;
        ensure!(data.len() == BLOCK * BLOCKS, "{} bytes", data.len());
        for (block, bytes) in data.chunks(BLOCK).enumerate() {
            let at = (block * BLOCK) as u64;
            let right = match written[n as usize][block] {
                true => pattern::first_wrong(n, at, bytes, false).is_none(),
                false => bytes.iter().all(|b| *b == 0),
            };
            ensure!(right, "file {n}: block {block} is not what it was");
        }
    }
    fs.finish()
}

/// A write that ends early keeps no space for what it did not write, whatever write-back did meanwhile.
fn short_write(case: &Case) -> Result<()> {
    const GOOD: usize = 16 << 20;
    const WHOLE: usize = 96 << 20;
    const ROUNDS: usize = 8;
    let fs = case.small(256)?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let before = sys::free(&fs.dir)?.0;
    let mut files = Vec::new();
    for round in 0..ROUNDS {
        let file = File::create(fs.path(&format!("file-{round}")))?;
        let stop = AtomicBool::new(false);
        let written = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = sys::start_writeback(&file);
                }
            });
            let written = sys::write_torn(&file, GOOD, WHOLE, 0);
            stop.store(true, Ordering::Relaxed);
            written
        })?;
        ensure!(
            written as usize == GOOD,
            "round {round}: {written} bytes written, {GOOD} can be read"
        );
        file.sync_all()?;
        files.push(file);
    }
    let used = before - sys::free(&fs.dir)?.0;
    let needed = (ROUNDS * GOOD) as u64;
    println!("# {used} bytes used by {needed}");
    ensure!(
        used <= needed + needed / 16,
        "{used} bytes used by {needed}"
    );
    drop(files);
    fs.finish()
}
