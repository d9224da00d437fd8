// SPDX-License-Identifier: GPL-2.0

//! xv6-mutate: copies an image and damages the copy, the same way for the same seed.

use clap::Parser;
use kernel::user::device::FileDevice;
use std::{
    io::{
        BufRead,
        Write, //
    },
    os::unix::fs::FileExt,
    path::PathBuf,
    process::ExitCode, //
};
use xv6_utils::{
    failure::{
        Context,
        Failure,
        Result, //
    },
    mutate::{
        metadata,
        mutate_among,
        What, //
    },
};

/// Damage a copy of an xv6 image in one to four places, knowing what its blocks are. What was done
/// is told.
#[derive(Parser)]
#[command(name = "xv6-mutate", version)]
struct Args {
    /// Chooses the damage; with - there is a seed on each line of standard input, and each is
    /// answered with one line when the copy of that seed is ready
    seed: String,
    /// The image
    input: PathBuf,
    /// The copy
    output: PathBuf,
}

/// A sound image, looked through once: that takes longer than to damage a copy.
struct Original {
    image: Vec<u8>,
    super_block: xv6::layout::SuperBlock,
    blocks: Vec<(u64, What)>,
}

impl Original {
    fn read(args: &Args) -> Result<Self> {
        let device = FileDevice::open_read_only(&args.input).context(args.input.display())?;
        let (super_block, blocks) = metadata(&device)?;
        Ok(Self {
            image: std::fs::read(&args.input).context(args.input.display())?,
            super_block,
            blocks,
        })
    }

    /// Makes the damaged copy, and says what was done.
    fn damage(&self, args: &Args, seed: &str) -> Result<Vec<String>> {
        let seed = seed
            .trim()
            .parse()
            .map_err(|_| Failure::new(format!("{seed}: not a number")))?;
        self.copy(args).context("cannot copy the image")?;
        let device = FileDevice::open(&args.output).context(args.output.display())?;
        mutate_among(&device, &self.super_block, &self.blocks, seed)
    }

    /// Copies what is not zero: the copy is sparse where the image is.
    fn copy(&self, args: &Args) -> std::io::Result<()> {
        let to = std::fs::File::create(&args.output)?;
        to.set_len(self.image.len() as u64)?;
        let mut offset = 0;
        for part in self.image.chunks(1 << 16) {
            if part.iter().any(|&byte| byte != 0) {
                to.write_all_at(part, offset)?;
            }
            offset += part.len() as u64;
        }
        Ok(())
    }
}

fn run(args: &Args) -> Result<()> {
    let original = Original::read(args)?;
    if args.seed != "-" {
        for how in original.damage(args, &args.seed)? {
            println!("{how}");
        }
        return Ok(());
    }
    for seed in std::io::stdin().lock().lines() {
        let seed = seed.context("standard input")?;
        println!("{}", original.damage(args, &seed)?.join("; "));
        std::io::stdout().flush().context("standard output")?;
    }
    Ok(())
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
