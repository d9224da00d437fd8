// SPDX-License-Identifier: GPL-2.0

//! File system tests that run in the virtual machine. They know no file system but by its `mkfs`,
//! `mount` and `fsck`, so that a doubtful result can be tried on another one.

use anyhow::Context;
use anyhow::Result;
use clap::Parser;
use clap::Subcommand;
use std::fs::File;
use std::io::BufWriter;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

mod cases;
mod cost;
mod counts;
mod crash;
mod damage;
mod fs;
mod hostile;
mod load;
mod manifest;
mod model;
mod pattern;
mod record;
mod super_edit;
mod swap;
mod sys;
mod upgrade;
mod writelog;

#[derive(Parser)]
#[command(version, about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a line for each object of a tree: mode, owner, size, time and SHA-256
    Manifest { tree: PathBuf, out: PathBuf },
    /// Run the named cases (all of them, or those whose names contain a pattern)
    Cases {
        /// Type of the file system under test
        #[arg(long)]
        fs: String,
        /// Folder in memory for images
        #[arg(long, default_value = "/tmp/fstest")]
        scratch: PathBuf,
        /// The full numbers
        #[arg(long)]
        long: bool,
        /// Only tell their names
        #[arg(long)]
        list: bool,
        patterns: Vec<String>,
    },
    /// Make many files in one directory, find them, remove them
    Many { dir: PathBuf, number: u64 },
    /// Work and record every promise until killed or until the time is over
    Load {
        dir: PathBuf,
        /// Device for the record
        record: PathBuf,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 3)]
        threads: u64,
        /// Seconds
        #[arg(long, default_value_t = 3600)]
        time: u64,
    },
    /// Compare what is there with what was promised
    Verify { dir: PathBuf, record: PathBuf },
    /// Cut a device's recorded writes at many places and verify each
    Replay {
        #[arg(long)]
        fs: String,
        #[arg(long, default_value = "/tmp/fstest")]
        scratch: PathBuf,
        /// The log of writes
        log: PathBuf,
        /// Start and length of the file system on the logged device, in bytes
        #[arg(long, num_args = 2)]
        part: Vec<u64>,
        /// Start and length of the record there, in bytes
        #[arg(long, num_args = 2)]
        record: Vec<u64>,
        #[arg(long, default_value_t = 20)]
        cuts: usize,
        /// Cut at every n-th of the flushes and the writes with FUA
        #[arg(long, value_name = "N", conflicts_with = "cuts")]
        every: Option<NonZeroUsize>,
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Change bytes of xv6's super block
    SuperEdit {
        image: PathBuf,
        offset: usize,
        /// The bytes, in hexadecimal
        hex: String,
        #[arg(long)]
        keep_checksum: bool,
    },
    /// Mount an image, which must fail with this errno
    Refused {
        #[arg(long)]
        fs: String,
        image: PathBuf,
        dir: PathBuf,
        errno: String,
    },
    /// A file of many pieces, for `break`
    Fragmented { path: PathBuf },
    /// Break a mapping block of xv6
    Break { volume: PathBuf },
    /// Replace the version of a mount while programs live on it
    Swap {
        dir: PathBuf,
        /// Where to write the number of records
        #[arg(long)]
        count: Option<PathBuf>,
        /// The implementations to switch to, in turn
        names: Vec<String>,
    },
    /// Check what the programs of `swap` left: at least so many records
    Records { dir: PathBuf, least: u64 },
    /// Time operations in a directory, for --icount
    Cost { dir: PathBuf },
    /// More operations than `cost`, for ci/icount
    Counts { dir: PathBuf },
    /// One of the programs of `swap`
    #[command(hide = true)]
    Program { what: swap::Program, dir: PathBuf },
    /// Mount damaged images and use all that can be reached in them
    Hostile(hostile::Args),
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Manifest { tree, out } => {
            let file = BufWriter::new(File::create(&out)?);
            let (files, bytes) = manifest::write(&tree, 2, file)?;
            println!("{files} files, {} MiB", bytes >> 20);
            Ok(())
        }
        Command::Cases { list: true, .. } => {
            cases::list();
            Ok(())
        }
        Command::Cases {
            fs,
            scratch,
            long,
            patterns,
            ..
        } => cases::run(&fs, scratch, long, &patterns),
        Command::Many { dir, number } => {
            std::fs::create_dir_all(&dir)?;
            cases::many(&dir, number)?;
            cases::unmany(&dir, number)
        }
        Command::Load {
            dir,
            record,
            seed,
            threads,
            time,
        } => {
            let promises = load::run(&dir, &record, seed, threads, Duration::from_secs(time))
                .context("the load")?;
            println!("# {promises} promises");
            Ok(())
        }
        Command::Verify { dir, record } => crash::verify(&dir, &record),
        Command::Replay {
            fs,
            scratch,
            log,
            part,
            record,
            cuts,
            every,
            seed,
        } => {
            let pair = |v: Vec<u64>| -> Result<(u64, u64)> {
                Ok((
                    *v.first().context("no start")?,
                    *v.get(1).context("no length")?,
                ))
            };
            let layout = crash::Layout {
                fs: pair(part)?,
                record: pair(record)?,
            };
            let cuts = match every {
                Some(step) => crash::Cuts::Every(step.get()),
                None => crash::Cuts::Some(cuts),
            };
            crash::replay(&fs, &scratch, &log, layout, cuts, seed)
        }
        Command::SuperEdit {
            image,
            offset,
            hex,
            keep_checksum,
        } => super_edit::edit(&image, offset, &hex, keep_checksum),
        Command::Refused {
            fs,
            image,
            dir,
            errno,
        } => super_edit::expect_errno(&fs, &image, &dir, &errno, false),
        Command::Fragmented { path } => damage::fragmented(&path),
        Command::Break { volume } => {
            println!("# block {}", damage::break_block(&volume, damage::EXTENTS)?);
            Ok(())
        }
        Command::Swap { dir, count, names } => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let records = swap::show(&dir, &names)?;
            count.map_or(Ok(()), |path| std::fs::write(path, records.to_string()))?;
            Ok(())
        }
        Command::Records { dir, least } => {
            println!("# {} records", swap::check(&dir, least)?);
            Ok(())
        }
        Command::Cost { dir } => cost::print(&dir),
        Command::Counts { dir } => counts::print(&dir),
        Command::Program { what, dir } => swap::program(what, &dir),
        Command::Hostile(args) => hostile::run(&args),
    }
}
