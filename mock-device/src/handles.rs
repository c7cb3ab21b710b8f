//! Handles: what the API shows instead of objects.
//!
//! A real driver hands out pointers into its heap. So does the mock: handles
//! are addresses in a reserved range that nobody can read and that lies
//! elsewhere at every start, with gaps that differ as well. A handle is not
//! used again soon after it was destroyed, so that a stale one is noticed.

#![allow(unsafe_code, reason = "the range of handles is reserved by mmap")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, RwLock};

use cuda_abi::driver::result::*;

use crate::call::Answer;
use crate::code::{Function, Kernel, Library, Link, Module};
use crate::context::Context;
use crate::event::Event;
use crate::memory::Physical;
use crate::random::Random;
use crate::stream::Stream;
use crate::sync::{lock, read, write};

/// A handle as the API passes it: an address nobody follows.
pub(crate) type Handle = u64;

const RANGE: u64 = 4 << 30;
const STEP: u64 = 64;

macro_rules! objects {
    ($($kind:ident: $invalid:ident,)*) => {
        /// Anything with a handle.
        #[derive(Debug, Clone)]
        pub(crate) enum Object {
            $(#[allow(missing_docs, reason = "named after what it holds")] $kind(Arc<$kind>),)*
        }

        $(impl Handled for $kind {
            const INVALID: CUresult = $invalid;
            fn wrap(this: Arc<Self>) -> Object {
                Object::$kind(this)
            }
            fn peel(object: &Object) -> Option<&Arc<Self>> {
                match object {
                    Object::$kind(this) => Some(this),
                    _ => None,
                }
            }
        })*
    };
}

objects! {
    Context: CUDA_ERROR_INVALID_CONTEXT,
    Stream: CUDA_ERROR_INVALID_HANDLE,
    Event: CUDA_ERROR_INVALID_HANDLE,
    Module: CUDA_ERROR_INVALID_HANDLE,
    Function: CUDA_ERROR_INVALID_HANDLE,
    Library: CUDA_ERROR_INVALID_HANDLE,
    Kernel: CUDA_ERROR_INVALID_HANDLE,
    Link: CUDA_ERROR_INVALID_HANDLE,
    Physical: CUDA_ERROR_INVALID_VALUE,
}

/// A type that handles stand for.
pub(crate) trait Handled: Sized {
    /// What the API answers to a handle of no such object.
    const INVALID: CUresult;
    /// As an entry of the table.
    fn wrap(this: Arc<Self>) -> Object;
    /// Out of an entry of the table.
    fn peel(object: &Object) -> Option<&Arc<Self>>;
}

/// All handles of the process.
#[derive(Debug)]
pub(crate) struct Handles {
    objects: RwLock<HashMap<Handle, Object>>,
    places: Mutex<Places>,
    /// A stale handle ends the process, as it may with a real driver.
    stale_crash: bool,
}

#[derive(Debug)]
struct Places {
    base: u64,
    next: u64,
    gaps: Random,
    freed: VecDeque<Handle>,
}

impl Handles {
    /// Reserves the range of handles; `None` when the system refuses.
    pub(crate) fn new(random: &Random, stale_crash: bool) -> Option<Handles> {
        let wish = 0x6000_0000_0000 + random.below(0x1000_0000) * 0x1_0000;
        let reserve = |address: u64, flags: i32| {
            // SAFETY: a new mapping without access; NOREPLACE or a free
            // choice of the kernel's, so nothing else is touched.
            let at = unsafe {
                libc::mmap(
                    std::ptr::without_provenance_mut(address as usize),
                    RANGE as usize,
                    libc::PROT_NONE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | flags,
                    -1,
                    0,
                )
            };
            (at != libc::MAP_FAILED).then_some(at as u64)
        };
        let base = reserve(wish, libc::MAP_FIXED_NOREPLACE).or_else(|| reserve(0, 0))?;
        Some(Handles {
            objects: RwLock::default(),
            places: Mutex::new(Places {
                base,
                next: 0x1000 + random.below(1 << 16) * STEP,
                gaps: Random::new(random.next()),
                freed: VecDeque::new(),
            }),
            stale_crash,
        })
    }

    /// Enters what `make` makes of its own handle.
    pub(crate) fn insert<T: Handled>(&self, make: impl FnOnce(Handle) -> T) -> Answer<Arc<T>> {
        let handle = lock(&self.places).take().ok_or(CUDA_ERROR_OUT_OF_MEMORY)?;
        let object = Arc::new(make(handle));
        write(&self.objects).insert(handle, T::wrap(object.clone()));
        Ok(object)
    }

    /// Enters an object again under the handle that it had.
    pub(crate) fn restore<T: Handled>(&self, handle: Handle, object: &Arc<T>) {
        lock(&self.places).freed.retain(|&h| h != handle);
        write(&self.objects).insert(handle, T::wrap(object.clone()));
    }

    /// The object of a handle.
    pub(crate) fn get<T: Handled>(&self, handle: Handle) -> Answer<Arc<T>> {
        read(&self.objects)
            .get(&handle)
            .and_then(T::peel)
            .cloned()
            .ok_or_else(|| self.missing(handle, T::INVALID))
    }

    /// What is answered to a handle without an object of its kind.
    fn missing(&self, handle: Handle, answer: CUresult) -> CUresult {
        if self.stale_crash && lock(&self.places).freed.contains(&handle) {
            crate::report(format_args!("a handle was used after its object's end"));
            std::process::abort();
        }
        answer
    }

    /// Forgets a handle and gives its object.
    pub(crate) fn remove<T: Handled>(&self, handle: Handle) -> Answer<Arc<T>> {
        let mut objects = write(&self.objects);
        let object = objects
            .get(&handle)
            .and_then(T::peel)
            .cloned()
            .ok_or_else(|| self.missing(handle, T::INVALID))?;
        objects.remove(&handle);
        drop(objects);
        lock(&self.places).freed.push_back(handle);
        Ok(object)
    }
}

impl Places {
    fn take(&mut self) -> Option<Handle> {
        let offset = self.next + STEP * (1 + self.gaps.below(3));
        if offset < RANGE {
            self.next = offset;
            return Some(self.base + offset);
        }
        self.freed.pop_front()
    }
}
