// SPDX-License-Identifier: GPL-2.0

//! mkfs.xv6: makes an xv6 file system on a device or in an image file.

use clap::Parser;
use kernel::user::device::{
    Device,
    FileDevice, //
};
use std::{
    path::PathBuf,
    process::ExitCode, //
};
use xv6_utils::{
    args,
    failure::{
        Context,
        Failure,
        Result, //
    },
    groups,
    in_use,
    mkfs::{
        format,
        plan,
        MkfsOptions,
        Plan, //
    }, //
};

/// Make an xv6 file system.
#[derive(Parser)]
#[command(name = "mkfs.xv6", version, disable_version_flag = true)]
struct Args {
    /// Name of the volume, up to 32 bytes
    #[arg(short = 'L', value_name = "LABEL", default_value = "")]
    label: String,
    /// UUID of the volume; random by default
    #[arg(short = 'U', value_name = "UUID", value_parser = args::uuid)]
    uuid: Option<[u8; 16]>,
    /// Number of inodes
    #[arg(short = 'N', value_name = "INODES", conflicts_with = "bytes_per_inode")]
    inodes: Option<u64>,
    /// Make one inode for each BYTES of the volume
    #[arg(short = 'i', value_name = "BYTES", value_parser = args::bytes)]
    bytes_per_inode: Option<u64>,
    /// Size of the journal in MiB, or with a suffix K, M, G
    #[arg(short = 'J', value_name = "size=SIZE", value_parser = args::journal)]
    journal: Option<u64>,
    /// root_owner=UID:GID: owner and group of the root directory; hash_seed=UUID: key of the directories' hash
    #[arg(short = 'E', value_name = "OPTION,...", value_delimiter = ',', value_parser = extended)]
    extended: Vec<Extended>,
    /// Say what would be done, and do nothing
    #[arg(short = 'n')]
    dry_run: bool,
    /// Say nothing but errors
    #[arg(short = 'q')]
    quiet: bool,
    /// Say more
    #[arg(short = 'v')]
    verbose: bool,
    /// Overwrite what is there
    #[arg(short = 'F', short_alias = 'f')]
    force: bool,
    /// Do not discard the device's blocks first
    #[arg(short = 'K')]
    keep: bool,
    /// Print the version
    #[arg(short = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Block device or image file
    device: PathBuf,
    /// Size in blocks of 4 KiB, or in bytes with a suffix K, M, G, T
    #[arg(value_parser = args::blocks)]
    size: Option<u64>,
}

/// An option as mke2fs has them.
#[derive(Clone, Copy)]
enum Extended {
    RootOwner(u32, u32),
    HashSeed([u64; 2]),
}

fn extended(text: &str) -> Result<Extended, String> {
    match text.split_once('=') {
        Some(("root_owner", ids)) => ids
            .split_once(':')
            .and_then(|(uid, gid)| Some(Extended::RootOwner(uid.parse().ok()?, gid.parse().ok()?)))
            .ok_or_else(|| "expected root_owner=UID:GID".to_string()),
        Some(("hash_seed", uuid)) => {
            let seed = u128::from_be_bytes(args::uuid(uuid)?);
            Ok(Extended::HashSeed([(seed >> 64) as u64, seed as u64]))
        }
        _ => Err("expected root_owner=UID:GID or hash_seed=UUID".to_string()),
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = u8::from(error.use_stderr());
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("mkfs.xv6: {}: {failure}", args.device.display());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result {
    let device = open(args)?;
    if !args.force {
        if let Some(found) = in_use::signature(device.as_ref())? {
            return Err(Failure::new(format!(
                "it holds {found}; use -F to overwrite it"
            )));
        }
    }
    let mut options = MkfsOptions {
        blocks: args.size,
        label: args.label.clone(),
        uuid: args.uuid,
        inodes: args.inodes,
        bytes_per_inode: args.bytes_per_inode,
        journal_blocks: args.journal,
        time: std::env::var("SOURCE_DATE_EPOCH")
            .ok()
            .and_then(|time| time.parse().ok()),
        ..MkfsOptions::default()
    };
    for option in &args.extended {
        match *option {
            Extended::RootOwner(uid, gid) => options.root_owner = (uid, gid),
            Extended::HashSeed(key) => options.hash_key = Some(key),
        }
    }
    let plan = plan(device.blocks(), &options)?;
    if !args.quiet {
        report(args, &plan, device.blocks());
    }
    if args.dry_run {
        return Ok(());
    }
    if !args.keep {
        // Some devices and file systems cannot; nothing depends on it.
        let discarded = device.discard(0, plan.super_block.blocks.get());
        if let (true, Err(error)) = (args.verbose, discarded) {
            println!("Not discarded: {error}.");
        }
    }
    format(device.as_ref(), &plan)
}

/// Opens what is to become a volume. An image file is made, or made larger, if a size is given.
fn open(args: &Args) -> Result<Box<dyn Device>> {
    let path = &args.device;
    if !path.exists() {
        let Some(blocks) = args.size else {
            return Err(Failure::new(
                "no such device or file; to make an image file, give a size",
            ));
        };
        if args.dry_run {
            return Ok(Box::new(kernel::user::device::MemDevice::new(blocks)));
        }
        // Checked first, so that a size that cannot be leaves no file.
        plan(blocks, &MkfsOptions::default())?;
        return Ok(Box::new(
            FileDevice::create(path, blocks).context("cannot be made")?,
        ));
    }
    if let Some(point) = in_use::mount_point(path)? {
        return Err(Failure::new(format!(
            "it is mounted at {point}; unmount it first"
        )));
    }
    if args.dry_run {
        return Ok(Box::new(
            FileDevice::open_read_only(path).context("cannot be opened")?,
        ));
    }
    let opened = match args.size {
        Some(blocks) if path.is_file() => FileDevice::create(path, blocks),
        _ => FileDevice::open(path),
    };
    match opened {
        Ok(device) => Ok(Box::new(device)),
        Err(kernel::error::code::EBUSY) => Err(Failure::new(
            "it is in use: mounted, part of another device, or open in another program",
        )),
        Err(error) => Err(Failure::new(format!("cannot be opened: {error}"))),
    }
}

fn report(args: &Args, plan: &Plan, device_blocks: u64) {
    let s = &plan.super_block;
    let geometry = s.geometry();
    let mib = |blocks: u64| blocks * 4 / 1024;
    let verb = if args.dry_run { "Would make" } else { "Making" };
    println!(
        "{verb} an xv6 file system on {}: {} blocks of 4 KiB ({} MiB), {} inodes",
        args.device.display(),
        geometry.blocks,
        mib(geometry.blocks),
        geometry.max_ino(),
    );
    println!("UUID {}", args::format_uuid(&s.uuid));
    println!(
        "{} groups of {} inodes; a journal of {} MiB in group {}; {} blocks free",
        geometry.groups(),
        geometry.group_inodes,
        mib(s.journal_blocks.get()),
        geometry.group_of(s.journal_start.get()),
        s.free_blocks,
    );
    if args.verbose {
        let copies: Vec<String> = groups::copies_of(&geometry, device_blocks)
            .map(|(_, block)| block.to_string())
            .collect();
        match copies.is_empty() {
            true => println!("There is no place for a copy of the super block"),
            false => println!("Copies of the super block in blocks {}", copies.join(", ")),
        }
    }
}
