//! Calls that take or give a process or thread id. Trapped only in a
//! restarted process, by the second filter.
#![allow(unsafe_code, reason = "issues calls with translated ids")]

use super::{Outcome, Trap, error};
use crate::ids::{clock_to_real, group_to_real, group_to_virtual, pid, to_real, to_virtual};
use crate::sys;
use std::sync::atomic::Ordering::Relaxed;

const PRIO_PGRP: u64 = libc::PRIO_PGRP as u64;

/// A zero means the caller and stays.
fn real(id: u64) -> u64 {
    if id as i32 == 0 {
        0
    } else {
        to_real(id as i32) as u64
    }
}

fn real_group(id: u64) -> u64 {
    if id as i32 == 0 {
        0
    } else {
        group_to_real(id as i32) as u64
    }
}

pub(super) fn translated(t: &mut Trap<'_>) -> Outcome {
    let mut a = t.args;
    // SAFETY: the call as the application made it, but for ids.
    let issue = |args| unsafe { sys::call(t.nr, args) };
    match t.nr {
        libc::SYS_getpid if !t.record.is_vfork_child => return Outcome::Done(i64::from(pid())),
        libc::SYS_getpid => return Outcome::Done(i64::from(t.record.vtid.load(Relaxed))),
        libc::SYS_gettid => return Outcome::Done(i64::from(t.record.vtid.load(Relaxed))),
        libc::SYS_getppid => return Outcome::Done(i64::from(to_virtual(sys::getppid() as i32))),
        libc::SYS_getpgrp => {
            return Outcome::Done(i64::from(group_to_virtual(sys::getpgid(0) as i32)));
        }
        libc::SYS_getpgid | libc::SYS_getsid => {
            a[0] = real(a[0]);
            let r = issue(a);
            return Outcome::Done(if r > 0 {
                i64::from(group_to_virtual(r as i32))
            } else {
                r
            });
        }
        libc::SYS_setsid => {
            let r = issue(a);
            return Outcome::Done(if r > 0 {
                i64::from(group_to_virtual(r as i32))
            } else {
                r
            });
        }
        libc::SYS_setpgid => a = [real(a[0]), real_group(a[1]), 0, 0, 0, 0],
        libc::SYS_sched_setaffinity
        | libc::SYS_sched_getaffinity
        | libc::SYS_sched_setscheduler
        | libc::SYS_sched_getscheduler
        | libc::SYS_sched_setparam
        | libc::SYS_sched_getparam
        | libc::SYS_sched_setattr
        | libc::SYS_sched_getattr
        | libc::SYS_sched_rr_get_interval
        | libc::SYS_prlimit64
        | libc::SYS_get_robust_list
        | libc::SYS_pidfd_open
        | libc::SYS_process_vm_readv
        | libc::SYS_process_vm_writev
        | libc::SYS_move_pages
        | libc::SYS_migrate_pages => a[0] = real(a[0]),
        libc::SYS_getpriority | libc::SYS_setpriority => {
            a[1] = if a[0] == PRIO_PGRP {
                real_group(a[1])
            } else {
                by_kind(a[0], 0, a[1])
            };
        }
        libc::SYS_ioprio_get | libc::SYS_ioprio_set => {
            a[1] = if a[0] == 2 {
                real_group(a[1])
            } else {
                by_kind(a[0], 1, a[1])
            };
        }
        libc::SYS_clock_gettime | libc::SYS_clock_getres | libc::SYS_clock_settime => {
            a[0] = clock_to_real(a[0] as i32) as u64;
        }
        libc::SYS_timer_create => return timer_create(t),
        libc::SYS_fcntl => return fcntl(t),
        // Signals to oneself must find the thread's own mask in force: they
        // arrive before the call returns, and where the kernel would send them.
        libc::SYS_kill
        | libc::SYS_tkill
        | libc::SYS_tgkill
        | libc::SYS_rt_sigqueueinfo
        | libc::SYS_rt_tgsigqueueinfo => return Outcome::Reissue,
        libc::SYS_clock_nanosleep | libc::SYS_wait4 | libc::SYS_waitid => return Outcome::Reissue,
        _ => {
            sys::complain(&format!("system call {} trapped without need", t.nr));
            return error(libc::ENOSYS);
        }
    }
    Outcome::Done(issue(a))
}

/// `id` translated when `kind` is the one that means a process.
fn by_kind(kind: u64, process: u64, id: u64) -> u64 {
    if kind == process { real(id) } else { id }
}

/// Translates the clock and, for SIGEV_THREAD_ID, the thread.
fn timer_create(t: &mut Trap<'_>) -> Outcome {
    let [clock, event, timer, ..] = t.args;
    let clock = clock_to_real(clock as i32) as u64;
    let mut copy = match (event != 0).then(|| sys::read::<[u64; 8]>(event)) {
        Some(Err(errno)) => return error(errno),
        copy => copy.and_then(Result::ok),
    };
    let mut event_at = 0;
    if let Some(copy) = &mut copy {
        // value, (signo, notify), (thread id, ...)
        if (copy[1] >> 32) as i32 == libc::SIGEV_THREAD_ID {
            copy[2] = copy[2] & !0xffff_ffff | u64::from(to_real(copy[2] as i32) as u32);
        }
        event_at = copy.as_ptr() as u64;
    }
    // SAFETY: the copy lives across the call; the timer's word is the application's.
    unsafe { sys::call(t.nr, [clock, event_at, timer, 0, 0, 0]) }.into()
}

fn fcntl(t: &mut Trap<'_>) -> Outcome {
    const F_SETOWN_EX: i32 = 15;
    const F_GETOWN_EX: i32 = 16;
    const OWNER_PGRP: i32 = 2;
    let mut a = t.args;
    // SAFETY: the call as the application made it, but for ids.
    let issue = |args| unsafe { sys::call(libc::SYS_fcntl, args) };
    match a[1] as i32 {
        libc::F_SETOWN => {
            a[2] = match a[2] as i32 {
                0 => 0,
                id if id < 0 => -group_to_real(-id) as u64,
                id => to_real(id) as u64,
            };
            issue(a).into()
        }
        libc::F_GETOWN => match issue(a) as i32 {
            id if id > 0 => Outcome::Done(i64::from(to_virtual(id))),
            id if id < -4095 => Outcome::Done(-i64::from(group_to_virtual(-id))),
            other => Outcome::Done(i64::from(other)),
        },
        command @ (F_SETOWN_EX | F_GETOWN_EX) => {
            let owner_at = a[2];
            let mut owner = match sys::read::<[i32; 2]>(owner_at) {
                Ok(owner) => owner,
                Err(errno) => return error(errno),
            };
            let group = |o: &[i32; 2]| o[0] == OWNER_PGRP;
            if command == F_SETOWN_EX {
                owner[1] = if group(&owner) {
                    group_to_real(owner[1])
                } else {
                    to_real(owner[1])
                };
                a[2] = owner.as_ptr() as u64;
                return issue(a).into();
            }
            let r = issue(a);
            if r == 0
                && let Ok(mut owner) = sys::read::<[i32; 2]>(owner_at)
            {
                owner[1] = if group(&owner) {
                    group_to_virtual(owner[1])
                } else {
                    to_virtual(owner[1])
                };
                let _ = sys::write(owner_at, &owner);
            }
            r.into()
        }
        _ => issue(a).into(),
    }
}
