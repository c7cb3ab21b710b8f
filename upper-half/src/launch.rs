//! Starts a program in the window, from its beginning.
#![allow(unsafe_code, reason = "prepares and enters the upper half")]

use crate::abi::place;
use crate::arch::{self, Frame};
use crate::elf::{self, LoadError};
use crate::filter::{self, Filters};
use crate::hooks::{Hooks, Inherited, Program};
use crate::record::{Record, TRANSLATE};
use crate::signal::Actions;
use crate::stack::{self, Content};
use crate::window::PAGE;
use crate::{ids, probe, process, program, segments, signal, sys, threads, vdso, window};
use std::convert::Infallible;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

/// Why a program could not be started or continued.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This machine cannot host an upper half.
    #[error("{object}: {why}; {advice}", object = .0.object, why = .0.why, advice = .0.advice)]
    Machine(probe::Refusal),
    /// How FS and GS are to be changed is unknown.
    #[error(transparent)]
    Segments(#[from] segments::UnknownSetting),
    /// The file is no program that can be executed.
    #[error("cannot execute {}: {source}", path.display())]
    Execute {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The program could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A place in the window is taken.
    #[error("cannot map {what} in the application's window: {source}")]
    Window {
        /// What was to be mapped.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The filter could not be installed.
    #[error("cannot install the system call filter: {0}")]
    Filter(std::io::Error),
    /// A thread could not be created.
    #[error("cannot create a thread: {0}")]
    Thread(std::io::Error),
    /// The state is of another version.
    #[error("the state is of version {found}, this program knows {known}")]
    Version {
        /// In the image.
        found: u64,
        /// Ours.
        known: u32,
    },
    /// The processor lacks what the saved registers need.
    #[error(
        "the saved registers need processor features {missing:#x} (XCR0 bits) that this machine lacks"
    )]
    Features {
        /// Missing bits.
        missing: u64,
    },
}

impl StartError {
    /// The exit status that a shell gives: 126 cannot execute, 127 not found,
    /// 125 for gpuckpt's own failure.
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Execute { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Execute { .. } | Self::Load(_) => 126,
            _ => 125,
        }
    }
}

/// Becomes `program`. Called on the process's first thread with the signal
/// mask that the program is to have; does not return when it succeeds.
///
/// # Errors
/// [`StartError`]; nothing has run then.
pub fn launch(
    program: Program,
    inherited: Option<Inherited>,
    hooks: &'static dyn Hooks,
) -> Result<Infallible, StartError> {
    segments::prepare()?;
    probe::machine().map_err(StartError::Machine)?;
    process::set_hooks(hooks);
    let launch_mask = sys::set_mask(!signal::bit(libc::SIGSYS));
    let result = start(&program, inherited, launch_mask);
    sys::set_mask(launch_mask);
    result
}

