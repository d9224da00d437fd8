// SPDX-License-Identifier: GPL-2.0

//! Names: what they may be, hard and symbolic links, files without one.

use super::{
    helpers::*,
    Test, //
};
use crate::system::*;

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("names-every-byte", every_byte),
        Test::new("names-length", length),
        Test::new("names-exist", exist),
        Test::new("hard-links", hard_links),
        Test::new("hard-link-of-directory", link_directory),
        Test::new("unlink-open", unlink_open),
        Test::new("tmpfile", tmpfile),
        Test::new("symlinks", symlinks),
        Test::new("fifo-socket", fifo_socket),
        Test::new("devices", devices).needs(&[Feature::Devices]),
        Test::new("names-after-remount", after_remount).needs(&[Feature::Remount]),
    ]
}

fn every_byte<S: System>(s: &S) {
    let mut expected = Vec::new();
    for byte in 1..=255u8 {
        if byte == b'/' || byte == b'.' {
            continue;
        }
        s.create(&[byte], 0o600).expect("create");
        s.mkdir(&[b'd', byte, byte], 0o700).expect("mkdir");
        expected.push(vec![byte]);
        expected.push(vec![b'd', byte, byte]);
    }
    s.create(b"...", 0o600).expect("create");
    expected.push(b"...".to_vec());
    expected.sort();
    assert_eq!(names(s, b""), expected);
    for name in &expected {
        let stat = s.stat(name).expect("stat");
        if name.len() == 3 && name[0] == b'd' {
            s.rmdir(name).expect("rmdir");
        } else {
            assert_eq!(stat.kind, Kind::Regular);
            s.unlink(name).expect("unlink");
        }
        assert!(!exists(s, name));
    }
    assert!(list(s, b"").is_empty());
}

fn length<S: System>(s: &S) {
    for len in [1, 7, 8, 9, 254, 255] {
        let name = vec![b'n'; len];
        put(s, &name, &[len as u8]);
        assert_eq!(get(s, &name), [len as u8]);
    }
    let long = vec![b'n'; 256];
    fails(s.create(&long, 0o600), &[Errno::NAMETOOLONG]);
    fails(s.mkdir(&long, 0o700), &[Errno::NAMETOOLONG]);
    fails(s.stat(&long), &[Errno::NAMETOOLONG]);
    fails(
        s.rename(b"n", &long, RenameMode::Plain),
        &[Errno::NAMETOOLONG],
    );
    assert_eq!(list(s, b"").len(), 6);
}

fn exist<S: System>(s: &S) {
    s.create(b"file", 0o600).expect("create");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    s.symlink(b"nowhere", b"link").expect("symlink");
    for name in [&b"file"[..], b"dir", b"link"] {
        fails(s.create(name, 0o600), &[Errno::EXIST]);
        fails(s.mkdir(name, 0o700), &[Errno::EXIST]);
        fails(s.symlink(b"x", name), &[Errno::EXIST]);
        fails(s.link(b"file", name), &[Errno::EXIST]);
        fails(s.mknod(name, Kind::Fifo, 0o600, (0, 0)), &[Errno::EXIST]);
    }
    fails(s.unlink(b"none"), &[Errno::NOENT]);
    fails(s.rmdir(b"none"), &[Errno::NOENT]);
    fails(s.rmdir(b"file"), &[Errno::NOTDIR]);
    fails(s.unlink(b"dir"), &[Errno::ISDIR, Errno::PERM]);
    fails(s.create(b"none/file", 0o600), &[Errno::NOENT]);
    fails(s.create(b"file/file", 0o600), &[Errno::NOTDIR]);
    assert_eq!(names(s, b""), [&b"dir"[..], b"file", b"link"]);
}

fn hard_links<S: System>(s: &S) {
    let file = put(s, b"a", b"content");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    s.link(b"a", b"b").expect("link");
    s.link(b"b", b"dir/c").expect("link");
    let [a, b, c] = [&b"a"[..], b"b", b"dir/c"].map(|name| s.stat(name).expect("stat"));
    assert_eq!((a.ino, a.nlink), (b.ino, 3));
    assert_eq!(a, b);
    assert_eq!(a, c);
    s.unlink(b"a").expect("unlink");
    assert_eq!(s.stat(b"b").expect("stat").nlink, 2);
    write_all(s, &file, 7, b"!");
    assert_eq!(get(s, b"dir/c"), b"content!");
    s.unlink(b"b").expect("unlink");
    s.unlink(b"dir/c").expect("unlink");
    assert_eq!(s.stat_file(&file).expect("stat").nlink, 0);
    // Of many links each is the file.
    put(s, b"many", b"x");
    for i in 0..200 {
        s.link(b"many", format!("many-{i}").as_bytes())
            .expect("link");
    }
    assert_eq!(s.stat(b"many-77").expect("stat").nlink, 201);
    for i in 0..200 {
        s.unlink(format!("many-{i}").as_bytes()).expect("unlink");
    }
    assert_eq!(s.stat(b"many").expect("stat").nlink, 1);
}

fn link_directory<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    fails(s.link(b"dir", b"other"), &[Errno::PERM]);
    assert_eq!(s.stat(b"dir").expect("stat").nlink, 2);
    // A symbolic link is an inode like others.
    s.symlink(b"dir", b"link").expect("symlink");
    s.link(b"link", b"link2").expect("link");
    assert_eq!(s.stat(b"link2").expect("stat").nlink, 2);
    assert_eq!(s.read_link(b"link2").expect("read_link"), b"dir");
}

