// SPDX-License-Identifier: GPL-2.0

//! Idmapped mounts: the same files with other owners.

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;
use std::fs;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

use super::expect;
use super::Case;
use super::Run;
use crate::sys;

pub const CASES: &[(&str, Run)] = &[("idmapped-mount", idmapped)];

/// What is owner 0 to 999 on disk is 10000 to 10999 in the mount.
const FIRST: u32 = 10_000;
const COUNT: u32 = 1_000;

/// `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 4;

/// A user namespace, held by a process that sleeps in it.
struct UserNamespace(Child);

impl UserNamespace {
    fn new() -> Result<Self> {
        let child = Self(
            Command::new("unshare")
                .args(["--user", "sleep", "600"])
                .spawn()
                .context("unshare")?,
        );
        let own = fs::read_link("/proc/self/ns/user")?;
        let proc = child.proc();
        for _ in 0..500 {
            if fs::read_link(proc.join("ns/user"))? != own {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let map = format!("0 {FIRST} {COUNT}");
        fs::write(proc.join("uid_map"), &map).context("uid_map")?;
        fs::write(proc.join("gid_map"), &map).context("gid_map")?;
        Ok(child)
    }

    fn proc(&self) -> PathBuf {
        format!("/proc/{}", self.0.id()).into()
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Another mount of what is mounted on `from`; gone when dropped.
struct Idmapped(PathBuf);

impl Idmapped {
    fn new(from: &Path, to: &Path) -> Result<Self> {
        fs::create_dir_all(to)?;
        let namespace = UserNamespace::new()?;
        let userns = File::open(namespace.proc().join("ns/user"))?;
        let (from, target) = (sys::cstring(from), sys::cstring(to));
        let empty = sys::cstring("");
        // SAFETY: All pointers are valid over the calls.
        unsafe {
            let tree = sys::cvt(libc::syscall(
                libc::SYS_open_tree,
                libc::AT_FDCWD,
                from.as_ptr(),
                OPEN_TREE_CLONE | libc::O_CLOEXEC as u32,
            ))
            .context("open_tree")?;
            let tree = File::from_raw_fd(tree as i32);
            let mut attr = MountAttr {
                set: MOUNT_ATTR_IDMAP,
                userns: userns.as_raw_fd() as u64,
                ..MountAttr::default()
            };
            sys::cvt(libc::syscall(
                libc::SYS_mount_setattr,
                tree.as_raw_fd(),
                empty.as_ptr(),
                libc::AT_EMPTY_PATH,
                &raw mut attr,
                size_of::<MountAttr>(),
            ))
            .context("mount_setattr")?;
            sys::cvt(libc::syscall(
                libc::SYS_move_mount,
                tree.as_raw_fd(),
                empty.as_ptr(),
                libc::AT_FDCWD,
                target.as_ptr(),
                MOVE_MOUNT_F_EMPTY_PATH,
            ))
            .context("move_mount")?;
        }
        Ok(Self(to.into()))
    }
}

impl Drop for Idmapped {
    fn drop(&mut self) {
        let _ = sys::umount(&self.0, 0);
    }
}

/// Runs `run` in a thread whose file system user and group are `id`: without root's rights.
fn as_user<T: Send>(id: u32, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                // SAFETY: They change this thread alone, which ends here.
                unsafe {
                    libc::setfsgid(id);
                    libc::setfsuid(id);
                }
                run()
            })
            .join()
            .expect("it does not panic")
    })
}

fn owner(path: &Path) -> Result<(u32, u32)> {
    let meta = path.symlink_metadata()?;
    Ok((meta.uid(), meta.gid()))
}

fn idmapped(case: &Case) -> Result<()> {
    let mut fs = case.small(32)?;
    fs::write(fs.path("root"), b"root's")?;
    fs::write(fs.path("five"), b"five's")?;
    fs::set_permissions(fs.path("five"), PermissionsExt::from_mode(0o600))?;
    chown(fs.path("five"), Some(5), Some(6))?;
    fs::write(fs.path("far"), b"outside of the map")?;
    chown(fs.path("far"), Some(70_000), Some(70_000))?;
    fs::create_dir(fs.path("dir"))?;
    chown(fs.path("dir"), Some(5), Some(6))?;
    fs::set_permissions(fs.path("dir"), PermissionsExt::from_mode(0o2755))?;

    let mapped = Idmapped::new(&fs.dir, &case.scratch.join("idmapped"))?;
    let at = |name: &str| mapped.0.join(name);
    ensure!(owner(&at("root"))? == (FIRST, FIRST));
    ensure!(owner(&at("five"))? == (FIRST + 5, FIRST + 6));
    ensure!(
        owner(&at("far"))? == (65_534, 65_534),
        "an owner without a place is nobody"
    );

    // Who is 5 there may, who is 5 elsewhere may not, and the other way round
    as_user(FIRST + 5, || {
        ensure!(fs::read(at("five"))? == b"five's");
        expect(fs::read(fs.path("five")), libc::EACCES, "10005, not mapped")
    })?;
    as_user(5, || {
        expect(fs::read(at("five")), libc::EACCES, "5, mapped")?;
        ensure!(fs::read(fs.path("five"))? == b"five's");
        Ok(())
    })?;

    // What is made there belongs to the one on disk whom its maker stands for
    as_user(FIRST + 5, || {
        fs::write(at("dir/file"), b"x")?;
        fs::create_dir(at("dir/sub"))?;
        symlink("target", at("dir/link"))?;
        fs::hard_link(at("dir/file"), at("dir/hard"))?;
        fs::rename(at("dir/hard"), at("dir/renamed"))?;
        sys::open(at("dir"), libc::O_TMPFILE | libc::O_RDWR, 0o600)?;
        expect(
            chown(at("dir/file"), Some(FIRST + 7), None),
            libc::EPERM,
            "chown by a user",
        )?;
        File::options()
            .write(true)
            .open(at("dir/file"))?
            .set_len(100)?;
        fs::set_permissions(at("dir/file"), PermissionsExt::from_mode(0o640))?;
        Ok(())
    })?;
    for name in ["dir/file", "dir/sub", "dir/link", "dir/renamed"] {
        // The group is the directory's: it has the setgid bit
        ensure!(owner(&fs.path(name))? == (5, 6), "{name}");
        ensure!(owner(&at(name))? == (FIRST + 5, FIRST + 6), "{name}");
    }
    ensure!(
        fs.path("dir/sub").metadata()?.mode() & 0o2000 != 0,
        "setgid"
    );
    expect(
        as_user(0, || Ok(File::create(at("dir/by-0"))))?,
        libc::EOVERFLOW,
        "create by one without a place",
    )?;

    // root gives files away: to those who have a place
    chown(at("root"), Some(FIRST + 9), Some(FIRST + 8))?;
    ensure!(owner(&fs.path("root"))? == (9, 8));
    expect(
        chown(at("root"), Some(3), None),
        libc::EOVERFLOW,
        "chown to one without a place",
    )?;
    drop(mapped);
    fs.cycle()?;
    ensure!(owner(&fs.path("dir/file"))? == (5, 6));
    ensure!(owner(&fs.path("root"))? == (9, 8));
    fs.finish()
}
