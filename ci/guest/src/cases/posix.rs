// SPDX-License-Identifier: GPL-2.0

//! What POSIX and Linux ask, as far as pjdfstest does not ask it.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::expect;
use super::Case;
use super::Run;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[
    ("posix-rename-flags", rename_flags),
    ("posix-rename-directories", rename_directories),
    ("posix-rename-whiteout", rename_whiteout),
    ("posix-tmpfile", tmpfile),
    ("posix-special-files", special_files),
    ("posix-symlinks", symlinks),
    ("posix-setgid-sticky", setgid_sticky),
    ("posix-times", times),
    ("posix-unlinked-open", unlinked_open),
    ("posix-links", links),
];

fn rename_flags(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    for dir in ["a", "b", "a/sub"] {
        fs::create_dir(fs.path(dir))?;
    }
    fs::write(fs.path("a/file"), b"A")?;
    fs::write(fs.path("b/file"), b"B")?;
    let exists = libc::RENAME_NOREPLACE;
    expect(
        sys::rename(&fs.path("a/file"), &fs.path("b/file"), exists),
        libc::EEXIST,
        "NOREPLACE",
    )?;
    sys::rename(&fs.path("a/file"), &fs.path("b/other"), exists)?;
    sys::rename(
        &fs.path("b/file"),
        &fs.path("b/other"),
        libc::RENAME_EXCHANGE,
    )?;
    ensure!(fs::read(fs.path("b/file"))? == b"A" && fs::read(fs.path("b/other"))? == b"B");
    // A directory against a file of another directory: both parents' link counts move
    sys::rename(&fs.path("a/sub"), &fs.path("b/file"), libc::RENAME_EXCHANGE)?;
    ensure!(fs.path("b/file").is_dir() && fs.path("a/sub").is_file());
    ensure!(fs.path("a").metadata()?.nlink() == 2 && fs.path("b").metadata()?.nlink() == 3);
    let parent = fs.path("b/file/..").metadata()?.ino();
    ensure!(
        parent == fs.path("b").metadata()?.ino(),
        ".. of the exchanged directory"
    );
    expect(
        sys::rename(&fs.path("a/sub"), &fs.path("none"), libc::RENAME_EXCHANGE),
        libc::ENOENT,
        "EXCHANGE with nothing",
    )?;
    fs.cycle()?;
    ensure!(fs.path("b/file").is_dir() && fs::read(fs.path("a/sub"))? == b"A");
    fs.finish()
}

/// RENAME_WHITEOUT: the old name becomes a character device 0:0, in the same transaction.
fn rename_whiteout(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::create_dir_all(fs.path("a/dir/sub"))?;
    fs::create_dir(fs.path("b"))?;
    fs::write(fs.path("a/file"), b"moved")?;
    fs::write(fs.path("a/second"), b"replaces")?;
    fs::write(fs.path("b/victim"), b"replaced")?;
    let free = sys::free(&fs.dir)?.1;
    let moves = [
        ("a/file", "b/file"),
        ("a/second", "b/victim"),
        ("a/dir", "b/dir"),
        ("b/file", "b/again"),
    ];
    for (old, new) in moves {
        sys::rename(&fs.path(old), &fs.path(new), libc::RENAME_WHITEOUT).context(old)?;
    }
    let check = |at: &std::path::Path| -> Result<()> {
        for (old, _) in moves {
            let meta = at.join(old).symlink_metadata().context(old)?;
            ensure!(meta.file_type().is_char_device(), "{old} is no whiteout");
            ensure!(meta.rdev() == 0 && meta.nlink() == 1, "{old}");
        }
        ensure!(fs::read(at.join("b/again"))? == b"moved");
        ensure!(fs::read(at.join("b/victim"))? == b"replaces");
        ensure!(at.join("b/dir/sub").is_dir());
        ensure!(at.join("b/dir/..").metadata()?.ino() == at.join("b").metadata()?.ino());
        ensure!(at.join("a").metadata()?.nlink() == 2 && at.join("b").metadata()?.nlink() == 3);
        Ok(())
    };
    check(&fs.dir)?;
    // Four whiteouts came, one file went
    ensure!(sys::free(&fs.dir)?.1 == free - 3, "inodes");
    for flags in [
        libc::RENAME_WHITEOUT | libc::RENAME_EXCHANGE,
        libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE,
    ] {
        expect(
            sys::rename(&fs.path("b/again"), &fs.path("b/victim"), flags),
            libc::EINVAL,
            "flags",
        )?;
    }
    let both = libc::RENAME_WHITEOUT | libc::RENAME_NOREPLACE;
    expect(
        sys::rename(&fs.path("b/again"), &fs.path("b/victim"), both),
        libc::EEXIST,
        "NOREPLACE",
    )?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    case.after_crash(&fs, check)?;
    fs.cycle()?;
    check(&fs.dir)?;
    fs.finish()
}

