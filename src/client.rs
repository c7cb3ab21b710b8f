//! The client's side of the control protocol: one request, replies until one that
//! is not progress. Never waits without a limit.

use crate::failure::{Code, Failure, Result};
use crate::jobs::{Job, standstill};
use lower_half::protocol::{Reply, Request};
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt::PeerCredentials};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The longest reply that is believed.
const LONGEST: u64 = 16 << 20;

/// A request on its way.
pub(crate) struct Exchange {
    job: String,
    pid: i32,
    reader: BufReader<UnixStream>,
    patience: Duration,
}

impl Exchange {
    /// Connects to the job, checks that it is this user's, and sends the request.
    ///
    /// `patience` is how long the job may be silent.
    pub(crate) fn start(job: &Job, request: &Request, patience: Duration) -> Result<Self> {
        let label = job.label();
        if let Some((why, advice)) = standstill(job.pid) {
            let what = format!("no answer from {label}");
            return Err(Failure::new(Code::NoAnswer, what, why).advise(advice));
        }
        let stream = UnixStream::connect(&job.socket).map_err(|error| {
            let why = format!("{}: {error}", job.socket.display());
            Failure::new(Code::NoAnswer, format!("cannot reach {label}"), why)
                .advise("the job may just have ended; `gpuckpt status` lists running jobs")
        })?;
        check_owner(&stream, &label)?;
        let failed =
            |error: io::Error| Failure::new(Code::NoAnswer, format!("cannot ask {label}"), error);
        stream.set_read_timeout(Some(patience)).map_err(failed)?;
        stream.set_write_timeout(Some(patience)).map_err(failed)?;
        let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        send_all(&stream, &line).map_err(failed)?;
        Ok(Self {
            job: label,
            pid: job.pid,
            reader: BufReader::new(stream),
            patience,
        })
    }

    /// The next reply.
    pub(crate) fn next(&mut self) -> Result<Reply> {
        let what = || format!("no answer from {}", self.job);
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(LONGEST)
            .read_until(b'\n', &mut line);
        match read {
            Ok(_) if line.ends_with(b"\n") => serde_json::from_slice(&line).map_err(|error| {
                Failure::new(
                    Code::NoAnswer,
                    format!("cannot understand {}", self.job),
                    error,
                )
                .advise("use the gpuckpt that the job was launched with")
            }),
            Ok(_) => Err(Failure::new(
                Code::JobGone,
                what(),
                "the job ended, or closed the connection, before it was done",
            )
            .advise("the newest image is the one before, unless `gpuckpt status` shows another")),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let silent = format!("it was silent for {} s", self.patience.as_secs());
                let (why, advice) = match standstill(self.pid) {
                    Some((why, advice)) => (format!("{silent}: {why}"), advice),
                    None => (
                        silent,
                        format!(
                            "its disk may hang, or the machine be overloaded; \
                             /proc/{}/task/*/stack and `dmesg` may tell more",
                            self.pid
                        ),
                    ),
                };
                Err(Failure::new(Code::NoAnswer, what(), why).advise(advice))
            }
            Err(error) => Err(Failure::new(Code::JobGone, what(), error)),
        }
    }

    /// Changes how long the job may be silent from now on.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        if self
            .reader
            .get_ref()
            .set_read_timeout(Some(patience))
            .is_ok()
        {
            self.patience = patience;
        }
    }
}

/// The socket's folder is the user's own, but may have been made by another.
fn check_owner(stream: &UnixStream, label: &str) -> Result<()> {
    let own = nix::unistd::getuid().as_raw();
    let why = match getsockopt(stream, PeerCredentials) {
        Ok(peer) if peer.uid() == own => return Ok(()),
        Ok(peer) => format!("it belongs to user {}, and you are user {own}", peer.uid()),
        Err(error) => error.desc().to_string(),
    };
    Err(
        Failure::new(Code::NotYours, format!("will not talk to {label}"), why)
            .advise("run gpuckpt as the user who launched the job"),
    )
}

/// Writes without SIGPIPE, which has its default action here.
fn send_all(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(stream.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;
    use tempfile::TempDir;

    /// Asks a job that answers with `answer` and then holds the connection until `hold` ends.
    fn ask(answer: &'static [u8], hold: Duration, patience: Duration) -> Result<Reply> {
        let dir = TempDir::new().unwrap();
        let socket = dir.path().join("sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            // Reading ends when the client goes, so that no test waits for the whole time.
            stream
                .set_read_timeout(Some(hold.max(Duration::from_millis(1))))
                .unwrap();
            let _ = stream.read(&mut [0]);
            request
        });
        let job = Job {
            name: Some("j".into()),
            pid: 1,
            socket,
        };
        let reply = Exchange::start(&job, &Request::Status, patience).and_then(|mut it| it.next());
        assert_eq!(server.join().unwrap(), "{\"request\":\"status\"}\n");
        reply
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn a_reply_is_one_line() {
        let answer = b"{\"reply\":\"failed\",\"reasons\":[\"x\"],\"refused\":true}\n";
        let expected = Reply::Failed {
            reasons: vec!["x".into()],
            refused: true,
        };
        assert_eq!(ask(answer, LONG, LONG).unwrap(), expected);
    }

    #[test]
    fn a_job_that_ends_amid_its_answer_is_said_so() {
        let failure = ask(b"{\"reply\":", Duration::ZERO, LONG).unwrap_err();
        assert_eq!(failure.code, Code::JobGone);
    }

    #[test]
    fn silence_has_an_end() {
        let failure = ask(b"", LONG, Duration::from_millis(50)).unwrap_err();
        assert_eq!(failure.code, Code::NoAnswer);
        assert!(failure.to_string().contains("silent"), "{failure}");
    }

    #[test]
    fn nonsense_is_not_understood() {
        let failure = ask(b"hello\n", LONG, LONG).unwrap_err();
        assert!(
            failure.to_string().contains("cannot understand"),
            "{failure}"
        );
    }

    #[test]
    fn a_socket_without_listener_is_no_answer() {
        let job = Job {
            name: None,
            pid: 1,
            socket: "/nonexistent/sock".into(),
        };
        let failure = Exchange::start(&job, &Request::Status, LONG).err().unwrap();
        assert_eq!(failure.code, Code::NoAnswer);
    }
}
