//! Finding running jobs: by name through `DIR/NAME/job.json`, by process id through
//! the sockets' folder. A record is believed when the process that it names lives
//! on this host and is as old as the record says.

use crate::failure::{Code, Failure, Result};
use lower_half::protocol::{JobRecord, socket_dir};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use transparent_core::image::Store;

/// A job that runs, or seemed to a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its name, when it was found by one.
    pub(crate) name: Option<String>,
    pub(crate) pid: i32,
    pub(crate) socket: PathBuf,
}

impl Job {
    /// How people know it.
    pub(crate) fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} (process {})", self.pid),
            None => format!("process {}", self.pid),
        }
    }
}

/// What a registry says of a name.
enum Entry {
    /// It runs here.
    Running(Job),
    /// There never was one, or its record cannot be read.
    Idle,
    /// The process is gone.
    Ended(i32),
    /// It was started on this other host; whether it runs cannot be seen from here.
    Elsewhere(String),
}

/// Finds the one job that a command line means.
pub(crate) fn find(selector: Option<&str>, dir: &Path) -> Result<Job> {
    match selector {
        None => only(dir),
        Some(selector) => match entry(dir, selector) {
            Entry::Running(job) => Ok(job),
            Entry::Elsewhere(host) => Err(Failure::new(
                Code::OtherHost,
                format!("cannot reach job `{selector}`"),
                format!("it was started on the host {host}"),
            )
            .advise(format!("run this command on {host}"))),
            Entry::Ended(pid) => Err(ended(dir, selector, pid)),
            Entry::Idle => match selector.parse() {
                Ok(pid) => by_pid(pid),
                Err(_) => Err(no_job(format!("no running job `{selector}`"), dir)),
            },
        },
    }
}

/// Refuses a name under which a job runs already.
pub(crate) fn refuse_running(dir: &Path, name: &str) -> Result<()> {
    match entry(dir, name) {
        // The new job takes the place of the one that asks for it.
        Entry::Running(job) if job.pid == std::process::id().cast_signed() => Ok(()),
        Entry::Running(job) => Err(Failure::new(
            Code::JobRunning,
            format!("cannot start another job `{name}` in {}", dir.display()),
            format!("process {} runs under this name", job.pid),
        )
        .advise("give the new job another --name or --dir, or end the running one first")),
        Entry::Idle | Entry::Ended(_) | Entry::Elsewhere(_) => Ok(()),
    }
}

/// All jobs that can be seen: those of `dir`, and this user's sockets.
pub(crate) fn all(dir: &Path) -> Vec<Job> {
    let mut jobs: BTreeMap<i32, Job> = BTreeMap::new();
    for job in in_folder(dir) {
        jobs.insert(job.pid, job);
    }
    for pid in sockets(&socket_dir()) {
        if start_time(pid).is_some() {
            jobs.entry(pid).or_insert_with(|| at_socket(pid));
        }
    }
    jobs.into_values().collect()
}

fn only(dir: &Path) -> Result<Job> {
    let mut jobs = in_folder(dir);
    match (jobs.pop(), jobs.is_empty()) {
        (None, _) => Err(no_job("no job is running".into(), dir)),
        (Some(job), true) => Ok(job),
        (Some(job), false) => {
            jobs.push(job);
            let labels: Vec<String> = jobs.iter().map(Job::label).collect();
            Err(Failure {
                code: Code::SeveralJobs,
                what: format!("which job? {} are running in {}", jobs.len(), dir.display()),
                why: labels,
                advice: "give the name or the process id of one".into(),
            })
        }
    }
}

fn no_job(what: String, dir: &Path) -> Failure {
    Failure::new(Code::NoJob, what, format!("looked in {}", dir.display()))
        .advise("`gpuckpt status` lists running jobs; --dir DIR or GPUCKPT_DIR say where to look")
}

/// A name whose process is gone: from which image does it go on?
fn ended(dir: &Path, name: &str, pid: i32) -> Failure {
    let what = format!("no running job `{name}`");
    let why = format!("process {pid}, the last of this name, has ended");
    let newest = Store::open(dir, name).and_then(|store| store.newest_valid());
    let advice = match newest {
        Ok((Some(image), _)) => format!(
            "`gpuckpt restart {name}` continues it from {}",
            image.folder().display()
        ),
        _ => format!("there is no image of it in {}", dir.join(name).display()),
    };
    Failure::new(Code::NoJob, what, why).advise(advice)
}

fn by_pid(pid: i32) -> Result<Job> {
    let job = at_socket(pid);
    if start_time(pid).is_some() && job.socket.exists() {
        return Ok(job);
    }
    let why = match start_time(pid) {
        None => "there is no such process".to_string(),
        Some(_) => format!(
            "it was not started by gpuckpt, or with another XDG_RUNTIME_DIR: there is no {}",
            job.socket.display()
        ),
    };
    Err(Failure::new(
        Code::NoJob,
        format!("process {pid} cannot be checkpointed"),
        why,
    )
    .advise("start programs with `gpuckpt launch`; `gpuckpt status` lists running jobs"))
}

fn at_socket(pid: i32) -> Job {
    Job {
        name: None,
        pid,
        socket: socket_dir().join(format!("{pid}.sock")),
    }
}

/// Running jobs with a record in `dir`, by name.
fn in_folder(dir: &Path) -> Vec<Job> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| match entry(dir, &name) {
            Entry::Running(job) => Some(job),
            Entry::Idle | Entry::Ended(_) | Entry::Elsewhere(_) => None,
        })
        .collect()
}