fn rename_directories(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::create_dir_all(fs.path("a/b/c"))?;
    fs::create_dir_all(fs.path("x/empty"))?;
    fs::write(fs.path("a/b/file"), b"f")?;
    expect(
        fs::rename(fs.path("a"), fs.path("a/b/c/d")),
        libc::EINVAL,
        "into itself",
    )?;
    expect(
        fs::rename(fs.path("x/empty"), fs.path("a/b")),
        libc::ENOTEMPTY,
        "over a full one",
    )?;
    expect(
        fs::rename(fs.path("a/b/file"), fs.path("x/empty")),
        libc::EISDIR,
        "file over dir",
    )?;
    expect(
        fs::rename(fs.path("x/empty"), fs.path("a/b/file")),
        libc::ENOTDIR,
        "dir over file",
    )?;
    // Over an empty directory that somebody has open
    let open = File::open(fs.path("x/empty"))?;
    fs::rename(fs.path("a/b"), fs.path("x/empty"))?;
    ensure!(
        open.metadata()?.nlink() == 0,
        "the replaced directory has links"
    );
    drop(open);
    for round in 0..2 {
        ensure!(
            fs.path("a").metadata()?.nlink() == 2,
            "round {round}: links of a"
        );
        ensure!(
            fs.path("x").metadata()?.nlink() == 3,
            "round {round}: links of x"
        );
        ensure!(fs.path("x/empty").metadata()?.nlink() == 3);
        ensure!(fs.path("x/empty/..").metadata()?.ino() == fs.path("x").metadata()?.ino());
        ensure!(fs::read(fs.path("x/empty/file"))? == b"f");
        fs.cycle()?;
    }
    // Many renames in one place and across, with a check at the end
    for n in 0..200 {
        fs::write(fs.path(&format!("a/{n}")), format!("{n}"))?;
    }
    for n in 0..200 {
        fs::rename(fs.path(&format!("a/{n}")), fs.path(&format!("x/{}", n / 2)))?;
    }
    fs.cycle()?;
    for n in 0..100 {
        let want = format!("{}", 2 * n + 1);
        ensure!(
            fs::read_to_string(fs.path(&format!("x/{n}")))? == want,
            "x/{n}"
        );
    }
    fs.finish()
}

