// SPDX-License-Identifier: GPL-2.0

//! bento-fuse: mounts the volume on an image or a block device by FUSE.

use bento_fuse::{
    background,
    image,
    mount_point,
    options::Given,
    serve::serve, //
};
use clap::Parser;
use kernel::{
    bento::FileSystem,
    print::{
        set_max_level,
        Level, //
    },
};
use std::{
    path::PathBuf,
    process::ExitCode, //
};
use tinyfs::TinyFs;
use xv6::Xv6;
use xv6_utils::failure::{
    Context,
    Failure,
    Result, //
};

/// Mount a volume by FUSE: xv6, or with `-o impl=tinyfs` the tutorial's tinyfs. The manual page tells the options.
#[derive(Parser)]
#[command(name = "bento-fuse", version)]
struct Args {
    /// An image file or a block device
    image: PathBuf,
    /// A directory
    mountpoint: PathBuf,
    /// Options, with commas between
    #[arg(short, value_name = "OPTION,...")]
    options: Vec<String>,
    /// Stay in the foreground
    #[arg(short)]
    foreground: bool,
    /// Tell every request on standard error, and stay in the foreground
    #[arg(short)]
    debug: bool,
}

fn run<F: FileSystem>(args: &Args, given: &Given) -> Result {
    let point = mount_point::check(&args.mountpoint)?;
    let path = std::fs::canonicalize(&args.image).context(args.image.display())?;
    let log = match background::is_child() {
        true => Some(background::open_log(given.log.as_deref()).context("log")?),
        false => None,
    };
    let mount = image::mount::<F>(&path, &given.mount)?;
    serve(mount, &path, &point, given, || match &log {
        Some(log) => background::leave(log).context("cannot go into the background"),
        None => Ok(()),
    })
}

fn choose(args: &Args, given: &Given) -> Result {
    match given.implementation.as_deref() {
        None | Some(Xv6::NAME) => run::<Xv6>(args, given),
        Some(TinyFs::NAME) => run::<TinyFs>(args, given),
        Some(other) => Err(Failure::new(format!(
            "option impl={other}: there are {} and {}",
            Xv6::NAME,
            TinyFs::NAME
        ))),
    }
}

/// Shows what the crate `fuser` tells of each request.
struct Requests;

impl log::Log for Requests {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{}: {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.debug {
        set_max_level(Level::Debug);
        if log::set_logger(&Requests).is_ok() {
            log::set_max_level(log::LevelFilter::Debug);
        }
    }
    let result = Given::parse(args.options.iter().map(String::as_str)).and_then(|given| {
        match args.foreground || args.debug || background::is_child() {
            true => choose(&args, &given).map(|()| ExitCode::SUCCESS),
            false => background::start().context("cannot start a process"),
        }
    });
    result.unwrap_or_else(|failure| {
        eprintln!("bento-fuse: {failure}");
        ExitCode::FAILURE
    })
}
