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
use std::path::Path;
use std::time::Duration;
use transparent_core::image::Store;

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
        print!("{}", none(&dir));
    } else {
        print!("{}", short(&statuses));
    }
    for failure in &failures {
        failure.report();
    }
    Ok(0)
}

/// No job: are there images that one could be made of?
fn none(dir: &Path) -> String {
    if !dir.is_dir() {
        return format!("no job is running: there is no folder {}\n", dir.display());
    }
    let mut text = format!("no job is running in {}\n", dir.display());
    let names = Store::names(dir).unwrap_or_default();
    if let Some(first) = names.first() {
        text += &format!(
            "there are images of {}; `gpuckpt restart {first}` continues the newest\n",
            names.join(", ")
        );
    }
    text
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
        "doing": status.doing.as_ref().map(|doing| json!({
            "what": doing.what,
            "seconds": doing.seconds,
        })),
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
            match (&status.doing, status.obstacles.is_empty()) {
                (Some(doing), _) => format!("busy: {}", doing.what),
                (None, true) => "yes".to_string(),
                (None, false) => "no".to_string(),
            },
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
    if let Some(doing) = &status.doing {
        let what = match doing.what.as_str() {
            "start" => "it is being loaded",
            "checkpoint" => "a checkpoint is being taken",
            "restart" => "it is being brought back from its image",
            other => other,
        };
        text += &format!(
            "  {what}, for {:.0} s now; another checkpoint would wait\n",
            doing.seconds
        );
    } else if status.obstacles.is_empty() {
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
    use lower_half::protocol::Activity;

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
            doing: None,
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
        let doing = Some(Activity {
            what: "checkpoint".into(),
            seconds: 12.3,
        });
        let busy = JobStatus { doing, ..status() };
        assert!(long(&busy).contains("a checkpoint is being taken, for 12 s"));
        assert!(short(std::slice::from_ref(&busy)).contains("busy: checkpoint"));
        assert_eq!(json(&busy)["doing"]["what"], "checkpoint");
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