fn unlink_open<S: System>(s: &S) {
    let content = pattern(1, 100_000);
    let file = put(s, b"file", &content);
    s.unlink(b"file").expect("unlink");
    assert!(!exists(s, b"file"));
    assert_eq!(read_at(s, &file, 0, 200_000), content);
    let more = pattern(2, 50_000);
    write_all(s, &file, 100_000, &more);
    assert_eq!(read_at(s, &file, 100_000, 60_000), more);
    s.set_len(&file, 10).expect("set_len");
    assert_eq!(read_at(s, &file, 0, 20), content[..10]);
    let stat = s.stat_file(&file).expect("stat");
    assert_eq!((stat.nlink, stat.size), (0, 10));
    // The name is free, and another file's.
    put(s, b"file", b"new");
    assert_eq!(read_at(s, &file, 0, 20), content[..10]);
    assert_eq!(get(s, b"file"), b"new");
}

fn tmpfile<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let lost = s.tmpfile(b"dir", 0o600).expect("tmpfile");
    write_all(s, &lost, 0, b"nobody will see this");
    let file = s.tmpfile(b"dir", 0o640).expect("tmpfile");
    assert_eq!(s.stat_file(&file).expect("stat").nlink, 0);
    assert!(list(s, b"dir").is_empty());
    let content = pattern(3, 20_000);
    write_all(s, &file, 0, &content);
    s.link_file(&file, b"dir/name").expect("link_file");
    let stat = s.stat(b"dir/name").expect("stat");
    assert_eq!((stat.nlink, stat.mode, stat.size), (1, 0o640, 20_000));
    assert_eq!(get(s, b"dir/name"), content);
    s.link(b"dir/name", b"second").expect("link");
    drop(file);
    drop(lost);
    assert_eq!(get(s, b"second"), content);
    assert_eq!(s.stat(b"second").expect("stat").nlink, 2);
    assert_eq!(list(s, b"dir").len(), 1);
    s.unlink(b"second").expect("unlink");
    s.unlink(b"dir/name").expect("unlink");
    s.rmdir(b"dir").expect("rmdir");
}

fn symlinks<S: System>(s: &S) {
    // About the sizes at which targets move out of the inode, and the longest.
    for len in [
        1, 59, 60, 61, 79, 80, 81, 95, 96, 97, 127, 128, 255, 256, 1000, 4031, 4032, 4095,
    ] {
        let target: Vec<u8> = (0..len).map(|i| b"abcdefg/"[i % 8]).collect();
        let name = format!("link-{len}");
        s.symlink(&target, name.as_bytes()).expect("symlink");
        assert_eq!(s.read_link(name.as_bytes()).expect("read_link"), target);
        let stat = s.stat(name.as_bytes()).expect("stat");
        assert_eq!((stat.kind, stat.size), (Kind::Symlink, len as u64));
    }
    fails(s.symlink(&vec![b'x'; 4096], b"long"), &[Errno::NAMETOOLONG]);
    fails(s.symlink(b"", b"empty"), &[Errno::NOENT]);
    assert_eq!(list(s, b"").len(), 18);
    assert!(list(s, b"").iter().all(|entry| entry.kind == Kind::Symlink));
    s.rename(b"link-4095", b"moved", RenameMode::Plain)
        .expect("rename");
    assert_eq!(s.read_link(b"moved").expect("read_link").len(), 4095);
}

fn fifo_socket<S: System>(s: &S) {
    for (name, kind) in [(&b"fifo"[..], Kind::Fifo), (b"socket", Kind::Socket)] {
        s.mknod(name, kind, 0o640, (0, 0)).expect("mknod");
        let stat = s.stat(name).expect("stat");
        assert_eq!((stat.kind, stat.mode, stat.size), (kind, 0o640, 0));
        let entry = list(s, b"").into_iter().find(|entry| entry.name == name);
        assert_eq!(entry.expect("listed").kind, kind);
    }
    s.unlink(b"fifo").expect("unlink");
    s.unlink(b"socket").expect("unlink");
}

fn devices<S: System>(s: &S) {
    let devices = [
        (&b"null"[..], Kind::CharDevice, (1, 3)),
        (b"disk", Kind::BlockDevice, (8, 17)),
        (b"large", Kind::CharDevice, (4095, 1_048_575)),
    ];
    for (name, kind, rdev) in devices {
        s.mknod(name, kind, 0o600, rdev).expect("mknod");
        let stat = s.stat(name).expect("stat");
        assert_eq!((stat.kind, stat.rdev, stat.size), (kind, rdev, 0));
    }
}

fn after_remount<S: System>(s: &S) {
    put(s, b"file", b"content");
    s.mkdir(b"dir", 0o755).expect("mkdir");
    s.symlink(&[b't'; 2000], b"dir/long").expect("symlink");
    s.symlink(b"short", b"dir/short").expect("symlink");
    s.mknod(b"fifo", Kind::Fifo, 0o622, (0, 0)).expect("mknod");
    s.link(b"file", b"dir/file").expect("link");
    let paths = [
        &b"file"[..],
        b"dir",
        b"dir/long",
        b"dir/short",
        b"fifo",
        b"dir/file",
    ];
    let before = paths.map(|path| s.stat(path).expect("stat"));
    s.remount().expect("remount");
    let after = paths.map(|path| s.stat(path).expect("stat"));
    assert_eq!(before, after);
    assert_eq!(get(s, b"dir/file"), b"content");
    assert_eq!(s.read_link(b"dir/long").expect("read_link"), [b't'; 2000]);
    assert_eq!(s.read_link(b"dir/short").expect("read_link"), b"short");
}
