// SPDX-License-Identifier: GPL-2.0

//! File data: sizes, holes, what `fallocate` does, and that nobody sees what is not his.

use super::{
    helpers::*,
    Test, //
};
use crate::system::{
    Fallocate::*,
    *, //
};

const BLOCK: u64 = 4096;

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("data-model", model),
        Test::new("data-append", append),
        Test::new("truncate-shrink-grow", shrink_grow),
        Test::new("no-stale-data", no_stale),
        Test::new("holes", holes),
        Test::new("far-holes", far).needs(&[Feature::LargeFiles]),
        Test::new("seek-hole-data", seek),
        Test::new("fallocate", fallocate),
        Test::new("fallocate-keep-size", keep_size),
        Test::new("punch-hole", punch),
        Test::new("zero-range", zero_range),
        Test::new("many-extents", many_extents).needs(&[Feature::LargeFiles]),
        Test::new("data-after-remount", after_remount).needs(&[Feature::Remount]),
    ]
}

/// Random writes, cuts and holes, compared with bytes in memory.
fn model<S: System>(s: &S) {
    const SPAN: usize = 300_000;
    let file = s.create(b"file", 0o600).expect("create");
    let mut model: Vec<u8> = Vec::new();
    let random = pattern(7, 12 * 400);
    for (step, dice) in random.chunks(12).enumerate() {
        let number =
            |at: usize| u32::from_le_bytes(dice[at..at + 4].try_into().expect("4")) as usize;
        let offset = number(0) % SPAN;
        let len = 1 + number(4) % 40_000;
        let (start, end) = (offset.min(model.len()), (offset + len).min(model.len()));
        match dice[8] % 10 {
            0..5 => {
                let bytes = pattern(step as u64, len);
                write_all(s, &file, offset as u64, &bytes);
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].copy_from_slice(&bytes);
            }
            5 | 6 => {
                s.set_len(&file, offset as u64).expect("set_len");
                model.resize(offset, 0);
            }
            7 => {
                s.fallocate(&file, PunchHole, offset as u64, len as u64)
                    .expect("punch");
                model[start..end].fill(0);
            }
            8 => {
                s.fallocate(&file, ZeroRange, offset as u64, len as u64)
                    .expect("zero");
                model.resize(model.len().max(offset + len), 0);
                model[offset..offset + len].fill(0);
            }
            _ => {
                s.fallocate(&file, Allocate, offset as u64, len as u64)
                    .expect("allocate");
                model.resize(model.len().max(offset + len), 0);
            }
        }
        if dice[9] % 16 == 0 {
            s.fsync(&file).expect("fsync");
        }
        if dice[9] % 8 == 1 || step % 50 == 49 {
            let content = read_at(s, &file, 0, model.len() + 1);
            assert!(content == model, "content differs after step {step}");
        }
        assert_eq!(s.stat_file(&file).expect("stat").size, model.len() as u64);
    }
}

fn append<S: System>(s: &S) {
    s.create(b"log", 0o600).expect("create");
    let mut expected = Vec::new();
    for i in 0..200 {
        let bytes = pattern(i, 1 + (i as usize * 37) % 300);
        assert_eq!(s.append(b"log", &bytes).expect("append"), bytes.len());
        expected.extend(bytes);
    }
    assert_eq!(get(s, b"log"), expected);
}

fn shrink_grow<S: System>(s: &S) {
    let content = pattern(5, 50_000);
    for cut in [0, 1, 4095, 4096, 4097, 20_000, 49_999, 50_000] {
        let file = s
            .create(format!("cut-{cut}").as_bytes(), 0o600)
            .expect("create");
        write_all(s, &file, 0, &content);
        s.set_len(&file, cut as u64).expect("set_len");
        assert_eq!(read_at(s, &file, 0, 60_000), content[..cut]);
        s.set_len(&file, 60_000).expect("set_len");
        let grown = read_at(s, &file, 0, 60_001);
        assert_eq!(grown.len(), 60_000);
        assert_eq!(grown[..cut], content[..cut]);
        assert!(grown[cut..].iter().all(|byte| *byte == 0), "cut at {cut}");
    }
}

/// New blocks never show what others wrote there.
fn no_stale<S: System>(s: &S) {
    for round in 0..4 {
        let old = s.create(b"old", 0o600).expect("create");
        write_all(s, &old, 0, &[0xaa; 400_000]);
        s.fsync(&old).expect("fsync");
        drop(old);
        s.unlink(b"old").expect("unlink");
        s.sync().expect("sync");
        let new = s.create(b"new", 0o600).expect("create");
        match round {
            // One byte in each block.
            0 => (0..90).for_each(|i| write_all(s, &new, i * BLOCK + 77, b"x")),
            1 => s.fallocate(&new, Allocate, 0, 400_000).expect("fallocate"),
            2 => s.set_len(&new, 400_000).expect("set_len"),
            _ => {
                s.fallocate(&new, Allocate, 0, 400_000).expect("fallocate");
                write_all(s, &new, 100_001, b"x");
                s.fsync(&new).expect("fsync");
            }
        }
        let content = read_at(s, &new, 0, 500_000);
        assert!(!content.contains(&0xaa), "round {round}");
        assert!(content.iter().all(|byte| matches!(byte, 0 | b'x')));
        s.unlink(b"new").expect("unlink");
    }
}

