//! Contexts: what owns streams, events, modules and allocations, and what a
//! fault of a kernel poisons.
//!
//! A device's primary context is one object for the whole process that comes
//! to life with the first retain and ends with the last release; each life has
//! a generation of its own, and everything the context owns carries it.
//!
//! Lock order: `order` before the locks inside of streams and tickets;
//! `owned` and `settings` are leaves.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use crate::call::Answer;
use crate::code::Module;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::schedule::Ticket;
use crate::stream::{Kind, Stream, Work};
use crate::sync::lock;
use crate::thread;

/// A context of the API.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) handle: Handle,
    pub(crate) device: usize,
    pub(crate) primary: bool,
    generation: AtomicU64,
    destroyed: AtomicBool,
    error: AtomicU32,
    /// Tells running kernels to give up.
    stop: AtomicBool,
    pub(crate) flags: AtomicU32,
    /// Retains of a primary context (they outlive a reset), attaches of
    /// another.
    pub(crate) references: Mutex<u32>,
    pub(crate) settings: Mutex<Settings>,
    order: Mutex<Order>,
    owned: Mutex<Owned>,
}

/// What a program sets and asks for again.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) limits: [u64; 11],
    pub(crate) cache: u32,
    pub(crate) banks: u32,
    /// Generations of the contexts whose memory this one may use.
    pub(crate) peers: HashSet<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        let mut limits = [0; 11];
        limits[CU_LIMIT_STACK_SIZE as usize] = 1024;
        limits[CU_LIMIT_PRINTF_FIFO_SIZE as usize] = 1 << 20;
        limits[CU_LIMIT_MALLOC_HEAP_SIZE as usize] = 8 << 20;
        limits[CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH as usize] = 2;
        limits[CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT as usize] = 2048;
        limits[CU_LIMIT_MAX_L2_FETCH_GRANULARITY as usize] = 64;
        Settings {
            limits,
            cache: CU_FUNC_CACHE_PREFER_NONE,
            banks: CU_SHARED_MEM_CONFIG_FOUR_BYTE_BANK_SIZE,
            peers: HashSet::new(),
        }
    }
}

/// The streams, and with them the order in which work is accepted.
#[derive(Debug, Default)]
struct Order {
    legacy: Option<Arc<Stream>>,
    per_thread: HashMap<u64, Arc<Stream>>,
    created: HashMap<Handle, Arc<Stream>>,
    /// Unfinished work of streams that are gone, and whether they were
    /// blocking ones.
    loose: Vec<(Arc<Ticket>, bool)>,
}

/// Handles that end with the context.
#[derive(Debug, Default)]
struct Owned {
    events: HashSet<Handle>,
    modules: HashMap<Handle, Arc<Module>>,
}

impl Context {
    pub(crate) fn new(driver: &Driver, handle: Handle, device: usize, flags: u32) -> Context {
        Context {
            handle,
            device,
            primary: false,
            generation: AtomicU64::new(driver.next_id()),
            destroyed: AtomicBool::new(false),
            error: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            flags: AtomicU32::new(flags),
            references: Mutex::new(1),
            settings: Mutex::default(),
            order: Mutex::default(),
            owned: Mutex::default(),
        }
    }

    /// A device's primary context before its first retain.
    pub(crate) fn new_primary(driver: &Driver, handle: Handle, device: usize) -> Context {
        Context {
            primary: true,
            destroyed: AtomicBool::new(true),
            references: Mutex::new(0),
            ..Context::new(driver, handle, device, 0)
        }
    }

