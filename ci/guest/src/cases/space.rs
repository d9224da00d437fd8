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
    for n in 0..1000 {
        if fill(&fs, &format!("filler-{n}"), 4 << 20)?.1 {
            break;
        }
    }
    let mut map = sys::Map::shared(&file, len as usize)?;
    map.write(0, &pattern::bytes(key, 0, len as usize / 2));
    map.sync().context("msync")?;
    drop(map);
    let half = len / 2;
    file.write_all_at(&pattern::bytes(key, half, half as usize), half)
        .context("write into fallocated space on a full disk")?;
    file.sync_all().context("fsync")?;
    drop(file);
    fs.cycle()?;
    verify(&fs, "reserved", len)?;
    fs.finish()
}
