// SPDX-License-Identifier: GPL-2.0

//! The tests, and what runs them.

mod attributes;
mod data;
mod directories;
mod helpers;
mod links;
mod rename;
mod space;

use crate::system::{
    Feature,
    System, //
};
use std::{
    any::Any,
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
};

/// A test.
pub struct Test<S: System> {
    pub name: &'static str,
    /// What it cannot do without.
    pub needs: &'static [Feature],
    pub run: fn(&S),
}

impl<S: System> Test<S> {
    const fn new(name: &'static str, run: fn(&S)) -> Self {
        Self {
            name,
            needs: &[],
            run,
        }
    }

    const fn needs(self, needs: &'static [Feature]) -> Self {
        Self { needs, ..self }
    }
}

/// All tests.
pub fn tests<S: System>() -> Vec<Test<S>> {
    [
        links::tests(),
        rename::tests(),
        directories::tests(),
        attributes::tests(),
        data::tests(),
        space::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How a test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// The system lacks this.
    Skipped(Feature),
    Failed(String),
}

/// Runs one test in a directory of its own.
pub fn run<S: System>(system: &S, test: &Test<S>) -> Outcome {
    if let Some(missing) = test.needs.iter().find(|feature| !system.has(**feature)) {
        return Outcome::Skipped(*missing);
    }
    let dir = format!("suite-{}", test.name);
    if let Err(error) = system.enter(&dir) {
        return Outcome::Failed(format!("no directory to work in: {error}"));
    }
    let guarded = |act: &dyn Fn() -> Result| {
        catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| Err(message(&*panic)))
    };
    let result = guarded(&|| {
        (test.run)(system);
        Ok(())
    });
    let left = guarded(&|| {
        let left = system.leave(&dir);
        left.map_err(|error| format!("cannot be cleaned up: {error}"))
    });
    match result.and(left) {
        Ok(()) => Outcome::Passed,
        Err(reason) => Outcome::Failed(reason.chars().take(1000).collect()),
    }
}

type Result = core::result::Result<(), String>;

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()))
        .unwrap_or_default()
}
