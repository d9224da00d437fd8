// SPDX-License-Identifier: GPL-2.0

//! Modes, owners and times.

use super::{
    helpers::*,
    Test, //
};
use crate::system::*;
use std::{
    thread::sleep,
    time::Duration, //
};

pub fn tests<S: System>() -> Vec<Test<S>> {
    vec![
        Test::new("modes", modes),
        Test::new("owners", owners).needs(&[Feature::Owners]),
        Test::new("times-are-kept", times_kept),
        Test::new("times-move", times_move),
        Test::new("setgid-directory", setgid).needs(&[Feature::Owners]),
        Test::new("setid-is-lost", setid_lost).needs(&[Feature::Users]),
        Test::new("sticky-directory", sticky).needs(&[Feature::Users]),
        Test::new("permissions", permissions).needs(&[Feature::Users]),
        Test::new("attributes-after-remount", after_remount).needs(&[Feature::Remount]),
    ]
}

fn modes<S: System>(s: &S) {
    for mode in [0, 0o1, 0o644, 0o777, 0o1755, 0o2711, 0o4755, 0o7777] {
        let name = format!("mode-{mode:o}");
        s.create(name.as_bytes(), 0o600).expect("create");
        s.chmod(name.as_bytes(), mode).expect("chmod");
        let stat = s.stat(name.as_bytes()).expect("stat");
        assert_eq!((stat.mode, stat.kind), (mode, Kind::Regular));
    }
    s.mkdir(b"dir", 0o751).expect("mkdir");
    assert_eq!(s.stat(b"dir").expect("stat").mode, 0o751);
    s.chmod(b"dir", 0o1700).expect("chmod");
    assert_eq!(s.stat(b"dir").expect("stat").mode, 0o1700);
}

fn owners<S: System>(s: &S) {
    s.create(b"file", 0o600).expect("create");
    for (uid, gid) in [
        (1, 2),
        (65_534, 65_535),
        (100_000, 70_000),
        (u32::MAX - 1, 5),
    ] {
        s.chown(b"file", uid, gid).expect("chown");
        let stat = s.stat(b"file").expect("stat");
        assert_eq!((stat.uid, stat.gid), (uid, gid));
    }
    // The link, and not what it leads to.
    s.symlink(b"file", b"link").expect("symlink");
    s.chown(b"link", 7, 8).expect("chown");
    let [file, link] = [&b"file"[..], b"link"].map(|name| s.stat(name).expect("stat"));
    assert_eq!((file.gid, link.uid, link.gid), (5, 7, 8));
}

fn times_kept<S: System>(s: &S) {
    s.create(b"file", 0o600).expect("create");
    s.mkdir(b"dir", 0o700).expect("mkdir");
    let times = [
        (0, 0),
        (1, 1),
        (1_700_000_000, 999_999_999),
        (-1, 500_000_000),
        (i64::from(i32::MAX) + 1, 0),
        (1 << 33, 123_456_789),
    ];
    for (sec, nsec) in times {
        let mtime = Time { sec, nsec };
        let atime = Time {
            sec: sec + 1,
            nsec: 42,
        };
        for name in [&b"file"[..], b"dir"] {
            s.set_times(name, atime, mtime).expect("set_times");
            let stat = s.stat(name).expect("stat");
            assert_eq!((stat.atime, stat.mtime), (atime, mtime));
        }
    }
}

/// Asserts what an act does to the change time and the modification time of `path`.
fn moves<S: System>(s: &S, path: &[u8], modified: bool, changed: bool, act: impl FnOnce()) {
    let before = s.stat(path).expect("stat");
    // Clocks of file systems tick with the timer.
    sleep(Duration::from_millis(25));
    act();
    let after = s.stat(path).expect("stat");
    let path = path.escape_ascii();
    assert_eq!(after.mtime > before.mtime, modified, "mtime of {path}");
    assert_eq!(after.ctime > before.ctime, changed, "ctime of {path}");
}

fn times_move<S: System>(s: &S) {
    s.mkdir(b"dir", 0o700).expect("mkdir");
    moves(s, b"dir", true, true, || drop(put(s, b"dir/file", b"x")));
    let file = s.open(b"dir/file").expect("open");
    moves(s, b"dir/file", true, true, || write_all(s, &file, 0, b"y"));
    moves(s, b"dir/file", true, true, || {
        s.set_len(&file, 100).expect("set_len")
    });
    moves(s, b"dir/file", false, true, || {
        s.chmod(b"dir/file", 0o640).expect("chmod")
    });
    moves(s, b"dir/file", false, true, || {
        s.chown(b"dir/file", 1, 1).expect("chown")
    });
    moves(s, b"dir/file", false, true, || {
        s.link(b"dir/file", b"link").expect("link")
    });
    moves(s, b"dir", true, true, || {
        s.link(b"link", b"dir/link").expect("link");
    });
    moves(s, b"dir", true, true, || {
        s.unlink(b"dir/link").expect("unlink")
    });
    moves(s, b"dir/file", false, true, || {
        s.unlink(b"link").expect("unlink")
    });
    moves(s, b"dir", true, true, || {
        s.rename(b"dir/file", b"dir/new", RenameMode::Plain)
            .expect("rename");
    });
    s.link(b"dir/new", b"other").expect("link");
    moves(s, b"other", false, true, || {
        s.rename(b"dir/new", b"new", RenameMode::Plain)
            .expect("rename");
    });
    moves(s, b"dir", true, true, || {
        s.mkdir(b"dir/sub", 0o700).expect("mkdir")
    });
    moves(s, b"dir", true, true, || {
        s.rmdir(b"dir/sub").expect("rmdir")
    });
    moves(s, b"dir", false, false, || {
        assert!(list(s, b"dir").is_empty())
    });
    moves(s, b"new", false, false, || drop(read_at(s, &file, 0, 10)));
    moves(s, b"new", false, false, || write_nothing(s, &file));
}

