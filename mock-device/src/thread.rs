//! The state of the calling thread: its stack of contexts, its number, and
//! whether it is inside a stream callback.
//!
//! It lies in thread-local storage on purpose, and every call looks at it:
//! gpuckpt has to be on the right thread pointer when it calls the driver,
//! and the mock stops the process at the first call where it is not.

#![allow(
    unsafe_code,
    reason = "a key of the threads library tells when a thread ends"
)]

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use cuda_abi::driver::result::*;

use crate::call::Answer;
use crate::context::Context;

/// Sign of an intact thread record.
const MARK: u64 = 0x6b63_6f6d_5f74_7075;

struct Marks {
    first: Cell<u64>,
    number: Cell<u64>,
    callback: Cell<bool>,
    capture_mode: Cell<u32>,
    last: Cell<u64>,
}

thread_local! {
    // Without a destructor: usable to the very end of the thread.
    static MARKS: Marks = const {
        Marks {
            first: Cell::new(MARK),
            number: Cell::new(0),
            callback: Cell::new(false),
            capture_mode: Cell::new(0),
            last: Cell::new(!MARK),
        }
    };
    // Without a destructor as well: those run at exit() before the program's
    // own handlers, which may still use the driver.
    static STACK: RefCell<ManuallyDrop<Stack>> = const {
        RefCell::new(ManuallyDrop::new(Stack {
            contexts: Vec::new(),
            streams_in: Vec::new(),
            watched: false,
        }))
    };
}

struct Stack {
    contexts: Vec<Arc<Context>>,
    /// Contexts in which this thread has a default stream of its own.
    streams_in: Vec<Weak<Context>>,
    /// Whether [`at_thread_exit`] will be called.
    watched: bool,
}

/// Ends what a thread had: called by the threads library, at the end of a
/// thread but not of the process.
extern "C" fn at_thread_exit(_: *mut libc::c_void) {
    let (contexts, streams_in) = STACK.with(|s| {
        let stack = &mut **s.borrow_mut();
        stack.watched = false;
        (
            std::mem::take(&mut stack.contexts),
            std::mem::take(&mut stack.streams_in),
        )
    });
    if crate::driver::alive().is_err() {
        // A forked child: another thread may have held any lock.
        std::mem::forget((contexts, streams_in));
        return;
    }
    for context in streams_in.iter().filter_map(Weak::upgrade) {
        context.forget_thread(number());
    }
}

/// The key whose destructor is [`at_thread_exit`].
fn exit_key() -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: the key is ours, and the function lives as long as the
        // process: the library is never unloaded.
        let answer = unsafe { libc::pthread_key_create(&raw mut key, Some(at_thread_exit)) };
        (answer == 0).then_some(key)
    })
}

/// Stops the process when this is not the thread's own storage.
pub(crate) fn check(name: &str) {
    if !MARKS.with(|m| m.first.get() == MARK && m.last.get() == !MARK) {
        crate::report(format_args!(
            "{name} was called on a foreign thread pointer (thread-local storage is not the driver's)"
        ));
        std::process::abort();
    }
}

/// A number that no other thread of this process has or had.
pub(crate) fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    MARKS.with(|m| {
        if m.number.get() == 0 {
            m.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        m.number.get()
    })
}

/// Whether the caller is a stream callback, which may not call the driver.
pub(crate) fn in_callback() -> bool {
    MARKS.with(|m| m.callback.get())
}

/// Runs `body` as a stream callback.
pub(crate) fn as_callback(body: impl FnOnce()) {
    MARKS.with(|m| m.callback.set(true));
    body();
    MARKS.with(|m| m.callback.set(false));
}

/// Puts the thread's stream capture mode and gives the one before.
pub(crate) fn exchange_capture_mode(mode: u32) -> u32 {
    MARKS.with(|m| m.capture_mode.replace(mode))
}

fn with_stack<T>(body: impl FnOnce(&mut Stack) -> T) -> T {
    STACK.with(|s| {
        let stack = &mut **s.borrow_mut();
        if !stack.watched
            && let Some(key) = exit_key()
        {
            // SAFETY: the key exists; any value but null has the destructor
            // called.
            unsafe { libc::pthread_setspecific(key, std::ptr::dangling()) };
            stack.watched = true;
        }
        body(stack)
    })
}

/// The thread's context, in whatever state; `None` without one.
pub(crate) fn top() -> Option<Arc<Context>> {
    with_stack(|s| s.contexts.last().cloned())
}

/// The thread's context for work: alive, and without a sticky error.
pub(crate) fn current() -> Answer<Arc<Context>> {
    let context = alive()?;
    context.check()?;
    Ok(context)
}

/// The thread's context, sticky error or not.
pub(crate) fn alive() -> Answer<Arc<Context>> {
    let context = top().ok_or(CUDA_ERROR_INVALID_CONTEXT)?;
    if context.is_destroyed() {
        return Err(CUDA_ERROR_CONTEXT_IS_DESTROYED);
    }
    Ok(context)
}

/// Makes `context` the thread's.
pub(crate) fn push(context: Arc<Context>) {
    with_stack(|s| s.contexts.push(context));
}

/// Takes the thread's context off the stack.
pub(crate) fn pop() -> Answer<Arc<Context>> {
    with_stack(|s| s.contexts.pop()).ok_or(CUDA_ERROR_INVALID_CONTEXT)
}

/// Replaces the top of the stack, or takes it off.
pub(crate) fn set(context: Option<Arc<Context>>) {
    with_stack(|s| {
        s.contexts.pop();
        s.contexts.extend(context);
    });
}

/// Notes that this thread has a default stream in `context`.
pub(crate) fn has_stream_in(context: &Arc<Context>) {
    with_stack(|s| {
        s.streams_in.retain(|c| c.strong_count() > 0);
        s.streams_in.push(Arc::downgrade(context));
    });
}