fn sockets(folder: &Path) -> Vec<i32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".sock")?.parse().ok()
        })
        .collect()
}

fn entry(dir: &Path, name: &str) -> Entry {
    let Ok(text) = fs::read(dir.join(name).join("job.json")) else {
        return Entry::Idle;
    };
    let Ok(record) = serde_json::from_slice::<JobRecord>(&text) else {
        return Entry::Idle;
    };
    if record.version != 1 {
        return Entry::Idle;
    }
    if record.host != host() {
        return Entry::Elsewhere(record.host);
    }
    if start_time(record.pid) != Some(record.start_time) {
        return Entry::Ended(record.pid);
    }
    Entry::Running(Job {
        name: Some(name.to_string()),
        pid: record.pid,
        socket: record.socket.to_path(),
    })
}

fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| String::new(), |name| name.to_string_lossy().into())
}

/// What keeps a process from answering, as far as the kernel tells, and what to do.
pub(crate) fn standstill(pid: i32) -> Option<(String, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().to_string())
    };
    match field("State:")?.chars().next()? {
        'T' => Some((
            "it is stopped".into(),
            format!("somebody sent it SIGSTOP or pressed Ctrl-Z: `kill -CONT {pid}` lets it go on"),
        )),
        't' => Some((
            format!(
                "process {} traces it and holds it",
                field("TracerPid:").unwrap_or_default()
            ),
            "a debugger or strace: let it go on, or detach it".into(),
        )),
        _ => None,
    }
}

/// When a living process was started, in clock ticks since boot (proc_pid_stat(5),
/// field 22); nothing for a process that is gone or only waits to be reaped.
fn start_time(pid: i32) -> Option<u64> {
    started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn started(stat: &str) -> Option<u64> {
    // The name in parentheses may itself have spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    const AFTER_STATE: usize = 22 - 3 - 1;
    fields.nth(AFTER_STATE)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lower_half::config::Bytes;
    use tempfile::TempDir;

    fn register(dir: &Path, name: &str, change: impl FnOnce(&mut JobRecord)) {
        let pid = std::process::id().cast_signed();
        let socket = Bytes(format!("/run/{name}.sock").into_bytes());
        let start_time = start_time(pid).unwrap();
        let mut record = JobRecord {
            version: 1,
            host: host(),
            pid,
            start_time,
            socket,
        };
        change(&mut record);
        fs::create_dir_all(dir.join(name)).unwrap();
        let text = serde_json::to_vec(&record).unwrap();
        fs::write(dir.join(name).join("job.json"), text).unwrap();
    }

    fn code(found: Result<Job>) -> Code {
        found.unwrap_err().code
    }

    #[test]
    fn a_job_is_found_by_name_and_alone() {
        let dir = TempDir::new().unwrap();
        register(dir.path(), "a", |_| ());
        let job = find(Some("a"), dir.path()).unwrap();
        assert_eq!(job.socket, Path::new("/run/a.sock"));
        assert_eq!(find(None, dir.path()).unwrap(), job);
    }

    #[test]
    fn of_several_one_must_be_named() {
        let dir = TempDir::new().unwrap();
        register(dir.path(), "a", |_| ());
        register(dir.path(), "b", |_| ());
        let failure = find(None, dir.path()).unwrap_err();
        assert_eq!(failure.code, Code::SeveralJobs);
        let text = failure.to_string();
        assert!(
            text.contains("a (process") && text.contains("b (process"),
            "{text}"
        );
    }

    #[test]
    fn stale_records_are_not_believed() {
        let dir = TempDir::new().unwrap();
        assert_eq!(code(find(None, dir.path())), Code::NoJob);
        register(dir.path(), "older", |record| record.start_time += 1);
        register(dir.path(), "gone", |record| record.pid = i32::MAX);
        register(dir.path(), "format", |record| record.version = 2);
        register(dir.path(), "away", |record| record.host.push('x'));
        fs::create_dir(dir.path().join("broken")).unwrap();
        fs::write(dir.path().join("broken/job.json"), "{").unwrap();
        assert_eq!(code(find(None, dir.path())), Code::NoJob);
        for name in ["older", "gone", "format", "broken", "nothing"] {
            assert_eq!(code(find(Some(name), dir.path())), Code::NoJob, "{name}");
            assert!(refuse_running(dir.path(), name).is_ok(), "{name}");
        }
        assert_eq!(code(find(Some("away"), dir.path())), Code::OtherHost);
    }

    #[test]
    fn a_process_that_is_not_ours_is_said_so() {
        let dir = TempDir::new().unwrap();
        let text = find(Some("1"), dir.path()).unwrap_err().to_string();
        assert!(text.contains("not started by gpuckpt"), "{text}");
    }

    #[test]
    fn a_name_in_use_is_refused_unless_it_is_our_own() {
        let dir = TempDir::new().unwrap();
        register(dir.path(), "own", |_| ());
        assert!(refuse_running(dir.path(), "own").is_ok());
        register(dir.path(), "init", |record| {
            record.pid = 1;
            record.start_time = start_time(1).unwrap();
        });
        let failure = refuse_running(dir.path(), "init").unwrap_err();
        assert_eq!(failure.code, Code::JobRunning);
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(started(&format!("7 (a) b (c) {fields}")), Some(4242));
        assert_eq!(
            started(&format!("7 (a) {}", fields.replacen('S', "Z", 1))),
            None
        );
        assert_eq!(started("7 (a) S 1"), None);
        assert_eq!(started(""), None);
    }
}