    /// `cuDevicePrimaryCtxRetain`: one more user, or a new life.
    pub(crate) fn retain_primary(&self, driver: &Driver) {
        let mut references = lock(&self.references);
        *references += 1;
        if !self.is_destroyed() {
            return;
        }
        *lock(&self.settings) = Settings::default();
        self.generation.store(driver.next_id(), Ordering::Relaxed);
        self.error.store(0, Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
        self.destroyed.store(false, Ordering::Release);
    }

    /// The number of this life.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    /// Tells kernels to give up.
    pub(crate) fn stop(&self) -> &AtomicBool {
        &self.stop
    }

    /// Takes its time, as a switch says, unless told to stop.
    pub(crate) fn linger(&self, microseconds: u64) {
        let end = Instant::now() + Duration::from_micros(microseconds);
        while !self.stop.load(Ordering::Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(5)));
        }
    }

    /// The sticky error, if any.
    ///
    /// # Errors
    /// What poisoned the context.
    pub(crate) fn check(&self) -> Answer {
        CUresult(self.error.load(Ordering::Acquire)).ok()
    }

    /// Makes `code` the answer to everything from now on. The first one stays.
    pub(crate) fn poison(&self, code: CUresult) {
        let _ = self
            .error
            .compare_exchange(0, code.0, Ordering::AcqRel, Ordering::Acquire);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The legacy default stream.
    pub(crate) fn legacy(self: &Arc<Self>, driver: &Driver) -> Arc<Stream> {
        lock(&self.order)
            .legacy
            .get_or_insert_with(|| Arc::new(Stream::new(driver, self, 1, Kind::Legacy, 0, 0)))
            .clone()
    }

    /// The calling thread's default stream.
    pub(crate) fn per_thread(self: &Arc<Self>, driver: &Driver) -> Arc<Stream> {
        let mut order = lock(&self.order);
        if let Some(stream) = order.per_thread.get(&thread::number()) {
            return stream.clone();
        }
        let stream = Arc::new(Stream::new(driver, self, 2, Kind::Blocking, 0, 0));
        order.per_thread.insert(thread::number(), stream.clone());
        drop(order);
        thread::has_stream_in(self);
        stream
    }

    /// A thread has ended: so does its default stream.
    pub(crate) fn forget_thread(&self, number: u64) {
        let mut order = lock(&self.order);
        if let Some(stream) = order.per_thread.remove(&number) {
            order.let_go(&stream);
        }
    }

    /// Creates a stream.
    pub(crate) fn create_stream(
        self: &Arc<Self>,
        driver: &Driver,
        flags: u32,
        priority: i32,
    ) -> Answer<Handle> {
        let kind = if flags & CU_STREAM_NON_BLOCKING != 0 {
            Kind::NonBlocking
        } else {
            Kind::Blocking
        };
        let stream = driver
            .handles
            .insert(|handle| Stream::new(driver, self, handle, kind, flags, priority))?;
        lock(&self.order)
            .created
            .insert(stream.handle, stream.clone());
        Ok(stream.handle)
    }

    /// Ends a stream; its work goes on.
    pub(crate) fn destroy_stream(&self, stream: &Arc<Stream>) {
        let mut order = lock(&self.order);
        order.created.remove(&stream.handle);
        order.let_go(stream);
    }

    /// Accepts work for a stream: it runs when the stream's earlier work,
    /// `after`, and what the default stream's rules demand are done. Without
    /// a queue to wait for, `here` runs it on the calling thread.
    pub(crate) fn submit(
        self: &Arc<Self>,
        stream: &Stream,
        mut after: Vec<Arc<Ticket>>,
        work: Work,
        here: bool,
    ) -> Arc<Ticket> {
        let ticket = Ticket::new();
        let context = self.clone();
        let run = move || work.run(&context);
        let mut order = lock(&self.order);
        after.extend(stream.last());
        order.implied(stream.kind, &mut after);
        after.retain(|t| !t.is_done());
        stream.set_last(ticket.clone());
        if here && after.is_empty() {
            drop(order);
            crate::schedule::run_work(run);
            ticket.complete();
        } else {
            stream.lane.push(after, ticket.clone(), Box::new(run));
        }
        ticket
    }

    /// Whether the legacy default stream, and what it waits for, is done.
    pub(crate) fn legacy_is_idle(&self) -> bool {
        let mut order = lock(&self.order);
        let mut before = Vec::new();
        order.implied(Kind::Legacy, &mut before);
        before.extend(order.legacy.as_ref().and_then(|s| s.last()));
        before.iter().all(|ticket| ticket.is_done())
    }

    /// Waits for everything accepted so far.
    pub(crate) fn wait(&self) {
        for ticket in lock(&self.order).unfinished() {
            ticket.wait();
        }
    }

    pub(crate) fn own_event(&self, handle: Handle) {
        lock(&self.owned).events.insert(handle);
    }

    pub(crate) fn disown_event(&self, handle: Handle) {
        lock(&self.owned).events.remove(&handle);
    }

    pub(crate) fn own_module(&self, module: &Arc<Module>) {
        lock(&self.owned)
            .modules
            .insert(module.handle, module.clone());
    }

    pub(crate) fn disown_module(&self, handle: Handle) {
        lock(&self.owned).modules.remove(&handle);
    }

    /// Ends the context, or this life of a primary one: waits for its work
    /// (a poisoned one has been told to stop), then takes all it owns along.
    pub(crate) fn end(&self, driver: &Driver) {
        self.wait();
        self.destroyed.store(true, Ordering::Release);
        let order = std::mem::take(&mut *lock(&self.order));
        for handle in order.created.into_keys() {
            let _ = driver.handles.remove::<Stream>(handle);
        }
        let owned = std::mem::take(&mut *lock(&self.owned));
        for handle in owned.events {
            let _ = driver.handles.remove::<crate::event::Event>(handle);
        }
        for module in owned.modules.into_values() {
            module.forget(driver);
        }
        driver.space.free_owned(self.generation());
    }
}

impl Order {
    /// Adds what a stream's kind makes it wait for.
    fn implied(&mut self, kind: Kind, after: &mut Vec<Arc<Ticket>>) {
        match kind {
            Kind::Legacy => {
                self.loose.retain(|(ticket, _)| !ticket.is_done());
                let blocking = self.created.values().filter(|s| s.kind == Kind::Blocking);
                after.extend(
                    blocking
                        .chain(self.per_thread.values())
                        .filter_map(|s| s.last()),
                );
                let loose = self.loose.iter().filter(|(_, blocking)| *blocking);
                after.extend(loose.map(|(ticket, _)| ticket.clone()));
            }
            Kind::Blocking => after.extend(self.legacy.as_ref().and_then(|s| s.last())),
            Kind::NonBlocking => (),
        }
    }

    fn let_go(&mut self, stream: &Arc<Stream>) {
        self.loose.retain(|(ticket, _)| !ticket.is_done());
        let last = stream.last().filter(|t| !t.is_done());
        self.loose
            .extend(last.map(|ticket| (ticket, stream.kind == Kind::Blocking)));
    }

    fn unfinished(&self) -> Vec<Arc<Ticket>> {
        let streams = self.legacy.iter().chain(self.per_thread.values());
        let all = streams
            .chain(self.created.values())
            .filter_map(|s| s.last());
        all.chain(self.loose.iter().map(|(ticket, _)| ticket.clone()))
            .filter(|ticket| !ticket.is_done())
            .collect()
    }
}
