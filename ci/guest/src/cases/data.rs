// SPDX-License-Identifier: GPL-2.0

//! File data: holes, ranges, direct I/O, several ways at once.

use anyhow::bail;
use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Barrier;
use std::time::Duration;
use std::time::Instant;

use super::Case;
use super::Run;
use crate::pattern;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("data-two-direct-writers", two_direct_writers),
    (
        "data-overlapping-direct-writers",
        overlapping_direct_writers,
    ),
    ("data-fallocate-and-write-back", fallocate_and_write_back),
    ("data-direct-append-and-read", direct_append_and_read),
    ("data-direct-write-faults", direct_write_faults),
    ("data-sparse-100g", sparse),
    ("data-fallocate", fallocate),
    ("data-fiemap", fiemap),
    ("data-flusher-chmod-eviction", flusher_chmod_eviction),
    ("data-fragmented", fragmented),
    ("data-direct-and-mapped", direct_and_mapped),
    ("data-cut-beside-write-back", cut_beside_write_back),
];

/// Two tasks write different sectors of one fresh block with O_DIRECT at the same moment.
fn two_direct_writers(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    let key = pattern::key("file", 0);
    let blocks: u64 = if case.long { 2000 } else { 300 };
    let path = fs.path("file");
    File::create(&path)?.set_len(blocks * 4096)?;
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..2_u64)
            .map(|half| {
                let (barrier, path) = (&barrier, &path);
                scope.spawn(move || -> Result<()> {
                    let file = sys::open(path, libc::O_WRONLY | libc::O_DIRECT, 0)?;
                    let mut result = Ok(());
                    for block in 0..blocks {
                        // Sectors 0, 2, 4, 6 or 1, 3, 5, 7
                        let at = block * 4096 + (block % 4 * 2 + half) * 512;
                        let mut data = sys::Aligned::new(512);
                        pattern::fill(key, at, &mut data);
                        barrier.wait();
                        // No early end: the other one waits at the barrier
                        result = result.and(file.write_all_at(&data, at));
                    }
                    Ok(result?)
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        Ok(())
    })?;
    let check = |fs: &crate::fs::Small| -> Result<()> {
        let data = fs::read(fs.path("file"))?;
        ensure!(data.len() as u64 == blocks * 4096);
        for block in 0..blocks {
            for sector in 0..8 {
                let at = block * 4096 + sector * 512;
                let bytes = &data[at as usize..at as usize + 512];
                if sector / 2 == block % 4 {
                    let wrong = pattern::first_wrong(key, at, bytes, false);
                    ensure!(
                        wrong.is_none(),
                        "block {block}: a write was lost at {wrong:?}"
                    );
                } else {
                    ensure!(
                        bytes.iter().all(|b| *b == 0),
                        "block {block}: sector {sector} not zero"
                    );
                }
            }
        }
        Ok(())
    };
    check(&fs)?;
    sys::drop_caches()?;
    check(&fs)?;
    fs.cycle()?;
    check(&fs)?;
    fs.finish()
}

/// How long a race is tried.
const RACE: Duration = Duration::from_secs(3);

/// Two tasks write overlapping aligned ranges of fresh holes with O_DIRECT, side by side.
fn overlapping_direct_writers(case: &Case) -> Result<()> {
    const BLOCK: u64 = 4096;
    const BLOCKS: u64 = 256;
    const WRITES: u64 = 32;
    let fs = case.small(32)?;
    let path = fs.path("file");
    let keys = [0, 1].map(|writer| pattern::key("writer", writer));
    let began = Instant::now();
    let mut round = 0_u64;
    while began.elapsed() < RACE {
        round += 1;
        // A new file, as only its first writes meet holes
        File::create(&path)?.set_len(BLOCKS * BLOCK)?;
        let barrier = Barrier::new(2);
        // Which writers wrote each block
        let mut by = [[false; 2]; BLOCKS as usize];
        std::thread::scope(|scope| -> Result<()> {
            let writers: Vec<_> = (0..2_u64)
                .map(|writer| {
                    let (barrier, path, key) = (&barrier, &path, keys[writer as usize]);
                    scope.spawn(move || -> Result<Vec<(u64, u64)>> {
                        let file = sys::open(path, libc::O_WRONLY | libc::O_DIRECT, 0);
                        let mut result = Ok(());
                        let mut done = Vec::new();
                        // One for both, so that they meet
                        let mut places = pattern::Rng::new(round);
                        let mut own = pattern::Rng::new(round * 2 + writer + (1 << 32));
                        for _ in 0..WRITES {
                            let at = (places.below(BLOCKS) + own.below(8)).min(BLOCKS - 1);
                            let blocks = (1 + own.below(16)).min(BLOCKS - at);
                            let mut data = sys::Aligned::new((blocks * BLOCK) as usize);
                            pattern::fill(key, at * BLOCK, &mut data);
                            barrier.wait();
                            // No early end: the other one waits at the barrier
                            if let (Ok(file), true) = (&file, result.is_ok()) {
                                result = file.write_all_at(&data, at * BLOCK);
                            }
                            done.push((at, blocks));
                        }
                        file?;
                        result?;
                        Ok(done)
                    })
                })
                .collect();
            for (writer, thread) in writers.into_iter().enumerate() {
                let done = thread
                    .join()
                    .expect("a writer does not panic")
                    .with_context(|| format!("round {round}: writer {writer}"))?;
                for (at, blocks) in done {
                    for block in at..at + blocks {
                        by[block as usize][writer] = true;
                    }
                }
            }
            Ok(())
        })?;
        // Alternately what stands on the disk, and what the cache makes of it
        let mut data = sys::Aligned::new((BLOCKS * BLOCK) as usize);
        let direct = [0, libc::O_DIRECT][(round % 2) as usize];
        sys::open(&path, libc::O_RDONLY | direct, 0)?.read_exact_at(&mut data, 0)?;
        // By sectors, as nobody promises that two direct writes of one block do not mix
        for (sector, bytes) in data.chunks(512).enumerate() {
            let at = sector as u64 * 512;
            let by = by[(at / BLOCK) as usize];
            let right = match by {
                [false, false] => bytes.iter().all(|b| *b == 0),
                _ => (0..2).any(|writer| {
                    by[writer] && pattern::first_wrong(keys[writer], at, bytes, false).is_none()
                }),
            };
            ensure!(right, "round {round}: at {at}, written by {by:?}");
        }
        fs::remove_file(&path)?;
    }
    fs.finish()
}

/// Preallocation before dirty data, while the data is written back.
fn fallocate_and_write_back(case: &Case) -> Result<()> {
    const LEN: u64 = 1 << 20;
    let fs = case.small(64)?;
    let key = pattern::key("file", 0);
    let data = pattern::bytes(key, LEN, LEN as usize);
    let path = fs.path("file");
    let began = Instant::now();
    let mut round = 0_u64;
    while began.elapsed() < RACE {
        round += 1;
        let file = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o644)?;
        file.write_all_at(&data, LEN)?;
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| -> Result<()> {
            let flusher = scope.spawn(|| {
                barrier.wait();
                sys::sync_file_range(&file, LEN, LEN)
            });
            barrier.wait();
            // From just before to just behind the moment when blocks are chosen
            std::thread::sleep(Duration::from_micros(round % 16 * 20));
            let result = sys::fallocate(&file, 0, 0, LEN);
            let flushed = flusher.join().expect("it does not panic");
            result.with_context(|| format!("round {round}: fallocate"))?;
            flushed.with_context(|| format!("round {round}: sync_file_range"))
        })?;
        file.sync_all()
            .with_context(|| format!("round {round}: fsync"))?;
        // SAFETY: The descriptor is open.
        sys::cvt(
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }
                .into(),
        )?;
        let have = fs::read(&path)?;
        ensure!(have.len() as u64 == 2 * LEN, "{} bytes", have.len());
        let (zeros, have) = have.split_at(LEN as usize);
        ensure!(
            zeros.iter().all(|b| *b == 0),
            "round {round}: preallocated blocks have data"
        );
        let wrong = pattern::first_wrong(key, LEN, have, false);
        ensure!(wrong.is_none(), "round {round}: {wrong:?}");
        drop(file);
        fs::remove_file(&path)?;
    }
    fs.finish()
}

