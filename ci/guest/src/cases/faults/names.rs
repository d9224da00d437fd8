// SPDX-License-Identifier: GPL-2.0

//! Names come and go.

use anyhow::ensure;
use anyhow::Result;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::call;
use super::content;
use super::exists;
use super::there;
use super::volume;
use super::walk;
use super::Operation;
use crate::cases::Case;
use crate::fs::Small;
use crate::sys;

const NEW: &str = "dir/new";

/// Names come.
pub fn come(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    for kind in [libc::S_IFREG, libc::S_IFIFO] {
        walk(
            &mut fs,
            "mknod",
            |fs| {
                let new = sys::cstring(fs.path(NEW));
                Ok(Box::new(move || {
                    // SAFETY: A valid string.
                    call(unsafe { libc::mknod(new.as_ptr(), kind | 0o600, 0) })
                }))
            },
            |fs, result| {
                there(&fs.path(NEW), result == 0)?;
                if result == 0 {
                    fs::remove_file(fs.path(NEW))?;
                }
                Ok(())
            },
        )?;
    }
    walk(
        &mut fs,
        "mkdir",
        |fs| {
            let new = sys::cstring(fs.path(NEW));
            Ok(Box::new(move || {
                // SAFETY: A valid string.
                call(unsafe { libc::mkdir(new.as_ptr(), 0o700) })
            }))
        },
        |fs, result| {
            there(&fs.path(NEW), result == 0)?;
            let links = fs.path("dir").metadata()?.nlink();
            ensure!(links == 3 + u64::from(result == 0), "dir has {links} links");
            if result == 0 {
                fs::remove_dir(fs.path(NEW))?;
            }
            Ok(())
        },
    )?;
    for len in [20, 3_000] {
        let target = "t".repeat(len);
        walk(
            &mut fs,
            "symlink",
            |fs| {
                let (new, to) = (sys::cstring(fs.path(NEW)), sys::cstring(&target));
                Ok(Box::new(move || {
                    // SAFETY: Valid strings.
                    call(unsafe { libc::symlink(to.as_ptr(), new.as_ptr()) })
                }))
            },
            |fs, result| {
                there(&fs.path(NEW), result == 0)?;
                if result == 0 {
                    ensure!(fs::read_link(fs.path(NEW))? == Path::new(&target));
                    fs::remove_file(fs.path(NEW))?;
                }
                Ok(())
            },
        )?;
    }
    fs::write(fs.path("file"), b"shared")?;
    walk(
        &mut fs,
        "link",
        |fs| {
            let (old, new) = (sys::cstring(fs.path("file")), sys::cstring(fs.path(NEW)));
            Ok(Box::new(move || {
                // SAFETY: Valid strings.
                call(unsafe { libc::link(old.as_ptr(), new.as_ptr()) })
            }))
        },
        |fs, result| {
            there(&fs.path(NEW), result == 0)?;
            let links = fs.path("file").metadata()?.nlink();
            ensure!(links == 1 + u64::from(result == 0), "{links} links");
            if result == 0 {
                fs::remove_file(fs.path(NEW))?;
            }
            Ok(())
        },
    )?;
    walk(
        &mut fs,
        "O_TMPFILE and linkat",
        |fs| {
            let (dir, new) = (sys::cstring(fs.path("dir")), sys::cstring(fs.path(NEW)));
            let empty = sys::cstring("");
            Ok(Box::new(move || {
                // SAFETY: Valid strings; the descriptor is closed here.
                unsafe {
                    let fd = libc::open(dir.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600);
                    if fd < 0 {
                        return call(fd);
                    }
                    let result = call(libc::linkat(
                        fd,
                        empty.as_ptr(),
                        libc::AT_FDCWD,
                        new.as_ptr(),
                        libc::AT_EMPTY_PATH,
                    ));
                    libc::close(fd);
                    result
                }
            }))
        },
        |fs, result| {
            there(&fs.path(NEW), result == 0)?;
            if result == 0 {
                fs::remove_file(fs.path(NEW))?;
            }
            Ok(())
        },
    )?;
    renames(&mut fs)?;
    fs.finish()
}

