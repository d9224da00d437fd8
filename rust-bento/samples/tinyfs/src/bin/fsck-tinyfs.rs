// SPDX-License-Identifier: GPL-2.0

//! fsck.tinyfs: checks a tinyfs that is not mounted. Exit status: 0 clean, 4 not clean, 8 failed.

use clap::Parser;
use kernel::user::device::FileDevice;
use std::{
    path::PathBuf,
    process::ExitCode, //
};

/// Check a tinyfs that is not mounted; nothing is written
#[derive(Parser)]
#[command(name = "fsck.tinyfs")]
struct Args {
    /// Block device or image file
    device: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let report = FileDevice::open_read_only(&args.device).and_then(|device| tinyfs::fsck(&device));
    match report {
        Ok(report) => {
            report
                .problems
                .iter()
                .for_each(|problem| println!("{problem}"));
            println!(
                "{} problems, {} orphans",
                report.problems.len(),
                report.orphans
            );
            ExitCode::from(if report.problems.is_empty() { 0 } else { 4 })
        }
        Err(error) => {
            eprintln!("fsck.tinyfs: {}: {error}", args.device.display());
            ExitCode::from(8)
        }
    }
}
