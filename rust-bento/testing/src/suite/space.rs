// SPDX-License-Identifier: GPL-2.0

//! What is free, and what happens when nothing is.

use super::{
    helpers::*,
    Test, //
};
use crate::system::{
    Fallocate::KeepSize,
    *, //
};
use std::{
    thread::sleep,
    time::Duration, //
};

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("space-returns", returns).needs(&[Feature::Alone]),
        Test::new("space-of-open-files-returns", returns_after_close).needs(&[Feature::Alone]),
        Test::new("full-of-blocks", no_blocks).needs(&[Feature::Alone]),
        Test::new("full-of-inodes", no_inodes).needs(&[Feature::Alone, Feature::FewInodes]),
    ]
}

/// Asserts that everything is free again. Some systems free in the background.
fn settles<S: System>(s: &S, before: Space) {
    let mut now = before;
    for _ in 0..100 {
        s.sync().expect("sync");
        now = s.space().expect("space");
        if now == before {
            return;
        }
        sleep(Duration::from_millis(50));
    }
    panic!("free before {before:?}, and now {now:?}");
}

fn returns<S: System>(s: &S) {
    s.sync().expect("sync");
    let before = s.space().expect("space");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    for i in 0..300 {
        put(s, format!("dir/{i:0>100}").as_bytes(), &pattern(i, 5000));
    }
    let file = s.create(b"dir/sparse", 0o600).expect("create");
    let distance = if s.has(Feature::LargeFiles) {
        100_000
    } else {
        10_000
    };
    for i in 0..300 {
        write_all(s, &file, i * distance, b"x");
    }
    drop(file);
    s.symlink(&[b'x'; 4000], b"dir/link").expect("symlink");
    s.sync().expect("sync");
    let full = s.space().expect("space");
    assert!(
        full.free + 300 * 2 * 4096 <= before.free,
        "{before:?}, {full:?}"
    );
    assert_eq!(full.free_inodes + 303, before.free_inodes);
    for entry in list(s, b"dir") {
        s.unlink(&[b"dir/", &entry.name[..]].concat())
            .expect("unlink");
    }
    s.rmdir(b"dir").expect("rmdir");
    settles(s, before);
}

fn returns_after_close<S: System>(s: &S) {
    s.sync().expect("sync");
    let before = s.space().expect("space");
    let file = put(s, b"file", &[1; 500_000]);
    s.unlink(b"file").expect("unlink");
    s.sync().expect("sync");
    assert!(s.space().expect("space").free + 400_000 < before.free);
    drop(file);
    let tmp = s.tmpfile(b"", 0o600).expect("tmpfile");
    write_all(s, &tmp, 0, &[2; 100_000]);
    drop(tmp);
    settles(s, before);
}

/// Leaves about this many bytes free.
fn fill<S: System>(s: &S, leave: u64) {
    s.mkdir(b"ballast", 0o700).expect("mkdir");
    let mut count = 0;
    let mut size = 1 << 38;
    while size >= 1 << 16 {
        s.sync().expect("sync");
        let free = s.space().expect("space").free;
        if free <= leave + size {
            size /= 2;
            continue;
        }
        let path = format!("ballast/{count}");
        let file = s.create(path.as_bytes(), 0o600).expect("create");
        match s.fallocate(&file, KeepSize, 0, size) {
            Ok(()) => count += 1,
            Err(error) => {
                assert!(matches!(error, Errno::NOSPC | Errno::FBIG), "{error:?}");
                drop(file);
                s.unlink(path.as_bytes()).expect("unlink");
                size /= 2;
            }
        }
    }
}

