//! Host callbacks on their way from a driver thread to the application's callback thread.
//!
//! The driver runs [`run_host`] or [`run_stream`] on a thread of its own, which waits here until the
//! application's thread has run the application's function: stream order is kept.
#![allow(
    unsafe_code,
    reason = "the driver hands the request back as a raw pointer"
)]

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::abi::{CALLBACK_HOST, CALLBACK_STREAM};
use crate::session;

/// What the driver's thread brings: function and user data of the application, and its stream.
pub(crate) struct Request {
    pub(crate) function: u64,
    pub(crate) data: u64,
    pub(crate) stream: u64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<[u64; 6]>,
    running: HashSet<u64>,
    next: u64,
}

/// The queue between driver threads and the application's callback thread.
#[derive(Default)]
pub(crate) struct Callbacks {
    queue: Mutex<Queue>,
    arrived: Condvar,
    finished: Condvar,
    /// A checkpoint wants the callback thread out of the gate.
    hurry: AtomicBool,
}

/// How long the callback thread waits in the gate.
const PATIENCE: Duration = Duration::from_millis(50);

/// The same while a checkpoint waits for it to come out.
const HURRY: Duration = Duration::from_millis(1);

impl Callbacks {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held across a fork.
    pub(crate) fn hold(&self) -> MutexGuard<'_, impl Sized> {
        self.lock()
    }

    /// The next callback for the application's thread, if one comes soon.
    pub(crate) fn wait(&self) -> Option<[u64; 6]> {
        let mut queue = self.lock();
        if queue.waiting.is_empty() {
            let patience = if self.hurry.load(Ordering::Acquire) {
                HURRY
            } else {
                PATIENCE
            };
            queue = self
                .arrived
                .wait_timeout(queue, patience)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        queue.waiting.pop_front()
    }

    /// The application's function has returned.
    pub(crate) fn done(&self, ticket: u64) {
        self.lock().running.remove(&ticket);
        self.finished.notify_all();
    }

    /// Shortens (or no longer shortens) the callback thread's stays in the gate.
    pub(crate) fn set_hurry(&self, hurry: bool) {
        self.hurry.store(hurry, Ordering::Release);
        self.arrived.notify_all();
    }

    fn run(&self, request: &Request, kind: u64, status: u32) {
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.running.insert(ticket);
        queue.waiting.push_back([
            request.function,
            request.data,
            kind,
            request.stream,
            u64::from(status),
            ticket,
        ]);
        self.arrived.notify_one();
        while queue.running.contains(&ticket) {
            queue = self
                .finished
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Makes the user data that the driver gets in the place of the application's.
pub(crate) fn lend(request: Request) -> u64 {
    Box::into_raw(Box::new(request)) as u64
}

/// Takes it back: the driver has refused it or handed it over.
pub(crate) fn take_back(data: u64) -> Box<Request> {
    // SAFETY: made by `lend`; the driver hands it over once, or never if it refused it.
    unsafe { Box::from_raw(data as *mut Request) }
}

fn run(data: u64, kind: u64, status: u32) {
    let request = take_back(data);
    if let Some(session) = session::get() {
        session.callbacks.run(&request, kind, status);
    }
}

/// What `cuLaunchHostFunc` is given.
pub(crate) extern "C" fn run_host(data: u64) {
    run(data, CALLBACK_HOST, 0);
}

/// What `cuStreamAddCallback` is given.
pub(crate) extern "C" fn run_stream(_stream: u64, status: u32, data: u64) {
    run(data, CALLBACK_STREAM, status);
}
