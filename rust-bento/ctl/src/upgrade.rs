// SPDX-License-Identifier: GPL-2.0

//! Replacing the code of a mount.

use crate::{
    cli::Via,
    mountinfo,
    refusal::{
        Asked,
        Refusal, //
    },
    sysfs::{
        self,
        Mount,
        Times, //
    },
    system::System,
    uapi::{
        self,
        BentoUpgrade, //
    },
};
use serde::Serialize;
use std::{
    fs::{
        self,
        File,
        OpenOptions, //
    },
    io::{
        self,
        Write, //
    },
    os::unix::fs::MetadataExt,
    path::{
        Path,
        PathBuf, //
    },
    process::Command,
};

/// A mount that the user named.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the user named it.
    pub named: String,
    /// What sysfs says of it.
    pub mount: Mount,
    /// A directory or file of it, if this process can reach one.
    pub path: Option<PathBuf>,
}

/// What was done.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Done {
    /// The mount's directory in `/sys/fs/bento/mounts`.
    pub mount: String,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The implementation that served before.
    pub from: String,
    /// Its version.
    pub from_version: u32,
    /// The implementation that serves now; in a dry run: that could.
    pub to: String,
    /// Its version.
    pub to_version: u32,
    /// How long it took; none in a dry run.
    pub times: Option<Times>,
}

/// Finds the mount that `named` stands for.
pub fn find(system: &System, named: &str) -> Result<Target, Box<Refusal>> {
    let failed =
        |why: String, remedy: &str| Refusal::new(format!("{named}: not found"), why, remedy);
    if !sysfs::present(system) {
        return Err(failed(
            "the running kernel has no Bento".into(),
            "boot one with CONFIG_BENTO=y",
        ));
    }
    let mounts = sysfs::mounts(system)
        .map_err(|error| failed(error.to_string(), "use a bentoctl that fits the kernel"))?;
    let entries = mountinfo::read(system).unwrap_or_default();
    let (id, path) = locate(system, &entries, &mounts, named).map_err(|why| {
        failed(
            why,
            "name a mount point, a device, or a file or directory of the mount",
        )
    })?;
    let Some(mount) = mounts.into_iter().find(|mount| mount.id == id) else {
        return Err(failed(
            format!("{id} is mounted, but not as a Bento file system"),
            "bentoctl status lists the mounts that are",
        ));
    };
    let path = path.or_else(|| mount.mount_points.first().cloned());
    Ok(Target {
        named: named.to_owned(),
        mount,
        path,
    })
}

/// The name in sysfs, and the path that was given if it is of the mount.
fn locate(
    system: &System,
    entries: &[mountinfo::Entry],
    mounts: &[Mount],
    named: &str,
) -> Result<(String, Option<PathBuf>), String> {
    let given = Path::new(named);
    let by_device = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        mounts.iter().find(|m| m.id == name).map(|m| m.id.clone())
    };
    // A name as in sysfs
    if !named.contains('/') {
        if let Some(id) = by_device(given) {
            return Ok((id, None));
        }
    }
    let whole = fs::canonicalize(given);
    let path = whole.as_deref().unwrap_or(given);
    // The last one in the list is on top
    if let Some(entry) = entries.iter().rev().find(|entry| entry.point == path) {
        let id = entry.id(system).ok_or("its device has no name")?;
        return Ok((id, Some(path.to_owned())));
    }
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        // A device node may be missing where its mount is known
        Err(error) => {
            return by_device(path)
                .map(|id| (id, None))
                .ok_or(error.to_string())
        }
    };
    if !metadata.is_file() && !metadata.is_dir() {
        return by_device(path)
            .map(|id| (id, None))
            .ok_or("it is not mounted as a Bento file system".into());
    }
    let device = metadata.dev();
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    entries
        .iter()
        .find(|entry| entry.number == number)
        .and_then(|entry| entry.id(system))
        .or_else(|| system.block_device(&number))
        .map(|id| (id, Some(path.to_owned())))
        .ok_or("it is on no block device".into())
}

