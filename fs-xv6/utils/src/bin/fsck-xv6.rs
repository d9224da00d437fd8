// SPDX-License-Identifier: GPL-2.0

//! fsck.xv6: checks and repairs an xv6 file system.

use clap::Parser;
use kernel::{
    error::code::EBUSY,
    user::device::FileDevice, //
};
use signal_hook::consts::{
    SIGINT,
    SIGTERM, //
};
use std::{
    fs::File,
    io::{
        IsTerminal,
        Write, //
    },
    path::PathBuf,
    process::ExitCode,
    sync::{
        atomic::{
            AtomicBool,
            Ordering, //
        },
        Arc,
    },
};
use xv6_utils::{
    failure::{
        Failure,
        Result, //
    },
    fsck::{
        check,
        FsckOptions,
        Mode,
        Report,
        Ui, //
    },
    in_use,
};

/// fsck(8): operational error, usage error, cancelled.
const OPERATIONAL: u8 = 8;
const USAGE: u8 = 16;
const CANCELLED: u8 = 32;

/// Check and repair an xv6 file system.
#[derive(Parser)]
#[command(name = "fsck.xv6", version, disable_version_flag = true)]
struct Args {
    /// Write nothing: say what is wrong
    #[arg(short = 'n', conflicts_with_all = ["yes", "preen"])]
    no: bool,
    /// Repair all without asking
    #[arg(short = 'y', conflicts_with = "preen")]
    yes: bool,
    /// Repair what needs nobody's attention, else nothing
    #[arg(short = 'p', visible_short_alias = 'a')]
    preen: bool,
    /// Check a volume that was left clean, too
    #[arg(short = 'f')]
    force: bool,
    /// Say more
    #[arg(short = 'v')]
    verbose: bool,
    /// Show progress, or write it to a file descriptor (-C, -C0, -C5)
    #[arg(long = "progress", value_name = "FD", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    progress: Option<u32>,
    /// Accepted and ignored: it is the default
    #[arg(short = 'r')]
    interactive: bool,
    /// Print the version
    #[arg(short = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Block device or image file
    device: PathBuf,
}

/// `-C` takes its number without a space, as e2fsck's: so `-C device` is no number.
fn with_progress(arg: String) -> String {
    match arg.strip_prefix("-C") {
        Some("") => "--progress".into(),
        Some(number) => format!("--progress={}", number.trim_start_matches('=')),
        None => arg,
    }
}

fn main() -> ExitCode {
    let args = match Args::try_parse_from(std::env::args().map(with_progress)) {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    // Only remembered: what is being written is written to its end.
    let cancelled = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, cancelled.clone()) {
            eprintln!("fsck.xv6: signal {signal}: {error}");
        }
    }
    match run(&args, &cancelled) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("fsck.xv6: {}: {failure}", args.device.display());
            ExitCode::from(match cancelled.load(Ordering::Relaxed) {
                true => CANCELLED,
                false => OPERATIONAL,
            })
        }
    }
}

fn run(args: &Args, cancelled: &Arc<AtomicBool>) -> Result<u8> {
    let path = &args.device;
    if let Some(point) = in_use::mount_point(path)? {
        if !args.no {
            return Err(Failure::new(format!(
                "it is mounted at {point}; unmount it, or use -n to look only"
            )));
        }
        println!("Warning: it is mounted at {point}: what is found may be in the making.");
    }
    let opened = match args.no {
        true => FileDevice::open_read_only(path),
        false => FileDevice::open(path),
    };
    let device = opened.map_err(|error| match error {
        EBUSY => Failure::new("it is in use: mounted, or open in another program"),
        error => Failure::new(format!("cannot be opened: {error}")),
    })?;
    let options = FsckOptions {
        mode: match (args.no, args.preen) {
            (true, _) => Mode::Look,
            (_, true) => Mode::Preen,
            _ => Mode::Repair,
        },
        force: args.force,
        verbose: args.verbose,
    };
    let mut terminal = Terminal::new(args, cancelled.clone());
    let report = check(&device, &options, &mut terminal, &mut |problems| {
        args.yes || agrees(problems)
    })?;
    terminal.end();
    summary(args, &report);
    Ok(report.exit_code())
}

/// Asks whether repairs are to be written.
fn agrees(problems: u64) -> bool {
    if !std::io::stdin().is_terminal() {
        eprintln!("fsck.xv6: nobody to ask: use -y to repair, -n to look");
        return false;
    }
    print!("Write the repairs of {problems} problems? [y/N] ");
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

fn summary(args: &Args, report: &Report) {
    let name = args.device.display();
    if report.skipped {
        println!("{name}: clean");
        return;
    }
    println!(
        "{name}: {} of {} inodes, {} of {} blocks in use",
        report.inodes, report.inodes_total, report.blocks, report.blocks_total
    );
    if report.replayed > 0 {
        println!("{name}: {} transactions in the journal", report.replayed);
    }
    if report.orphans > 0 {
        println!("{name}: {} orphans", report.orphans);
    }
    match (report.problems, report.left) {
        (0, _) => println!("{name}: clean"),
        (problems, 0) => println!("{name}: {problems} problems, all repaired"),
        (problems, left) => println!("{name}: {problems} problems, {left} left"),
    }
}

/// Problems on standard output, progress where it is wanted.
struct Terminal {
    name: String,
    bar: bool,
    file: Option<File>,
    shown: bool,
    /// The pass and the percentage that were told last.
    told: (u32, u64),
    cancelled: Arc<AtomicBool>,
}

impl Terminal {
    fn new(args: &Args, cancelled: Arc<AtomicBool>) -> Self {
        let file = args.progress.filter(|&fd| fd != 0).and_then(|fd| {
            File::options()
                .write(true)
                .open(format!("/proc/self/fd/{fd}"))
                .ok()
        });
        Self {
            name: args.device.display().to_string(),
            bar: args.progress == Some(0),
            file,
            shown: false,
            told: (0, 0),
            cancelled,
        }
    }

    /// Takes the progress away.
    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            print!("\r{:60}\r", "");
        }
    }
}

impl Ui for Terminal {
    fn line(&mut self, text: &str) {
        self.end();
        println!("{text}");
    }

    fn progress(&mut self, pass: u32, done: u64, total: u64) {
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        if std::mem::replace(&mut self.told, (pass, percent)) == (pass, percent) {
            return;
        }
        if let Some(file) = &mut self.file {
            let _ = writeln!(file, "{pass} {done} {total} {}", self.name);
        } else if self.bar {
            print!("\r{}: pass {pass} of 5, {percent} %", self.name);
            let _ = std::io::stdout().flush();
            self.shown = true;
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}
