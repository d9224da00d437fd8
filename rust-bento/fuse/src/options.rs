// SPDX-License-Identifier: GPL-2.0

//! What `-o` says.

use fuser::{
    MountOption,
    SessionACL, //
};
use kernel::user::{
    Errors,
    MountOptions, //
};
use std::{
    path::PathBuf,
    thread::available_parallelism,
    time::Duration, //
};
use xv6_utils::failure::{
    Failure,
    Result, //
};

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Threads that answer requests.
    pub threads: usize,
    /// The kernel caches writes.
    pub writeback: bool,
    /// The kernel caches directories. A position in one that was opened anew may then lead to
    /// entries that have been removed meanwhile.
    pub dircache: bool,
    /// Greatest size of a request, in bytes.
    pub max_write: u32,
    /// Requests in the background, readahead and writeback, at a time.
    pub background: u16,
    /// Readahead of the kernel in KiB: as root only.
    pub readahead: u32,
    /// Accesses are recorded, as `relatime` has it.
    pub atime: bool,
    /// Time between commits.
    pub commit: Duration,
}

impl Default for Behaviour {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            // Some wait for the disk while others work.
            threads: (2 * processors).clamp(4, 32),
            writeback: true,
            dircache: true,
            max_write: 1 << 20,
            background: 64,
            readahead: 1024,
            atime: true,
            commit: Duration::from_secs(5),
        }
    }
}

/// All that options say.
#[derive(Debug)]
pub struct Given {
    /// For the file system and its core.
    pub mount: MountOptions,
    /// For the server.
    pub behaviour: Behaviour,
    /// Who may use the mount.
    pub acl: SessionACL,
    /// Where messages go when the server is in the background.
    pub log: Option<PathBuf>,
    /// The implementation, if one was asked for.
    pub implementation: Option<String>,
    name: Option<String>,
    subtype: Option<String>,
    devices: bool,
    set_id: bool,
    exec: bool,
    dir_sync: bool,
    sync: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            mount: MountOptions::default(),
            behaviour: Behaviour::default(),
            acl: SessionACL::Owner,
            log: None,
            implementation: None,
            name: None,
            subtype: None,
            devices: false,
            set_id: false,
            exec: true,
            dir_sync: false,
            sync: false,
        }
    }
}

impl Given {
    /// Reads options with commas between. What is unknown is the file system's.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self> {
        let mut given = Self::default();
        for option in texts.into_iter().flat_map(|text| text.split(',')) {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            match value {
                None => given.take_flag(name),
                Some(value) => given.take_value(name, value)?,
            }
        }
        Ok(given)
    }

    fn take_flag(&mut self, name: &str) {
        match name {
            "ro" => self.mount.read_only = true,
            "rw" => self.mount.read_only = false,
            "discard" => self.mount.discard = true,
            "nodiscard" => self.mount.discard = false,
            "allow_other" => self.acl = SessionACL::All,
            "allow_root" => self.acl = SessionACL::RootAndOwner,
            "dev" => self.devices = true,
            "nodev" => self.devices = false,
            "suid" => self.set_id = true,
            "nosuid" => self.set_id = false,
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            "sync" => self.sync = true,
            "async" => self.sync = false,
            "dirsync" => self.dir_sync = true,
            "noatime" => self.behaviour.atime = false,
            "relatime" => self.behaviour.atime = true,
            "writeback" => self.behaviour.writeback = true,
            "nowriteback" => self.behaviour.writeback = false,
            "dircache" => self.behaviour.dircache = true,
            "nodircache" => self.behaviour.dircache = false,
            // What is so anyway, and what is for mount(8) alone.
            ""
            | "defaults"
            | "default_permissions"
            | "auto"
            | "noauto"
            | "nofail"
            | "_netdev"
            | "user"
            | "nouser"
            | "users"
            | "owner" => {}
            own if own.starts_with("x-") => {}
            own => self.take_own(own),
        }
    }

    fn take_value(&mut self, name: &str, value: &str) -> Result {
        let behaviour = &mut self.behaviour;
        match name {
            "threads" => behaviour.threads = number(name, value, 2, 1024)? as usize,
            "max_write" => behaviour.max_write = number(name, value, 4096, 1 << 20)? as u32,
            "background" => behaviour.background = number(name, value, 1, 65535)? as u16,
            "readahead" => behaviour.readahead = number(name, value, 0, 1 << 20)? as u32,
            "commit" => behaviour.commit = Duration::from_secs(number(name, value, 1, 3600)?),
            "errors" => {
                self.mount.errors = match value {
                    "continue" => Errors::Continue,
                    "remount-ro" => Errors::RemountReadOnly,
                    _ => return Err(wrong(name, value, "continue or remount-ro")),
                }
            }
            "fsname" => self.name = Some(value.into()),
            "subtype" => self.subtype = Some(value.into()),
            "log" => self.log = Some(value.into()),
            "impl" => self.implementation = Some(value.into()),
            own if own.starts_with("x-") => {}
            _ => self.take_own(&format!("{name}={value}")),
        }
        Ok(())
    }

    fn take_own(&mut self, option: &str) {
        let own = &mut self.mount.options;
        if !own.is_empty() {
            own.push(',');
        }
        own.push_str(option);
    }

    /// What the kernel is told when it mounts `image`, of a format.
    pub fn for_kernel(&self, image: &str, format: &str) -> Vec<MountOption> {
        // A comma would begin another option.
        let name = self.name.as_deref().unwrap_or(image).replace(',', "\\,");
        let mut options = vec![
            MountOption::FSName(name),
            MountOption::Subtype(self.subtype.as_deref().unwrap_or(format).into()),
            MountOption::DefaultPermissions,
        ];
        for (wanted, option) in [
            (self.mount.read_only, MountOption::RO),
            (self.devices, MountOption::Dev),
            (self.set_id, MountOption::Suid),
            (!self.exec, MountOption::NoExec),
            (self.dir_sync, MountOption::DirSync),
            (self.sync, MountOption::Sync),
            (!self.behaviour.atime, MountOption::NoAtime),
        ] {
            if wanted {
                options.push(option);
            }
        }
        options
    }
}

fn wrong(name: &str, value: &str, expected: &str) -> Failure {
    Failure::new(format!("option {name}={value}: expected {expected}"))
}

fn number(name: &str, value: &str, least: u64, most: u64) -> Result<u64> {
    let expected = || wrong(name, value, &format!("a number from {least} to {most}"));
    let number = value.parse().map_err(|_| expected())?;
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_counts() {
        let given = Given::parse(["ro,suid,threads=3", "rw,nosuid,threads=5"]).expect("good");
        assert!(!given.mount.read_only && !given.set_id);
        assert_eq!(given.behaviour.threads, 5);
    }

    #[test]
    fn unknown_options_go_to_the_file_system() {
        let given = Given::parse(["noatime,colour=red,x-gvfs-show", "shiny"]).expect("good");
        assert_eq!(given.mount.options, "colour=red,shiny");
        assert!(!given.behaviour.atime);
    }

    #[test]
    fn numbers_have_bounds() {
        for bad in [
            "threads=1",
            "threads=x",
            "max_write=1048577",
            "commit=0",
            "errors=ignore",
        ] {
            let failure = Given::parse([bad]).expect_err(bad).to_string();
            assert!(failure.contains(bad), "{failure}");
        }
    }

    #[test]
    fn a_comma_in_the_image_is_no_option() {
        let given = Given::default();
        let options = given.for_kernel("/a,b", "xv6");
        assert!(options.contains(&MountOption::FSName("/a\\,b".into())));
    }
}