/// Whoever sees the size that an O_DIRECT append gave a file sees its data.
fn direct_append_and_read(case: &Case) -> Result<()> {
    const BLOCK: u64 = 4096;
    const LEN: u64 = 4 << 20;
    let fs = case.small(32)?;
    let key = pattern::key("file", 0);
    let path = fs.path("file");
    let began = Instant::now();
    let mut round = 0_u64;
    while began.elapsed() < RACE {
        round += 1;
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_DIRECT;
        let direct = sys::open(&path, flags, 0o644)?;
        if round % 2 == 0 {
            // Into blocks that are there already, unwritten
            sys::fallocate(&direct, libc::FALLOC_FL_KEEP_SIZE, 0, LEN)?;
        }
        let buffered = File::open(&path)?;
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let reader = scope.spawn(|| -> Result<()> {
                let mut last = vec![0; BLOCK as usize];
                while !stop.load(Ordering::Relaxed) {
                    let size = buffered.metadata()?.len();
                    let Some(at) = size.checked_sub(BLOCK) else {
                        continue;
                    };
                    buffered.read_exact_at(&mut last, at)?;
                    let wrong = pattern::first_wrong(key, at, &last, false);
                    ensure!(wrong.is_none(), "size {size}: no data at {wrong:?}");
                }
                Ok(())
            });
            let mut rng = pattern::Rng::new(round);
            let mut at = 0;
            let mut result = Ok(());
            while at < LEN && result.is_ok() && !reader.is_finished() {
                let len = (BLOCK * (1 + rng.below(4))).min(LEN - at);
                let mut data = sys::Aligned::new(len as usize);
                pattern::fill(key, at, &mut data);
                result = direct.write_all_at(&data, at);
                at += len;
            }
            stop.store(true, Ordering::Relaxed);
            let read = reader.join().expect("the reader does not panic");
            result.with_context(|| format!("round {round}: append"))?;
            read.with_context(|| format!("round {round}: reader"))
        })?;
        drop((direct, buffered));
        fs::remove_file(&path)?;
    }
    fs.finish()
}

