//! Calls that can block are never made in a trap handler, where signals are
//! blocked and nobody could park: they are issued from an address in the
//! window that the filter lets pass, with arguments that were cleaned,
//! translated or, after a resume, shortened.
//!
//! ```text
//!   application's stack, below its red zone:
//!     rsp -> rdi rsi rdx r10 r8 r9   as the application had them
//!            return address
//!            payload (128 bytes)     what changed arguments point to
//!            red zone (128 bytes)
//! ```
//! The frame that is resumed lies where the payload goes, so it is copied off
//! the stack first.
#![allow(unsafe_code, reason = "builds a stack frame for the window's code")]

use crate::abi::{REISSUE, is_upper};
use crate::after::After;
use crate::arch::{self, Frame};
use crate::record::Record;
use crate::signal::OURS;
use crate::{ids, sys, transfer};
use std::sync::atomic::Ordering::Relaxed;

/// The words above; its layout is known to `vdso.S`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Reissue {
    pub(crate) registers: [u64; 6],
    pub(crate) return_to: u64,
    /// Bytes that an earlier, interrupted part of the call transferred.
    pub(crate) done: u64,
    pub(crate) nr: u64,
    /// Time left when issued, in nanoseconds; `NO_LIMIT` when none.
    pub(crate) remaining: u64,
    /// CLOCK_MONOTONIC when issued.
    pub(crate) issued: u64,
    pub(crate) time: [u64; 2],
    pub(crate) rest: [u64; 2],
    pub(crate) mask: u64,
    pub(crate) mask_and_size: [u64; 2],
    /// What is done when the call has returned: an [`After`].
    pub(crate) after: u64,
    /// The call's result, where that is not nothing.
    pub(crate) result: i64,
    /// How many handlers had begun on the thread when issued.
    pub(crate) delivered: u64,
    spare: [u64; 2],
}

impl Reissue {
    /// Puts `frame` back behind the application's own instruction.
    pub(crate) fn leave(&self, frame: &mut Frame) {
        [
            frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9,
        ] = self.registers;
        frame.rsp += (size_of::<Self>() as u64) + RED_ZONE;
        frame.rip = self.return_to;
    }
}

const RED_ZONE: u64 = 128;
const _: () = assert!(size_of::<Reissue>() == 56 + 128);
const _: () = assert!(std::mem::offset_of!(Reissue, after) == 144);
const _: () = assert!(std::mem::offset_of!(Reissue, result) == 152);
pub(crate) const NO_LIMIT: u64 = u64::MAX;

/// Address after the exempt `syscall` instruction.
pub(crate) const REISSUE_RETURN: u64 = REISSUE + 2;

/// Which argument holds the time that a call waits at most, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// A relative timespec at this argument's address.
    Timespec(usize),
    /// Milliseconds in this argument, negative for none.
    Millis(usize),
    /// A relative timespec, with the rest written at another argument's address.
    Sleep(usize, usize),
    /// SO_RCVTIMEO or SO_SNDTIMEO of the socket in argument 0. The kernel
    /// starts it again with every call; we end the call when it is used up.
    Socket(i32),
}

/// How the call bounds its wait, where a resume must shorten it. Calls with
/// absolute times or that write the rest back themselves are not here.
pub(crate) fn limit_of(nr: i64, args: &[u64; 6]) -> Option<Limit> {
    match nr {
        libc::SYS_nanosleep => Some(Limit::Sleep(0, 1)),
        libc::SYS_clock_nanosleep if args[1] & libc::TIMER_ABSTIME as u64 == 0 => {
            Some(Limit::Sleep(2, 3))
        }
        libc::SYS_poll => Some(Limit::Millis(2)),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => Some(Limit::Millis(3)),
        libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => Some(Limit::Timespec(3)),
        libc::SYS_rt_sigtimedwait => Some(Limit::Timespec(2)),
        libc::SYS_io_getevents => Some(Limit::Timespec(4)),
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => Some(Limit::Socket(libc::SO_RCVTIMEO)),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_connect => Some(Limit::Socket(libc::SO_SNDTIMEO)),
        libc::SYS_futex if args[1] & 0x7f == libc::FUTEX_WAIT as u64 => Some(Limit::Timespec(3)),
        _ => None,
    }
}

