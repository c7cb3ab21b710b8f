//! The control thread of a job's root process: listens on the job's socket, takes
//! checkpoints when asked or when the interval is over, and says how the job is.
//!
//! It is a lower-half thread with every signal blocked. Requests are served one
//! after the other, so two checkpoints never overlap; a client that does not read
//! is not waited for. While it is busy, [`crate::meanwhile`] answers.
#![allow(
    unsafe_code,
    reason = "descriptors that another thread uses are closed"
)]

use crate::checkpoint::{self, Failure};
use crate::claim::Claim;
use crate::job::Job;
use crate::meanwhile::{Meanwhile, Waiting};
use crate::{descriptors, report, scheduling};
use anyhow::{Context, Result};
use lower_half::protocol::{CheckpointReport, Reply, Request, socket_dir};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use transparent_core::apart;

/// How long a checkpoint at an interval may take to quiesce.
const INTERVAL_DEADLINE: Duration = Duration::from_secs(60);
/// How long a job without a socket waits until it tries to make one again.
const RETRY: Duration = Duration::from_secs(60);
/// How long a client may take to send its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest request.
pub(crate) const REQUEST_LIMIT: u64 = 64 << 10;

/// The listening socket and its place.
#[derive(Debug)]
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Clients that came while it was busy.
    waiting: VecDeque<Waiting>,
}

impl Control {
    /// Makes the socket and the job's record. Sockets that ended processes left
    /// behind are removed on the way. Both are gone again when the claim is dropped.
    pub(crate) fn open(job: &Job) -> Result<(Self, Claim)> {
        let directory = socket_dir();
        private_directory(&directory)?;
        sweep(&directory);
        let path = directory.join(format!("{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)
            .with_context(|| format!("cannot make the control socket {} (set XDG_RUNTIME_DIR to a short, writable folder)", path.display()))?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let claim = Claim::make(job, &path)?;
        let waiting = VecDeque::new();
        let control = Self {
            listener,
            path,
            waiting,
        };
        Ok((control, claim))
    }

    /// The same for a job that runs already.
    fn reopen(job: &Job) -> Result<Self> {
        let (control, claim) = Self::open(job)?;
        claim.keep();
        Ok(control)
    }

    /// Starts the thread. Without a device it leaves the application's descriptors
    /// alone (see [`apart`]). With one that would gain nothing, since drivers have threads,
    /// and their descriptors must be at hand.
    pub(crate) fn start(self, job: &'static Job) -> Result<()> {
        let waiting = self.waiting.iter().map(|client| client.stream.as_raw_fd());
        let own: Vec<_> = waiting.chain([self.listener.as_raw_fd()]).collect();
        let (tell, told) = mpsc::channel();
        spawn_quiet("gpuckpt-control", move || {
            scheduling::at_home();
            let _ = tell.send(if job.has_device() {
                Vec::new()
            } else {
                apart::leave(&own).unwrap_or_default()
            });
            self.serve(job);
        })?;
        for fd in told.recv().unwrap_or_default() {
            // SAFETY: the thread has it in a table of its own; nobody uses this one.
            unsafe { descriptors::close(fd) };
        }
        Ok(())
    }

    /// Does `work` while others are told that the job is busy with `what`.
    pub(crate) fn busy<R>(
        &mut self,
        job: &'static Job,
        what: &'static str,
        work: impl FnOnce() -> R,
    ) -> R {
        let meanwhile = Meanwhile::begin(job, &self.listener, what);
        let result = work();
        self.waiting
            .extend(meanwhile.map(Meanwhile::end).unwrap_or_default());
        result
    }

    /// Checkpoints at intervals go on also while there is no socket: its folder may
    /// be gone (a logout), its disk full, or every descriptor in use.
    fn serve(self, job: &'static Job) {
        let next = || Instant::now().checked_add(job.options.interval?);
        let mut control = Some(self);
        let mut due = next();
        loop {
            let event = match &mut control {
                Some(control) => control.wait(due),
                None => wait_without_socket(due),
            };
            match event {
                Wait::Client(client) => {
                    if let Some(control) = &mut control
                        && let Err(error) = control.converse(job, client)
                    {
                        tracing::debug!("a client left: {error:#}");
                    }
                }
                Wait::Due => {
                    match &mut control {
                        Some(control) => {
                            control.busy(job, "checkpoint", || take_by_interval(job));
                        }
                        None => take_by_interval(job),
                    }
                    due = next();
                    control = control.or_else(|| Self::reopen(job).ok());
                }
                Wait::Lost => {
                    let again = Self::reopen(job);
                    if let (Err(error), Some(_)) = (&again, &control) {
                        report::line(format_args!(
                            "the control socket is gone and cannot be made again: {error:#}; it is tried again every minute"
                        ));
                    }
                    control = again.ok();
                }
            }
        }
    }

    fn wait(&mut self, due: Option<Instant>) -> Wait {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        if let Some(client) = self.waiting.pop_front() {
            return Wait::Client(client);
        }
        loop {
            let timeout = match due {
                None => PollTimeout::from(60_000_u16),
                Some(due) => {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Wait::Due;
                    }
                    PollTimeout::try_from(
                        left.min(Duration::from_secs(60)) + Duration::from_millis(1),
                    )
                    .unwrap_or(PollTimeout::ZERO)
                }
            };
            let mut set = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            match poll(&mut set, timeout) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_)
                    if set[0].revents().is_some_and(|seen| {
                        seen.intersects(PollFlags::POLLNVAL | PollFlags::POLLERR)
                    }) =>
                {
                    return Wait::Lost;
                }
                Ok(_) => match self.listener.accept() {
                    Ok((stream, _)) => {
                        let request = None;
                        return Wait::Client(Waiting { stream, request });
                    }
                    Err(error)
                        if matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                        ) => {}
                    Err(_) => return Wait::Lost,
                },
                Err(_) => return Wait::Lost,
            }
            if !self.path.exists() {
                return Wait::Lost;
            }
        }
    }
}

