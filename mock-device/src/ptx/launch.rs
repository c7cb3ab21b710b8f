//! Runs a grid: hands blocks to worker threads and gathers their outcome.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::exec::block::{Block, Progress, Shape, TURN, TURNS};
use super::exec::cx::Cx;
use super::exec::memory::Views;
use super::{Fault, FaultKind, Kernel, Memory, cores};

/// Everything a launch needs besides the kernel.
#[derive(Clone, Copy)]
pub struct Launch<'a> {
    /// Blocks in x, y, z; none may be 0.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z; at most 1024 in all.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub dynamic_shared: u32,
    /// The parameter buffer: at least `KernelInfo::params_size` bytes.
    pub params: &'a [u8],
    /// Device memory.
    pub memory: &'a dyn Memory,
    /// Set by another thread to give the kernel up soon (within
    /// milliseconds), at process exit for instance.
    pub stop: &'a AtomicBool,
    /// Upper bound on threads that run blocks at once; 0 means one for each
    /// core. The calling thread is one of them; others are started only when
    /// the grid proves to be long.
    pub workers: usize,
    /// All blocks must be resident at once (cooperative launch): blocks take
    /// turns, so that a barrier across the grid ends.
    pub cooperative: bool,
    /// Device memory of 8 zero bytes at least, which a cooperative launch's
    /// blocks use to wait for each other (`%envreg1` and `%envreg2`), or 0.
    pub workspace: u64,
    /// What `%gridid` reads.
    pub grid_id: u64,
    /// Bytes of local memory (stack) a thread may use.
    pub stack_limit: u32,
}

impl<'a> Launch<'a> {
    /// A plain launch: no dynamic shared memory, all cores, a stack of
    /// 64 KiB a thread.
    pub fn new(
        grid: [u32; 3],
        block: [u32; 3],
        params: &'a [u8],
        memory: &'a dyn Memory,
        stop: &'a AtomicBool,
    ) -> Launch<'a> {
        Launch {
            grid,
            block,
            dynamic_shared: 0,
            params,
            memory,
            stop,
            workers: 0,
            cooperative: false,
            workspace: 0,
            grid_id: 0,
            stack_limit: 64 << 10,
        }
    }
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch")
            .field("grid", &self.grid)
            .field("block", &self.block)
            .field("dynamic_shared", &self.dynamic_shared)
            .finish_non_exhaustive()
    }
}

/// What a finished launch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LaunchStats {
    /// PTX instructions executed, counted for each active thread.
    pub instructions: u64,
}

/// Blocks that may be started before an older one has ended, beyond one for
/// each worker, when blocks wait for each other without saying so.
const MAX_RESIDENT: usize = 64;
/// A block that has run this long without ending lets another one run.
const SHARE: Duration = Duration::from_millis(20);
/// The caller works alone this long before it asks for help.
const ALONE: Duration = Duration::from_micros(200);

/// State that the workers of one launch share.
struct Grid<'a> {
    kernel: &'a Kernel,
    launch: &'a Launch<'a>,
    shape: Shape,
    /// Index of the next block to start.
    next: AtomicU64,
    total: u64,
    /// Blocks put aside in the middle, oldest first.
    parked: Mutex<VecDeque<Block>>,
    resident: AtomicUsize,
    /// How many blocks may be resident.
    room: AtomicUsize,
    instructions: AtomicU64,
    fault: Mutex<Option<Fault>>,
    failed: AtomicBool,
}

/// Runs the grid on the calling thread and on helpers.
pub(super) fn run(kernel: &Kernel, launch: &Launch<'_>) -> Result<LaunchStats, Fault> {
    let shape = shape(kernel, launch)?;
    let total = launch.grid.iter().map(|&n| u64::from(n)).product();
    let workers = if launch.workers == 0 {
        cores()
    } else {
        launch.workers
    };
    let workers = workers.min(usize::try_from(total).unwrap_or(usize::MAX));
    let room = if launch.cooperative {
        usize::MAX
    } else {
        workers
    };
    let grid = Grid {
        kernel,
        launch,
        shape,
        next: AtomicU64::new(0),
        total,
        parked: Mutex::new(VecDeque::new()),
        resident: AtomicUsize::new(0),
        room: AtomicUsize::new(room),
        instructions: AtomicU64::new(0),
        fault: Mutex::new(None),
        failed: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let start = Instant::now();
        let mut helpers = false;
        grid.work(0, || {
            if !helpers && workers > 1 && start.elapsed() > ALONE {
                helpers = true;
                for worker in 1..workers {
                    let grid = &grid;
                    // Without a helper the caller does the work itself.
                    let _ = std::thread::Builder::new()
                        .name("ptx-worker".into())
                        .spawn_scoped(scope, move || grid.work(worker as u32, || {}));
                }
            }
        });
    });
    match grid
        .fault
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Some(fault) => Err(Fault {
            kernel: kernel.info().name.clone(),
            ..fault
        }),
        None => Ok(LaunchStats {
            instructions: grid.instructions.into_inner(),
        }),
    }
}