fn holes<S: System>(s: &S) {
    let file = s.create(b"file", 0o600).expect("create");
    write_all(s, &file, 1_000_000, b"end");
    s.fsync(&file).expect("fsync");
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!(stat.size, 1_000_003);
    assert!(stat.sectors * 512 <= 16 * BLOCK, "{} sectors", stat.sectors);
    assert!(read_at(s, &file, 0, 1_000_000)
        .iter()
        .all(|byte| *byte == 0));
    write_all(s, &file, 500_000, b"middle");
    let content = read_at(s, &file, 499_990, 26);
    assert_eq!(content, b"\0\0\0\0\0\0\0\0\0\0middle\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(read_at(s, &file, 1_000_000, 10), b"end");
}

/// Data a long way off, up to 4 TiB.
fn far<S: System>(s: &S) {
    let file = s.create(b"file", 0o600).expect("create");
    let places = [1 << 20, 1 << 30, 1 << 35, (1 << 40) + 12_345, (1 << 42) - 5];
    for (i, place) in places.iter().enumerate() {
        write_all(s, &file, *place, &[b'a' + i as u8; 5]);
    }
    s.fsync(&file).expect("fsync");
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!(stat.size, 1 << 42);
    assert!(stat.sectors * 512 < 1 << 20);
    for (i, place) in places.iter().enumerate() {
        assert_eq!(read_at(s, &file, *place, 5), [b'a' + i as u8; 5]);
        assert_eq!(read_at(s, &file, *place - 5, 5), [0; 5]);
    }
    fails(
        s.set_len(&file, u64::MAX >> 1),
        &[Errno::FBIG, Errno::INVAL],
    );
    s.set_len(&file, 1 << 35).expect("set_len");
    s.set_len(&file, 1 << 42).expect("set_len");
    assert_eq!(read_at(s, &file, 1 << 35, 10), [0; 10]);
    assert_eq!(read_at(s, &file, 1 << 30, 5), [b'b'; 5]);
}

fn seek<S: System>(s: &S) {
    let file = s.create(b"file", 0o600).expect("create");
    write_all(s, &file, 64 * BLOCK, &pattern(1, 8 * BLOCK as usize));
    s.set_len(&file, 128 * BLOCK).expect("set_len");
    for synced in [false, true] {
        if synced {
            s.fsync(&file).expect("fsync");
        }
        let at = |what, offset| s.seek(&file, what, offset);
        assert_eq!(at(Seek::Hole, 0), Ok(0));
        assert_eq!(at(Seek::Data, 0), Ok(64 * BLOCK));
        assert_eq!(at(Seek::Data, 66 * BLOCK + 5), Ok(66 * BLOCK + 5));
        assert_eq!(at(Seek::Hole, 65 * BLOCK), Ok(72 * BLOCK));
        fails(at(Seek::Data, 72 * BLOCK), &[Errno::NXIO]);
        assert_eq!(at(Seek::Hole, 100 * BLOCK), Ok(100 * BLOCK));
        fails(at(Seek::Hole, 128 * BLOCK), &[Errno::NXIO]);
    }
    // A file without holes has one at its end.
    let full = put(s, b"full", &pattern(2, 10_000));
    assert_eq!(s.seek(&full, Seek::Hole, 0), Ok(10_000));
    assert_eq!(s.seek(&full, Seek::Data, 9_999), Ok(9_999));
}

fn fallocate<S: System>(s: &S) {
    let file = put(s, b"file", b"content");
    s.fallocate(&file, Allocate, 0, 1 << 20).expect("fallocate");
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!(stat.size, 1 << 20);
    assert!(stat.sectors * 512 >= 1 << 20, "{} sectors", stat.sectors);
    let content = read_at(s, &file, 0, 1 << 20);
    assert_eq!(&content[..7], b"content");
    assert!(content[7..].iter().all(|byte| *byte == 0));
    // Writing there needs no more space.
    write_all(s, &file, 500_000, &pattern(3, 100_000));
    s.fsync(&file).expect("fsync");
    let content = read_at(s, &file, 490_000, 120_000);
    assert!(content[..10_000].iter().all(|byte| *byte == 0));
    assert_eq!(content[10_000..110_000], pattern(3, 100_000));
    assert!(content[110_000..].iter().all(|byte| *byte == 0));
    fails(s.fallocate(&file, Allocate, 0, 0), &[Errno::INVAL]);
}

fn keep_size<S: System>(s: &S) {
    let file = put(s, b"file", b"content");
    s.fallocate(&file, KeepSize, 0, 1 << 20).expect("fallocate");
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!(stat.size, 7);
    assert!(stat.sectors * 512 >= 1 << 20);
    assert_eq!(get(s, b"file"), b"content");
    s.append(b"file", b" and more").expect("append");
    assert_eq!(get(s, b"file"), b"content and more");
    // Growing shows zeros, and shrinking gives the space back.
    s.set_len(&file, 500_000).expect("set_len");
    assert!(read_at(s, &file, 16, 500_000).iter().all(|byte| *byte == 0));
    s.set_len(&file, 0).expect("set_len");
    assert_eq!(s.stat_file(&file).expect("stat").sectors, 0);
}

fn punch<S: System>(s: &S) {
    let content = pattern(9, 40 * BLOCK as usize);
    let file = put(s, b"file", &content);
    s.fsync(&file).expect("fsync");
    let full = s.stat_file(&file).expect("stat").sectors;
    // Parts of blocks at both ends, then whole blocks, then beyond the end.
    let mut expected = content;
    for (offset, len) in [
        (5_000, 30_000),
        (12 * BLOCK, 4 * BLOCK),
        (100, 50),
        (39 * BLOCK + 1, 1 << 20),
    ] {
        s.fallocate(&file, PunchHole, offset, len).expect("punch");
        let end = (offset + len).min(expected.len() as u64) as usize;
        expected[offset as usize..end].fill(0);
        assert!(
            read_at(s, &file, 0, 1 << 20) == expected,
            "after {offset} + {len}"
        );
    }
    s.fsync(&file).expect("fsync");
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!(stat.size, 40 * BLOCK);
    assert!(
        stat.sectors + 10 * 8 <= full,
        "{} of {full} sectors",
        stat.sectors
    );
    assert_eq!(s.seek(&file, Seek::Data, 12 * BLOCK), Ok(16 * BLOCK));
}

fn zero_range<S: System>(s: &S) {
    let content = pattern(11, 20 * BLOCK as usize);
    let file = put(s, b"file", &content);
    s.fallocate(&file, ZeroRange, 1000, 50_000).expect("zero");
    let mut expected = content;
    expected[1000..51_000].fill(0);
    assert!(read_at(s, &file, 0, 1 << 20) == expected);
    s.fallocate(&file, ZeroRange, 19 * BLOCK, 2 * BLOCK)
        .expect("zero");
    expected.resize(21 * BLOCK as usize, 0);
    expected[19 * BLOCK as usize..].fill(0);
    assert!(read_at(s, &file, 0, 1 << 20) == expected);
    s.fsync(&file).expect("fsync");
    assert!(read_at(s, &file, 0, 1 << 20) == expected);
}

/// Every second block: a tree of extents grows, and then shrinks from all sides.
fn many_extents<S: System>(s: &S) {
    const COUNT: u64 = 1200;
    let file = s.create(b"file", 0o600).expect("create");
    for i in 0..COUNT {
        write_all(s, &file, 2 * i * BLOCK, &i.to_le_bytes());
        if i % 64 == 0 {
            s.fsync(&file).expect("fsync");
        }
    }
    s.fsync(&file).expect("fsync");
    let check = |gone: &dyn Fn(u64) -> bool| {
        for i in 0..COUNT {
            let expected = if gone(i) { 0 } else { i };
            assert_eq!(
                read_at(s, &file, 2 * i * BLOCK, 8),
                expected.to_le_bytes(),
                "block {i}"
            );
        }
    };
    check(&|_| false);
    s.fallocate(&file, PunchHole, 0, 100 * BLOCK)
        .expect("punch");
    check(&|i| i < 50);
    for i in (300..600).step_by(3) {
        s.fallocate(&file, PunchHole, 2 * i * BLOCK, BLOCK)
            .expect("punch");
    }
    let thirds = |i: u64| (300..600).contains(&i) && i % 3 == 0;
    check(&|i| i < 50 || thirds(i));
    s.set_len(&file, 2 * 1000 * BLOCK).expect("set_len");
    s.set_len(&file, 2 * COUNT * BLOCK).expect("set_len");
    check(&|i| i < 50 || thirds(i) || i >= 1000);
    s.set_len(&file, 0).expect("set_len");
    assert_eq!(s.stat_file(&file).expect("stat").sectors, 0);
}

fn after_remount<S: System>(s: &S) {
    let content = pattern(13, 300_000);
    let file = put(s, b"file", &content);
    s.fallocate(&file, PunchHole, 100_000, 50_000)
        .expect("punch");
    s.fallocate(&file, KeepSize, 300_000, 100_000)
        .expect("fallocate");
    drop(file);
    let before = {
        s.sync().expect("sync");
        s.stat(b"file").expect("stat")
    };
    s.remount().expect("remount");
    assert_eq!(s.stat(b"file").expect("stat"), before);
    let mut expected = content;
    expected[100_000..150_000].fill(0);
    assert!(get(s, b"file") == expected);
}
