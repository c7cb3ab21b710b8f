//! Locks with priority inheritance, in a restarted program.
//!
//! Their word holds the owner's thread id, which the application writes and the
//! kernel compares: after a restart the two mean different threads. So these
//! operations never reach the kernel then. The word keeps its protocol (id of the
//! owner as the application knows it, `WAITERS`, `OWNER_DIED`); waiting is a plain
//! wait on the word, and whoever is woken tries again. What is lost is the
//! inheritance of priority itself.
//!
//! `WAITERS` stays set until an unlock finds nobody to wake, so no waiter is ever
//! forgotten: a word of `WAITERS` alone is free, and nobody can begin to sleep on it.
#![allow(unsafe_code, reason = "works on lock words of the application's")]

use super::{Outcome, Trap, error};
use crate::abi::is_upper;
use crate::after::After;
use crate::{sys, threads};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

const WAITERS: u32 = 0x8000_0000;
const TID: u32 = 0x3fff_ffff;
/// `FUTEX_LOCK_PI2`: as `FUTEX_LOCK_PI`, with the clock in the flags.
const LOCK_PI2: i32 = 13;
const PRIVATE: u64 = libc::FUTEX_PRIVATE_FLAG as u64;
const REALTIME: u64 = libc::FUTEX_CLOCK_REALTIME as u64;

/// True for the operations of this file.
pub(crate) fn is_inheriting(operation: u64) -> bool {
    matches!(
        operation as i32 & 0x7f,
        libc::FUTEX_LOCK_PI
            | libc::FUTEX_UNLOCK_PI
            | libc::FUTEX_TRYLOCK_PI
            | libc::FUTEX_WAIT_REQUEUE_PI
            | libc::FUTEX_CMP_REQUEUE_PI
            | LOCK_PI2
    )
}

pub(super) fn inheriting(t: &mut Trap<'_>) -> Outcome {
    let [address, operation, ..] = t.args;
    let Some(word) = word(address) else {
        return error(if address.is_multiple_of(4) {
            libc::EFAULT
        } else {
            libc::EINVAL
        });
    };
    let me = t.record.vtid.load(SeqCst) as u32;
    match operation as i32 & 0x7f {
        libc::FUTEX_LOCK_PI => lock(t, word, me, operation & PRIVATE | REALTIME),
        LOCK_PI2 => lock(t, word, me, operation & (PRIVATE | REALTIME)),
        libc::FUTEX_TRYLOCK_PI => match acquire(word, me, operation & PRIVATE) {
            Ok(()) => Outcome::Done(0),
            Err(libc::EBUSY) => error(libc::EAGAIN),
            Err(errno) => error(errno),
        },
        libc::FUTEX_UNLOCK_PI => unlock(word, me, operation & PRIVATE),
        libc::FUTEX_WAIT_REQUEUE_PI => wait_then_lock(t, word),
        _ => wake_for_lock(t, word),
    }
}

/// The lock word at `address`; `None` when it is no word that can be written.
fn word(address: u64) -> Option<&'static AtomicU32> {
    if !is_upper(address) || !address.is_multiple_of(4) || !sys::is_futex(address) {
        return None;
    }
    // SAFETY: an aligned word of the application's, just seen to be writable.
    Some(unsafe { AtomicU32::from_ptr(address as *mut u32) })
}

/// Takes the lock if it is free. EBUSY: another thread has it, and `WAITERS` is set;
/// EDEADLK: the caller has it; ESRCH: no thread has that id, and the word is `private`.
fn acquire(word: &AtomicU32, me: u32, private: u64) -> Result<(), i32> {
    let mut value = word.load(SeqCst);
    loop {
        let owner = value & TID;
        if owner == me {
            return Err(libc::EDEADLK);
        }
        let next = if owner == 0 {
            value | me
        } else {
            value | WAITERS
        };
        match word.compare_exchange(value, next, SeqCst, SeqCst) {
            Ok(_) if owner == 0 => return Ok(()),
            Ok(_) if lives(owner as i32, private) => return Err(libc::EBUSY),
            Ok(_) if word.load(SeqCst) == next => return Err(libc::ESRCH),
            Ok(_) => value = word.load(SeqCst),
            Err(now) => value = now,
        }
    }
}