/// A direct write from memory that is not all there writes nothing, and takes no space.
fn direct_write_faults(case: &Case) -> Result<()> {
    const BLOCK: u64 = 4096;
    const LEN: u64 = 1 << 20;
    let mut fs = case.small(32)?;
    let key = pattern::key("file", 0);
    let open = |name: &str| {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_DIRECT;
        sys::open(fs.path(name), flags, 0o644)
    };
    let file = open("file")?;
    file.set_len(LEN)?;
    let prepared = open("prepared")?;
    sys::fallocate(&prepared, 0, 0, LEN)?;
    // The free space is scattered: no claim gets all that is asked for
    let base = File::create(fs.path("base"))?;
    base.write_all_at(&vec![b'b'; 8 << 20], 0)?;
    base.sync_all()?;
    let filler = File::create(fs.path("filler"))?;
    for at in 0.. {
        match filler.write_at(&[b'f'; 65536], at * 65536) {
            Ok(_) => {}
            Err(e) if sys::errno(&e) == libc::ENOSPC => break,
            Err(e) => return Err(e).context("filler"),
        }
    }
    for at in (0..8 << 20).step_by(2 * BLOCK as usize) {
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        sys::fallocate(&base, punch, at, BLOCK)?;
    }
    sys::syncfs(&File::open(&fs.dir)?)?;
    let free = || sys::free(&fs.dir).map(|free| free.0);
    // What was punched counts as free when the commit's callback has run: a moment after the sync
    for _ in 0..1000 {
        if free()? >= 4 << 20 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = free()?;
    ensure!(before >= 4 << 20, "{before} bytes free");
    let mut data = sys::Aligned::new(LEN as usize);
    for (name, file) in [("file", &file), ("prepared", &prepared)] {
        for (there, at) in [(BLOCK, 0), (3 * BLOCK, 40 * BLOCK), (BLOCK, LEN / 2 + 512)] {
            let result = sys::write_torn(file, there as usize, (LEN - at) as usize, at);
            super::expect(result, libc::EFAULT, "direct write")
                .with_context(|| format!("{name} at {at}"))?;
        }
        data.fill(1);
        file.read_exact_at(&mut data, 0)
            .with_context(|| format!("direct read of {name}"))?;
        ensure!(
            data.iter().all(|b| *b == 0),
            "{name}: data of failed writes"
        );
        let after = free()?;
        ensure!(
            after == before,
            "{name}: {after} bytes free, {before} before"
        );
    }
    pattern::fill(key, 0, &mut data);
    for (name, file) in [("file", &file), ("prepared", &prepared)] {
        file.write_all_at(&data, 0)
            .with_context(|| format!("direct write to {name}"))?;
    }
    drop((file, prepared, base, filler));
    fs.cycle()?;
    for name in ["file", "prepared"] {
        let wrong = pattern::first_wrong(key, 0, &fs::read(fs.path(name))?, false);
        ensure!(wrong.is_none(), "{name}: {wrong:?}");
    }
    fs.finish()
}

/// 100 GiB of hole with data here and there.
fn sparse(case: &Case) -> Result<()> {
    let mut fs = case.small(64)?;
    const SIZE: u64 = 100 << 30;
    let key = pattern::key("sparse", 0);
    let path = fs.path("sparse");
    let file = sys::open(&path, libc::O_RDWR | libc::O_CREAT, 0o644)?;
    file.set_len(SIZE)?;
    // From the middle of a block, in no order
    let mut places: Vec<u64> = (0..100)
        .map(|n| (n * 37 % 100) * (SIZE / 100) + 1000)
        .collect();
    places.push(SIZE - 3000);
    for at in &places {
        file.write_all_at(&pattern::bytes(key, *at, 3000), *at)?;
    }
    file.sync_all()?;
    drop(file);
    places.sort();
    for _ in 0..2 {
        let file = File::open(&path)?;
        let meta = file.metadata()?;
        ensure!(meta.len() == SIZE);
        ensure!(
            meta.blocks() * 512 < 4 << 20,
            "{} KiB of blocks",
            meta.blocks() / 2
        );
        let mut at = 0;
        for place in &places {
            let data = sys::seek(&file, at, libc::SEEK_DATA)?;
            ensure!(
                data <= *place && data + 65536 > *place,
                "data at {data}, not {place}"
            );
            let mut bytes = vec![0; 3000];
            file.read_exact_at(&mut bytes, *place)?;
            ensure!(
                pattern::first_wrong(key, *place, &bytes, false).is_none(),
                "at {place}"
            );
            at = sys::seek(&file, data, libc::SEEK_HOLE)?;
            ensure!(at >= place + 3000 && at <= SIZE, "hole at {at}");
            if at + 4096 <= SIZE {
                let mut hole = vec![1; 4096];
                file.read_exact_at(&mut hole, at)?;
                ensure!(hole.iter().all(|b| *b == 0), "a hole at {at} has data");
            }
        }
        match sys::seek(&file, SIZE - 1, libc::SEEK_DATA) {
            Ok(at) => ensure!(at == SIZE - 1, "data at {at}"),
            Err(e) => bail!("SEEK_DATA in the last block: {e}"),
        }
        match sys::seek(&file, SIZE, libc::SEEK_DATA) {
            Err(e) if sys::errno(&e) == libc::ENXIO => {}
            other => bail!("SEEK_DATA at the end: {other:?}"),
        }
        drop(file);
        sys::drop_caches()?;
        fs.cycle()?;
    }
    let file = File::options().write(true).open(&path)?;
    file.set_len(SIZE / 2)?;
    file.set_len(SIZE)?;
    ensure!(
        file.metadata()?.blocks() * 512 < 2 << 20,
        "cutting freed nothing"
    );
    // The greatest size that a file can be asked to have
    match file.set_len(i64::MAX as u64) {
        Err(e) if sys::errno(&e) == libc::EFBIG => {}
        other => bail!("ftruncate to 2^63 - 1: {other:?}"),
    }
    drop(file);
    fs.finish()
}

fn fallocate(case: &Case) -> Result<()> {
    const BLOCK: u64 = 4096;
    let mut fs = case.small(32)?;
    let path = fs.path("file");
    let key = pattern::key("file", 0);
    let len = 64 * BLOCK;
    let file = sys::open(&path, libc::O_RDWR | libc::O_CREAT, 0o644)?;
    let mut model = vec![0; len as usize];
    let put = |model: &mut Vec<u8>, at: u64, n: u64| -> Result<()> {
        let data = pattern::bytes(key, at, n as usize);
        file.write_all_at(&data, at)?;
        model[at as usize..(at + n) as usize].copy_from_slice(&data);
        Ok(())
    };
    let zero = |model: &mut Vec<u8>, at: u64, n: u64| model[at as usize..(at + n) as usize].fill(0);
    sys::fallocate(&file, libc::FALLOC_FL_KEEP_SIZE, 0, 32 * BLOCK).context("KEEP_SIZE")?;
    ensure!(file.metadata()?.len() == 0, "KEEP_SIZE changed the size");
    ensure!(
        file.metadata()?.blocks() * 512 >= 32 * BLOCK,
        "KEEP_SIZE took no blocks"
    );
    sys::fallocate(&file, 0, 0, len).context("plain")?;
    ensure!(file.metadata()?.len() == len);
    put(&mut model, 100, 9 * BLOCK)?;
    put(&mut model, 20 * BLOCK, 30 * BLOCK)?;
    file.sync_all()?;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let before = file.metadata()?.blocks();
    sys::fallocate(&file, punch, 22 * BLOCK, 10 * BLOCK).context("PUNCH_HOLE")?;
    zero(&mut model, 22 * BLOCK, 10 * BLOCK);
    let freed = before - file.metadata()?.blocks();
    ensure!(
        freed * 512 >= 10 * BLOCK,
        "PUNCH_HOLE freed {freed} sectors"
    );
    sys::fallocate(&file, punch, 2 * BLOCK + 5, 700).context("PUNCH_HOLE in a block")?;
    zero(&mut model, 2 * BLOCK + 5, 700);
    sys::fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, 40 * BLOCK - 9, 3 * BLOCK)
        .context("ZERO_RANGE")?;
    zero(&mut model, 40 * BLOCK - 9, 3 * BLOCK);
    put(&mut model, 24 * BLOCK + 1, 2 * BLOCK)?;
    match sys::fallocate(&file, libc::FALLOC_FL_PUNCH_HOLE, 0, BLOCK) {
        Err(e) if [libc::EOPNOTSUPP, libc::EINVAL].contains(&sys::errno(&e)) => {}
        other => bail!("PUNCH_HOLE without KEEP_SIZE: {other:?}"),
    }
    drop(file);
    for _ in 0..3 {
        let have = fs::read(&path)?;
        ensure!(have.len() == model.len(), "{} bytes", have.len());
        if let Some(at) = have.iter().zip(&model).position(|(a, b)| a != b) {
            bail!("wrong byte at {at}: {} instead of {}", have[at], model[at]);
        }
        sys::drop_caches()?;
        fs.cycle()?;
    }
    fs.finish()
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved: [u64; 2],
    flags: u32,
    reserved2: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
    extents: [Extent; 64],
}

