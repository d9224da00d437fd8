// SPDX-License-Identifier: GPL-2.0

//! The command line.

use clap::{
    Parser,
    Subcommand,
    ValueEnum, //
};
use std::path::PathBuf;

/// Look at mounted Bento file systems, and replace their code while programs use them.
#[derive(Debug, Parser)]
#[command(name = "bentoctl", version, max_term_width = 100)]
pub struct Args {
    /// Print JSON: one document, or one line for each event
    #[arg(long, global = true)]
    pub json: bool,
    /// Where sys and proc are looked for
    #[arg(
        long,
        env = "BENTOCTL_ROOT",
        default_value = "/",
        global = true,
        hide = true
    )]
    pub root: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the implementations that are loaded
    List,
    /// Show what serves the mounts, or one of them
    Status {
        /// A mount point, a device, or any file or directory of the mount
        mount: Option<String>,
    },
    /// Replace the code of a mounted file system
    Upgrade {
        /// A mount point, a device, or any file or directory of the mount
        mount: String,
        /// The implementation to switch to, as `bentoctl list` names it
        implementation: String,
        /// Check all that can be checked beforehand, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Load the implementation's module first, if it is not there
        #[arg(long)]
        load: bool,
        /// Which of the kernel's entry points to use
        #[arg(long, value_enum, default_value_t = Via::Auto, hide_short_help = true)]
        via: Via,
        /// The program that loads modules
        #[arg(long, default_value = "modprobe", hide = true)]
        modprobe: PathBuf,
    },
    /// Print upgrades and refusals as they happen
    Watch {
        /// End after so many events
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
        /// Look at sysfs so often, in milliseconds, instead of waiting for the kernel's uevents.
        /// Of several events between two looks only the last one is seen
        #[arg(long, value_name = "MS", num_args = 0..=1, require_equals = true,
              default_missing_value = "1000")]
        poll: Option<u64>,
    },
    /// Print a shell's completions
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// The kernel's entry points. All of them do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The ioctl; sysfs if the mount cannot be reached from here
    Auto,
    /// The ioctl `BENTO_IOC_UPGRADE`
    Ioctl,
    /// The system call `bento_upgrade(2)`
    Syscall,
    /// The file `upgrade` in `/sys/fs/bento/mounts`
    Sysfs,
}