fn linkat_fd(file: &File, to: &Path) -> io::Result<()> {
    let from = sys::cstring(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let to = sys::cstring(to);
    // SAFETY: Both pointers are to NUL-terminated strings that live over the call.
    sys::cvt(
        unsafe {
            libc::linkat(
                libc::AT_FDCWD,
                from.as_ptr(),
                libc::AT_FDCWD,
                to.as_ptr(),
                libc::AT_SYMLINK_FOLLOW,
            )
        }
        .into(),
    )?;
    Ok(())
}

fn tmpfile(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    let before = sys::free(&fs.dir)?.1;
    let open = |extra| sys::open(&fs.dir, libc::O_TMPFILE | libc::O_RDWR | extra, 0o640);
    for n in 0..50 {
        let file = open(0)?;
        ensure!(file.metadata()?.nlink() == 0);
        file.write_all_at(&[3; 10_000], 0)?;
        if n % 2 == 0 {
            linkat_fd(&file, &fs.path(&format!("linked-{n}")))?;
            ensure!(file.metadata()?.nlink() == 1);
        }
    }
    let excl = open(libc::O_EXCL)?;
    expect(
        linkat_fd(&excl, &fs.path("never")),
        libc::ENOENT,
        "linking an O_EXCL tmpfile",
    )?;
    drop(excl);
    fs.cycle()?;
    for n in (0..50).step_by(2) {
        ensure!(fs::read(fs.path(&format!("linked-{n}")))? == vec![3; 10_000]);
    }
    let after = sys::free(&fs.dir)?.1;
    ensure!(after + 25 == before, "{before} free inodes, then {after}");
    fs.finish()
}

fn special_files(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    sys::mknod(&fs.path("fifo"), libc::S_IFIFO | 0o600, 0)?;
    sys::mknod(&fs.path("null"), libc::S_IFCHR | 0o666, libc::makedev(1, 3))?;
    sys::mknod(
        &fs.path("block"),
        libc::S_IFBLK | 0o600,
        libc::makedev(259, 1_000_000),
    )?;
    let socket = std::os::unix::net::UnixListener::bind(fs.path("socket"))?;
    drop(socket);
    for _ in 0..2 {
        let kind = |name: &str| -> Result<_> { Ok(fs.path(name).symlink_metadata()?) };
        ensure!(kind("fifo")?.file_type().is_fifo());
        ensure!(kind("socket")?.file_type().is_socket());
        ensure!(kind("null")?.rdev() == libc::makedev(1, 3));
        ensure!(kind("block")?.file_type().is_block_device());
        ensure!(
            kind("block")?.rdev() == libc::makedev(259, 1_000_000),
            "a wide device number"
        );
        fs::write(fs.path("null"), b"gone")?;
        fs.cycle()?;
    }
    fs.finish()
}

fn symlinks(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    let lengths = [
        1, 59, 60, 95, 96, 97, 143, 144, 145, 255, 1000, 4000, 4032, 4095,
    ];
    let made: Vec<usize> = lengths
        .into_iter()
        .filter(|len| {
            let target = "t".repeat(*len);
            std::os::unix::fs::symlink(target, fs.path(&format!("l{len}"))).is_ok()
        })
        .collect();
    ensure!(made.contains(&4000), "of these lengths only: {made:?}");
    for _ in 0..2 {
        for len in &made {
            let path = fs.path(&format!("l{len}"));
            ensure!(
                fs::read_link(&path)?.display().to_string() == "t".repeat(*len),
                "{len}"
            );
            ensure!(
                path.symlink_metadata()?.len() == *len as u64,
                "size of {len}"
            );
        }
        fs.cycle()?;
    }
    std::os::unix::fs::symlink("loop", fs.path("loop"))?;
    expect(File::open(fs.path("loop")), libc::ELOOP, "a loop")?;
    for len in &made {
        fs::remove_file(fs.path(&format!("l{len}")))?;
    }
    fs.finish()
}

fn setgid_sticky(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    let dir = fs.path("dir");
    fs::create_dir(&dir)?;
    std::os::unix::fs::chown(&dir, Some(0), Some(1234))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775))?;
    File::create(dir.join("file"))?;
    fs::create_dir(dir.join("sub"))?;
    for _ in 0..2 {
        ensure!(dir.join("file").metadata()?.gid() == 1234);
        let sub = dir.join("sub").metadata()?;
        ensure!(
            sub.gid() == 1234 && sub.mode() & 0o2000 != 0,
            "mode {:o}",
            sub.mode()
        );
        fs.cycle()?;
    }
    // Writing takes setuid away
    let file = dir.join("file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o6777))?;
    std::os::unix::fs::chown(&file, Some(77), Some(77))?;
    ensure!(file.metadata()?.mode() & 0o7000 == 0, "chown keeps setuid");
    ensure!(file.metadata()?.uid() == 77);
    fs.finish()
}