/// True for a blocked call whose wait is limited and of which nobody can say how much
/// is left. Reads none of the application's memory.
pub(crate) fn tells_no_rest(nr: i64, args: &[u64; 6]) -> bool {
    match limit_of(nr, args) {
        Some(Limit::Millis(i)) => args[i] as i32 > 0,
        Some(Limit::Timespec(i)) => args[i] != 0,
        Some(Limit::Sleep(_, rest)) => args[rest] == 0,
        Some(Limit::Socket(option)) => socket_limit(args[0], option) != NO_LIMIT,
        None => false,
    }
}

/// The time that the arguments ask for, in nanoseconds.
pub(crate) fn asked(limit: Limit, args: &[u64; 6]) -> u64 {
    match limit {
        Limit::Millis(i) if (args[i] as i32) < 0 => NO_LIMIT,
        Limit::Millis(i) => args[i] as u32 as u64 * 1_000_000,
        Limit::Timespec(i) | Limit::Sleep(i, _) if is_upper(args[i]) => read_time(args[i]),
        Limit::Socket(option) => socket_limit(args[0], option),
        _ => NO_LIMIT,
    }
}

fn socket_limit(fd: u64, option: i32) -> u64 {
    let (mut time, mut length) = ([0u64; 2], 16u32);
    let level = libc::SOL_SOCKET as u64;
    let (time_at, length_at) = (time.as_mut_ptr() as u64, &raw mut length as u64);
    let args = [fd, level, option as u64, time_at, length_at, 0];
    // SAFETY: both live across the call and have the sizes given.
    let r = unsafe { sys::call(libc::SYS_getsockopt, args) };
    if r < 0 || time == [0, 0] {
        return NO_LIMIT;
    }
    time[0]
        .saturating_mul(1_000_000_000)
        .saturating_add(time[1] * 1000)
}

/// A timespec of the application's in nanoseconds; no limit where its address is bad,
/// as the kernel will say.
pub(crate) fn read_time(address: u64) -> u64 {
    let Ok([seconds, nanos]) = sys::read::<[u64; 2]>(address) else {
        return NO_LIMIT;
    };
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos)
        .min(NO_LIMIT - 1)
}

/// Issues call `nr` with the arguments in `frame`, which stands after (or at,
/// for a rewound call) the application's own instruction. `remaining`
/// replaces the time limit.
///
/// # Safety
/// Ends the use of the lower stack; the frame is this thread's, complete, with
/// its instruction pointer after the application's `syscall`.
pub(crate) unsafe fn issue(
    record: &Record,
    frame: &Frame,
    fs: u64,
    nr: i64,
    remaining: Option<u64>,
) -> ! {
    // SAFETY: only this thread uses its scratch frame, and not while it is in use.
    let copy = unsafe { (*record.frame.get()).fill(frame) };
    prepare(record, copy, nr, remaining, 0);
    // SAFETY: by the caller's promise.
    unsafe { arch::enter_again(copy, fs) }
}

/// Waits by futex call `args` in the place of the application's own call, then does
/// `after`.
///
/// # Safety
/// As for [`issue`].
pub(crate) unsafe fn wait(
    record: &Record,
    frame: &Frame,
    fs: u64,
    args: [u64; 6],
    after: After,
) -> ! {
    // SAFETY: only this thread uses its scratch frame, and not while it is in use.
    let copy = unsafe { (*record.frame.get()).fill(frame) };
    prepare(record, copy, libc::SYS_futex, None, 0);
    for (argument, value) in args.into_iter().enumerate() {
        copy.set_argument(argument, value);
    }
    // SAFETY: `prepare` has put the words there.
    unsafe { (*(copy.rsp as *mut Reissue)).after = after as u64 };
    // SAFETY: by the caller's promise.
    unsafe { arch::enter_again(copy, fs) }
}