/// A rename of `old` to `new` with `flags`.
fn rename(fs: &Small, old: &str, new: &str, flags: u32) -> Operation<'static> {
    let (old, new) = (sys::cstring(fs.path(old)), sys::cstring(fs.path(new)));
    Box::new(move || {
        // SAFETY: Valid strings.
        call(unsafe {
            libc::renameat2(
                libc::AT_FDCWD,
                old.as_ptr(),
                libc::AT_FDCWD,
                new.as_ptr(),
                flags,
            )
        })
    })
}

fn renames(fs: &mut Small) -> Result<()> {
    walk(
        fs,
        "rename over a file",
        |fs| {
            fs::write(fs.path("a"), b"a")?;
            fs::write(fs.path("dir/b"), [b'b'; 20_000])?;
            Ok(rename(fs, "a", "dir/b", 0))
        },
        |fs, result| {
            there(&fs.path("a"), result < 0)?;
            let b: &[u8] = if result < 0 { &[b'b'; 20_000] } else { b"a" };
            content(&fs.path("dir/b"), b)
        },
    )?;
    walk(
        fs,
        "rename of a directory",
        |fs| {
            if !exists(&fs.path("dir/sub"))? {
                fs::rename(fs.path("other/sub"), fs.path("dir/sub"))?;
            }
            Ok(rename(fs, "dir/sub", "other/sub", 0))
        },
        |fs, result| {
            there(&fs.path("dir/sub"), result < 0)?;
            there(&fs.path("other/sub"), result == 0)?;
            let links = |name: &str| -> Result<u64> { Ok(fs.path(name).metadata()?.nlink()) };
            let moved = u64::from(result == 0);
            ensure!(links("dir")? == 3 - moved && links("other")? == 2 + moved);
            let (parent, sub) = match result {
                0 => ("other", "other/sub/.."),
                _ => ("dir", "dir/sub/.."),
            };
            ensure!(fs.path(sub).metadata()?.ino() == fs.path(parent).metadata()?.ino());
            Ok(())
        },
    )?;
    walk(
        fs,
        "exchange",
        |fs| {
            fs::write(fs.path("x"), b"x")?;
            fs::write(fs.path("dir/y"), b"y")?;
            Ok(rename(fs, "x", "dir/y", libc::RENAME_EXCHANGE))
        },
        |fs, result| {
            let (x, y): (&[u8], &[u8]) = if result < 0 {
                (b"x", b"y")
            } else {
                (b"y", b"x")
            };
            content(&fs.path("x"), x)?;
            content(&fs.path("dir/y"), y)
        },
    )?;
    walk(
        fs,
        "rename with a whiteout",
        |fs| {
            for name in ["w", "dir/w"] {
                if exists(&fs.path(name))? {
                    fs::remove_file(fs.path(name))?;
                }
            }
            fs::write(fs.path("w"), b"w")?;
            Ok(rename(fs, "w", "dir/w", libc::RENAME_WHITEOUT))
        },
        |fs, result| {
            there(&fs.path("dir/w"), result == 0)?;
            let file = fs.path("w").symlink_metadata()?.is_file();
            ensure!(file == (result < 0), "the old name");
            Ok(())
        },
    )
}

/// Names go, and what they led to.
pub fn go(case: &Case) -> Result<()> {
    let mut fs = volume(case)?;
    let free = sys::free(&fs.dir)?;
    walk(
        &mut fs,
        "unlink",
        |fs| {
            let path = fs.path("dir/big");
            if !exists(&path)? {
                crate::damage::fragmented(&path)?;
            }
            let path = sys::cstring(path);
            Ok(Box::new(move || {
                // SAFETY: A valid string.
                call(unsafe { libc::unlink(path.as_ptr()) })
            }))
        },
        |fs, result| there(&fs.path("dir/big"), result < 0),
    )?;
    walk(
        &mut fs,
        "rmdir",
        |fs| {
            if !exists(&fs.path("dir/gone"))? {
                fs::create_dir(fs.path("dir/gone"))?;
            }
            let path = sys::cstring(fs.path("dir/gone"));
            Ok(Box::new(move || {
                // SAFETY: A valid string.
                call(unsafe { libc::rmdir(path.as_ptr()) })
            }))
        },
        |fs, result| {
            there(&fs.path("dir/gone"), result < 0)?;
            let links = fs.path("dir").metadata()?.nlink();
            ensure!(links == 3 + u64::from(result < 0), "dir has {links} links");
            Ok(())
        },
    )?;
    let now = sys::free(&fs.dir)?;
    ensure!(now == free, "free was {free:?}, and is {now:?}");
    fs.finish()
}
