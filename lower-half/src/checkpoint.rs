//! One checkpoint, from the request to the commit.
//!
//! The order is the whole point: everything that can refuse does so before
//! anything is stopped; the gate closes and the device drains while the
//! application's threads still run; then they park; what was checked is checked
//! again; the state goes into the image under its temporary name; the threads go
//! on; files are made durable and the image gets its name. A failure anywhere
//! reopens the gate, releases the threads and leaves the previous image as it was.

use crate::job::Job;
use crate::{descriptors, device_data, fault, meanwhile, report, scheduling, summary};
use lower_half::config::Compress;
use lower_half::facts::{self, JobFacts, Machine};
use lower_half::faults::Phase;
use lower_half::protocol::CheckpointReport;
use std::fmt::Display;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use transparent_core::image::{Compression, ImageWriter, SectionKind, Store};
use transparent_core::{Range, Refusal, attributes, fds, memory};

/// Names and versions of the sections that this crate puts into an image.
pub(crate) mod sections {
    /// `upper_half::UpperState`.
    pub(crate) const UPPER: (&str, u32) = ("upper", 3);
    /// `transparent_core::fds::FdTable`.
    pub(crate) const FDS: (&str, u32) = ("fds", 2);
    /// `transparent_core::attributes::Attributes`.
    pub(crate) const ATTRIBUTES: (&str, u32) = ("attributes", 2);
    /// How the threads are scheduled.
    pub(crate) const SCHEDULING: (&str, u32) = ("scheduling", 1);
    /// The interposer's log.
    pub(crate) const DEVICE_LOG: (&str, u32) = ("device-log", 1);
}

/// Why nothing was saved. The job runs on.
#[derive(Debug)]
pub(crate) struct Failure {
    /// One sentence a cause: what, on what, why, what to do.
    pub(crate) reasons: Vec<String>,
    /// True when nothing had been stopped yet.
    pub(crate) refused: bool,
}

impl Failure {
    fn refused(reasons: Vec<String>) -> Self {
        Self {
            reasons,
            refused: true,
        }
    }

    /// The threads stood already when these were found.
    fn found(refusals: Vec<Refusal>) -> Self {
        Self {
            reasons: refusals.iter().map(ToString::to_string).collect(),
            refused: false,
        }
    }

    fn failed(reason: impl Display) -> Self {
        Self {
            reasons: vec![reason.to_string()],
            refused: false,
        }
    }
}

/// Takes a note of progress: phase, bytes done, bytes in all (0: not known).
pub(crate) type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Saves the job; returns when the image is committed. With `kill` the threads stay
/// parked, and the caller ends the process.
pub(crate) fn run(
    job: &Job,
    kill: bool,
    deadline: Instant,
    progress: Progress<'_>,
) -> Result<CheckpointReport, Failure> {
    let asked = Instant::now();
    wait_for_program(deadline)?;
    let found = obstacles(job);
    if !found.is_empty() {
        return Err(Failure::refused(found));
    }
    fault::at(Phase::Preflight).map_err(Failure::failed)?;
    let store =
        Store::open(&job.options.dir.to_path(), &job.options.name).map_err(Failure::failed)?;
    let writer = store
        .create(compression(job.options.compress))
        .map_err(Failure::failed)?;

    progress("quiesce", 0, 0);
    let gate = ClosedGate::close(job);
    let (parked, stopped) = quiesce(job, deadline)?;
    let reasons = changeable_obstacles(job);
    if !reasons.is_empty() {
        return Err(Failure {
            reasons,
            refused: false,
        });
    }
    let saved = save(job, &parked, &writer, progress)?;
    let threads = upper_half::threads().len() as u64;
    let mut parked = Some(parked);
    if !kill {
        drop(parked.take());
        drop(gate);
    }
    let stall = stopped.elapsed();

    progress("commit", 0, 0);
    let bytes_written = writer.bytes_written();
    let image = commit(writer)?;
    if kill {
        // The process ends parked: no thread may run on past its image.
        std::mem::forget(parked);
    }
    after_commit(job, &store, &image.display().to_string());
    Ok(CheckpointReport {
        image: image.display().to_string(),
        stall_ms: stall.as_secs_f64() * 1e3,
        write_ms: asked.elapsed().as_secs_f64() * 1e3,
        bytes_host: saved.host,
        bytes_device: saved.device,
        bytes_written,
        threads,
    })
}

