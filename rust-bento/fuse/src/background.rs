// SPDX-License-Identifier: GPL-2.0

//! Into the background, without `fork`: the program starts itself anew, and ends when its child
//! says that the mount is there.

use rustix::{
    process::{
        chdir,
        setsid, //
    },
    stdio::{
        dup2_stderr,
        dup2_stdout, //
    },
};
use std::{
    env,
    fs::{
        File,
        OpenOptions, //
    },
    io::{
        self,
        Read,
        Write, //
    },
    path::Path,
    process::{
        Command,
        ExitCode,
        Stdio, //
    },
};

/// In the environment of the child.
const CHILD: &str = "BENTO_FUSE_CHILD";
const READY: &[u8] = b"ready\n";

/// Whether this is the child.
pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Starts the child, and waits until it is ready or ends. Gives what to end with.
pub fn start() -> io::Result<ExitCode> {
    let mut child = Command::new(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    if let Some(mut output) = child.stdout.take() {
        // Ends when the child ends or has other places for its output.
        output.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    // A child that ended well has not said so: that is no success.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|code| *code != 0).unwrap_or(1)))
}

/// Where the child's messages go when it is ready.
pub fn open_log(path: Option<&Path>) -> io::Result<File> {
    match path {
        Some(path) => OpenOptions::new().append(true).create(true).open(path),
        None => OpenOptions::new().write(true).open("/dev/null"),
    }
}

/// In the child: it is ready, and lets go of terminal and directory.
pub fn leave(log: &File) -> io::Result<()> {
    // Fails for the leader of a group, which has no terminal to leave then.
    let _ = setsid();
    chdir("/")?;
    io::stdout().write_all(READY)?;
    io::stdout().flush()?;
    dup2_stdout(log)?;
    dup2_stderr(log)?;
    Ok(())
}
