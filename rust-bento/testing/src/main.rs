// SPDX-License-Identifier: GPL-2.0

//! `bento-suite DIR [TEXT...]`: runs the suite in a directory, reports in TAP.
//!
//! With TEXT only the tests whose names contain one of them. What fills the file system up is run
//! only where DIR is the root of a mount.

use bento_testing::{
    live::Live,
    run,
    tests,
    Outcome,
    Test, //
};
use std::{
    path::Path,
    process::ExitCode,
    time::Instant, //
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: bento-suite DIR [TEXT...]");
        return ExitCode::from(2);
    };
    let wanted: Vec<String> = args
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let live = match Live::new(Path::new(&dir)) {
        Ok(live) => live,
        Err(error) => {
            eprintln!("bento-suite: {}: {error}", dir.to_string_lossy());
            return ExitCode::from(2);
        }
    };

    let tests: Vec<Test<Live>> = tests()
        .into_iter()
        .filter(|test: &Test<Live>| {
            wanted.is_empty() || wanted.iter().any(|text| test.name.contains(text.as_str()))
        })
        .collect();
    if tests.is_empty() {
        eprintln!("bento-suite: no test has such a name");
        return ExitCode::from(2);
    }
    println!("1..{}", tests.len());
    let mut failed = 0;
    for (number, test) in (1..).zip(&tests) {
        let start = Instant::now();
        let outcome = run(&live, test);
        let ms = start.elapsed().as_millis();
        match outcome {
            Outcome::Passed => println!("ok {number} - {} # {ms} ms", test.name),
            Outcome::Skipped(feature) => {
                println!("ok {number} - {} # SKIP no {feature:?}", test.name);
            }
            Outcome::Failed(reason) => {
                failed += 1;
                println!("not ok {number} - {}", test.name);
                reason.lines().for_each(|line| println!("# {line}"));
            }
        }
    }
    if failed > 0 {
        eprintln!("bento-suite: {failed} of {} tests failed", tests.len());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
