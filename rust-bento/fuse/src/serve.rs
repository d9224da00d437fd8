// SPDX-License-Identifier: GPL-2.0

//! The server: from a mount of ours to one of the system's, until that ends.

use crate::{
    adapter::Adapter,
    mount_point::{
        self,
        Left, //
    },
    options::{
        Behaviour,
        Given, //
    },
    served::Served,
    writeback::Writeback, //
};
use fuser::{
    Config,
    Session,
    SessionUnmounter, //
};
use kernel::{
    bento::FileSystem,
    pr_err,
    pr_notice,
    user::Mount, //
};
use signal_hook::{
    consts::{
        SIGHUP,
        SIGINT,
        SIGTERM, //
    },
    iterator::Signals, //
};
use std::{
    path::{
        Path,
        PathBuf, //
    },
    process,
    sync::{
        mpsc::{
            channel,
            Receiver,
            RecvTimeoutError,
            Sender, //
        },
        Arc,
    },
    thread::{
        self,
        JoinHandle, //
    },
};
use xv6_utils::failure::{
    Context,
    Result, //
};

/// Commits between two that store access and write times, too.
const COMMITS_PER_SYNC: u32 = 6;

/// Serves `mount` on a directory: calls `ready` when it is there, and returns when it is gone and
/// the volume closed.
///
/// # Errors
///
/// If it could not be mounted, and then the volume is closed; if the connection to the kernel or
/// the volume failed in the end.
pub fn serve<F: FileSystem>(
    mount: Mount<F>,
    image: &Path,
    point: &Path,
    given: &Given,
    ready: impl FnOnce() -> Result,
) -> Result {
    let served = Arc::new(Served::new(mount));
    let result = run(&served, image, point, given, ready);
    let finished = served.finish().context(image.display());
    result.and(finished)
}

fn run<F: FileSystem>(
    served: &Arc<Served<F>>,
    image: &Path,
    point: &Path,
    given: &Given,
    ready: impl FnOnce() -> Result,
) -> Result {
    let behaviour = given.behaviour;
    let (writeback, worker) = behaviour.writeback.then(Writeback::new).unzip();
    let adapter = Adapter::new(served.clone(), behaviour, writeback);
    // Before the mount is there: a signal that comes meanwhile is not lost.
    let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("signals")?;

    let mut config = Config::default();
    config.mount_options = given.for_kernel(&image.to_string_lossy(), F::FORMAT);
    config.acl = given.acl;
    config.n_threads = Some(behaviour.threads);
    config.clone_fd = true;
    mount_point::check_fuse()?;
    let mut session = Session::new(adapter, point, &config)
        .context(format!("cannot mount on {}", point.display()))?;
    if let Some(worker) = worker {
        let started = worker.start(session.notifier());
        started.context("cannot start a thread")?;
    }
    let device = mount_point::device(point);
    if let Some(device) = &device {
        mount_point::tune(device, behaviour.readahead);
    }
    let stop = Stop {
        served: served.clone(),
        point: point.to_owned(),
        device,
        unmounter: session.unmount_callable(),
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || stop.wait(signals))
        .context("cannot start a thread")?;
    let timer = Timer::start(served.clone(), &behaviour)?;
    ready()?;
    let result = session.run().context("the connection to the kernel failed");
    timer.stop();
    result
}

/// What ends the server from outside.
struct Stop<F: FileSystem> {
    served: Arc<Served<F>>,
    point: PathBuf,
    device: Option<String>,
    unmounter: SessionUnmounter,
}

impl<F: FileSystem> Stop<F> {
    /// The first signal unmounts: at once, or when the last file is closed. The second one does not
    /// wait for that: what is open fails from then on.
    fn wait(mut self, mut signals: Signals) {
        for (count, _) in (1..).zip(&mut signals) {
            if count == 1 {
                self.unmount();
                continue;
            }
            process::exit(match self.served.finish() {
                Ok(()) => 0,
                Err(_) => 1,
            });
        }
    }

    fn unmount(&mut self) {
        match mount_point::leave(&self.point, self.device.as_deref()) {
            Ok(Left::Gone) => {}
            Ok(Left::Detached) => pr_notice!(
                "bento-fuse: {} is busy: it ends when the last file is closed, or with a second \
                 signal",
                self.point.display()
            ),
            Ok(Left::NotAllowed) => {
                if let Err(error) = self.unmounter.unmount() {
                    pr_err!(
                        "bento-fuse: cannot unmount {}: {error}",
                        self.point.display()
                    );
                }
            }
            Err(failure) => pr_err!("bento-fuse: {failure}"),
        }
    }
}

/// Commits every few seconds, so that a crash loses no more.
struct Timer {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Timer {
    fn start<F: FileSystem>(served: Arc<Served<F>>, behaviour: &Behaviour) -> Result<Self> {
        let (stop, stopped) = channel();
        let interval = behaviour.commit;
        let commit = move |stopped: Receiver<()>| {
            for count in 1u32.. {
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                // What fails here fails for whoever asks for it, too.
                let _ = served.with(|mount| match count % COMMITS_PER_SYNC {
                    0 => mount.sync(),
                    _ => mount.commit(),
                });
            }
        };
        let thread = thread::Builder::new()
            .name("commit".into())
            .spawn(move || commit(stopped))
            .context("cannot start a thread")?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        // It holds the mount no more when it has ended; that it panicked has been told.
        let _ = self.thread.join();
    }
}