fn wait_without_socket(due: Option<Instant>) -> Wait {
    let until_due = due.map(|due| due.saturating_duration_since(Instant::now()));
    match until_due {
        Some(left) if left < RETRY => {
            std::thread::sleep(left);
            Wait::Due
        }
        _ => {
            std::thread::sleep(RETRY);
            Wait::Lost
        }
    }
}

enum Wait {
    Client(Waiting),
    Due,
    Lost,
}

/// Starts a lower-half thread that no signal interrupts.
pub(crate) fn spawn_quiet(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    spawn_quiet_joined(name, body).map(drop)
}

/// The same, to be waited for.
pub(crate) fn spawn_quiet_joined<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let old = nix::sys::signal::SigSet::all()
        .thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_SETMASK)
        .context("cannot block signals")?;
    let started = std::thread::Builder::new().name(name.into()).spawn(body);
    old.thread_set_mask().context("cannot unblock signals")?;
    started.with_context(|| format!("cannot start the thread {name}"))
}

fn take_by_interval(job: &Job) {
    if let Err(failure) = checkpoint::run(
        job,
        false,
        Instant::now() + INTERVAL_DEADLINE,
        &mut |_, _, _| {},
    ) {
        for reason in failure.reasons {
            report::line(format_args!(
                "no checkpoint at this interval; the job runs on: {reason}"
            ));
        }
    }
}

/// Refuses a client that is somebody else's.
pub(crate) fn check_peer(stream: &UnixStream) -> Result<()> {
    let peer = nix::sys::socket::getsockopt(&stream, nix::sys::socket::sockopt::PeerCredentials)?;
    let own = nix::unistd::geteuid().as_raw();
    anyhow::ensure!(
        peer.uid() == own || peer.uid() == 0,
        "peer has uid {}",
        peer.uid()
    );
    Ok(())
}

fn read_request(stream: &UnixStream) -> Result<serde_json::Result<Request>> {
    check_peer(stream)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_LIMIT)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line))
}

impl Control {
    fn converse(&mut self, job: &'static Job, client: Waiting) -> Result<()> {
        let stream = &client.stream;
        let request = match client.request {
            Some(request) => Ok(request),
            None => read_request(stream)?,
        };
        let reply = match request {
            Ok(Request::Status) => Reply::Status(job.status()),
            Ok(Request::Checkpoint { kill, deadline_ms }) => {
                let deadline = after(Duration::from_millis(deadline_ms));
                stream.set_nonblocking(true)?;
                let result = self.busy(job, "checkpoint", || save(job, stream, kill, deadline));
                stream.set_nonblocking(false)?;
                stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
                match result {
                    Ok(done) => {
                        let _ = send(stream, &Reply::Done(done));
                        if kill {
                            let _ = stream.shutdown(std::net::Shutdown::Both);
                            job.end_after_checkpoint();
                        }
                        return Ok(());
                    }
                    Err(Failure { reasons, refused }) => Reply::Failed { reasons, refused },
                }
            }
            Err(error) => Reply::Failed {
                reasons: vec![format!("the request was not understood: {error}")],
                refused: true,
            },
        };
        stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        send(stream, &reply)
    }
}

/// A checkpoint whose progress a client hears.
fn save(
    job: &Job,
    stream: &UnixStream,
    kill: bool,
    deadline: Instant,
) -> Result<CheckpointReport, Failure> {
    let mut last: Option<Instant> = None;
    checkpoint::run(job, kill, deadline, &mut |phase, done, total| {
        if last.is_none_or(|at| at.elapsed() > Duration::from_millis(50)) {
            last = Some(Instant::now());
            let phase = phase.into();
            let _ = send(stream, &Reply::Progress { phase, done, total });
        }
    })
}

/// The moment after so much time; a client may ask for more than a clock can tell.
fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    Instant::now() + time.min(FAR)
}

pub(crate) fn send(mut stream: &UnixStream, reply: &Reply) -> Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    // A line that does not fit is dropped whole: only progress is sent unblocked,
    // and it is far smaller than a socket's buffer.
    stream.write_all(&line)?;
    Ok(())
}

/// Makes `path` with mode 0700, or checks that it is ours alone.
pub(crate) fn private_directory(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    match builder.recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot make the folder {}", path.display()));
        }
    }
    let found = std::fs::symlink_metadata(path)?;
    anyhow::ensure!(
        found.is_dir()
            && found.uid() == nix::unistd::geteuid().as_raw()
            && found.mode() & 0o077 == 0,
        "the folder {} is not private: it must be a folder of uid {} with mode 0700",
        path.display(),
        nix::unistd::geteuid()
    );
    Ok(())
}

fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let pid = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".sock")?.parse::<i32>().ok());
        // A process of another PID namespace is not seen here, but answers.
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            && UnixStream::connect(&path)
                .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}
