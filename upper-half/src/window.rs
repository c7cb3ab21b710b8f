//! Memory of the application's window: where a mapping without an address
//! goes, and the break. The kernel is the judge of what is free
//! (MAP_FIXED_NOREPLACE), so there is no second book-keeping that could drift.
//!
//! Called from trap handlers and from the loader; takes no lock but the break's.
#![allow(unsafe_code, reason = "maps memory")]

use crate::abi::{self, LOW_LO, W_HI, place};
use crate::sys;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(crate) const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
const ENOMEM: i64 = -(libc::ENOMEM as i64);
const EEXIST: i64 = -(libc::EEXIST as i64);
const MAP_FIXED: u64 = libc::MAP_FIXED as u64;
const NOREPLACE: u64 = libc::MAP_FIXED_NOREPLACE as u64;
const MAP_32BIT: u64 = libc::MAP_32BIT as u64;

/// Where the next search begins.
static CURSOR: AtomicU64 = AtomicU64::new(place::MAPPINGS);
static LOW_CURSOR: AtomicU64 = AtomicU64::new(0x4000_0000);
/// Beginning and end of the break.
static BREAK: Mutex<(u64, u64)> = Mutex::new((place::BREAK, place::BREAK));

/// What a restart needs to go on allocating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct WindowState {
    cursor: u64,
    break_start: u64,
    break_end: u64,
}

/// The present state.
pub(crate) fn state() -> WindowState {
    let (break_start, break_end) = *lock_break();
    WindowState {
        cursor: CURSOR.load(Relaxed),
        break_start,
        break_end,
    }
}

/// Goes on from `state`.
pub(crate) fn set_state(state: &WindowState) {
    CURSOR.store(state.cursor, Relaxed);
    *lock_break() = (state.break_start, state.break_end);
}

/// Chooses where searches begin and where the break is, by 28 random bits.
pub(crate) fn randomize(random: u64) {
    let offset = (random & 0xfff_ffff) * PAGE;
    CURSOR.store(place::MAPPINGS + offset, Relaxed);
    let start = place::BREAK + (random >> 28 & 0xffff) * PAGE;
    *lock_break() = (start, start);
}

pub(crate) fn lock_break() -> std::sync::MutexGuard<'static, (u64, u64)> {
    BREAK
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Rounds up to whole pages; `None` beyond the address space.
pub(crate) fn pages(length: u64) -> Option<u64> {
    length.checked_next_multiple_of(PAGE)
}

/// Zeroed memory of the application's, for a library of the lower half that hands
/// it out; null when there is none. `length` is in bytes.
pub fn window_mmap(length: usize) -> *mut u8 {
    const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    const FLAGS: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let address = map(0, length as u64, READ_WRITE, FLAGS, -1, 0);
    if sys::failed(address) {
        return std::ptr::null_mut();
    }
    address as *mut u8
}

/// Gives back what [`window_mmap`] gave.
pub fn window_munmap(memory: *mut u8, length: usize) {
    // SAFETY: the caller's own mapping in the window.
    unsafe { sys::call(libc::SYS_munmap, [memory as u64, length as u64, 0, 0, 0, 0]) };
}

/// mmap for the application: never outside of its ranges.
pub(crate) fn map(hint: u64, length: u64, prot: u64, flags: u64, fd: i64, offset: u64) -> i64 {
    let Some(length) = pages(length) else {
        return ENOMEM;
    };
    if length == 0 {
        return -(libc::EINVAL as i64);
    }
    if flags & (MAP_FIXED | NOREPLACE) != 0 {
        if hint
            .checked_add(length)
            .is_none_or(|end| !abi::is_upper_range(hint, end))
        {
            sys::complain(&format!(
                "mmap of {length:#x} bytes at the fixed address {hint:#x} refused: outside of \
                 [{:#x}, {:#x})",
                abi::W_LO,
                W_HI
            ));
            return ENOMEM;
        }
        // SAFETY: the range is the application's own.
        return unsafe { sys::mmap(hint, length, prot, flags, fd, offset) };
    }
    let hint = hint & !(PAGE - 1);
    if hint != 0 && flags & MAP_32BIT == 0 && abi::is_upper_range(hint, hint.saturating_add(length))
    {
        let r = try_at(hint, length, prot, flags, fd, offset);
        if r != EEXIST {
            return r;
        }
    }
    if flags & MAP_32BIT != 0 {
        search(
            &LOW_CURSOR,
            [LOW_LO, 0x8000_0000],
            length,
            prot,
            flags & !MAP_32BIT,
            fd,
            offset,
        )
    } else {
        search(
            &CURSOR,
            [place::MAPPINGS, W_HI],
            length,
            prot,
            flags,
            fd,
            offset,
        )
    }
}

/// One attempt; the address, EEXIST when something is there, or another error.
fn try_at(addr: u64, length: u64, prot: u64, flags: u64, fd: i64, offset: u64) -> i64 {
    // SAFETY: NOREPLACE harms nothing that is mapped.
    let r = unsafe { sys::mmap(addr, length, prot, flags | NOREPLACE, fd, offset) };
    if !sys::failed(r) && r as u64 != addr {
        // SAFETY: just mapped, by a kernel that took the address for a hint.
        unsafe { sys::munmap(r as u64, length) };
        return EEXIST;
    }
    r
}

