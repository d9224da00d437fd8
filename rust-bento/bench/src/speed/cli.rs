// SPDX-License-Identifier: GPL-2.0

//! `bento-bench speed`.

use super::{
    plan::Plan,
    report,
    run::{
        self,
        Options, //
    },
    system::System, //
};
use clap::{
    Subcommand,
    ValueEnum, //
};
use std::{
    error::Error,
    path::PathBuf, //
};

/// Measure how fast file systems are beside each other.
#[derive(Subcommand)]
pub enum Command {
    /// Format a disk again and again, and measure on it
    Run {
        /// Overwritten
        #[arg(long)]
        disk: PathBuf,
        /// Folder for the record; what is there already is not measured again
        #[arg(long)]
        out: PathBuf,
        /// Folder with tree.tar and tree.git
        #[arg(long)]
        input: PathBuf,
        /// Where to mount
        #[arg(long, default_value = "/mnt")]
        dir: PathBuf,
        /// full or quick
        #[arg(long, default_value = "full")]
        plan: String,
        /// Only these systems
        #[arg(long, value_enum)]
        system: Vec<System>,
        /// Only visits with this in their names
        #[arg(long)]
        visit: Vec<String>,
        #[arg(long)]
        rounds: Option<u64>,
    },
    /// Tell what a record says, and draw it
    Report { out: PathBuf },
}

impl Command {
    pub fn run(self) -> Result<(), Box<dyn Error>> {
        match self {
            Command::Run {
                disk,
                out,
                input,
                dir,
                plan,
                system,
                visit,
                rounds,
            } => {
                let mut plan =
                    Plan::by_name(&plan).ok_or_else(|| format!("no plan is called {plan}"))?;
                plan.rounds = rounds.unwrap_or(plan.rounds);
                if !visit.is_empty() {
                    plan.visits
                        .retain(|(name, _)| visit.iter().any(|part| name.contains(part.as_str())));
                }
                if plan.visits.is_empty() {
                    return Err("no visit has such a name".into());
                }
                let systems = match system.is_empty() {
                    true => System::value_variants().to_vec(),
                    false => system,
                };
                let failures = run::run(&Options {
                    plan,
                    disk,
                    dir,
                    input,
                    out,
                    systems,
                })?;
                match failures.is_empty() {
                    true => Ok(()),
                    false => Err(failures.join("\n").into()),
                }
            }
            Command::Report { out } => {
                print!("{}", report::write(&out)?);
                Ok(())
            }
        }
    }
}
