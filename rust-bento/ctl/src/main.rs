// SPDX-License-Identifier: GPL-2.0

//! `bentoctl`: looks at mounted Bento file systems, and replaces their code.

use bentoctl::{
    cli::{
        Args,
        Command, //
    },
    man,
    refusal::Refusal,
    show, sysfs,
    system::System,
    upgrade,
    watch::{
        Event,
        Poll,
        Uevents, //
    },
};
use clap::{
    CommandFactory,
    Parser, //
};
use serde::Serialize;
use std::{
    io::{
        self,
        ErrorKind,
        Write, //
    },
    process::ExitCode,
    time::Duration,
};

/// Why the program ends early.
enum Failure {
    Refused(Box<Refusal>),
    Io(io::Error),
}

impl From<Box<Refusal>> for Failure {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

type Result<T = ()> = std::result::Result<T, Failure>;

/// Where answers go, and how they look.
struct Answer {
    json: bool,
}

impl Answer {
    fn give<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.json {
            true => writeln!(out, "{}", serde_json::to_string(value)?)?,
            false => out.write_all(text(value).as_bytes())?,
        }
        out.flush()
    }
}

/// The documents of `--json`.
#[derive(Serialize)]
struct List {
    implementations: Vec<sysfs::Implementation>,
}

#[derive(Serialize)]
struct Status {
    mounts: Vec<sysfs::Mount>,
}

#[derive(Serialize)]
struct Refused<'a> {
    refused: &'a Refusal,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let answer = Answer { json: args.json };
    match run(args, &answer) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has enough
        Err(Failure::Io(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Io(error)) => {
            eprintln!("bentoctl: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Refused(refusal)) => {
            eprint!("{}", show::refusal(&refusal));
            if answer.json {
                let _ = answer.give(&Refused { refused: &refusal }, |_| String::new());
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args, answer: &Answer) -> Result {
    let system = System::new(args.root);
    match args.command {
        Command::List => {
            there(&system)?;
            let implementations = sysfs::implementations(&system)?;
            answer.give(&List { implementations }, |l| {
                show::list(&l.implementations)
            })?;
        }
        Command::Status { mount: None } => {
            there(&system)?;
            let mounts = sysfs::mounts(&system)?;
            answer.give(&Status { mounts }, |s| show::status(&s.mounts))?;
        }
        Command::Status { mount: Some(named) } => {
            let target = upgrade::find(&system, &named)?;
            answer.give(&target.mount, show::mount)?;
        }
        Command::Upgrade {
            mount,
            implementation,
            dry_run,
            load,
            via,
            modprobe,
        } => {
            let target = upgrade::find(&system, &mount)?;
            if load {
                upgrade::load(&system, &modprobe, &implementation)?;
            }
            let done = upgrade::upgrade(&system, &target, &implementation, dry_run, via)?;
            answer.give(&done, |done| show::done(&mount, done))?;
        }
        Command::Watch { count, poll } => {
            there(&system)?;
            watch(&system, answer, count, poll.map(Duration::from_millis))?;
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "bentoctl", &mut script);
            io::stdout().lock().write_all(&script)?;
        }
        Command::Man => man::write(&mut io::stdout().lock())?,
    }
    Ok(())
}

fn there(system: &System) -> Result {
    if sysfs::present(system) {
        return Ok(());
    }
    Err(Refusal::new(
        format!("{}: not found", system.bento().display()),
        "the running kernel has no Bento",
        "boot one with CONFIG_BENTO=y",
    )
    .into())
}

fn watch(
    system: &System,
    answer: &Answer,
    count: Option<u64>,
    poll: Option<Duration>,
) -> io::Result<()> {
    let mut left = count.unwrap_or(u64::MAX);
    let mut tell = |event: Event| -> io::Result<bool> {
        answer.give(&event, show::event)?;
        left = left.saturating_sub(1);
        Ok(left == 0)
    };
    let interval = match poll {
        Some(interval) => interval,
        None => match Uevents::new() {
            Ok(mut events) => {
                eprintln!("bentoctl: waiting for uevents");
                loop {
                    match events.wait() {
                        Ok(event) => {
                            if tell(event)? {
                                return Ok(());
                            }
                        }
                        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                            eprintln!("bentoctl: some events were lost");
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
            Err(error) => {
                eprintln!("bentoctl: no uevents ({error})");
                Duration::from_secs(1)
            }
        },
    };
    eprintln!(
        "bentoctl: looking at sysfs every {} ms",
        interval.as_millis()
    );
    let mut sysfs = Poll::new(system)?;
    loop {
        for event in sysfs.wait(system, interval)? {
            if tell(event)? {
                return Ok(());
            }
        }
    }
}
