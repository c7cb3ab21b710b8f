//! The scheduling of each of the application's threads, in an image and back: its own
//! section, because the kernel keeps it with threads, and threads get it on their hosts.
//!
//! Threads that are bound to no processors of their own run where this process was
//! started to run: `home`, taken before anything of the application runs. So does the
//! control thread, whoever made it.

use crate::checkpoint::sections;
use crate::report;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use transparent_core::image::{ImageError, ImageReader, ImageWriter, SectionKind};
use transparent_core::scheduling::Scheduling;

/// How this process was scheduled when it began.
static HOME: OnceLock<Scheduling> = OnceLock::new();

/// What the threads of an image had, by their ids.
static THREADS: Mutex<Option<HashMap<i32, Scheduling>>> = Mutex::new(None);

/// One thread in the section.
#[derive(Debug, Serialize, Deserialize)]
struct Thread {
    vtid: i32,
    scheduling: Scheduling,
}

/// Called once at the start.
pub(crate) fn init() {
    let _ = HOME.set(Scheduling::of(0).unwrap_or_default());
}

fn home() -> Scheduling {
    HOME.get().cloned().unwrap_or_default()
}

/// Makes the calling thread of the lower half independent of the thread that made it.
pub(crate) fn at_home() {
    home().restore(&home());
}

/// Saves what every thread has; they are parked.
pub(crate) fn save(writer: &ImageWriter) -> Result<(), ImageError> {
    let home = home();
    let threads: Vec<Thread> = upper_half::threads()
        .into_iter()
        .filter_map(|thread| {
            // A thread that is gone by now needs none.
            let scheduling = Scheduling::of(thread.tid).ok()?.unless_bound_as(&home);
            let vtid = thread.vtid;
            Some(Thread { vtid, scheduling })
        })
        .collect();
    let (name, version) = sections::SCHEDULING;
    writer.put_bincode(name, SectionKind::SCHEDULING, version, &threads)
}

/// Takes the section; [`restore_thread`] gives it out. Images of older releases have none.
pub(crate) fn load(image: &ImageReader) -> Result<()> {
    let (name, version) = sections::SCHEDULING;
    if !image.has(name) {
        return Ok(());
    }
    let threads: Vec<Thread> = image.get_bincode(name, SectionKind::SCHEDULING, version)?;
    let by_id = threads.into_iter().map(|one| (one.vtid, one.scheduling));
    *THREADS.lock().unwrap_or_else(PoisonError::into_inner) = Some(by_id.collect());
    Ok(())
}

/// Gives the calling host what its thread had.
pub(crate) fn restore_thread(vtid: i32) {
    let wish = THREADS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_mut()
        .and_then(|threads| threads.remove(&vtid));
    for note in wish.map(|wish| wish.restore(&home())).unwrap_or_default() {
        report::line(format_args!(
            "thread {vtid} is not scheduled as it was: {note}"
        ));
    }
}