/// Next fit within `range`, starting at the cursor and going round once.
fn search(
    cursor: &AtomicU64,
    range: [u64; 2],
    length: u64,
    prot: u64,
    flags: u64,
    fd: i64,
    offset: u64,
) -> i64 {
    let align = if length >= HUGE { HUGE } else { PAGE };
    let (mut skip, mut wrapped) = (length, false);
    for attempt in 1.. {
        let mut at = 0;
        let claim = cursor.fetch_update(Relaxed, Relaxed, |c| {
            at = c.max(range[0]).next_multiple_of(align);
            at.checked_add(length).filter(|end| *end <= range[1])
        });
        if claim.is_err() {
            if wrapped {
                return ENOMEM;
            }
            wrapped = true;
            skip = length;
            cursor.store(range[0], Relaxed);
            continue;
        }
        let r = try_at(at, length, prot, flags, fd, offset);
        if r != EEXIST {
            return r;
        }
        // Occupied: big steps leave a big neighbour behind soon.
        if attempt % 8 == 0 {
            skip = skip.saturating_mul(2).min(range[1] - range[0]);
        }
        let _ = cursor.fetch_update(Relaxed, Relaxed, |c| c.checked_add(skip - length));
    }
    ENOMEM
}

/// mremap for the application.
pub(crate) fn remap(old: u64, old_len: u64, new_len: u64, flags: u64, new: u64) -> i64 {
    let may_move = libc::MREMAP_MAYMOVE as u64;
    let fixed = libc::MREMAP_FIXED as u64;
    let raw = |flags: u64, new: u64| {
        // SAFETY: old and new ranges are the application's own.
        unsafe { sys::call(libc::SYS_mremap, [old, old_len, new_len, flags, new, 0]) }
    };
    if flags & fixed != 0 {
        let inside = new
            .checked_add(new_len)
            .is_some_and(|end| abi::is_upper_range(new, end));
        return if inside { raw(flags, new) } else { ENOMEM };
    }
    let dont_unmap = libc::MREMAP_DONTUNMAP as u64;
    if flags & dont_unmap == 0 {
        let r = raw(flags & !may_move, 0);
        if r != ENOMEM || flags & may_move == 0 {
            return r;
        }
    }
    let Some(length) = pages(new_len).filter(|l| *l != 0) else {
        return -(libc::EINVAL as i64);
    };
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    let place = map(0, length, libc::PROT_NONE as u64, anonymous, -1, 0);
    if sys::failed(place) {
        return place;
    }
    let r = raw(flags | may_move | fixed, place as u64);
    if r != place {
        // SAFETY: the reservation made above.
        unsafe { sys::munmap(place as u64, length) };
    }
    r
}

/// brk for the application: the new end, or the old one when it cannot be.
pub(crate) fn set_break(wanted: u64) -> i64 {
    let mut state = lock_break();
    let (start, end) = *state;
    if wanted < start || wanted > start + place::BREAK_MAX {
        return end as i64;
    }
    let (old, new) = (end.next_multiple_of(PAGE), wanted.next_multiple_of(PAGE));
    if new > old {
        let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        if sys::failed(try_at(old, new - old, prot, flags, -1, 0)) {
            return end as i64;
        }
    } else if new < old {
        // SAFETY: pages of the break, given back by their owner.
        unsafe { sys::munmap(new, old - new) };
    }
    state.1 = wanted;
    wanted as i64
}

/// shmat for the application.
pub(crate) fn attach(id: u64, address: u64, flags: u64) -> i64 {
    // SAFETY: an all-zero `shmid_ds` is valid.
    let mut info: libc::shmid_ds = unsafe { std::mem::zeroed() };
    let stat = [id, libc::IPC_STAT as u64, &raw mut info as u64, 0, 0, 0];
    // SAFETY: `info` lives across the call.
    let r = unsafe { sys::call(libc::SYS_shmctl, stat) };
    if sys::failed(r) {
        return r;
    }
    let Some(length) = pages(info.shm_segsz as u64) else {
        return ENOMEM;
    };
    if address != 0 {
        let at = if flags & libc::SHM_RND as u64 != 0 {
            address & !(PAGE - 1)
        } else {
            address
        };
        if !abi::is_upper_range(at, at.saturating_add(length)) {
            return ENOMEM;
        }
        // SAFETY: the range is the application's own.
        return unsafe { sys::call(libc::SYS_shmat, [id, address, flags, 0, 0, 0]) };
    }
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
    let place = map(0, length, libc::PROT_NONE as u64, anonymous, -1, 0);
    if sys::failed(place) {
        return place;
    }
    let args = [id, place as u64, flags | libc::SHM_REMAP as u64, 0, 0, 0];
    // SAFETY: replaces the reservation made above.
    let r = unsafe { sys::call(libc::SYS_shmat, args) };
    if r != place {
        // SAFETY: the reservation made above.
        unsafe { sys::munmap(place as u64, length) };
    }
    r
}
