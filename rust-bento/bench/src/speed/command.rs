// SPDX-License-Identifier: GPL-2.0

//! A command line that is run as the report tells it.

use std::{
    fmt,
    io,
    process::{
        Command,
        Stdio, //
    }, //
};

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line(Vec<String>);

impl Line {
    /// Words with spaces between.
    pub fn new(words: &str) -> Self {
        Self(words.split_whitespace().map(String::from).collect())
    }

    /// For a shell.
    pub fn shell(text: &str) -> Self {
        Self(["sh", "-e", "-c", text].map(String::from).into())
    }

    /// The program's name.
    pub fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// To start it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.0.iter().skip(1)).stdin(Stdio::null());
        command
    }

    /// Runs it to its end. An error has what it said.
    pub fn run(&self) -> io::Result<()> {
        let done = self
            .command()
            .stdout(Stdio::null())
            .output()
            .map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.program()))
            })?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let last = said.trim().lines().last().unwrap_or_default();
        Err(io::Error::other(format!("{self}: {}: {last}", done.status)))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [shell, _, _, text] if shell == "sh" => f.write_str(text),
            words => f.write_str(&words.join(" ")),
        }
    }
}
