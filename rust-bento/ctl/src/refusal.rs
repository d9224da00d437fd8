// SPDX-License-Identifier: GPL-2.0

//! Words for what the kernel refused: what, why, and what to do.

use crate::{
    show,
    sysfs::{
        Implementation,
        Mount, //
    },
};
use libc::c_int;
use serde::Serialize;

/// Something that was not done.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Refusal {
    /// What was not done.
    pub what: String,
    /// The kernel's answer, as `EBUSY`; none if it was not asked.
    pub error: Option<String>,
    /// Why not.
    pub why: String,
    /// What one can do about it.
    pub remedy: String,
}

impl Refusal {
    /// Not asked of the kernel at all.
    pub fn new(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Box<Self> {
        Box::new(Self {
            what: what.into(),
            error: None,
            why: why.into(),
            remedy: remedy.into(),
        })
    }
}

/// The errnos that an upgrade ends with.
const NAMES: [(c_int, &str); 20] = [
    (libc::E2BIG, "E2BIG"),
    (libc::EACCES, "EACCES"),
    (libc::EALREADY, "EALREADY"),
    (libc::EBADMSG, "EBADMSG"),
    (libc::EBUSY, "EBUSY"),
    (libc::EFAULT, "EFAULT"),
    (libc::EINTR, "EINTR"),
    (libc::EINVAL, "EINVAL"),
    (libc::EIO, "EIO"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOENT, "ENOENT"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EPERM, "EPERM"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EROFS, "EROFS"),
    (libc::ESHUTDOWN, "ESHUTDOWN"),
    (libc::EUCLEAN, "EUCLEAN"),
];

/// The name of an errno, as `EBUSY`.
pub fn name(errno: c_int) -> String {
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
}

/// What was asked for, and what is known about it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The mount, as the user named it.
    pub mount: &'a str,
    /// What sysfs says of it.
    pub known: Option<&'a Mount>,
    /// The implementation to switch to.
    pub to: &'a str,
    /// All that are registered.
    pub implementations: &'a [Implementation],
}

impl Asked<'_> {
    fn find(&self, name: &str) -> Option<&Implementation> {
        self.implementations.iter().find(|i| i.name == name)
    }

    fn serving(&self) -> Option<&Implementation> {
        self.find(&self.known?.implementation)
    }

    fn state(&self) -> &str {
        self.known.map_or("", |mount| mount.state.as_str())
    }

    fn from(&self) -> &str {
        self.known
            .map_or("its implementation", |mount| &mount.implementation)
    }

    /// Names of implementations of the mount's format, other than the one that was asked for.
    fn others(&self) -> Option<String> {
        let format = &self.serving()?.format;
        let names: Vec<&str> = self
            .implementations
            .iter()
            .filter(|i| i.format == *format && i.name != self.to)
            .map(|i| i.name.as_str())
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// What `errno` means here.
    pub fn refusal(&self, errno: c_int) -> Box<Refusal> {
        let (why, remedy) = self.why(errno);
        Box::new(Refusal {
            what: format!("{}: not switched to {}", self.mount, self.to),
            error: Some(name(errno)),
            why,
            remedy,
        })
    }

    fn why(&self, errno: c_int) -> (String, String) {
        let Self { mount, to, .. } = self;
        let from = self.from();
        match errno {
            libc::EPERM | libc::EACCES => (
                "the successor is kernel code: this needs CAP_SYS_ADMIN in the initial user \
                 namespace, and the consent of the security modules"
                    .into(),
                "do it as root, outside of containers".into(),
            ),
            libc::ENOENT => (
                format!("no implementation `{to}` is loaded"),
                match self.others() {
                    Some(names) => format!(
                        "load its module (bentoctl upgrade --load), or choose another one: {names}"
                    ),
                    None => "load its module: bentoctl upgrade --load".into(),
                },
            ),
            libc::EINVAL => self.why_invalid(),
            libc::EPROTONOSUPPORT => (
                match (self.serving(), self.find(to)) {
                    (Some(old), Some(new)) => format!(
                        "{from} hands over state of version {}, {to} reads {}",
                        old.state_writes,
                        show::versions(new.state_reads)
                    ),
                    _ => format!("{to} does not read the state that {from} hands over"),
                },
                format!(
                    "go through an implementation that reads the state of {from} and writes one \
                     that {to} reads, or unmount and mount with impl={to}"
                ),
            ),
            libc::EBADMSG => (
                format!("{to} did not accept the state that {from} handed over"),
                "this is a mistake in one of the two: report it, with what the kernel's log says"
                    .into(),
            ),
            libc::EOPNOTSUPP => (
                format!(
                    "{to} lacks a feature that the volume has, a limit of this mount, or one of \
                     its mount options; or the kernel was built without CONFIG_BENTO_UPGRADE"
                ),
                format!(
                    "see the kernel's log for which; findmnt -o OPTIONS {mount} lists the options"
                ),
            ),
            libc::EBUSY if self.state() == "frozen" => (
                "the mount is frozen".into(),
                format!("thaw it first: fsfreeze --unfreeze {mount}"),
            ),
            libc::EBUSY => (
                format!("operations within {from} did not end in time, or the mount is frozen"),
                match self.known {
                    Some(known) => format!(
                        "try again when the device is less busy, or raise \
                         /sys/fs/bento/mounts/{}/drain_limit_us",
                        known.id
                    ),
                    None => "try again when the device is less busy".into(),
                },
            ),
            libc::EALREADY => (
                "another upgrade of this mount is under way".into(),
                "wait for it: bentoctl watch tells when it ends".into(),
            ),
            libc::EIO | libc::EUCLEAN | libc::EROFS => (
                "the mount has met an error: its journal is aborted, its device was removed, or it \
                 was shut down"
                    .into(),
                format!("unmount it, check the volume (fsck) and mount it with impl={to}"),
            ),
            libc::ESHUTDOWN | libc::ENODEV => (
                "the mount is going away, or its device is gone".into(),
                "nothing: there is nothing left to replace".into(),
            ),
            libc::ENOMEM => (
                format!("there is not enough memory to build {to} beside {from}"),
                "free some memory and try again".into(),
            ),
            libc::ENOTTY => (
                format!("{mount} is not on a Bento file system"),
                "bentoctl status lists the mounts that are".into(),
            ),
            libc::ENOSYS => (
                "this kernel has no bento_upgrade(2)".into(),
                "use --via ioctl, which does the same".into(),
            ),
            libc::E2BIG | libc::EFAULT => (
                "the kernel does not understand the request".into(),
                "use a bentoctl that is as old as the kernel".into(),
            ),
            libc::EINTR => ("it was interrupted by a signal".into(), "try again".into()),
            other => (
                std::io::Error::from_raw_os_error(other).to_string(),
                "see the kernel's log".into(),
            ),
        }
    }

    fn why_invalid(&self) -> (String, String) {
        let Self { mount, to, .. } = self;
        match (self.serving(), self.find(to)) {
            (Some(old), Some(new)) if old.format != new.format => (
                format!(
                    "{to} is for the format {}, {mount} holds {}",
                    new.format, old.format
                ),
                match self.others() {
                    Some(names) => format!("choose one of: {names}"),
                    None => format!("load another implementation of {}", old.format),
                },
            ),
            _ => (
                "the kernel did not accept the request: another format, or a flag that it does \
                 not know"
                    .into(),
                "compare the formats in bentoctl list, and the versions of kernel and bentoctl"
                    .into(),
            ),
        }
    }
}
