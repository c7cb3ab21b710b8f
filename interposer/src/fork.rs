//! fork: a child of an initialised process has no CUDA, as after a native fork.
//!
//! All locks are held across the fork, so that the child's tables are whole.

use std::any::Any;
use std::cell::RefCell;
use std::sync::atomic::Ordering;

use crate::session::{self, Session};

thread_local! {
    static HELD: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// Takes every lock, in their order.
fn hold(session: &'static Session) -> Box<dyn Any> {
    Box::new((
        crate::driver::hold(),
        session.contexts(),
        session.arena(),
        session.host(),
        session.recorder(),
        session.names(),
        session.hold_leaves(),
        session.callbacks.hold(),
        crate::threads::hold(),
    ))
}

/// To be called by the thread that is about to fork.
pub fn before_fork() {
    if let Some(session) = session::get() {
        HELD.set(Some(hold(session)));
    }
}

/// To be called by the same thread afterwards, in the parent and in the child.
pub fn after_fork(in_child: bool) {
    HELD.take();
    let Some(session) = session::get().filter(|_| in_child) else {
        return;
    };
    let half = session.initializing.swap(0, Ordering::SeqCst) > 0;
    if half || session.initialized.load(Ordering::Acquire) {
        session.forked.store(true, Ordering::Release);
    }
}
