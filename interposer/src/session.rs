//! What exists once: the session with its tables, its options, and what stands in the way of a
//! checkpoint.
//!
//! # Lock order
//! A thread takes these locks only in this order, and holds none of them across a driver call:
//! 0. the one of [`crate::driver`] while the driver is loaded
//! 1. `Session::contexts` (primary contexts, [`crate::dispatch::context`])
//! 2. `Session::arena` (device memory)
//! 3. `Session::host` (pinned memory)
//! 4. `Session::recorder` (records, dependencies, known handles, free handles)
//! 5. `Session::names` (strings given to the application)
//! 6. leaves: `Session::environment`, `Session::orphans`, `Session::said`, `Session::poison`, the callback queue, the list of threads, a thread's context stack
//!
//! A fork takes all of them in this order and lets go in parent and child.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::arena::Arena;
use crate::callbacks::Callbacks;
use crate::dispatch::context::Contexts;
use crate::endings::{Endings, Orphans};
use crate::environment::Known;
use crate::handles::{Handles, Kind, Real, Virtual};
use crate::host::HostMemory;
use crate::names::Names;
use crate::record::Recorder;
use crate::say::say;
use crate::table::Row;

/// How the interposer is set up.
#[derive(Clone)]
pub struct Options {
    /// The driver: NVIDIA's `libcuda.so.1`, or the mock device. Loaded at the first call that needs it.
    pub driver: PathBuf,
    /// The driver is the mock device.
    pub mock: bool,
    /// Number of the calling thread, stable across restarts.
    pub current_vtid: fn() -> i32,
    /// Maps so many bytes of zeroed memory that belongs to the application; null on failure.
    pub window_mmap: fn(usize) -> *mut u8,
    /// Unmaps what `window_mmap` gave.
    pub window_munmap: fn(*mut u8, usize),
}

/// Everything the dispatcher knows.
pub(crate) struct Session {
    pub(crate) options: Options,
    pub(crate) handles: Handles,
    pub(crate) contexts: Mutex<Contexts>,
    pub(crate) arena: Mutex<Arena>,
    pub(crate) host: Mutex<HostMemory>,
    pub(crate) recorder: Mutex<Recorder>,
    pub(crate) names: Mutex<Names>,
    pub(crate) callbacks: Callbacks,
    pub(crate) endings: Endings,
    pub(crate) orphans: Orphans,
    environment: Mutex<Known>,
    poison: Mutex<Vec<String>>,
    /// Functions whose refusal has been said.
    said: Mutex<HashSet<&'static str>>,
    /// `cuInit` has succeeded in this process.
    pub(crate) initialized: AtomicBool,
    /// Calls of `cuInit` that have not come back.
    pub(crate) initializing: AtomicU32,
    /// This is the child of a fork of an initialised process: see `fork.rs`.
    pub(crate) forked: AtomicBool,
    /// Counts lives: 0 in the first, one more after each restart.
    pub(crate) life: AtomicU32,
    /// NVIDIA's static runtime uses private tables of the driver.
    pub(crate) static_runtime: AtomicU8,
}

static SESSION: OnceLock<Session> = OnceLock::new();

/// Sets the session up. The driver is not loaded yet. A second call changes nothing.
pub fn init(options: Options) {
    SESSION.get_or_init(|| Session {
        options,
        handles: Handles::default(),
        contexts: Mutex::default(),
        arena: Mutex::default(),
        host: Mutex::default(),
        recorder: Mutex::default(),
        names: Mutex::default(),
        callbacks: Callbacks::default(),
        endings: Endings::default(),
        orphans: Orphans::default(),
        environment: Mutex::default(),
        poison: Mutex::default(),
        said: Mutex::default(),
        initialized: AtomicBool::new(false),
        initializing: AtomicU32::new(0),
        forked: AtomicBool::new(false),
        life: AtomicU32::new(0),
        static_runtime: AtomicU8::new(0),
    });
}

/// The session, once [`init`] has run.
pub(crate) fn get() -> Option<&'static Session> {
    SESSION.get()
}

impl Session {
    pub(crate) fn contexts(&self) -> MutexGuard<'_, Contexts> {
        self.contexts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arena(&self) -> MutexGuard<'_, Arena> {
        self.arena.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn host(&self) -> MutexGuard<'_, HostMemory> {
        self.host.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn environment(&self) -> MutexGuard<'_, Known> {
        self.environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a new object a handle; `None` when there is none left.
    pub(crate) fn new_handle(&self, kind: Kind, real: Real) -> Option<Virtual> {
        let numbers = &mut self.recorder().numbers;
        self.handles.insert(numbers, kind, real)
    }

    /// Puts an object behind a handle of an earlier life.
    pub(crate) fn restore_handle(&self, handle: Virtual, real: Real) -> bool {
        let numbers = &mut self.recorder().numbers;
        self.handles.restore(numbers, handle, real)
    }

    /// Forgets a handle; it is stale from now on.
    pub(crate) fn end_handle(&self, handle: Virtual) {
        let numbers = &mut self.recorder().numbers;
        self.handles.remove(numbers, handle);
    }

    /// The leaves that are of the session's own, held across a fork.
    pub(crate) fn hold_leaves(&self) -> impl Sized + '_ {
        (
            self.environment(),
            self.orphans.hold(),
            self.said.lock().unwrap_or_else(PoisonError::into_inner),
            self.poison.lock().unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// From now on this session cannot be checkpointed; the application goes on.
    pub(crate) fn poison(&self, why: impl Into<String>) {
        let why = why.into();
        let mut list = self.poison.lock().unwrap_or_else(PoisonError::into_inner);
        if !list.contains(&why) {
            tracing::warn!("not checkpointable from here on: {why}");
            list.push(why);
        }
    }

    /// Why this session cannot be checkpointed.
    pub(crate) fn poisoned(&self) -> Vec<String> {
        self.poison
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says on standard error, once a function, why a call is not supported.
    pub(crate) fn say_refused(&self, row: &Row, why: &str) {
        let first = self
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(row.base);
        if first {
            say(format_args!(
                "{} is not supported: {why} (CUDA_ERROR_NOT_SUPPORTED)",
                row.base
            ));
        }
    }
}
