//! Question 8, the peer: the driver's own checkpoint of a process
//! (`cuCheckpointProcess…`, drivers since 570), called from this process on another
//! one: lock, checkpoint, restore, unlock. It moves device memory into the process's
//! host memory and gives the device back; it writes no image.
#![allow(unsafe_code, reason = "driver calls on another process")]

use crate::driver::Driver;
use crate::probe::{Outcome, Probe, Verdict, text};
use crate::probes::resident::{MIB, Resident, bytes};
use crate::statistics::{gb_s, short};
use crate::steps::Step;
use anyhow::Result;
use cuda_abi::driver::CUresult;
use std::ffi::CStr;
use std::path::Path;
use std::time::Instant;

/// Size in GiB, rank, what it takes, limit.
const SIZES: [(u64, u32, u64, u64); 3] =
    [(1, 160, 10, 120), (16, 410, 30, 240), (64, 710, 60, 420)];
/// What the machine keeps for others when device memory moves to the host.
const BESIDE: u64 = 2048 * MIB;
/// How long the process may take to reach a state in which it can be locked.
const LOCK_MS: u32 = 20_000;

pub(crate) fn steps() -> Vec<Step> {
    let native = |(gib, worth, takes, limit): (u64, u32, u64, u64)| {
        Step::new(
            format!("peer-{gib}gib"),
            8,
            worth,
            format!("seconds of the driver's own checkpoint and restore of {gib} GiB?"),
            |probe: &Probe| peer(probe, false),
        )
        .time(takes, limit)
        .about(gib.to_string())
    };
    let launched = Step::new(
        "peer-launched",
        8,
        165,
        "does the driver's own checkpoint work on a process under gpuckpt?",
        |probe: &Probe| peer(probe, true),
    );
    let mut steps: Vec<Step> = SIZES.into_iter().map(native).collect();
    steps.push(launched.time(10, 120).about("1"));
    steps
}

/// `CUcheckpointLockArgs`.
#[repr(C)]
struct LockArgs {
    timeout_ms: u32,
    reserved0: u32,
    reserved1: [u64; 7],
}

/// `CUcheckpointCheckpointArgs`, `…RestoreArgs` and `…UnlockArgs` of all versions: 64
/// bytes that are zero when nothing is asked for.
#[repr(C)]
struct NoArgs([u64; 8]);

const _: () = assert!(size_of::<LockArgs>() == 64 && size_of::<NoArgs>() == 64);

type WithLockArgs = unsafe extern "C" fn(i32, *mut LockArgs) -> CUresult;
type WithNoArgs = unsafe extern "C" fn(i32, *mut NoArgs) -> CUresult;
type GetNumber = unsafe extern "C" fn(i32, *mut i32) -> CUresult;

/// The calls, found in the driver.
struct Calls {
    lock: WithLockArgs,
    checkpoint: WithNoArgs,
    restore: WithNoArgs,
    unlock: WithNoArgs,
    state: GetNumber,
    restore_thread: GetNumber,
}

impl Calls {
    /// The name of the first that is missing, else all.
    fn find(driver: &Driver) -> Result<Self, &'static str> {
        // SAFETY: the types are those of cuda.h: a process id, and a pointer to arguments of 64
        // bytes or to a number.
        unsafe {
            Ok(Self {
                lock: found(driver, c"cuCheckpointProcessLock")?,
                checkpoint: found(driver, c"cuCheckpointProcessCheckpoint")?,
                restore: found(driver, c"cuCheckpointProcessRestore")?,
                unlock: found(driver, c"cuCheckpointProcessUnlock")?,
                state: found(driver, c"cuCheckpointProcessGetState")?,
                restore_thread: found(driver, c"cuCheckpointProcessGetRestoreThreadId")?,
            })
        }
    }
}

/// # Safety
/// As of [`Driver::symbol`].
unsafe fn found<F: Copy>(driver: &Driver, name: &'static CStr) -> Result<F, &'static str> {
    // SAFETY: as the caller promises.
    let symbol = unsafe { driver.symbol::<F>(name) };
    symbol.ok_or(name.to_str().unwrap_or_default())
}

fn peer(probe: &Probe, launched: bool) -> Outcome {
    let driver = probe.driver()?;
    let calls = match Calls::find(&driver) {
        Ok(calls) => calls,
        Err(name) => {
            return Ok(Verdict::NotRun(format!(
                "the driver has no {name}: it came with driver 570"
            )));
        }
    };
    let bytes = bytes(probe)?;
    let free = available(&text(Path::new("/proc/meminfo")));
    if free < bytes + BESIDE {
        return Ok(Verdict::NotRun(format!(
            "it moves {} MiB to the host, which has {} MiB available",
            bytes / MIB,
            free / MIB
        )));
    }
    let mut resident = match Resident::new(probe, bytes)? {
        Ok(resident) => resident,
        Err(verdict) => return Ok(verdict),
    };
    match launched {
        true => resident.job.launch()?,
        false => resident.job.begin_native()?,
    }
    if let Some(verdict) = resident.wait_filled()? {
        return Ok(verdict);
    }
    // The driver stays loaded here: a process is restored only where one is.
    driver.init()?;
    let pid = i32::try_from(resident.job.pid()?)?;
    let asked = Asked { probe, calls, pid };
    match asked.save(bytes)? {
        None => {}
        Some(refused) => {
            // It must have gone on as if nothing had been.
            resident.forget_beat()?;
            return Ok(match resident.wait_beat()? {
                None => match resident.verify("after the driver's refusal")? {
                    Verdict::Supported => refused,
                    other => other,
                },
                Some(other) => other,
            });
        }
    }
    resident.forget_beat()?;
    let begin = Instant::now();
    if let Some(verdict) = asked.restore(bytes)? {
        return Ok(verdict);
    }
    match resident.first_use(begin)? {
        Ok(took) => probe.figure("restore_to_first_use_s", short(took)),
        Err(verdict) => return Ok(verdict),
    }
    resident.verify("restored by the driver")
}

struct Asked<'a> {
    probe: &'a Probe,
    calls: Calls,
    pid: i32,
}

