//! `gpuckpt checkpoint`: returns when the image is committed.

use crate::client::Exchange;
use crate::failure::{Code, Failure, Result};
use crate::jobs;
use crate::options::DirArg;
use crate::pidfd::Process;
use crate::progress::Bar;
use crate::text::{bytes, milliseconds};
use crate::time;
use clap::Parser;
use lower_half::protocol::{CheckpointReport, Reply, Request};
use std::time::Duration;

/// What the job may take beyond the deadline to say that it passed.
const GRACE: Duration = Duration::from_secs(10);

/// How long a job that writes may be silent: a network file system can take this long
/// for one flush.
const WRITING: Duration = Duration::from_secs(300);

/// How long the end of a job that was saved and told to end may take.
const ENDING: Duration = Duration::from_secs(30);

/// Arguments of `checkpoint`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Name or process id of the job [default: the only one in DIR]
    #[arg(value_name = "NAME|PID")]
    job: Option<String>,
    #[command(flatten)]
    dir: DirArg,
    /// End the job with status 85 once the image is committed
    #[arg(long)]
    kill: bool,
    /// Give up when the job cannot be brought to a standstill in this time (500ms, 1.5s, 2m); it
    /// then runs on
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    wait: Duration,
    /// Write one JSON object to standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<i32> {
    let job = jobs::find(args.job.as_deref(), &args.dir.path()?)?;
    let deadline_ms = u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Checkpoint {
        kill: args.kill,
        deadline_ms,
    };
    let patience = args.wait.saturating_add(GRACE);
    let process = Process::open(job.pid);
    let mut exchange = Exchange::start(&job, &request, patience)?;
    let report = wait(&mut exchange, &job.label(), patience)?;
    // The job's name is free for a restart when this command returns.
    if args.kill && !process.wait(ENDING) {
        eprintln!("gpuckpt: {} is saved, but has not ended yet", job.label());
    }
    if args.json {
        println!("{}", json(&report));
    } else {
        println!("{}", line(&job.label(), &report, args.kill));
    }
    Ok(0)
}

fn wait(exchange: &mut Exchange, label: &str, patience: Duration) -> Result<CheckpointReport> {
    let mut bar = Bar::new();
    loop {
        match exchange.next()? {
            Reply::Progress { phase, done, total } => {
                if phase != "quiesce" {
                    exchange.set_patience(patience.max(WRITING));
                }
                bar.show(&phase, done, total);
            }
            Reply::Done(report) => return Ok(report),
            Reply::Failed { reasons, refused } => {
                drop(bar);
                return Err(failed(label, reasons, refused));
            }
            Reply::Status(_) => {
                let what = format!("cannot understand {label}");
                return Err(Failure::new(
                    Code::NoAnswer,
                    what,
                    "it answered another question",
                ));
            }
        }
    }
}

fn failed(label: &str, why: Vec<String>, refused: bool) -> Failure {
    let code = if refused {
        Code::Refused
    } else {
        Code::CheckpointFailed
    };
    let advice = if refused {
        "nothing was stopped, and the job runs on"
    } else {
        "the job runs on, and its images from before are as they were"
    };
    Failure {
        code,
        what: format!("cannot save {label}"),
        why,
        advice: advice.to_string(),
    }
}

fn line(label: &str, report: &CheckpointReport, kill: bool) -> String {
    let device = match report.bytes_device {
        0 => String::new(),
        count => format!(" and {} of device memory", bytes(count)),
    };
    let ended = if kill { ", and ended" } else { "" };
    format!(
        "saved {label}{ended}: {}\n  {} of memory{device} in {}, standing still for {}; {} written",
        report.image,
        bytes(report.bytes_host),
        milliseconds(report.write_ms),
        milliseconds(report.stall_ms),
        bytes(report.bytes_written),
    )
}

fn json(report: &CheckpointReport) -> serde_json::Value {
    serde_json::json!({
        "image": report.image,
        "stall_ms": report.stall_ms,
        "write_ms": report.write_ms,
        "bytes_host": report.bytes_host,
        "bytes_device": report.bytes_device,
        "bytes_written": report.bytes_written,
        "threads": report.threads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> CheckpointReport {
        CheckpointReport {
            image: "/d/a/ckpt-00000002".into(),
            stall_ms: 13.26,
            write_ms: 1530.0,
            bytes_host: 64 << 20,
            bytes_device: 1 << 20,
            bytes_written: 12 << 20,
            threads: 3,
        }
    }

    #[test]
    fn the_line_for_people() {
        assert_eq!(
            line("a (process 7)", &report(), true),
            "saved a (process 7), and ended: /d/a/ckpt-00000002\n  64.0 MiB of memory and 1.0 MiB \
             of device memory in 1.53 s, standing still for 13 ms; 12.0 MiB written"
        );
    }

    #[test]
    fn the_object_for_programs_has_the_promised_keys() {
        let object = json(&report());
        for key in [
            "image",
            "stall_ms",
            "write_ms",
            "bytes_host",
            "bytes_device",
            "bytes_written",
        ] {
            assert!(object.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_refusal_says_that_nothing_was_stopped() {
        let text = failed("a", vec!["fd 5 is an inotify object".into()], true).to_string();
        assert!(
            text.contains("fd 5") && text.contains("nothing was stopped"),
            "{text}"
        );
    }

    #[test]
    fn the_deadline_is_a_minute_unless_told() {
        assert_eq!(
            Args::parse_from(["checkpoint"]).wait,
            Duration::from_secs(60)
        );
        let args = Args::parse_from(["checkpoint", "--wait", "2m", "a"]);
        assert_eq!(
            (args.wait, args.job.as_deref()),
            (Duration::from_secs(120), Some("a"))
        );
    }
}
