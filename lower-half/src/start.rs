//! From the configuration to the running application.

use crate::control::Control;
use crate::hooks::LowerHooks;
use crate::job::Job;
use crate::layout::Layout;
use crate::processes::ProcessTable;
use crate::{OWN_FAILURE, descriptors, report, restart};
use anyhow::{Context, Error, Result, anyhow};
use lower_half::config::{Action, Bytes, Config, Device, Inherited, JobOptions};
use lower_half::handover;
use std::convert::Infallible;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use transparent_core::fds::StandardStreams;
use upper_half::Program;

/// Does what the configuration says; returns only when that failed, with the exit
/// status to end with.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> (i32, Error) {
    init_tracing();
    match configuration(arguments).and_then(begin) {
        Ok(never) => match never {},
        Err(error) => (status_of(&error), error),
    }
}

fn begin(config: Config) -> Result<Infallible> {
    descriptors::init(config.descriptors_from);
    transparent_core::set_descriptor_base(descriptors::base());
    match config.action {
        Action::Launch {
            program,
            argv,
            env,
            inherited,
        } => launch(config.job, program, argv, env, inherited),
        Action::Restart { image } => restart::run(config.job, &image.to_path()),
    }
}

fn configuration(mut arguments: impl Iterator<Item = String>) -> Result<Config> {
    let usage = "gpuckpt-lower is started by `gpuckpt launch` and `gpuckpt restart`";
    anyhow::ensure!(
        arguments.next().as_deref() == Some(handover::OPTION),
        "{usage}"
    );
    let fd: i32 = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .context(usage)?;
    anyhow::ensure!(fd > 2, "{usage}");
    // SAFETY: the starter made this descriptor for us and passed its number.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    handover::receive(fd).context("cannot read the configuration")
}

fn launch(
    options: JobOptions,
    program: Bytes,
    argv: Vec<Bytes>,
    env: Vec<Bytes>,
    inherited: Option<Inherited>,
) -> Result<Infallible> {
    let layout = Layout::find()?;
    let device = layout.resolve_device(options.device, &env);
    let (processes, is_root, upper) = match inherited {
        None => (ProcessTable::create()?, true, None),
        Some(kept) => {
            let upper = serde_json::from_value(kept.upper)
                .context("cannot read what the exec passed on")?;
            (
                ProcessTable::inherit(descriptors::adopt(kept.process_table_fd))?,
                kept.is_root,
                Some(upper),
            )
        }
    };
    let job: &'static Job = Box::leak(Box::new(Job {
        driver: (device != Device::None).then(|| layout.driver(device, &env)),
        layout,
        device,
        program: program.clone(),
        argv: argv.clone(),
        restarted: false,
        processes,
        root_pid: is_root.then(std::process::id),
        began: Instant::now(),
        checkpoints: AtomicU64::new(0),
        last_image: Default::default(),
        streams: StandardStreams::observe(),
        options,
    }));
    init_device(job);
    if is_root {
        let (control, claim) = Control::open(job)?;
        control.start(job)?;
        claim.keep();
    }
    let path = program.to_path();
    let env: Vec<Vec<u8>> = env.into_iter().map(|entry| entry.0).collect();
    let dynamic_env = if job.has_device() {
        Some(job.layout.with_preload(&env)?)
    } else {
        None
    };
    let program = Program {
        path,
        argv: argv.into_iter().map(|argument| argument.0).collect(),
        env,
        dynamic_env,
    };
    upper_half::launch(program, upper, LowerHooks::leak(job)).map_err(|error| anyhow!(error))
}

/// Tells the interposer which driver to load when the first call needs it.
pub(crate) fn init_device(job: &'static Job) {
    if let Some(driver) = &job.driver {
        interposer::init(interposer::Options {
            driver: driver.clone(),
            mock: job.device == Device::Mock,
            current_vtid: upper_half::current_vtid,
            window_mmap: upper_half::window_mmap,
            window_munmap: upper_half::window_munmap,
        });
    }
}

fn status_of(error: &Error) -> i32 {
    match error.downcast_ref::<upper_half::StartError>() {
        Some(error) => error.exit_status(),
        None => OWN_FAILURE,
    }
}

fn init_tracing() {
    if std::env::var_os("GPUCKPT_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_env("GPUCKPT_LOG");
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(|| report::Unlocked(2))
            .try_init();
    }
}