/// Loads the module of `name`, unless the implementation is there.
pub fn load(system: &System, modprobe: &Path, name: &str) -> Result<(), Box<Refusal>> {
    let known = sysfs::implementations(system).unwrap_or_default();
    if known
        .iter()
        .any(|implementation| implementation.name == name)
    {
        return Ok(());
    }
    let failed = |why: String| {
        Refusal::new(
            format!("{name}: not loaded"),
            why,
            "load the module that has the implementation, and leave out --load",
        )
    };
    let status = Command::new(modprobe).arg("--").arg(name).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("{} failed ({status})", modprobe.display()))),
        Err(error) => Err(failed(format!("{}: {error}", modprobe.display()))),
    }
}

/// Replaces the code of a mount by `to`.
pub fn upgrade(
    system: &System,
    target: &Target,
    to: &str,
    dry_run: bool,
    via: Via,
) -> Result<Done, Box<Refusal>> {
    let what = || format!("{}: not switched to {to}", target.named);
    let flags = if dry_run { uapi::DRY_RUN } else { 0 };
    let Some(mut request) = BentoUpgrade::new(to, flags) else {
        return Err(Refusal::new(
            what(),
            format!(
                "`{to}` is no name: it has 1 to {} bytes",
                uapi::NAME_SIZE - 1
            ),
            "bentoctl list names what is there",
        ));
    };
    let path = match via {
        Via::Sysfs => None,
        _ => target.path.as_deref(),
    };
    let asked = match (path, via) {
        (Some(path), _) => open(path).and_then(|file| match via {
            Via::Syscall => uapi::by_syscall(file, &mut request),
            _ => uapi::by_ioctl(file, &mut request),
        }),
        (None, Via::Auto | Via::Sysfs) if dry_run => {
            return Err(Refusal::new(
                what(),
                "sysfs knows no dry run",
                "name a file or directory of the mount, and leave out --via sysfs",
            ))
        }
        (None, Via::Auto | Via::Sysfs) => {
            return by_sysfs(system, target, to)
                .map_err(|error| refused(system, target, to, &error))
        }
        (None, _) => {
            return Err(Refusal::new(
                what(),
                "it is mounted where this process cannot reach it",
                "use --via sysfs, or run bentoctl in the mount's namespace",
            ))
        }
    };
    asked.map_err(|error| refused(system, target, to, &error))?;
    Ok(Done {
        mount: target.mount.id.clone(),
        dry_run,
        from: request.from_name(),
        from_version: request.from_version,
        to: request.to_name(),
        to_version: request.to_version,
        times: (!dry_run).then_some(Times {
            pause_ns: request.pause_ns,
            stage_ns: request.stage_ns,
            drain_ns: request.drain_ns,
            transfer_ns: request.transfer_ns,
            switch_ns: request.switch_ns,
            longest_wait_ns: request.longest_wait_ns,
            retries: request.retries,
        }),
    })
}

/// For reading: the privilege is that of the caller, not that of the file.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

fn by_sysfs(system: &System, target: &Target, to: &str) -> io::Result<Done> {
    let before = &target.mount;
    let file = system.mount(&before.id).join("upgrade");
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(to.as_bytes())?;
    let mounts = sysfs::mounts(system)?;
    let after = mounts.iter().find(|mount| mount.id == before.id);
    let after = after.ok_or(io::Error::from_raw_os_error(libc::ESHUTDOWN))?;
    Ok(Done {
        mount: before.id.clone(),
        dry_run: false,
        from: before.implementation.clone(),
        from_version: before.version,
        to: after.implementation.clone(),
        to_version: after.version,
        times: after.last,
    })
}

fn refused(system: &System, target: &Target, to: &str, error: &io::Error) -> Box<Refusal> {
    let implementations = sysfs::implementations(system).unwrap_or_default();
    let mounts = sysfs::mounts(system).unwrap_or_default();
    let asked = Asked {
        mount: &target.named,
        known: mounts.iter().find(|mount| mount.id == target.mount.id),
        to,
        implementations: &implementations,
    };
    match error.raw_os_error() {
        Some(errno) => asked.refusal(errno),
        None => Refusal::new(
            format!("{}: not switched to {to}", target.named),
            error.to_string(),
            "use a bentoctl that fits the kernel",
        ),
    }
}