fn no_blocks<S: System>(s: &S) {
    s.sync().expect("sync");
    let before = s.space().expect("space");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let kept = put(s, b"dir/kept", b"kept");
    s.fsync(&kept).expect("fsync");
    fill(s, 2 << 20);
    // Writes: what was written is there, what was refused is not.
    let mut written: Vec<(Vec<u8>, usize)> = Vec::new();
    'files: for i in 0..10_000 {
        let path = format!("dir/file-{i}").into_bytes();
        let Ok(file) = s.create(&path, 0o600) else {
            break;
        };
        let content = pattern(i, 30_000);
        let mut done = 0;
        while done < content.len() {
            match s.write(&file, done as u64, &content[done..]) {
                Ok(count) => done += count,
                Err(error) => {
                    assert_eq!(error, Errno::NOSPC);
                    written.push((path, done));
                    break 'files;
                }
            }
        }
        written.push((path, done));
    }
    s.sync().expect("sync");
    for (i, (path, len)) in written.iter().enumerate() {
        let content = get(s, path);
        assert!(
            content == pattern(i as u64, 30_000)[..*len],
            "{}",
            path.escape_ascii()
        );
    }
    assert_eq!(get(s, b"dir/kept"), b"kept");
    // Names: until one is refused; that one is not there.
    let mut count = 0;
    loop {
        let name = format!("dir/{count:0>250}").into_bytes();
        match s.mkdir(&name, 0o700) {
            Ok(()) => count += 1,
            Err(error) => {
                assert_eq!(error, Errno::NOSPC);
                assert!(!exists(s, &name));
                break;
            }
        }
        assert!(count < 1_000_000, "mkdir is never refused");
    }
    let dirs = list(s, b"dir")
        .iter()
        .filter(|entry| entry.kind == Kind::Directory)
        .count();
    assert_eq!(dirs, count, "entries");
    assert_eq!(s.stat(b"dir").expect("stat").nlink, 2 + count as u64);
    let file = s.open(b"dir/kept").expect("open");
    let size = if s.has(Feature::LargeFiles) {
        64 << 20
    } else {
        3 << 20
    };
    fails(s.fallocate(&file, KeepSize, 0, size), &[Errno::NOSPC]);
    // A full volume can be emptied.
    for entry in list(s, b"dir") {
        let path = [b"dir/", &entry.name[..]].concat();
        match entry.kind {
            Kind::Directory => s.rmdir(&path).expect("rmdir"),
            _ if entry.name == b"kept" => {}
            _ => s.unlink(&path).expect("unlink"),
        }
    }
    for entry in list(s, b"ballast") {
        s.unlink(&[b"ballast/", &entry.name[..]].concat())
            .expect("unlink");
    }
    // At once: what waits for a commit must not look like a full volume.
    let again = put(s, b"again", &pattern(3, 1_000_000));
    s.fsync(&again).expect("fsync");
    assert!(get(s, b"again") == pattern(3, 1_000_000));
    assert_eq!(get(s, b"dir/kept"), b"kept");
    drop((again, kept, file));
    s.unlink(b"again").expect("unlink");
    s.unlink(b"dir/kept").expect("unlink");
    s.rmdir(b"dir").expect("rmdir");
    s.rmdir(b"ballast").expect("rmdir");
    settles(s, before);
}

fn no_inodes<S: System>(s: &S) {
    s.sync().expect("sync");
    let before = s.space().expect("space");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let mut count = 0;
    let name = |i: u64| format!("dir/{i}").into_bytes();
    loop {
        let result = match count % 3 {
            0 => s.create(&name(count), 0o600).map(drop),
            1 => s.mkdir(&name(count), 0o700),
            _ => s.symlink(b"x", &name(count)),
        };
        match result {
            Ok(()) => count += 1,
            Err(error) => {
                assert_eq!(error, Errno::NOSPC);
                break;
            }
        }
        assert!(count <= before.free_inodes, "more inodes than there were");
    }
    assert_eq!(count + 1, before.free_inodes);
    assert!(!exists(s, &name(count)));
    fails(s.create(b"x", 0o600), &[Errno::NOSPC]);
    fails(s.mkdir(b"x", 0o700), &[Errno::NOSPC]);
    fails(s.mknod(b"x", Kind::Fifo, 0o600, (0, 0)), &[Errno::NOSPC]);
    fails(s.tmpfile(b"", 0o600), &[Errno::NOSPC]);
    // Links need none; one that is freed can be taken.
    s.link(b"dir/0", b"link").expect("link");
    s.unlink(b"link").expect("unlink");
    assert_eq!(list(s, b"dir").len() as u64, count);
    s.unlink(b"dir/0").expect("unlink");
    s.sync().expect("sync");
    s.mkdir(b"dir/0", 0o700).expect("mkdir");
    for entry in list(s, b"dir") {
        let path = [b"dir/", &entry.name[..]].concat();
        match entry.kind {
            Kind::Directory => s.rmdir(&path).expect("rmdir"),
            _ => s.unlink(&path).expect("unlink"),
        }
    }
    s.rmdir(b"dir").expect("rmdir");
    settles(s, before);
}