impl Asked<'_> {
    /// Lock and checkpoint. The driver's refusal, after the process was unlocked.
    fn save(&self, bytes: u64) -> Result<Option<Verdict>> {
        self.probe.figure("state_before", self.state());
        let resident = self.resident_bytes();
        self.probe.figure("host_bytes_before", resident);
        let mut args = LockArgs {
            timeout_ms: LOCK_MS,
            reserved0: 0,
            reserved1: [0; 7],
        };
        // SAFETY: the arguments are as long as the driver expects, and zero where reserved.
        let locked = self.timed("lock", || unsafe { (self.calls.lock)(self.pid, &mut args) });
        let lock_s = match locked {
            Ok(seconds) => seconds,
            Err(refused) => return Ok(Some(refused)),
        };
        match self.timed_plain("checkpoint", self.calls.checkpoint) {
            Ok(seconds) => {
                self.probe.figure("stand_still_s", short(lock_s + seconds));
                self.probe
                    .figure("checkpoint_gb_s", gb_s(bytes as f64, seconds));
            }
            Err(refused) => {
                return Ok(Some(match self.timed_plain("unlock", self.calls.unlock) {
                    Ok(_) => refused,
                    Err(stuck) => Verdict::Failed(format!("{}; {}", words(refused), words(stuck))),
                }));
            }
        }
        self.probe.figure("state_saved", self.state());
        self.probe.figure("host_bytes_saved", self.resident_bytes());
        let mut thread = 0;
        // SAFETY: the pointer is good for one number.
        let status = unsafe { (self.calls.restore_thread)(self.pid, &mut thread) };
        let thread_known = status.ok().is_ok() && thread > 0;
        self.probe.figure("restore_thread_known", thread_known);
        Ok(None)
    }

    /// Restore and unlock; from here on a refusal has lost the process.
    fn restore(&self, bytes: u64) -> Result<Option<Verdict>> {
        let lost = |refused| {
            let text = format!("the process is lost: {}", words(refused));
            Ok(Some(Verdict::Failed(text)))
        };
        match self.timed_plain("restore", self.calls.restore) {
            Ok(seconds) => self
                .probe
                .figure("restore_gb_s", gb_s(bytes as f64, seconds)),
            Err(refused) => return lost(refused),
        }
        match self.timed_plain("unlock", self.calls.unlock) {
            Ok(_) => {}
            Err(refused) => return lost(refused),
        }
        self.probe.figure("state_after", self.state());
        Ok(None)
    }

    fn timed_plain(&self, name: &str, call: WithNoArgs) -> Result<f64, Verdict> {
        let mut args = NoArgs([0; 8]);
        // SAFETY: 64 zero bytes ask for nothing in every version.
        self.timed(name, || unsafe { call(self.pid, &mut args) })
    }

    /// Seconds of a call, which is told before it is made: it may never return.
    fn timed(&self, name: &str, call: impl FnOnce() -> CUresult) -> Result<f64, Verdict> {
        self.probe.figure("last_call", name);
        let begin = Instant::now();
        let result = call();
        let took = begin.elapsed().as_secs_f64();
        self.probe.figure(&format!("{name}_s"), short(took));
        match result.ok() {
            Ok(()) => Ok(took),
            Err(result) => Err(Verdict::Refused(format!(
                "cuCheckpointProcess{}: {result}, in state {}",
                capital(name),
                self.state()
            ))),
        }
    }

    fn state(&self) -> String {
        let mut state = -1;
        // SAFETY: the pointer is good for one number.
        let result = unsafe { (self.calls.state)(self.pid, &mut state) };
        match (result.ok(), state) {
            (Err(result), _) => format!("unknown ({result})"),
            (_, 0) => "running".into(),
            (_, 1) => "locked".into(),
            (_, 2) => "checkpointed".into(),
            (_, 3) => "failed".into(),
            (_, 4) => "checkpointing".into(),
            (_, 5) => "restoring".into(),
            (_, other) => format!("state {other}"),
        }
    }

    /// Host memory of the process: device memory moves there.
    fn resident_bytes(&self) -> u64 {
        let status = text(Path::new(&format!("/proc/{}/status", self.pid)));
        kib_of(&status, "VmRSS:") << 10
    }
}

/// The driver's refusal as it is told.
fn words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Refused(text) => text,
        other => format!("{other:?}"),
    }
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

/// `NAME: 123 kB` in a file of /proc; 0 when it is not there.
fn kib_of(file: &str, name: &str) -> u64 {
    let line = file.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

fn available(meminfo: &str) -> u64 {
    kib_of(meminfo, "MemAvailable:") << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_drivers() {
        assert_eq!(capital("lock"), "Lock");
    }

    #[test]
    fn numbers_of_proc() {
        let file = "MemTotal:       24605496 kB\nMemAvailable:   100 kB\n";
        assert_eq!(available(file), 102_400);
        assert_eq!(available(""), 0);
    }
}