/// Points `copy` (a frame outside of the application's stack) at the exempt
/// instruction. `done` bytes of its buffer are written already.
pub(crate) fn prepare(
    record: &Record,
    copy: &mut Frame,
    nr: i64,
    remaining: Option<u64>,
    done: u64,
) {
    let args = copy.args();
    let at = copy.rsp - RED_ZONE - size_of::<Reissue>() as u64;
    let field = |offset: usize| at + offset as u64;
    let mut words = Reissue {
        registers: args,
        return_to: copy.rip,
        done,
        nr: nr as u64,
        remaining: NO_LIMIT,
        issued: sys::monotonic(),
        time: [0; 2],
        rest: [0; 2],
        mask: 0,
        mask_and_size: [0, 8],
        after: After::of(nr) as u64,
        result: 0,
        delivered: record.delivered.load(Relaxed),
        spare: [0; 2],
    };
    if let Some(argument) = mask_argument(nr)
        && let Some(mask) = mask_of(nr, args[argument])
    {
        words.mask = mask & !OURS;
        let mask_at = field(std::mem::offset_of!(Reissue, mask));
        words.mask_and_size[0] = mask_at;
        let pair_at = field(std::mem::offset_of!(Reissue, mask_and_size));
        copy.set_argument(
            argument,
            if nr == libc::SYS_pselect6 {
                pair_at
            } else {
                mask_at
            },
        );
    }
    if done != 0 {
        // SAFETY: the lists are this thread's.
        transfer::leave_out(nr, copy, done, unsafe { &mut *record.pieces.get() });
    }
    let mut issued = nr;
    if let Some(limit) = limit_of(nr, &args) {
        words.remaining = remaining.unwrap_or_else(|| asked(limit, &args));
        let time_at = field(std::mem::offset_of!(Reissue, time));
        if remaining.is_some() && words.remaining != NO_LIMIT {
            words.time = [
                words.remaining / 1_000_000_000,
                words.remaining % 1_000_000_000,
            ];
            match limit {
                Limit::Millis(i) => copy.set_argument(i, millis(words.remaining)),
                Limit::Timespec(i) | Limit::Sleep(i, _) => copy.set_argument(i, time_at),
                Limit::Socket(option) if done == 0 => {
                    // The kernel would wait all of the time again: it waits until the
                    // call need not, and then makes it.
                    let events = if option == libc::SO_RCVTIMEO {
                        libc::POLLIN
                    } else {
                        libc::POLLOUT
                    };
                    words.rest[0] = u64::from(args[0] as u32) | (events as u64) << 32;
                    words.after = After::Ready as u64;
                    copy.rdi = field(std::mem::offset_of!(Reissue, rest));
                    copy.rsi = 1;
                    copy.rdx = millis(words.remaining);
                    issued = libc::SYS_poll;
                }
                Limit::Socket(_) => {}
            }
        }
        if let Limit::Sleep(_, rest) = limit
            && args[rest] == 0
        {
            copy.set_argument(rest, field(std::mem::offset_of!(Reissue, rest)));
        }
    }
    translate(copy, nr);
    // SAFETY: below the application's red zone on its own stack, where the
    // kernel would put a signal frame just as well.
    unsafe { (at as *mut Reissue).write_unaligned(words) };
    copy.rsp = at;
    copy.rip = REISSUE;
    copy.rax = issued as u64;
}

/// Nanoseconds in milliseconds, not less.
fn millis(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000).min(i32::MAX as u64)
}

/// The mask's argument, for calls that set one.
fn mask_argument(nr: i64) -> Option<usize> {
    match nr {
        libc::SYS_rt_sigsuspend | libc::SYS_rt_sigtimedwait => Some(0),
        libc::SYS_ppoll => Some(3),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => Some(4),
        libc::SYS_pselect6 => Some(5),
        _ => None,
    }
}

/// The mask; pselect6 has it behind one more address. None where an address is bad:
/// then the kernel sees it, and says so.
fn mask_of(nr: i64, argument: u64) -> Option<u64> {
    let at = if nr == libc::SYS_pselect6 {
        sys::read(argument).ok()?
    } else {
        argument
    };
    sys::read(at).ok()
}

/// Ids in the arguments, after a restart.
fn translate(frame: &mut Frame, nr: i64) {
    match nr {
        libc::SYS_clock_nanosleep => {
            frame.rdi = ids::clock_to_real(frame.rdi as i32) as u64;
        }
        libc::SYS_wait4 | libc::SYS_kill => match frame.rdi as i32 {
            id if id < -1 => frame.rdi = -ids::group_to_real(-id) as u64,
            id if id > 0 => frame.rdi = ids::to_real(id) as u64,
            _ => {}
        },
        libc::SYS_tkill | libc::SYS_rt_sigqueueinfo => {
            frame.rdi = ids::to_real(frame.rdi as i32) as u64;
        }
        libc::SYS_tgkill | libc::SYS_rt_tgsigqueueinfo => {
            frame.rdi = ids::to_real(frame.rdi as i32) as u64;
            frame.rsi = ids::to_real(frame.rsi as i32) as u64;
        }
        libc::SYS_waitid => match frame.rdi as u32 {
            libc::P_PGID if frame.rsi as i32 != 0 => {
                frame.rsi = ids::group_to_real(frame.rsi as i32) as u64;
            }
            libc::P_PID => frame.rsi = ids::to_real(frame.rsi as i32) as u64,
            _ => {}
        },
        _ => {}
    }
}
