// SPDX-License-Identifier: GPL-2.0

//! xv6-populate: fills an image that mkfs.xv6 made with something of everything.

use clap::Parser;
use kernel::user::device::FileDevice;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc, //
};
use xv6_utils::{
    failure::{
        Context,
        Result, //
    },
    populate::{
        populate,
        Leave, //
    },
};

/// Fill a fresh xv6 image with something of everything: trees, links, holes, devices. It needs 64
/// MiB.
#[derive(Parser)]
#[command(name = "xv6-populate", version)]
struct Args {
    /// Leave it as after a crash: with transactions in the journal, and with orphans
    #[arg(long)]
    crashed: bool,
    /// Varies sizes and names
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The image
    image: PathBuf,
}

fn run(args: &Args) -> Result {
    let device = FileDevice::open(&args.image).context(args.image.display())?;
    let leave = match args.crashed {
        true => Leave::Crashed,
        false => Leave::Clean,
    };
    populate(Arc::new(device), args.seed, leave)
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xv6-populate: {failure}");
            ExitCode::FAILURE
        }
    }
}
