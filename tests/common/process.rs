//! A child process with a deadline: it is ended on drop, also when a test
//! panics, and a wait that takes too long says where every thread stands.
#![allow(unsafe_code, reason = "fcntl(2) on inherited descriptors, signal(2)")]

use nix::sys::signal::{SigHandler, Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::Once;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up: machines are slow, and
/// often busy with other tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

const NAP: Duration = Duration::from_millis(2);

static INHERITED: Once = Once::new();

/// Keeps what this process inherited (from a shell, a job server) from its children:
/// descriptors, since a job with a pipe to somebody outside is rightly refused, and
/// ignored signals, which a shell gives to what it runs in the background.
pub(crate) fn keep_inherited() {
    INHERITED.call_once(|| {
        close_on_exec();
        for signal in [Signal::SIGINT, Signal::SIGQUIT] {
            // SAFETY: the default action runs no code of this process.
            unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.expect("signal(2)");
        }
    });
}

fn close_on_exec() {
    let names = fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .flatten();
    let numbers = names.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    for fd in numbers.filter(|&fd| fd > 2).collect::<Vec<_>>() {
        // SAFETY: it takes and gives integers; a descriptor that is gone is an error.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// A running child.
pub(crate) struct Process {
    child: Child,
    what: String,
}

impl Process {
    /// Starts `command`, in a process group of its own.
    pub(crate) fn spawn(command: &mut Command, what: &str) -> Self {
        keep_inherited();
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{what}: {command:?}: {e}"));
        Self {
            child,
            what: what.to_owned(),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Its status, if it has ended.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until(&format!("{} to end", self.what), Some(self.pid()), || {
            self.child.try_wait().expect("a child")
        })
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("a signal to a child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // Its group is its own, see `spawn`.
            let _ = kill(Pid::from_raw(-self.pid()), Signal::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks `condition` until it has an answer; panics at the deadline with the state
/// of process `pid`.
pub(crate) fn wait_until<T>(
    what: &str,
    pid: Option<i32>,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        if begin.elapsed() > DEADLINE {
            let state = pid.map(describe).unwrap_or_default();
            panic!("waited {DEADLINE:?} for {what}\n{state}");
        }
        std::thread::sleep(NAP);
    }
}

/// Where each thread of a process stands.
pub(crate) fn describe(pid: i32) -> String {
    let mut text = String::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return format!("process {pid} is gone");
    };
    for task in tasks.flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (stat, wchan, call) = (read("stat"), read("wchan"), read("syscall"));
        let stat = stat.split(' ').take(3).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            text,
            "  thread {stat}  wchan {wchan}  syscall {}",
            call.trim()
        );
        for line in read("status")
            .lines()
            .filter(|l| l.starts_with("Sig") || l.starts_with("Shd"))
        {
            let _ = writeln!(text, "    {line}");
        }
    }
    text
}

/// A status as a shell would give it.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|s| 128 + s))
        .expect("a status has a code or a signal")
}
