//! What belongs to the process as a whole: the hooks, the program's path.

use crate::hooks::Hooks;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

static HOOKS: OnceLock<&'static dyn Hooks> = OnceLock::new();
/// True for a static non-PIE program, whose own code makes system calls below 4 GiB.
static LOW: AtomicBool = AtomicBool::new(false);
static IMAGE: Mutex<Image> = Mutex::new(Image {
    path: Vec::new(),
    arguments: [0; 2],
    environment: [0; 2],
});

/// The running program, as `/proc` should show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Image {
    /// What /proc/self/exe names.
    pub(crate) path: Vec<u8>,
    /// Beginning and end of the argument strings.
    pub(crate) arguments: [u64; 2],
    /// Beginning and end of the environment strings.
    pub(crate) environment: [u64; 2],
}

/// The program's path and argument area.
pub(crate) fn image() -> MutexGuard<'static, Image> {
    IMAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the hooks, once a process.
pub(crate) fn set_hooks(hooks: &'static dyn Hooks) {
    let _ = HOOKS.set(hooks);
}

/// The hooks.
pub(crate) fn hooks() -> &'static dyn Hooks {
    *HOOKS
        .get()
        .expect("hooks are set before any upper thread runs")
}

/// True for a static non-PIE program.
pub(crate) fn low() -> bool {
    LOW.load(Relaxed)
}

/// Says that the program is a static non-PIE one, or not.
pub(crate) fn set_low(low: bool) {
    LOW.store(low, Relaxed);
}