fn times(case: &Case) -> Result<()> {
    use std::time::Duration;
    use std::time::SystemTime;
    let mut fs = case.small(32)?;
    let stamps = [
        Duration::new(1, 1),
        Duration::new(1_700_000_000, 123_456_789),
        Duration::new(4_000_000_000, 999_999_999),
        Duration::new(9_000_000_000, 7),
    ];
    for (n, stamp) in stamps.iter().enumerate() {
        let file = File::create(fs.path(&format!("f{n}")))?;
        let at = SystemTime::UNIX_EPOCH + *stamp;
        file.set_times(fs::FileTimes::new().set_modified(at).set_accessed(at))?;
    }
    let born = fs.path("f0").metadata()?.created().context("birth time")?;
    for _ in 0..2 {
        for (n, stamp) in stamps.iter().enumerate() {
            let meta = fs.path(&format!("f{n}")).metadata()?;
            let have = (meta.mtime() as u64, meta.mtime_nsec() as u32);
            ensure!(
                have == (stamp.as_secs(), stamp.subsec_nanos()),
                "mtime {have:?}, {stamp:?}"
            );
            ensure!(meta.atime() as u64 == stamp.as_secs(), "atime");
        }
        ensure!(
            fs.path("f0").metadata()?.created()? == born,
            "the birth time moved"
        );
        fs.cycle()?;
    }
    let before = fs.path("f0").metadata()?;
    std::thread::sleep(Duration::from_millis(30));
    fs::set_permissions(fs.path("f0"), fs::Permissions::from_mode(0o600))?;
    let after = fs.path("f0").metadata()?;
    ensure!(
        after.ctime_nsec() != before.ctime_nsec() || after.ctime() > before.ctime(),
        "ctime"
    );
    ensure!(after.mtime() == before.mtime(), "chmod moved mtime");
    let dir = fs.dir.metadata()?;
    std::thread::sleep(Duration::from_millis(30));
    fs::rename(fs.path("f1"), fs.path("g1"))?;
    let now = fs.dir.metadata()?;
    ensure!(
        (now.mtime(), now.mtime_nsec()) > (dir.mtime(), dir.mtime_nsec()),
        "rename: mtime"
    );
    fs.finish()
}

fn unlinked_open(case: &Case) -> Result<()> {
    let mut fs = case.small(48)?;
    sys::syncfs(&File::open(&fs.dir)?)?;
    let before = sys::free(&fs.dir)?;
    for round in 0..20 {
        let file = sys::open(fs.path("f"), libc::O_RDWR | libc::O_CREAT, 0o600)?;
        file.write_all_at(&[1; 300_000], 0)?;
        if round % 2 == 0 {
            file.sync_all()?;
        }
        fs::remove_file(fs.path("f"))?;
        sys::drop_caches()?;
        file.write_all_at(&[2; 300_000], 200_000)?;
        let mut data = vec![0; 500_000];
        file.read_exact_at(&mut data, 0)?;
        ensure!(data[..200_000].iter().all(|b| *b == 1), "the old part");
        ensure!(data[200_000..].iter().all(|b| *b == 2), "the new part");
        ensure!(file.metadata()?.nlink() == 0);
    }
    sys::syncfs(&File::open(&fs.dir)?)?;
    let after = sys::free(&fs.dir)?;
    ensure!(
        after.1 == before.1,
        "{} free inodes, {} before",
        after.1,
        before.1
    );
    ensure!(
        after.0 + 16384 >= before.0,
        "{} bytes free, {} before",
        after.0,
        before.0
    );
    fs.cycle()?;
    fs.finish()
}

/// open_by_handle_at finds an inode that is not in memory, and not one that is gone.

fn links(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::write(fs.path("file"), b"shared")?;
    fs::create_dir(fs.path("dir"))?;
    for n in 0..500 {
        fs::hard_link(fs.path("file"), fs.path(&format!("dir/link-{n}")))?;
    }
    ensure!(fs.path("file").metadata()?.nlink() == 501);
    fs.cycle()?;
    ensure!(fs.path("dir/link-7").metadata()?.nlink() == 501);
    expect(
        fs::hard_link(fs.path("dir"), fs.path("d2")),
        libc::EPERM,
        "link of a directory",
    )?;
    expect(
        fs::hard_link(fs.path("file"), fs.path("dir/link-1")),
        libc::EEXIST,
        "link over",
    )?;
    fs::remove_file(fs.path("file"))?;
    for n in 0..499 {
        fs::remove_file(fs.path(&format!("dir/link-{n}")))?;
    }
    ensure!(fs::read(fs.path("dir/link-499"))? == b"shared");
    ensure!(fs.path("dir/link-499").metadata()?.nlink() == 1);
    fs.finish()
}
