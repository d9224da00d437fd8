// SPDX-License-Identifier: GPL-2.0

//! mkfs.tinyfs: makes a tinyfs on a device or in an image file. What is there is gone.

use clap::Parser;
use kernel::user::device::FileDevice;
use std::{
    path::PathBuf,
    process::ExitCode,
    time::SystemTime, //
};

/// Make a tinyfs; what is on the device is gone.
#[derive(Parser)]
#[command(name = "mkfs.tinyfs")]
struct Args {
    /// Number of inodes; one for every 16 blocks by default
    #[arg(short = 'N', value_name = "INODES", default_value_t = 0)]
    inodes: u64,
    /// Block device or image file
    device: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    // To tell volumes apart, not to be guessed by nobody.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let uuid = now.map_or(0, |now| now.as_nanos()) ^ u128::from(std::process::id()) << 96;
    let made = FileDevice::open(&args.device)
        .and_then(|device| tinyfs::mkfs(&device, args.inodes, uuid.to_le_bytes()));
    match made {
        Ok(super_block) => {
            let [inodes, .., data] = super_block.areas();
            let inodes = (inodes.end - inodes.start) / 2;
            println!("{} blocks, {inodes} inodes", data.end);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mkfs.tinyfs: {}: {error}", args.device.display());
            ExitCode::FAILURE
        }
    }
}
