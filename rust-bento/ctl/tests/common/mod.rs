// SPDX-License-Identifier: GPL-2.0

//! A made-up root with `sys` and `proc`, and the program run on it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    process::{
        Command,
        Output, //
    },
};
use tempfile::TempDir;

pub struct Root {
    dir: TempDir,
}

impl Root {
    /// Two implementations of xv6, one of another format, and xv6 serving nvme0n1 at "/mnt/a b".
    pub fn new() -> Self {
        let root = Self::empty();
        root.implementation("xv6", "xv6", 1, "0-1", 1);
        root.implementation("xv6-next", "xv6", 2, "1", 1);
        root.implementation("other", "other", 7, "3", 3);
        root.mount("nvme0n1", "xv6", 1, "serving");
        root.mountinfo(
            "22 1 259:9 / / rw - ext4 /dev/sda1 rw\n\
             30 22 259:0 / /mnt/a\\040b rw,relatime shared:1 - xv6 /dev/nvme0n1 rw,impl=xv6\n\
             31 22 0:20 / /tmp rw - tmpfs tmpfs rw\n",
        );
        let blocks = root.path("sys/dev/block");
        fs::create_dir_all(&blocks).expect("a folder");
        symlink("../../devices/x/nvme0n1", blocks.join("259:0")).expect("a link");
        root
    }

    /// A kernel without Bento.
    pub fn empty() -> Self {
        Self {
            dir: TempDir::new().expect("a folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, value: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, value).expect("a file");
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    pub fn mountinfo(&self, text: &str) {
        self.write("proc/self/mountinfo", text);
    }

    pub fn implementation(&self, name: &str, format: &str, version: u32, reads: &str, writes: u32) {
        let dir = format!("sys/fs/bento/implementations/{name}");
        self.write(&format!("{dir}/format"), &format!("{format}\n"));
        self.write(&format!("{dir}/version"), &format!("{version}\n"));
        self.write(&format!("{dir}/state_reads"), &format!("{reads}\n"));
        self.write(&format!("{dir}/state_writes"), &format!("{writes}\n"));
        self.write(&format!("{dir}/users"), "0\n");
    }

    pub fn mount(&self, id: &str, implementation: &str, version: u32, state: &str) {
        for (name, value) in [
            ("implementation", implementation),
            ("version", &version.to_string()),
            ("state", state),
            ("upgrades", "0"),
            ("refusals", "0"),
            ("last_error", "0"),
            ("last_pause_ns", "0"),
            ("last_stage_ns", "0"),
            ("last_drain_ns", "0"),
            ("last_transfer_ns", "0"),
            ("last_switch_ns", "0"),
            ("last_longest_wait_ns", "0"),
            ("last_retries", "0"),
        ] {
            self.set(id, name, value);
        }
        self.write(&format!("sys/fs/bento/mounts/{id}/upgrade"), "");
    }

    pub fn set(&self, id: &str, name: &str, value: &str) {
        self.write(
            &format!("sys/fs/bento/mounts/{id}/{name}"),
            &format!("{value}\n"),
        );
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bentoctl"));
        command.args(args).env("BENTOCTL_ROOT", self.dir.path());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("bentoctl runs")
    }

    /// Standard output of a command that succeeds.
    pub fn says(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Standard error of a command that is refused.
    pub fn refuses(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    }
}
