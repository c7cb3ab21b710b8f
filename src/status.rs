//! `gpuckpt status`: the jobs of DIR and of this user's sockets, each asked for
//! what it is doing.

use crate::client::Exchange;
use crate::failure::{Code, Failure, Result};
use crate::jobs::{self, Job};
use crate::options::DirArg;
use crate::text::{count, table};
use clap::Parser;
use lower_half::protocol::{JobStatus, Reply, Request};
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `status`.
#[derive(Parser, Debug)]
pub(crate) struct Args {
    /// Name or process id of a job [default: all that can be seen]
    #[arg(value_name = "NAME|PID")]
    job: Option<String>,
    #[command(flatten)]
    dir: DirArg,
    /// Write JSON to standard output: an object for one job, else an array
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<i32> {
    let dir = args.dir.path()?;
    if let Some(selector) = &args.job {
        let status = ask(&jobs::find(Some(selector), &dir)?)?;
        if args.json {
            println!("{}", json(&status));
        } else {
            print!("{}", long(&status));
        }
        return Ok(0);
    }
    // A job that is busy or about to end must not hide the others.
    let (mut statuses, mut failures) = (Vec::new(), Vec::new());
    for job in jobs::all(&dir) {
        match ask(&job) {
            Ok(status) => statuses.push(status),
            // A socket that a killed job left behind is no job.
            Err(failure) if job.name.is_none() && failure.code == Code::NoAnswer => {}
            Err(failure) => failures.push(failure),
        }
    }
    if args.json {
        println!(
            "{}",
            Value::from(statuses.iter().map(json).collect::<Vec<_>>())
        );
    } else if statuses.is_empty() && failures.is_empty() {
        println!("no job is running in {}", dir.display());
    } else {
        print!("{}", short(&statuses));
    }
    for failure in &failures {
        failure.report();
    }
    Ok(0)
}

fn ask(job: &Job) -> Result<JobStatus> {
    match Exchange::start(job, &Request::Status, PATIENCE)?.next()? {
        Reply::Status(status) => Ok(status),
        Reply::Failed { reasons, .. } => {
            let what = format!("no status from {}", job.label());
            Err(Failure::new(Code::NoAnswer, what, reasons.join("; ")))
        }
        Reply::Progress { .. } | Reply::Done(_) => {
            let what = format!("cannot understand {}", job.label());
            Err(Failure::new(
                Code::NoAnswer,
                what,
                "it answered another question",
            ))
        }
    }
}

fn json(status: &JobStatus) -> Value {
    json!({
        "name": status.name,
        "pid": status.pid,
        "program": status.program,
        "device": status.device,
        "threads": status.threads,
        "checkpoints": status.checkpoints,
        "last_image": status.last_image,
        "obstacles": status.obstacles,
        "restarted": status.restarted,
    })
}

fn short(statuses: &[JobStatus]) -> String {
    if statuses.is_empty() {
        return String::new();
    }
    let head = [
        "NAME",
        "PID",
        "DEVICE",
        "THREADS",
        "CHECKPOINTS",
        "SAVABLE",
        "PROGRAM",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(statuses.iter().map(|status| {
        vec![
            status.name.clone(),
            status.pid.to_string(),
            status.device.clone(),
            status.threads.to_string(),
            status.checkpoints.to_string(),
            if status.obstacles.is_empty() {
                "yes"
            } else {
                "no"
            }
            .to_string(),
            status.program.clone(),
        ]
    }));
    table(&rows)
}

fn long(status: &JobStatus) -> String {
    let origin = if status.restarted {
        "restarted"
    } else {
        "launched"
    };
    let threads = count(status.threads, "thread");
    let mut text = format!(
        "{} (process {}), {origin}\n  program      {}\n  device       {}\n  threads      {threads}\n",
        status.name, status.pid, status.program, status.device,
    );
    text += &format!("  checkpoints  {}\n", status.checkpoints);
    if let Some(image) = &status.last_image {
        text += &format!("  last image   {image}\n");
    }
    if status.obstacles.is_empty() {
        text += "  a checkpoint is possible now\n";
    } else {
        text += "  a checkpoint would be refused now:\n";
        for obstacle in &status.obstacles {
            text += &format!("  - {obstacle}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> JobStatus {
        JobStatus {
            name: "train".into(),
            pid: 77,
            program: "/usr/bin/python3".into(),
            device: "mock".into(),
            threads: 1,
            checkpoints: 2,
            last_image: Some("/d/train/ckpt-00000002".into()),
            obstacles: vec![],
            restarted: true,
        }
    }

    #[test]
    fn one_job() {
        assert_eq!(
            long(&status()),
            "train (process 77), restarted\n  program      /usr/bin/python3\n  \
             device       mock\n  threads      1 thread\n  checkpoints  2\n  \
             last image   /d/train/ckpt-00000002\n  a checkpoint is possible now\n"
        );
        let blocked = JobStatus {
            obstacles: vec!["fd 3 is a socket".into()],
            ..status()
        };
        assert!(long(&blocked).contains("  - fd 3 is a socket\n"));
    }

    #[test]
    fn several_jobs() {
        let text = short(&[status()]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[1].starts_with("train  77   mock    1        2            yes"),
            "{text}"
        );
        assert_eq!(short(&[]), "");
    }
}