/// A word that is not private may be another process's, whose threads are not known.
fn lives(owner: i32, private: u64) -> bool {
    private == 0 || threads::real_tid(owner).is_some()
}

/// `flags` hold the clock of the deadline, which is absolute.
fn lock(t: &Trap<'_>, word: &AtomicU32, me: u32, flags: u64) -> Outcome {
    let deadline = match deadline(t.args[3]) {
        Ok(deadline) => deadline,
        Err(errno) => return error(errno),
    };
    match acquire(word, me, flags & PRIVATE) {
        Ok(()) => Outcome::Done(0),
        Err(libc::EBUSY) if deadline.is_some_and(|d| d <= now(flags)) => error(libc::ETIMEDOUT),
        Err(libc::EBUSY) => {
            let value = word.load(SeqCst);
            if value & WAITERS == 0 || value & TID == 0 {
                return lock(t, word, me, flags);
            }
            wait(t, value, flags, After::Again)
        }
        Err(errno) => error(errno),
    }
}

fn unlock(word: &AtomicU32, me: u32, private: u64) -> Outcome {
    let mut value = word.load(SeqCst);
    loop {
        if value & TID != me {
            return error(libc::EPERM);
        }
        match word.compare_exchange(value, value & WAITERS, SeqCst, SeqCst) {
            Ok(_) => break,
            Err(now) => value = now,
        }
    }
    if value & WAITERS != 0 && sys::futex_wake_at(word.as_ptr() as u64, private, 1) == 0 {
        let _ = word.compare_exchange(WAITERS, 0, SeqCst, SeqCst);
    }
    Outcome::Done(0)
}

/// A wait whose waker means to hand a lock over as well: ends as by chance, after
/// which callers take the lock themselves.
fn wait_then_lock(t: &Trap<'_>, word: &AtomicU32) -> Outcome {
    let [_, operation, expected, time, ..] = t.args;
    let flags = operation & (PRIVATE | REALTIME);
    match deadline(time) {
        Err(errno) => error(errno),
        Ok(Some(deadline)) if deadline <= now(flags) => error(libc::ETIMEDOUT),
        Ok(_) if word.load(SeqCst) != expected as u32 => error(libc::EAGAIN),
        Ok(_) => wait(t, expected as u32, flags, After::ByChance),
    }
}

/// Wakes those who were to be moved to the lock: they take it one by one.
fn wake_for_lock(t: &Trap<'_>, word: &AtomicU32) -> Outcome {
    let [address, operation, wake, move_on, _, expected] = t.args;
    if word.load(SeqCst) != expected as u32 {
        return error(libc::EAGAIN);
    }
    let count = (wake as u32 as u64 + move_on as u32 as u64).min(i32::MAX as u64);
    sys::futex_wake_at(address, operation & PRIVATE, count).into()
}

/// Waits while the word is `value`, from the window.
fn wait(t: &Trap<'_>, value: u32, flags: u64, after: After) -> Outcome {
    let operation = libc::FUTEX_WAIT_BITSET as u64 | flags;
    let any = u64::from(u32::MAX);
    Outcome::Wait(
        [t.args[0], operation, value.into(), t.args[3], 0, any],
        after,
    )
}

/// A point in time of the application's, in nanoseconds; none for a null pointer.
fn deadline(address: u64) -> Result<Option<u64>, i32> {
    if address == 0 {
        return Ok(None);
    }
    let [seconds, nanos]: [u64; 2] = sys::read(address)?;
    if nanos >= 1_000_000_000 || (seconds as i64) < 0 {
        return Err(libc::EINVAL);
    }
    let most = u64::MAX - 1;
    Ok(Some(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanos)
            .min(most),
    ))
}

fn now(flags: u64) -> u64 {
    sys::clock(if flags & REALTIME != 0 {
        libc::CLOCK_REALTIME
    } else {
        libc::CLOCK_MONOTONIC
    })
}
