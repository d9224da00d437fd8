// SPDX-License-Identifier: GPL-2.0

//! xv6-mutate: copies an image and damages the copy, the same way for the same seed.

use clap::Parser;
use kernel::user::device::FileDevice;
use std::{
    path::PathBuf,
    process::ExitCode, //
};
use xv6_utils::{
    failure::{
        Context,
        Result, //
    },
    mutate::mutate,
};

/// Damage a copy of an xv6 image in one to four places, knowing what its blocks are. What was done
/// is told.
#[derive(Parser)]
#[command(name = "xv6-mutate", version)]
struct Args {
    /// Chooses the damage
    seed: u64,
    /// The image
    input: PathBuf,
    /// The copy
    output: PathBuf,
}

fn run(args: &Args) -> Result {
    // Sparse where the image is.
    let mut from = std::fs::File::open(&args.input).context(args.input.display())?;
    let mut to = std::fs::File::create(&args.output).context(args.output.display())?;
    sparse_copy(&mut from, &mut to).context("cannot copy the image")?;
    drop(to);
    let device = FileDevice::open(&args.output).context(args.output.display())?;
    for how in mutate(&device, args.seed)? {
        println!("{how}");
    }
    Ok(())
}

/// Copies what is not zero.
fn sparse_copy(from: &mut std::fs::File, to: &mut std::fs::File) -> std::io::Result<()> {
    use std::io::Read;
    use std::os::unix::fs::FileExt;
    to.set_len(from.metadata()?.len())?;
    let mut part = vec![0; 1 << 16];
    let mut offset = 0;
    loop {
        let len = from.read(&mut part)?;
        let Some(data) = part.get(..len).filter(|data| !data.is_empty()) else {
            return Ok(());
        };
        if data.iter().any(|&byte| byte != 0) {
            to.write_all_at(data, offset)?;
        }
        offset += len as u64;
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xv6-mutate: {failure}");
            ExitCode::FAILURE
        }
    }
}
