//! From an image to the running application, in a fresh process.
//!
//! The order follows from what depends on what: descriptors first, so that they
//! take their numbers before a driver opens anything; then the driver and its
//! log, while the window is still empty (a record owns every byte it needs); host
//! memory; what the driver must know of host memory; device memory; the threads'
//! hosts. Files are rolled back, and terminals set, when nothing can refuse any
//! more; then the threads start together.

use crate::checkpoint::sections;
use crate::control::Control;
use crate::hooks::LowerHooks;
use crate::job::Job;
use crate::layout::Layout;
use crate::processes::ProcessTable;
use crate::{descriptors, device_data, report, scheduling, start};
use anyhow::{Context, Result, anyhow, bail};
use lower_half::config::{Bytes, Device, Files, JobOptions};
use lower_half::facts::{self, JobFacts, Machine};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use transparent_core::fds::StandardStreams;
use transparent_core::image::{ImageReader, SectionKind};
use transparent_core::{attributes, fds, memory};

/// Becomes the application that `image` holds; returns only when that failed, and
/// then nothing of the application has run.
pub(crate) fn run(mut options: JobOptions, folder: &Path) -> Result<Infallible> {
    descriptors::make_room();
    let layout = Layout::find()?;
    let image = ImageReader::open(folder)?;
    let facts: JobFacts = image.get_bincode(facts::JOB, SectionKind::JOB, facts::JOB_VERSION)?;
    check_machine(&facts)?;
    let device = same_device(options.device, facts.device)?;
    options.device = device;
    let files = options.files;
    let job: &'static Job = Box::leak(Box::new(Job {
        driver: (device != Device::None).then(|| layout.driver(device, &own_library_path())),
        layout,
        device,
        program: facts.program,
        argv: facts.argv,
        restarted: true,
        processes: ProcessTable::create()?,
        root_pid: Some(std::process::id()),
        began: Instant::now(),
        checkpoints: AtomicU64::new(0),
        last_image: Default::default(),
        streams: StandardStreams::observe(),
        options,
    }));
    let (mut control, claim) = Control::open(job)?;
    // Nothing is restored of an image that is not whole. From here on others see that the
    // job is being brought back.
    control.busy(job, "restart", || image.verify_all())?;
    let state: upper_half::UpperState =
        image.get_bincode_of(sections::UPPER.0, SectionKind::UPPER, sections::UPPER.1)?;
    scheduling::load(&image)?;
    let table: fds::FdTable =
        image.get_bincode_of(sections::FDS.0, SectionKind::FDS, sections::FDS.1)?;
    let mut attributes: attributes::Attributes = image.get_bincode_of(
        sections::ATTRIBUTES.0,
        SectionKind::ATTRIBUTES,
        sections::ATTRIBUTES.1,
    )?;

    report::hold();
    fds::restore(&table, rule(files), &descriptors::is_ours)
        .context("cannot restore the descriptors")?;
    start::init_device(job);
    control.busy(job, "restart", || restore_memory(job, &image))?;
    let restored = upper_half::restore(state, LowerHooks::leak(job), restore_host_thread(job))
        .map_err(|error| anyhow!(error))?;
    // Before limits bind that the job may have set when it had all its threads.
    control.start(job)?;
    let threads = upper_half::threads();
    for timer in &mut attributes.posix_timers {
        timer.name_thread(|id| Some(threads.iter().find(|t| t.vtid == id)?.tid));
    }
    say(attributes::restore(&attributes).context("cannot restore the process's attributes")?);
    fds::rearm_timers(&table)?;
    say(fds::settle(&table, rule(files)).context("cannot roll back the job's files")?);
    drop(image);
    claim.keep();
    report::let_go();
    restored.resume()
}

/// The device, host memory, and what is in the device's: what takes long.
fn restore_memory(job: &Job, image: &ImageReader) -> Result<()> {
    if job.has_device() {
        device_data::restore_log(image)?;
    }
    memory::restore(image, &mut |_, _| {}).context("cannot restore host memory")?;
    if job.has_device() {
        interposer::restore_host().context("cannot register host memory with the driver")?;
        device_data::restore_contents(image)?;
    }
    Ok(())
}

/// What each thread's host does before its thread runs.
fn restore_host_thread(job: &Job) -> fn(i32) {
    if job.has_device() {
        |vtid| {
            interposer::restore_thread(vtid);
            scheduling::restore_thread(vtid);
        }
    } else {
        scheduling::restore_thread
    }
}

/// What could not be restored exactly, for people.
fn say(notes: Vec<String>) {
    for note in notes {
        report::line(format_args!("{note}"));
    }
}

fn check_machine(facts: &JobFacts) -> Result<()> {
    let here = Machine::here();
    let lacking = facts.machine.lacking(&here);
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "this machine's processor lacks {}, which the program may be using since it started on {}: restart it on a machine that has them",
        lacking.join(", "),
        facts.machine.host
    )
}

/// The device to restore on: the image's, unless another one was asked for.
fn same_device(wish: Device, saved: Device) -> Result<Device> {
    match wish {
        Device::Auto => Ok(saved),
        wish if wish == saved => Ok(wish),
        wish => bail!(
            "the image was made with --device {saved:?}, it cannot go on with --device {wish:?}: leave the option out"
        ),
    }
}

fn rule(files: Files) -> fds::FilesRule {
    match files {
        Files::Rollback => fds::FilesRule::Rollback,
        Files::Keep => fds::FilesRule::Keep,
        Files::Refuse => fds::FilesRule::Refuse,
    }
}

/// Our own `LD_LIBRARY_PATH`: where the restarting command found a driver, if not where
/// drivers usually are.
fn own_library_path() -> Vec<Bytes> {
    let value = std::env::var_os("LD_LIBRARY_PATH");
    let entry = |value: OsString| Bytes([b"LD_LIBRARY_PATH=", value.as_bytes()].concat());
    value.map(entry).into_iter().collect()
}
