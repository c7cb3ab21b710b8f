//! The driver as a whole: what `cuInit` creates, once in a process.
//!
//! After a fork the child has a copy of all this without the threads that ran
//! it. As with a real driver, every call there answers
//! `CUDA_ERROR_NOT_INITIALIZED`; a page that the kernel wipes at fork tells.

#![allow(unsafe_code, reason = "one page is mapped and marked as wiped at fork")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use cuda_abi::driver::result::*;

use crate::call::Answer;
use crate::config::{Config, VARIABLE, VISIBLE, visible};
use crate::context::Context;
use crate::device::Device;
use crate::handles::{Handle, Handles};
use crate::memory::Space;
use crate::random::Random;
use crate::sync::lock;

/// Everything the driver has.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) config: Config,
    pub(crate) devices: Vec<Device>,
    pub(crate) space: Space,
    pub(crate) handles: Handles,
    contexts: Mutex<Vec<Weak<Context>>>,
    launches: AtomicU64,
    ids: AtomicU64,
    witness: &'static AtomicU64,
}

static DRIVER: OnceLock<Result<Driver, CUresult>> = OnceLock::new();

/// What the witness page holds in the process that called `cuInit`.
const ALIVE: u64 = 0x616c_6976_6521_2121;

/// `cuInit`: creates the driver, or says again how that went.
pub(crate) fn init() -> Answer {
    if let Some(Ok(driver)) = DRIVER.get() {
        return driver.check_process();
    }
    match DRIVER.get_or_init(Driver::create) {
        Ok(_) => Ok(()),
        Err(code) => Err(*code),
    }
}

/// The driver.
///
/// # Errors
/// `CUDA_ERROR_NOT_INITIALIZED` before `cuInit` and in a forked child.
pub(crate) fn alive() -> Answer<&'static Driver> {
    match DRIVER.get() {
        Some(Ok(driver)) => {
            driver.check_process()?;
            Ok(driver)
        }
        _ => Err(CUDA_ERROR_NOT_INITIALIZED),
    }
}

impl Driver {
    fn create() -> Answer<Driver> {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let config = Config::parse(&text).map_err(|why| {
            crate::report(format_args!("{VARIABLE}: {why}"));
            CUDA_ERROR_INVALID_VALUE
        })?;
        if config.devices == 0 {
            return Err(CUDA_ERROR_NO_DEVICE);
        }
        let visible = match std::env::var(VISIBLE) {
            Ok(list) => visible(&list, config.devices),
            Err(_) => (0..config.devices).collect(),
        };
        if visible.is_empty() {
            return Err(CUDA_ERROR_NO_DEVICE);
        }
        let random = Random::new(config.seed.unwrap_or_else(fresh_seed));
        Ok(Driver {
            devices: (visible.iter().enumerate())
                .map(|(ordinal, &place)| Device::new(ordinal, place, &config))
                .collect(),
            space: Space::new(&config, &random),
            handles: Handles::new(&random, config.stale_crash).ok_or(CUDA_ERROR_OUT_OF_MEMORY)?,
            witness: witness_page().ok_or(CUDA_ERROR_OUT_OF_MEMORY)?,
            contexts: Mutex::default(),
            launches: AtomicU64::new(0),
            ids: AtomicU64::new(1),
            config,
        })
    }

    fn check_process(&self) -> Answer {
        if self.witness.load(Ordering::Relaxed) == ALIVE {
            Ok(())
        } else {
            Err(CUDA_ERROR_NOT_INITIALIZED)
        }
    }

    /// The device of that ordinal.
    pub(crate) fn device(&self, ordinal: i32) -> Answer<&Device> {
        usize::try_from(ordinal)
            .ok()
            .and_then(|i| self.devices.get(i))
            .ok_or(CUDA_ERROR_INVALID_DEVICE)
    }

    /// Waits for all work of all contexts on a device.
    pub(crate) fn wait_for_device(&self, device: usize) {
        let contexts: Vec<_> = {
            let mut list = lock(&self.contexts);
            list.retain(|c| c.strong_count() > 0);
            list.iter().filter_map(Weak::upgrade).collect()
        };
        for context in contexts {
            if context.device == device && !context.is_destroyed() {
                context.wait();
            }
        }
    }

    /// The handle of the context in that life; 0 when it is over.
    pub(crate) fn context_of(&self, generation: u64) -> Handle {
        let contexts = lock(&self.contexts);
        let mut alive = contexts.iter().filter_map(Weak::upgrade);
        alive
            .find(|c| c.generation() == generation && !c.is_destroyed())
            .map_or(0, |c| c.handle)
    }

    /// Adds a context to those that are waited for.
    pub(crate) fn note_context(&self, context: &Arc<Context>) {
        lock(&self.contexts).push(Arc::downgrade(context));
    }

    /// The number of a launch, from 1.
    pub(crate) fn next_launch(&self) -> u64 {
        self.launches.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// An id that nothing of this process has or had.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }
}

fn fresh_seed() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer is ours and as long as told.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got == 8 {
        u64::from_ne_bytes(bytes)
    } else {
        u64::from(std::process::id())
    }
}

/// A page that reads zero in a forked child.
fn witness_page() -> Option<&'static AtomicU64> {
    // SAFETY: a new anonymous mapping at an address of the kernel's choice.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the page is ours; without WIPEONFORK a child is not recognised,
    // and nothing else goes wrong.
    unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) };
    // SAFETY: the page stays mapped for good, is aligned and zero.
    let witness = unsafe { &*page.cast::<AtomicU64>() };
    witness.store(ALIVE, Ordering::Relaxed);
    Some(witness)
}
