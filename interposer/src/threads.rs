//! Each application thread's stack of current contexts, mirrored from the driver's own.
//!
//! The driver keeps a stack for every thread. Restarted threads get it back from this mirror, by
//! their virtual ids. The mirror also tells which context a recorded call acted on.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::handles::Virtual;
use crate::session;

#[derive(Default)]
struct Stack {
    vtid: i32,
    contexts: Mutex<Vec<Virtual>>,
}

static THREADS: Mutex<Vec<Weak<Stack>>> = Mutex::new(Vec::new());

thread_local! {
    static STACK: RefCell<Option<Arc<Stack>>> = const { RefCell::new(None) };
    static CURRENT: Cell<Option<Virtual>> = const { Cell::new(None) };
}

fn with<R>(change: impl FnOnce(&mut Vec<Virtual>) -> R) -> R {
    let stack = STACK.with_borrow_mut(|own| {
        let stack = own.get_or_insert_with(|| {
            let vtid = session::get().map_or(0, |session| (session.options.current_vtid)());
            let stack = Arc::new(Stack {
                vtid,
                contexts: Mutex::default(),
            });
            let mut threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
            threads.retain(|thread| thread.strong_count() > 0);
            threads.push(Arc::downgrade(&stack));
            stack
        });
        Arc::clone(stack)
    });
    let mut contexts = stack
        .contexts
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let result = change(&mut contexts);
    CURRENT.set(contexts.last().copied());
    result
}

/// The calling thread's current context.
pub(crate) fn current() -> Option<Virtual> {
    CURRENT.get()
}

/// A context was pushed.
pub(crate) fn push(context: Virtual) {
    with(|stack| stack.push(context));
}

/// The top was popped.
pub(crate) fn pop() {
    with(Vec::pop);
}

/// The top was replaced (or set, or with `None` taken off), as `cuCtxSetCurrent` does.
pub(crate) fn set_current(context: Option<Virtual>) {
    with(|stack| {
        stack.pop();
        stack.extend(context);
    });
}

/// Replaces the calling thread's whole stack.
pub(crate) fn replace(contexts: Vec<Virtual>) {
    with(|stack| *stack = contexts);
}

/// Every living thread's stack that is not empty, by virtual thread id.
pub(crate) fn all() -> Vec<(i32, Vec<Virtual>)> {
    let threads = THREADS.lock().unwrap_or_else(PoisonError::into_inner);
    let stacks = threads.iter().filter_map(Weak::upgrade);
    stacks
        .map(|stack| {
            (
                stack.vtid,
                stack
                    .contexts
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone(),
            )
        })
        .filter(|(_, contexts)| !contexts.is_empty())
        .collect()
}

/// Held across a fork.
pub(crate) fn hold() -> std::sync::MutexGuard<'static, impl Sized> {
    THREADS.lock().unwrap_or_else(PoisonError::into_inner)
}