/// The control socket answers before the program has its first thread: an image of
/// that moment would be empty.
fn wait_for_program(deadline: Instant) -> Result<(), Failure> {
    while upper_half::threads().is_empty() {
        if Instant::now() >= deadline {
            return Err(Failure::refused(vec![
                "the program has not begun to run: it is still being loaded; try again in a moment"
                    .into(),
            ]));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What went into the image, before compression.
struct Saved {
    host: u64,
    device: u64,
}

/// Brings the device to rest and parks the threads. Work that a thread was just
/// giving to the driver when the gate closed may need its callbacks, and those need
/// running threads: then everybody goes on, and it is tried again.
fn quiesce(job: &Job, deadline: Instant) -> Result<(upper_half::Parked, Instant), Failure> {
    /// How long a device that was at rest may take to be so again.
    const SETTLE: Duration = Duration::from_millis(20);
    fault::at(Phase::Drain).map_err(Failure::failed)?;
    loop {
        if job.has_device() {
            interposer::drain(deadline).map_err(Failure::failed)?;
        }
        fault::at(Phase::Rendezvous).map_err(Failure::failed)?;
        let parked = upper_half::park(deadline).map_err(Failure::failed)?;
        let stopped = parked.began();
        if !job.has_device() {
            return Ok((parked, stopped));
        }
        match interposer::drain(deadline.min(Instant::now() + SETTLE)) {
            Ok(()) => return Ok((parked, stopped)),
            Err(error) if Instant::now() >= deadline => return Err(Failure::failed(error)),
            Err(interposer::DrainError::Deadline { .. }) => drop(parked),
            Err(error) => return Err(Failure::failed(error)),
        }
    }
}

/// The gate admits no new device work while this lives.
struct ClosedGate;

impl ClosedGate {
    fn close(job: &Job) -> Option<Self> {
        job.has_device().then(|| {
            upper_half::set_closed(true);
            Self
        })
    }
}

impl Drop for ClosedGate {
    fn drop(&mut self) {
        upper_half::set_closed(false);
        interposer::resume();
    }
}

fn save(
    job: &Job,
    parked: &upper_half::Parked,
    writer: &ImageWriter,
    progress: Progress<'_>,
) -> Result<Saved, Failure> {
    fault::at(Phase::Host).map_err(Failure::failed)?;
    let attributes = attributes_and_signals(parked)?;
    let state = parked.state();
    let upper = upper_ranges();
    let plan = memory::plan(&upper, &[]).map_err(Failure::found)?;
    let table = meanwhile::quietly(|| fds::capture(&descriptors::is_ours, &job.streams));
    let table = table.map_err(Failure::found)?;
    let (stats, each) = plan
        .save(writer, &mut |done, total| progress("host", done, total))
        .map_err(Failure::failed)?;
    fault::at(Phase::Device).map_err(Failure::failed)?;
    let device = if job.has_device() {
        device_data::save(writer, progress).map_err(Failure::failed)?
    } else {
        0
    };
    fault::at(Phase::Manifest).map_err(Failure::failed)?;
    let facts = JobFacts {
        options: job.options.clone(),
        device: job.device,
        program: job.program.clone(),
        argv: job.argv.clone(),
        machine: Machine::here(),
    };
    let summary = summary::build(job, &state, &upper, &table, &facts, (&stats, &each), device);
    let put = || -> Result<(), transparent_core::image::ImageError> {
        writer.put_bincode(
            sections::UPPER.0,
            SectionKind::UPPER,
            sections::UPPER.1,
            &state,
        )?;
        writer.put_bincode(sections::FDS.0, SectionKind::FDS, sections::FDS.1, &table)?;
        writer.put_bincode(
            sections::ATTRIBUTES.0,
            SectionKind::ATTRIBUTES,
            sections::ATTRIBUTES.1,
            &attributes,
        )?;
        scheduling::save(writer)?;
        writer.put_bincode(facts::JOB, SectionKind::JOB, facts::JOB_VERSION, &facts)?;
        writer.put_bytes(
            facts::SUMMARY,
            SectionKind(facts::SUMMARY_KIND),
            1,
            summary.to_string().as_bytes(),
        )
    };
    put().map_err(Failure::failed)?;
    Ok(Saved {
        host: stats.saved,
        device,
    })
}

/// The attributes, with interval timers as they were when the last signal was taken:
/// one that expires between the two would be lost to the image, or raised twice.
fn attributes_and_signals(parked: &upper_half::Parked) -> Result<attributes::Attributes, Failure> {
    // Signals that come without end are in the image as often as they fit there.
    const ROUNDS: usize = 1000;
    let mut rounds = 0;
    loop {
        let mut attributes = attributes::capture().map_err(Failure::failed)?;
        rounds += 1;
        let mut timers = attributes.posix_timers.iter();
        let to_threads =
            timers.any(|timer| timer.thread.is_some()) && parked.take_signals_of_threads();
        if !parked.take_signals() && !to_threads || rounds == ROUNDS {
            let threads = upper_half::threads();
            for timer in &mut attributes.posix_timers {
                timer.name_thread(|id| Some(threads.iter().find(|t| t.tid == id)?.vtid));
            }
            return Ok(attributes);
        }
    }
}

fn commit(writer: ImageWriter) -> Result<std::path::PathBuf, Failure> {
    fault::at(Phase::BeforeRename).map_err(Failure::failed)?;
    let image = writer.commit().map_err(Failure::failed)?;
    let _ = fault::at(Phase::AfterRename);
    Ok(image)
}

fn after_commit(job: &Job, store: &Store, image: &str) {
    job.checkpoints.fetch_add(1, Ordering::Relaxed);
    if let Ok(mut last) = job.last_image.lock() {
        *last = Some(image.to_owned());
    }
    if let Some(keep) = job.options.keep
        && let Err(error) = store.prune(keep)
    {
        report::line(format_args!(
            "the image is committed, but older ones could not be removed: {error}"
        ));
    }
}

fn compression(wish: Compress) -> Compression {
    match wish {
        Compress::Auto => Compression::Auto,
        Compress::None => Compression::None,
        Compress::Zstd(level) => Compression::Zstd(level),
    }
}

/// The address ranges that belong to the application.
fn upper_ranges() -> Vec<Range> {
    use upper_half::abi::{LOW_HI, LOW_LO, W_HI, W_LO};
    vec![Range::new(LOW_LO, LOW_HI), Range::new(W_LO, W_HI)]
}

/// Why a checkpoint would be refused now; empty when it would not.
pub(crate) fn obstacles(job: &Job) -> Vec<String> {
    let host = [
        fds::check(&descriptors::is_ours, &job.streams),
        memory::plan(&upper_ranges(), &[]).map(drop),
    ];
    let mut found = changeable_obstacles(job);
    found.extend(too_few_descriptors());
    found.extend(
        host.into_iter()
            .filter_map(Result::err)
            .flatten()
            .map(|refusal| refusal.to_string()),
    );
    found
}

/// Those obstacles that saving itself would not find: looked for again when the
/// threads stand.
fn changeable_obstacles(job: &Job) -> Vec<String> {
    let mut found = process_obstacles(job);
    found.extend(
        upper_half::preflight()
            .iter()
            .map(|r| sentence(&r.object, &r.why, &r.advice)),
    );
    found.extend(
        attributes::check()
            .err()
            .into_iter()
            .flatten()
            .map(|refusal| refusal.to_string()),
    );
    if job.has_device() {
        found.extend(
            interposer::preflight()
                .iter()
                .map(|r| sentence(&r.object, &r.why, &r.advice)),
        );
    }
    found
}

/// A checkpoint that fails for want of descriptors would fail with the threads parked.
fn too_few_descriptors() -> Option<String> {
    /// Files of an image are open together until the commit, and `/proc` beside them.
    const NEEDED: u64 = 24;
    let room = fds::room().unwrap_or(0);
    (room < NEEDED).then(|| {
        sentence(
            "the limit of open files (RLIMIT_NOFILE)",
            &format!("a checkpoint opens up to {NEEDED} files, and {room} more can be opened"),
            "raise `ulimit -n` for the program, or let it close files",
        )
    })
}

fn process_obstacles(job: &Job) -> Vec<String> {
    let others = job.processes.others();
    if others.is_empty() {
        return Vec::new();
    }
    let names: Vec<String> = others
        .iter()
        .map(|&pid| format!("{pid} ({})", crate::processes::name(pid)))
        .collect();
    vec![sentence(
        &format!(
            "the job has {} processes: {} (this one) and {}",
            others.len() + 1,
            std::process::id(),
            names.join(", ")
        ),
        "a job of several processes cannot be saved yet",
        "checkpoint when the children have ended and were waited for",
    )]
}

fn sentence(object: &str, why: &str, advice: &str) -> String {
    format!("{object}: {why}; {advice}")
}
