// SPDX-License-Identifier: GPL-2.0

//! Renames.

use super::{
    helpers::*,
    Test, //
};
use crate::system::{
    RenameMode::*,
    *, //
};

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("rename-file", file),
        Test::new("rename-over", over),
        Test::new("rename-matrix", matrix),
        Test::new("rename-directory", directory),
        Test::new("rename-into-own-subdirectory", into_own),
        Test::new("rename-noreplace", no_replace),
        Test::new("rename-exchange", exchange),
        Test::new("rename-same-inode", same_inode),
        Test::new("rename-within-full-directory", within),
        Test::new("rename-over-open", over_open),
    ]
}

fn file<S: System>(s: &S) {
    put(s, b"a", b"content");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let ino = s.stat(b"a").expect("stat").ino;
    s.rename(b"a", b"b", Plain).expect("rename");
    s.rename(b"b", b"dir/a", Plain).expect("rename");
    s.rename(b"dir/a", b"dir/b", Plain).expect("rename");
    s.rename(b"dir/b", b"a", Plain).expect("rename");
    let stat = s.stat(b"a").expect("stat");
    assert_eq!((stat.ino, stat.nlink), (ino, 1));
    assert_eq!(get(s, b"a"), b"content");
    assert_eq!(names(s, b""), [&b"a"[..], b"dir"]);
    assert!(list(s, b"dir").is_empty());
    fails(s.rename(b"none", b"x", Plain), &[Errno::NOENT]);
    fails(s.rename(b"a", b"none/x", Plain), &[Errno::NOENT]);
    fails(s.rename(b"dir", b"a/x", Plain), &[Errno::NOTDIR]);
}

fn over<S: System>(s: &S) {
    put(s, b"a", b"new");
    put(s, b"b", b"old");
    s.link(b"b", b"kept").expect("link");
    let ino = s.stat(b"a").expect("stat").ino;
    s.rename(b"a", b"b", Plain).expect("rename");
    assert!(!exists(s, b"a"));
    assert_eq!(s.stat(b"b").expect("stat").ino, ino);
    assert_eq!(get(s, b"b"), b"new");
    assert_eq!(get(s, b"kept"), b"old");
    assert_eq!(s.stat(b"kept").expect("stat").nlink, 1);
    // Between directories.
    s.mkdir(b"dir", 0o700).expect("mkdir");
    put(s, b"dir/b", b"older");
    s.rename(b"b", b"dir/b", Plain).expect("rename");
    assert_eq!(get(s, b"dir/b"), b"new");
    assert_eq!(list(s, b"dir").len(), 1);
}

/// What a rename of one kind over another does.
fn matrix<S: System>(s: &S) {
    let make = |kind: &str, path: &[u8]| match kind {
        "file" => drop(put(s, path, b"x")),
        "link" => s.symlink(b"nowhere", path).expect("symlink"),
        "fifo" => s.mknod(path, Kind::Fifo, 0o600, (0, 0)).expect("mknod"),
        "empty" => s.mkdir(path, 0o700).expect("mkdir"),
        _ => {
            s.mkdir(path, 0o700).expect("mkdir");
            s.create(&[path, b"/x"].concat(), 0o600).expect("create");
        }
    };
    let kinds = ["file", "link", "fifo", "empty", "full"];
    let is_dir = |kind: &str| kind == "empty" || kind == "full";
    for from in kinds {
        for to in kinds {
            for apart in [false, true] {
                let dir = format!("{from}-{to}-{apart}");
                s.mkdir(dir.as_bytes(), 0o700).expect("mkdir");
                let old = format!("{dir}/old");
                let new = match apart {
                    false => format!("{dir}/new"),
                    true => {
                        s.mkdir(format!("{dir}/sub").as_bytes(), 0o700)
                            .expect("mkdir");
                        format!("{dir}/sub/new")
                    }
                };
                let (old, new) = (old.as_bytes(), new.as_bytes());
                make(from, old);
                make(to, new);
                let before = s.stat(old).expect("stat");
                let result = s.rename(old, new, Plain);
                match (is_dir(from), is_dir(to)) {
                    (true, false) => fails(result, &[Errno::NOTDIR]),
                    (false, true) => fails(result, &[Errno::ISDIR]),
                    (true, true) if to == "full" => {
                        fails(result, &[Errno::NOTEMPTY, Errno::EXIST]);
                    }
                    _ => {
                        result.expect("rename");
                        let after = s.stat(new).expect("stat");
                        assert_eq!((after.ino, after.kind), (before.ino, before.kind));
                        assert!(!exists(s, old));
                        continue;
                    }
                }
                assert_eq!(s.stat(old).expect("stat").ino, before.ino, "{dir}");
                assert!(exists(s, new), "{dir}");
            }
        }
    }
}

fn directory<S: System>(s: &S) {
    s.mkdir(b"a", 0o700).expect("mkdir");
    s.mkdir(b"b", 0o700).expect("mkdir");
    s.mkdir(b"a/dir", 0o700).expect("mkdir");
    put(s, b"a/dir/file", b"x");
    let links = |path: &[u8]| s.stat(path).expect("stat").nlink;
    assert_eq!((links(b"a"), links(b"b")), (3, 2));
    s.rename(b"a/dir", b"b/moved", Plain).expect("rename");
    assert_eq!((links(b"a"), links(b"b")), (2, 3));
    assert_eq!(get(s, b"b/moved/file"), b"x");
    let b = s.stat(b"b").expect("stat").ino;
    assert_eq!(s.stat(b"b/moved/..").expect("stat").ino, b);
    // Over an empty directory: it goes.
    s.mkdir(b"a/empty", 0o700).expect("mkdir");
    s.rename(b"b/moved", b"a/empty", Plain).expect("rename");
    assert_eq!((links(b"a"), links(b"b")), (3, 2));
    assert_eq!(get(s, b"a/empty/file"), b"x");
    let a = s.stat(b"a").expect("stat").ino;
    assert_eq!(s.stat(b"a/empty/..").expect("stat").ino, a);
    s.rmdir(b"b").expect("rmdir");
    fails(s.rmdir(b"a"), &[Errno::NOTEMPTY, Errno::EXIST]);
}

