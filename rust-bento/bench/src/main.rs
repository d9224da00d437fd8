// SPDX-License-Identifier: GPL-2.0

//! `bento-bench`: see [`bento_bench`].

use bento_bench::{
    counts,
    load::{
        self,
        Kind,
        Plan, //
    },
    plot,
    prepare,
    record::Measurement,
    report::{
        self,
        Figures,
        Results, //
    },
    speed, //
};
use clap::{
    Parser,
    ValueEnum, //
};
use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    path::{
        Path,
        PathBuf, //
    },
    time::Duration,
};

/// Measure file systems.
#[derive(Parser)]
#[command(version)]
enum Args {
    #[command(subcommand)]
    Speed(speed::cli::Command),
    /// Compare instructions of operations with recorded ones
    Check {
        recorded: PathBuf,
        measured: PathBuf,
    },
    /// Tell instructions of several systems, a file each, beside those of one of them
    Table { dir: PathBuf, base: String },
    /// Write a record of instructions
    Record {
        measured: PathBuf,
        out: PathBuf,
        /// A line of comment
        #[arg(long)]
        about: Vec<String>,
    },
    /// Make the files of a volume
    Prepare {
        dir: PathBuf,
        /// Files in one directory
        #[arg(long, default_value_t = 400_000)]
        in_one: u64,
        /// Files of a tree, for its inodes
        #[arg(long, default_value_t = 1_000_000)]
        to_cache: u64,
    },
    /// Work on a mount and replace its code. A measurement whose record is there is not made again
    Load {
        dir: PathBuf,
        /// Folder for the record: a folder in it for each measurement
        out: PathBuf,
        /// Loads: all of them if none is named
        #[arg(long, value_enum)]
        load: Vec<Kind>,
        /// Inodes in memory
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "1000,10000,100000,1000000"
        )]
        cached: Vec<u64>,
        /// Upgrades in each measurement
        #[arg(long, default_value_t = 100)]
        upgrades: u32,
        /// Length of a window, in milliseconds: several times the longest operation
        #[arg(long, default_value_t = 1000)]
        window: u64,
        /// The two implementations that serve in turn; without them nothing is replaced
        #[arg(long, num_args = 2)]
        between: Vec<String>,
    },
    /// Tell what a record says, and draw it
    Report { out: PathBuf },
}

fn main() -> Result<(), Box<dyn Error>> {
    match Args::parse() {
        Args::Speed(command) => command.run()?,
        Args::Check { recorded, measured } => {
            let (text, well) = counts::check(&read_counts(&recorded)?, &read_counts(&measured)?);
            print!("{text}");
            if !well {
                return Err("counts have changed".into());
            }
        }
        Args::Table { dir, base } => {
            let mut systems = Vec::new();
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.extension().is_none() {
                    systems.push((name.into_owned(), read_counts(&path)?));
                }
            }
            systems.sort();
            let text = counts::table(&systems, &base);
            print!("{text}");
            fs::write(dir.join("report.md"), text)?;
        }
        Args::Record {
            measured,
            out,
            about,
        } => fs::write(out, counts::record(&read_counts(&measured)?, &about))?,
        Args::Prepare {
            dir,
            in_one,
            to_cache,
        } => prepare::prepare(&dir, in_one, to_cache)?,
        Args::Load {
            dir,
            out,
            load,
            cached,
            upgrades,
            window,
            between,
        } => {
            let kinds = match load.is_empty() {
                true => Kind::value_variants().to_vec(),
                false => load,
            };
            for cached in cached {
                for &kind in &kinds {
                    let plan = Plan {
                        kind,
                        cached,
                        upgrades,
                        window: Duration::from_millis(window),
                        between: between.clone().try_into().ok(),
                    };
                    let name = format!("{kind:?}-{cached}").to_lowercase();
                    // Whole or not there, so that what was interrupted can go on
                    let (kept, new) = (out.join(&name), out.join(format!("{name}.new")));
                    if kept.exists() {
                        continue;
                    }
                    eprintln!("bento-bench: {name}");
                    load::measure(&dir, &plan)?.write(&new)?;
                    fs::rename(new, kept)?;
                }
            }
        }
        Args::Report { out } => report_on(&out)?,
    }
    Ok(())
}

fn read_counts(path: &Path) -> Result<counts::Counts, Box<dyn Error>> {
    let text = fs::read_to_string(path)?;
    Ok(counts::parse(&text).map_err(|why| format!("{}: {why}", path.display()))?)
}

fn report_on(out: &Path) -> Result<(), Box<dyn Error>> {
    let mut results = Results::new();
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((load, cached)) = name.rsplit_once('-').filter(|_| path.is_dir()) else {
            continue;
        };
        let measurement = Measurement::read(&path)?;
        plot::draw_throughput(
            &out.join(format!("throughput-{name}.svg")),
            &name,
            &measurement,
        )?;
        results.insert((load.into(), cached.parse()?), Figures::new(&measurement));
    }
    let loads: BTreeSet<&str> = results.keys().map(|(load, _)| load.as_str()).collect();
    for load in loads {
        plot::draw_pause(&out.join(format!("pause-{load}.svg")), load, &results)?;
    }
    let text = report::text(&results);
    print!("{text}");
    fs::write(out.join("report.txt"), text)?;
    Ok(())
}