fn write_nothing<S: System>(s: &S, file: &S::File) {
    assert_eq!(s.write(file, 0, b"").expect("write"), 0);
}

fn setgid<S: System>(s: &S) {
    s.mkdir(b"dir", 0o777).expect("mkdir");
    s.chown(b"dir", 0, 4242).expect("chown");
    s.chmod(b"dir", 0o2777).expect("chmod");
    s.create(b"dir/file", 0o644).expect("create");
    s.mkdir(b"dir/sub", 0o755).expect("mkdir");
    s.symlink(b"x", b"dir/link").expect("symlink");
    let [file, sub, link] =
        [&b"dir/file"[..], b"dir/sub", b"dir/link"].map(|name| s.stat(name).expect("stat"));
    assert_eq!((file.gid, sub.gid, link.gid), (4242, 4242, 4242));
    assert_eq!((file.mode, sub.mode), (0o644, 0o2755));
}

fn setid_lost<S: System>(s: &S) {
    put(s, b"file", b"x");
    s.chown(b"file", 1000, 1000).expect("chown");
    s.chmod(b"file", 0o6777).expect("chmod");
    s.as_user(2000, 2000, || {
        let file = s.open(b"file").expect("open");
        write_all(s, &file, 0, b"y");
    });
    assert_eq!(s.stat(b"file").expect("stat").mode, 0o777);
    s.chmod(b"file", 0o6777).expect("chmod");
    s.as_user(1000, 1000, || s.chown(b"file", 1000, 1000))
        .expect("chown");
    assert_eq!(s.stat(b"file").expect("stat").mode & 0o6000, 0);
}

fn sticky<S: System>(s: &S) {
    s.mkdir(b"dir", 0o777).expect("mkdir");
    s.chmod(b"dir", 0o1777).expect("chmod");
    s.as_user(1000, 1000, || drop(put(s, b"dir/mine", b"x")));
    s.as_user(2000, 2000, || {
        fails(s.unlink(b"dir/mine"), &[Errno::PERM, Errno::ACCESS]);
        let moved = s.rename(b"dir/mine", b"dir/yours", RenameMode::Plain);
        fails(moved, &[Errno::PERM, Errno::ACCESS]);
        put(s, b"dir/other", b"x");
        let over = s.rename(b"dir/other", b"dir/mine", RenameMode::Plain);
        fails(over, &[Errno::PERM, Errno::ACCESS]);
    });
    s.as_user(1000, 1000, || s.unlink(b"dir/mine"))
        .expect("unlink");
    assert_eq!(names(s, b"dir"), [b"other"]);
}

fn permissions<S: System>(s: &S) {
    put(s, b"secret", b"x");
    s.chmod(b"secret", 0o600).expect("chmod");
    s.mkdir(b"closed", 0o700).expect("mkdir");
    s.create(b"closed/file", 0o666).expect("create");
    s.as_user(1000, 1000, || {
        fails(s.open(b"secret"), &[Errno::ACCESS]);
        fails(s.stat(b"closed/file"), &[Errno::ACCESS]);
        fails(s.create(b"closed/x", 0o600), &[Errno::ACCESS]);
        fails(s.chmod(b"secret", 0o666), &[Errno::PERM]);
        fails(s.chown(b"secret", 1000, 1000), &[Errno::PERM]);
    });
}

fn after_remount<S: System>(s: &S) {
    put(s, b"file", b"content");
    s.chmod(b"file", 0o4751).expect("chmod");
    s.chown(b"file", 70_000, 80_000).expect("chown");
    s.chmod(b"file", 0o4751).expect("chmod");
    let time = |sec| Time { sec, nsec: 7 };
    s.set_times(b"file", time(-5), time(1 << 33))
        .expect("set_times");
    s.mkdir(b"dir", 0o2770).expect("mkdir");
    s.chmod(b"dir", 0o3770).expect("chmod");
    let before = [&b"file"[..], b"dir"].map(|name| s.stat(name).expect("stat"));
    s.remount().expect("remount");
    let after = [&b"file"[..], b"dir"].map(|name| s.stat(name).expect("stat"));
    assert_eq!(before, after);
}