fn shape(kernel: &Kernel, launch: &Launch<'_>) -> Result<Shape, Fault> {
    let info = kernel.info();
    let dynamic_start = kernel.entry().dynamic_shared;
    let threads: u64 = launch.block.iter().map(|&n| u64::from(n)).product();
    let blocks = launch
        .grid
        .iter()
        .try_fold(1u64, |n, &x| n.checked_mul(x.into()));
    let shared = dynamic_start
        .checked_add(launch.dynamic_shared)
        .filter(|s| *s <= 1 << 24);
    let good = (1..=1024).contains(&threads)
        && !matches!(blocks, None | Some(0))
        && launch.params.len() >= info.params_size as usize
        && info.required_block.is_none_or(|b| b == launch.block);
    match shared {
        Some(shared) if good => Ok(Shape {
            grid: launch.grid,
            block: launch.block,
            shared,
            dynamic_shared: launch.dynamic_shared,
            grid_id: launch.grid_id,
            workspace: launch.workspace,
            // Blocks that wait for each other are quick to let others run.
            turns: if launch.cooperative { 8 } else { TURNS },
            turn: if launch.cooperative { 256 } else { TURN },
            stack_limit: launch.stack_limit,
        }),
        _ => Err(Fault {
            kind: FaultKind::BadLaunch,
            kernel: info.name.clone(),
            line: 0,
            block: [0; 3],
            thread: [0; 3],
        }),
    }
}

impl Grid<'_> {
    /// Runs blocks until there are none left; calls `between` now and then.
    fn work(&self, worker: u32, mut between: impl FnMut()) {
        let executable = self.kernel.executable();
        let views = Views::new(self.launch.memory, self.launch.params);
        let mut cx = Cx::new(&executable.constants, views, executable.code);
        cx.place.worker = worker;
        let image = &executable.module().image;
        let mut spare = None;
        let mut current: Option<Block> = None;
        let mut instructions = 0;
        let mut since = Instant::now();
        loop {
            if self.failed.load(Ordering::Relaxed) {
                break;
            }
            if self.launch.stop.load(Ordering::Relaxed) {
                self.fail(FaultKind::Stopped);
                break;
            }
            let Some(mut block) = current.take().or_else(|| self.take(&mut spare)) else {
                if self.resident.load(Ordering::Acquire) == 0 {
                    break;
                }
                // The others hold the remaining blocks; one may be parked.
                std::thread::sleep(Duration::from_micros(50));
                continue;
            };
            match block.run(&mut cx, image, &self.shape, &mut instructions) {
                Ok(Progress::Done) => {
                    spare = Some(block);
                    since = Instant::now();
                    self.resident.fetch_sub(1, Ordering::AcqRel);
                }
                Ok(Progress::More) => {
                    current = if self.launch.cooperative || since.elapsed() > SHARE {
                        since = Instant::now();
                        self.park(block, &mut spare)
                    } else {
                        Some(block)
                    };
                }
                Err(fault) => {
                    self.fault
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(fault);
                    self.failed.store(true, Ordering::Relaxed);
                }
            }
            between();
        }
        self.instructions.fetch_add(instructions, Ordering::Relaxed);
    }

    fn fail(&self, kind: FaultKind) {
        let fault = Fault {
            kind,
            kernel: String::new(),
            line: 0,
            block: [0; 3],
            thread: [0; 3],
        };
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(fault);
        self.failed.store(true, Ordering::Relaxed);
    }

    /// The next block to work on: a new one while there is room, else the one
    /// that waited longest.
    fn take(&self, spare: &mut Option<Block>) -> Option<Block> {
        if let Some(block) = self.start(spare) {
            return Some(block);
        }
        self.parked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn start(&self, spare: &mut Option<Block>) -> Option<Block> {
        let room = self.room.load(Ordering::Relaxed);
        let enter = |n: usize| (n < room).then_some(n + 1);
        self.resident
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, enter)
            .ok()?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.total {
            self.next.store(self.total, Ordering::Relaxed);
            self.resident.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let [x, y, _] = self.launch.grid.map(u64::from);
        let index = [number % x, number / x % y, number / x / y].map(|n| n as u32);
        let function = self.kernel.entry().function;
        let code = &self.kernel.executable().module().image.functions[function as usize];
        Some(Block::new(spare.take(), code, function, &self.shape, index))
    }

    /// A block has had its share of time. It goes on at once unless others
    /// wait; a grid whose blocks run long gets room for one more each time,
    /// in case they wait for one that has not started.
    fn park(&self, block: Block, spare: &mut Option<Block>) -> Option<Block> {
        let room = self.room.load(Ordering::Relaxed);
        if room < MAX_RESIDENT {
            self.room.store(room + 1, Ordering::Relaxed);
        }
        match self.take(spare) {
            Some(next) => {
                self.parked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_back(block);
                Some(next)
            }
            None => Some(block),
        }
    }
}