fn start(
    wanted: &Program,
    inherited: Option<Inherited>,
    launch_mask: u64,
) -> Result<Infallible, StartError> {
    let inherited = inherited.unwrap_or_else(|| Inherited {
        abi: crate::abi::VERSION,
        mask: launch_mask,
        ids: ids::IdState::native(),
        ..Inherited::default()
    });
    let execute = |errno| StartError::Execute {
        path: wanted.path.clone(),
        source: std::io::Error::from_raw_os_error(errno),
    };
    let (path, argv) = program::resolve(&wanted.path, wanted.argv.clone()).map_err(execute)?;
    let random = random();
    window::randomize(random);
    vdso::map().map_err(|r| StartError::Window {
        what: "the gate",
        source: std::io::Error::from_raw_os_error(-r as i32),
    })?;
    let shift = (random >> 44 & 0xfff) * 16 * PAGE;
    let loaded = elf::load(&path, place::PROGRAM + shift)?;
    let interpreter = match &loaded.interpreter {
        Some(interpreter) => Some(elf::load(interpreter, place::INTERPRETER + shift)?),
        None => None,
    };
    let content = Content {
        argv: &argv,
        env: match (&interpreter, &wanted.dynamic_env) {
            (Some(_), Some(env)) => env,
            _ => &wanted.env,
        },
        name: wanted.path.as_os_str().as_bytes(),
        program: &loaded,
        interpreter: interpreter.as_ref(),
        random,
    };
    let made = stack::build(&content).map_err(|source| StartError::Window {
        what: "the stack",
        source,
    })?;
    {
        let mut image = process::image();
        let real = std::fs::canonicalize(&path).unwrap_or(path);
        image.path = real.into_os_string().into_vec();
        image.arguments = made.arguments;
        image.environment = made.environment;
        stack::show_in_proc(&image);
    }
    set_name(&wanted.path);
    *ids::lock() = ids::IdState {
        children: inherited.children.clone(),
        ..inherited.ids.clone()
    };
    let low = !loaded.relocatable && interpreter.is_none();
    process::set_low(low);
    let record = host_here(&inherited, low)?;
    let entry = interpreter.as_ref().map_or(loaded.entry, |i| i.entry);
    let frame = Frame::start(entry, made.sp, inherited.mask & !signal::OURS);
    // SAFETY: signals are blocked (but SIGSYS), GS is the record, the frame
    // holds the program's first state.
    unsafe { arch::enter(record, &raw const frame, 0) };
    threads::finish(record);
    unreachable!("the first thread's host waits for the others or ends the process")
}

/// Makes the calling thread, the process's first, the host of the first upper
/// thread: record, handlers, table, filters.
fn host_here(inherited: &Inherited, low: bool) -> Result<*mut Record, StartError> {
    let actions = Box::leak(Actions::for_process());
    actions.set_ignored_own(inherited.ignored);
    let mut record = Record::new(actions.handlers as u64, actions);
    record.is_main.store(true, Relaxed);
    record.lower_fs = arch::fs_base();
    let id = inherited.ids.pid.virt;
    record.vtid.store(id, Relaxed);
    if inherited.ids.active {
        record.attention.store(TRANSLATE, Relaxed);
    }
    // SAFETY: not shared yet.
    unsafe { *record.mask_bits.get() = inherited.mask_bits };
    let record = Box::into_raw(record);
    // SAFETY: the record is leaked: it lives as long as the process.
    unsafe { arch::set_gs_base(record as u64) };
    signal::install();
    vdso::fill();
    install_filters(Filters::needed(low, inherited.ids.active))?;
    // SAFETY: just made.
    threads::register(unsafe { &*record }, sys::gettid() as i32);
    sys::set_mask(u64::MAX);
    process::hooks().on_thread_start(id);
    Ok(record)
}

/// Installs the filters that are wanted and not yet in force.
pub(crate) fn install_filters(wanted: Filters) -> Result<(), StartError> {
    let present = filter::present();
    let base = process::hooks().fd_base();
    filter::install(wanted, present, base, process::hooks().strict()).map_err(StartError::Filter)
}

/// 64 bits for placing things.
fn random() -> u64 {
    // SAFETY: no arguments but a number that asks.
    let personality = unsafe { libc::personality(0xffff_ffff) };
    if personality & libc::ADDR_NO_RANDOMIZE != 0 {
        return 0;
    }
    let mut value = 0u64;
    // SAFETY: the buffer has the 8 bytes that are asked for.
    unsafe { sys::call(libc::SYS_getrandom, [&raw mut value as u64, 8, 0, 0, 0, 0]) };
    value
}

/// The process's name, as execve sets it.
fn set_name(path: &std::path::Path) {
    let mut name = [0u8; 16];
    let base = path.file_name().unwrap_or(path.as_os_str()).as_bytes();
    let length = base.len().min(15);
    name[..length].copy_from_slice(&base[..length]);
    // SAFETY: 16 bytes with a terminator.
    unsafe {
        let args = [libc::PR_SET_NAME as u64, name.as_ptr() as u64, 0, 0, 0, 0];
        sys::call(libc::SYS_prctl, args);
    }
}