/// FIEMAP tells where the bytes stand on the device, and which are unwritten.
fn fiemap(case: &Case) -> Result<()> {
    const FS_IOC_FIEMAP: u64 = sys::ioc(3, b'f', 11, 32);
    const UNWRITTEN: u32 = 0x800;
    let fs = case.small(32)?;
    let key = pattern::key("file", 0);
    let file = sys::open(fs.path("file"), libc::O_RDWR | libc::O_CREAT, 0o644)?;
    file.write_all_at(&pattern::bytes(key, 0, 40_960), 0)?;
    file.write_all_at(&pattern::bytes(key, 1 << 20, 8192), 1 << 20)?;
    sys::fallocate(&file, 0, 2 << 20, 65536)?;
    file.sync_all()?;
    let mut map = Fiemap {
        start: 0,
        length: u64::MAX,
        flags: 1,
        mapped: 0,
        count: 64,
        reserved: 0,
        extents: [Extent::default(); 64],
    };
    sys::ioctl(&file, FS_IOC_FIEMAP, &mut map).context("FIEMAP")?;
    let extents = &map.extents[..(map.mapped as usize).min(64)];
    let device = File::open(fs.device())?;
    let (mut written, mut unwritten) = (0, 0);
    for extent in extents {
        if extent.flags & UNWRITTEN != 0 {
            unwritten += extent.length;
            ensure!(extent.logical >= 2 << 20, "unwritten at {}", extent.logical);
            continue;
        }
        written += extent.length;
        let mut data = vec![0; extent.length as usize];
        device.read_exact_at(&mut data, extent.physical)?;
        let wrong = pattern::first_wrong(key, extent.logical, &data, false);
        ensure!(
            wrong.is_none(),
            "the device has other bytes where FIEMAP points: {wrong:?}"
        );
    }
    ensure!(written == 40_960 + 8192, "{written} bytes are mapped");
    ensure!(unwritten == 65536, "{unwritten} bytes are unwritten");
    drop((file, device));
    fs.finish()
}

