//! A job's name in its folder: `DIR/NAME/job.json`, by which NAME is found, and by
//! which a second job of that name is refused. It is written before anything is
//! restored, so that two restarts do not roll back the same files; a restart that
//! fails leaves what it found.

use crate::job::Job;
use anyhow::{Context, Result, bail};
use lower_half::config::Bytes;
use lower_half::protocol::JobRecord;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest record that is put back: a socket's path is far shorter.
const LONGEST: u64 = 64 << 10;

/// The name as this process holds it. Dropped, it is given back.
#[derive(Debug)]
#[must_use = "the record is taken back when this is dropped"]
pub(crate) struct Claim {
    folder: PathBuf,
    socket: PathBuf,
    /// The record that was there before.
    former: Option<Vec<u8>>,
}

impl Claim {
    /// Writes the record of a process that listens on `socket`.
    pub(crate) fn make(job: &Job, socket: &Path) -> Result<Self> {
        let folder = job.folder();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the job's folder {}", folder.display()))?;
        let pid = std::process::id() as i32;
        let record = JobRecord {
            version: 1,
            host: nix::unistd::gethostname()
                .map(|host| host.to_string_lossy().into_owned())
                .unwrap_or_default(),
            pid,
            start_time: crate::processes::start_time(pid).unwrap_or(0),
            socket: Bytes::from(socket),
        };
        // Two that look at the same time must not both find the name free. Where folders
        // cannot be locked, that much is left to chance.
        let lock = File::open(&folder).and_then(|folder| folder.lock().map(|()| folder));
        let former = read(&folder.join(RECORD)).ok();
        if let Some(other) = former.as_deref().and_then(|text| running(text, &record)) {
            bail!(
                "cannot start another job `{}` in {}: process {other} runs under this name; \
                 give the new job another --name or --dir, or end the running one first",
                job.options.name,
                job.options.dir.to_path().display()
            );
        }
        serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|text| write(&folder, &text))
            .with_context(|| format!("cannot write the job's record in {}", folder.display()))?;
        drop(lock);
        Ok(Self {
            folder,
            socket: socket.to_path_buf(),
            former,
        })
    }

    /// The job runs: its record stays.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nobody is left to tell of an error; the record then names a dead process.
        let _ = match &self.former {
            Some(text) => write(&self.folder, text),
            None => fs::remove_file(self.folder.join(RECORD)),
        };
        let _ = fs::remove_file(&self.socket);
    }
}

/// The process of a record, if it runs here and is not the one of `own`.
fn running(text: &[u8], own: &JobRecord) -> Option<i32> {
    let found: JobRecord = serde_json::from_slice(text).ok()?;
    let lives = found.host == own.host
        && found.pid != own.pid
        && crate::processes::start_time(found.pid) == Some(found.start_time);
    lives.then_some(found.pid)
}

const RECORD: &str = "job.json";

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

fn write(folder: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".job-{}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            // The folder may be one that others write to.
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)?;
        file.write_all(text)?;
        fs::rename(&temporary, folder.join(RECORD))
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}