fn into_own<S: System>(s: &S) {
    s.mkdir(b"a", 0o700).expect("mkdir");
    s.mkdir(b"a/b", 0o700).expect("mkdir");
    s.mkdir(b"a/b/c", 0o700).expect("mkdir");
    fails(s.rename(b"a", b"a/b/c/d", Plain), &[Errno::INVAL]);
    fails(s.rename(b"a", b"a/d", Plain), &[Errno::INVAL]);
    fails(
        s.rename(b"a/b/c", b"a", Plain),
        &[Errno::NOTEMPTY, Errno::EXIST],
    );
    fails(s.rename(b"a", b"a/b", Exchange), &[Errno::INVAL]);
    s.rename(b"a", b"a", Plain).expect("rename to itself");
    assert_eq!(names(s, b"a/b"), [b"c"]);
}

fn no_replace<S: System>(s: &S) {
    put(s, b"a", b"a");
    put(s, b"b", b"b");
    fails(s.rename(b"a", b"b", NoReplace), &[Errno::EXIST]);
    assert_eq!(get(s, b"b"), b"b");
    s.rename(b"a", b"c", NoReplace).expect("rename");
    assert_eq!(get(s, b"c"), b"a");
    assert_eq!(names(s, b""), [b"b", b"c"]);
}

fn exchange<S: System>(s: &S) {
    put(s, b"a", b"a");
    put(s, b"b", b"b");
    s.rename(b"a", b"b", Exchange).expect("rename");
    assert_eq!((get(s, b"a"), get(s, b"b")), (b"b".to_vec(), b"a".to_vec()));
    fails(s.rename(b"a", b"none", Exchange), &[Errno::NOENT]);
    // A directory for a file, in other directories: link counts and `..` turn.
    s.mkdir(b"x", 0o700).expect("mkdir");
    s.mkdir(b"y", 0o700).expect("mkdir");
    s.mkdir(b"x/dir", 0o700).expect("mkdir");
    put(s, b"y/file", b"file");
    s.rename(b"x/dir", b"y/file", Exchange).expect("rename");
    let links = |path: &[u8]| s.stat(path).expect("stat").nlink;
    assert_eq!((links(b"x"), links(b"y")), (2, 3));
    let y = s.stat(b"y").expect("stat").ino;
    assert_eq!(s.stat(b"y/file/..").expect("stat").ino, y);
    assert_eq!(get(s, b"x/dir"), b"file");
    assert_eq!(list(s, b"x")[0].kind, Kind::Regular);
    assert_eq!(list(s, b"y")[0].kind, Kind::Directory);
    // Two directories.
    s.mkdir(b"x/sub", 0o700).expect("mkdir");
    put(s, b"x/sub/in-x", b"");
    s.rename(b"x/sub", b"y/file", Exchange).expect("rename");
    let x = s.stat(b"x").expect("stat").ino;
    assert_eq!(s.stat(b"x/sub/..").expect("stat").ino, x);
    assert_eq!(s.stat(b"y/file/..").expect("stat").ino, y);
    assert_eq!(names(s, b"y/file"), [b"in-x"]);
    assert_eq!((links(b"x"), links(b"y")), (3, 3));
}

fn same_inode<S: System>(s: &S) {
    put(s, b"a", b"x");
    s.link(b"a", b"b").expect("link");
    s.rename(b"a", b"b", Plain).expect("rename");
    // POSIX: nothing happens.
    assert_eq!(names(s, b""), [b"a", b"b"]);
    assert_eq!(s.stat(b"a").expect("stat").nlink, 2);
}

/// Renames within a directory of many leaves: removal and insertion meet in the same nodes.
fn within<S: System>(s: &S) {
    const COUNT: usize = 600;
    let name = |i: usize, round: usize| format!("{:0>60}-{round}", i * 7919 % 1000).into_bytes();
    for i in 0..COUNT {
        s.create(&name(i, 0), 0o600).expect("create");
    }
    let inos: Vec<u64> = (0..COUNT)
        .map(|i| s.stat(&name(i, 0)).expect("stat").ino)
        .collect();
    for round in 0..4 {
        for i in 0..COUNT {
            s.rename(&name(i, round), &name(i, round + 1), Plain)
                .expect("rename");
        }
        let mut expected: Vec<_> = (0..COUNT).map(|i| name(i, round + 1)).collect();
        expected.sort();
        assert_eq!(names(s, b""), expected);
    }
    for (i, ino) in inos.iter().enumerate() {
        assert_eq!(s.stat(&name(i, 4)).expect("stat").ino, *ino);
    }
    for i in 0..COUNT {
        s.unlink(&name(i, 4)).expect("unlink");
    }
    assert!(list(s, b"").is_empty());
}

fn over_open<S: System>(s: &S) {
    let old = put(s, b"b", &pattern(1, 30_000));
    put(s, b"a", b"new");
    s.rename(b"a", b"b", Plain).expect("rename");
    assert_eq!(s.stat_file(&old).expect("stat").nlink, 0);
    assert_eq!(read_at(s, &old, 0, 30_000), pattern(1, 30_000));
    assert_eq!(get(s, b"b"), b"new");
}