/// chmod against write-back and eviction: the mode is never an older one.
fn flusher_chmod_eviction(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    let rounds = if case.long { 400 } else { 60 };
    let stop = AtomicBool::new(false);
    let mode = |file: u64, round: u64| 0o400 + ((round * 7 + file) % 64) as u32;
    std::thread::scope(|scope| -> Result<()> {
        let noise: Vec<_> = (0..2)
            .map(|way| {
                let (stop, fs) = (&stop, &fs);
                scope.spawn(move || -> Result<()> {
                    let mut n = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        n += 1;
                        if way == 0 {
                            // Lazy times and sizes for the flusher to write
                            let path = fs.path(&format!("f{}", n % 8));
                            let file = sys::open(path, libc::O_WRONLY | libc::O_CREAT, 0o400)?;
                            file.write_all_at(&n.to_le_bytes(), n % 20_000)?;
                        } else {
                            sys::syncfs(&File::open(&fs.dir)?)?;
                            sys::drop_caches()?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let result = (0..rounds).try_for_each(|round| -> Result<()> {
            for file in 0..8 {
                let path = fs.path(&format!("f{file}"));
                if !path.exists() {
                    File::create(&path)?;
                }
                fs::set_permissions(&path, fs::Permissions::from_mode(mode(file, round)))?;
                let have = path.metadata()?.mode() & 0o777;
                ensure!(
                    have == mode(file, round),
                    "f{file}: mode {have:o} after chmod"
                );
            }
            sys::drop_caches()?;
            for file in 0..8 {
                let have = fs.path(&format!("f{file}")).metadata()?.mode() & 0o777;
                let want = mode(file, round);
                ensure!(
                    have == want,
                    "f{file}: mode {have:o} after eviction, not {want:o}"
                );
            }
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        for noise in noise {
            noise.join().expect("it does not panic")?;
        }
        result
    })?;
    fs.cycle()?;
    for file in 0..8 {
        let have = fs.path(&format!("f{file}")).metadata()?.mode() & 0o777;
        ensure!(
            have == mode(file, rounds - 1),
            "f{file}: mode {have:o} after remount"
        );
    }
    fs.finish()
}

/// A file of thousands of extents, written in an order that is hard for a tree, cut and removed.
fn fragmented(case: &Case) -> Result<()> {
    let mut fs = case.small(96)?;
    let blocks: u64 = if case.long { 16_000 } else { 4_000 };
    let key = pattern::key("file", 0);
    let before = sys::free(&fs.dir)?.0;
    let file = sys::open(fs.path("file"), libc::O_RDWR | libc::O_CREAT, 0o644)?;
    for n in 0..blocks {
        let at = (n * 7919 % blocks) * 8192;
        file.write_all_at(&pattern::bytes(key, at, 4096), at)?;
        if n % 500 == 0 {
            file.sync_data()?;
        }
    }
    file.sync_all()?;
    drop(file);
    fs.cycle()?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(fs.path("file"))?;
    let mut data = vec![0; 8192];
    for n in 0..blocks - 1 {
        file.read_exact_at(&mut data, n * 8192)?;
        let wrong = pattern::first_wrong(key, n * 8192, &data[..4096], false);
        ensure!(wrong.is_none(), "block {n}: {wrong:?}");
        ensure!(
            data[4096..].iter().all(|b| *b == 0),
            "the hole behind block {n}"
        );
    }
    file.set_len(blocks * 2000)?;
    file.sync_all()?;
    drop(file);
    fs.cycle()?;
    fs::remove_file(fs.path("file"))?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let after = sys::free(&fs.dir)?.0;
    ensure!(
        after + 16384 >= before,
        "{after} bytes free, {before} before"
    );
    fs.finish()
}

/// O_DIRECT, buffered and mapped access to one file agree.
fn direct_and_mapped(case: &Case) -> Result<()> {
    let fs = case.small(32)?;
    let len = 1 << 20;
    let rounds = if case.long { 3000 } else { 400 };
    let file = sys::open(fs.path("file"), libc::O_RDWR | libc::O_CREAT, 0o644)?;
    let direct = sys::open(fs.path("file"), libc::O_RDWR | libc::O_DIRECT, 0)?;
    file.set_len(len)?;
    let mut map = sys::Map::shared(&file, len as usize)?;
    let mut rng = pattern::Rng::new(3);
    let mut model = vec![0_u8; len as usize];
    for round in 0..rounds {
        let key = pattern::key("file", round);
        let at = rng.below(len / 512) * 512;
        let n = (512 * (1 + rng.below(32))).min(len - at) as usize;
        let range = at as usize..at as usize + n;
        let mut data = sys::Aligned::new(n);
        pattern::fill(key, at, &mut data);
        match rng.below(6) {
            0 => file.write_all_at(&data, at)?,
            1 => direct.write_all_at(&data, at)?,
            2 => map.write(range.start, &data),
            way => {
                let mut have = sys::Aligned::new(n);
                match way {
                    3 => file.read_exact_at(&mut have, at)?,
                    4 => direct.read_exact_at(&mut have, at)?,
                    _ => map.read(range.start, &mut have),
                }
                ensure!(
                    have[..] == model[range.clone()],
                    "round {round}: read {way} at {at}"
                );
                continue;
            }
        }
        model[range].copy_from_slice(&data);
    }
    map.sync()?;
    // SAFETY: The descriptor is open.
    sys::cvt(
        unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) }.into(),
    )?;
    drop(map);
    ensure!(fs::read(fs.path("file"))? == model, "the file at the end");
    drop((file, direct));
    fs.finish()
}

/// A file is cut while a block of the part that stays is published: what this makes of the tree may go at once.
///
/// What publishes and who cuts share a processor, and the latter goes first whenever it can: so it comes in between
/// wherever the former has just given up a lock.
fn cut_beside_write_back(case: &Case) -> Result<()> {
    // So many extents that the first leaf is full: with one more it is split, and the cut takes all of its upper half
    const EXTENTS: u64 = 400;
    const APART: u64 = 4 * 4096;
    let fs = case.small(64)?;
    let path = fs.path("file");
    let data = pattern::bytes(pattern::key("file", 0), 0, 4096);
    let _workers = sys::WorkersOnFirst::new()?;
    let began = Instant::now();
    let mut round = 0_u64;
    while began.elapsed() < 2 * RACE {
        round += 1;
        let file = sys::open(&path, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o644)?;
        for extent in 0..EXTENTS {
            file.write_all_at(&data, extent * APART)?;
        }
        file.sync_all()?;
        // Between the others, so that each is one more. A tree that grew at its end has a place left in its leaves.
        file.write_all_at(&data, 5 * APART / 2)?;
        file.sync_all()?;
        file.write_all_at(&data, APART / 2)?;
        let barrier = Barrier::new(2);
        std::thread::scope(|scope| -> Result<()> {
            let cutter = scope.spawn(|| -> std::io::Result<()> {
                sys::first_on_first()?;
                barrier.wait();
                std::thread::sleep(Duration::from_micros(round * 7 % 64 * 10));
                file.set_len(APART)
            });
            barrier.wait();
            let flushed = sys::sync_file_range(&file, APART / 2, 4096);
            let cut = cutter.join().expect("it does not panic");
            cut.with_context(|| format!("round {round}: ftruncate"))?;
            flushed.with_context(|| format!("round {round}: sync_file_range"))
        })?;
        file.sync_all()
            .with_context(|| format!("round {round}: fsync"))?;
        drop(file);
        let have = fs::read(&path)?;
        ensure!(have.len() as u64 == APART, "{} bytes", have.len());
        for (block, bytes) in have.chunks(4096).enumerate() {
            let right = match block % 2 {
                0 => bytes == data,
                _ => bytes.iter().all(|b| *b == 0),
            };
            ensure!(right, "round {round}: block {block}");
        }
        fs::remove_file(&path)?;
    }
    fs.finish()
}
