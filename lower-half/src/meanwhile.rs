//! Somebody who answers while the control thread is busy: with a checkpoint, or with
//! bringing the job back. A client that asks how the job is hears what it is doing; one
//! that wants a checkpoint is told to wait, and served afterwards.
//!
//! A thread of the lower half that lives as long as the work. It looks at nothing that
//! the work may be changing.

use crate::control::{REQUEST_LIMIT, check_peer, send, spawn_quiet_joined};
use crate::job::Job;
use lower_half::protocol::{Activity, Reply, Request};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a client may take to send its request, before the work has to wait for it.
const PROMPT: Duration = Duration::from_millis(200);

/// A client that is served later; its request, where it was read already.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) stream: UnixStream,
    pub(crate) request: Option<Request>,
}

/// Held while a new descriptor finds its place, and while the descriptors are captured:
/// before it is registered it looks like the application's.
static PLACING: Mutex<()> = Mutex::new(());

/// Does `work` while this thread's counterpart makes no descriptor.
pub(crate) fn quietly<R>(work: impl FnOnce() -> R) -> R {
    let _placing = PLACING.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// The thread at work.
#[derive(Debug)]
pub(crate) struct Meanwhile {
    /// Closed to end it.
    stop: UnixStream,
    thread: JoinHandle<Vec<Waiting>>,
}

impl Meanwhile {
    /// Starts to answer; `None` where that is not possible: then clients just wait.
    pub(crate) fn begin(
        job: &'static Job,
        listener: &UnixListener,
        what: &'static str,
    ) -> Option<Self> {
        let listener = listener.try_clone().ok()?;
        let (stop, stopped) = UnixStream::pair().ok()?;
        let since = Instant::now();
        let doing = move || Activity {
            what: what.into(),
            seconds: since.elapsed().as_secs_f64(),
        };
        let answer = move || answer(job, &listener, &stopped, &doing);
        let thread = spawn_quiet_joined("gpuckpt-status", answer).ok()?;
        Some(Self { stop, thread })
    }

    /// Ends it; who is still to be served.
    pub(crate) fn end(self) -> Vec<Waiting> {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

fn answer(
    job: &Job,
    listener: &UnixListener,
    stopped: &UnixStream,
    doing: &dyn Fn() -> Activity,
) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    loop {
        let mut set = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        let woken = poll(&mut set, PollTimeout::NONE);
        let over = set[1].revents().is_some_and(|seen| !seen.is_empty());
        if over || woken.is_err_and(|error| error != nix::errno::Errno::EINTR) {
            return waiting;
        }
        let accepted = quietly(|| listener.accept());
        match accepted {
            Ok((stream, _)) => waiting.extend(serve(job, stream, doing)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // The control thread finds out what to do about it.
            Err(_) => return waiting,
        }
    }
}

fn serve(job: &Job, stream: UnixStream, doing: &dyn Fn() -> Activity) -> Option<Waiting> {
    check_peer(&stream).ok()?;
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(PROMPT)).ok()?;
    stream.set_write_timeout(Some(PROMPT)).ok()?;
    let mut line = String::new();
    let read = BufReader::new((&stream).take(REQUEST_LIMIT)).read_line(&mut line);
    if line.is_empty() && read.is_err() {
        return Some(Waiting {
            stream,
            request: None,
        });
    }
    match serde_json::from_str(&line).ok()? {
        Request::Status => {
            let _ = send(&stream, &Reply::Status(job.status_while(doing())));
            None
        }
        request @ Request::Checkpoint { .. } => {
            let progress = Reply::Progress {
                phase: "waiting".into(),
                done: 0,
                total: 0,
            };
            send(&stream, &progress).ok()?;
            Some(Waiting {
                stream,
                request: Some(request),
            })
        }
    }
}
