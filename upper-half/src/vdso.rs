//! The gate image: maps it at its place in the window and fills its table
//! with this process's addresses.
#![allow(unsafe_code, reason = "maps the gate image, reads the kernel's vDSO")]

use crate::abi::{self, GATE_BASE, GATE_END, TABLE, slot};
use crate::arch::{self, Frame};
use crate::elf::{self, Header, ProgramHeader};
use crate::{process, signal, sys};
use std::ffi::CStr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gate.so"));

/// Names of the vDSO's functions, in the order of the table's slots.
const FUNCTIONS: [&CStr; 5] = [
    c"__vdso_clock_gettime",
    c"__vdso_gettimeofday",
    c"__vdso_time",
    c"__vdso_getcpu",
    c"__vdso_clock_getres",
];

/// Maps the gate image; an errno when its place is taken.
pub(crate) fn map() -> Result<(), i64> {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE harms nothing that is mapped.
    let r = unsafe { sys::mmap(GATE_BASE, GATE_END - GATE_BASE, prot, flags as u64, -1, 0) };
    if r as u64 != GATE_BASE {
        return Err(r);
    }
    let header = Header::parse(IMAGE).expect("the build checked the gate image");
    for segment in header.segments(IMAGE).filter(|s| s.kind == elf::PT_LOAD) {
        let from = &IMAGE[segment.offset as usize..][..segment.file_size as usize];
        let to = segment.address as *mut u8;
        // SAFETY: the segment's addresses lie in the range mapped above.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    }
    protect();
    Ok(())
}

/// Code and tables become read-only; the table page stays writable.
fn protect() {
    let read = libc::PROT_READ as u64;
    // SAFETY: pages of the gate image.
    unsafe {
        sys::mprotect(GATE_BASE, 0x1000, read);
        sys::mprotect(GATE_BASE + 0x1000, 0x1000, read | libc::PROT_EXEC as u64);
    }
}

/// The version in a table page that an image brought back.
pub(crate) fn restored_version() -> u64 {
    // SAFETY: the caller has mapped the window's memory.
    unsafe { table().add(slot::VERSION).read() }
}

fn table() -> *mut u64 {
    TABLE as *mut u64
}

/// Fills the table with this process's functions.
pub(crate) fn fill() {
    let functions = kernel_functions();
    let set = |slot: usize, value: u64| {
        // SAFETY: a slot of the table page.
        unsafe { table().add(slot).write(value) };
    };
    for (slot, address) in functions.into_iter().enumerate() {
        set(slot, address);
    }
    set(
        slot::DISPATCH,
        process::hooks().dispatch() as *const () as u64,
    );
    set(slot::CLOSED, u64::from(arch::by_calls()) << 32);
    set(slot::VERSION, u64::from(abi::VERSION));
    set(slot::HELD_SIGNAL, signal::held_signal as *const () as u64);
}

/// Closes or opens the gate to new device work.
pub fn set_closed(closed: bool) {
    // SAFETY: the low half of a slot of the table page, which is mapped as
    // long as the process lives.
    let word = unsafe { AtomicU32::from_ptr(table().add(slot::CLOSED).cast()) };
    word.store(u32::from(closed), SeqCst);
    if !closed {
        sys::futex_wake(word);
    }
}

/// A thread that was interrupted where the gate changes to its host's FS begins that
/// anew: its registers hold what the next process knows nothing of. Called for frames
/// on which a thread parks or a handler runs.
pub(crate) fn begin_anew(frame: &mut Frame) {
    let offset = frame.rip.wrapping_sub(abi::GATE_ENTRY);
    // SAFETY: in the gate image, which is mapped wherever there are such frames.
    let descents = unsafe { &*(abi::DESCENTS as *const [[u32; 2]; 2]) };
    let mut descents = descents.iter().map(|d| d.map(u64::from));
    if let Some([begin, _]) = descents.find(|[begin, end]| (begin..end).contains(&&offset)) {
        frame.rip = abi::GATE_ENTRY + begin;
    }
}

/// The kernel's own vDSO functions; stubs that make the call where one lacks.
fn kernel_functions() -> [u64; 5] {
    let fallbacks: [unsafe extern "C" fn(u64, u64, u64) -> i64; 5] = [
        fallback::<228>,
        fallback::<96>,
        fallback::<201>,
        fallback::<309>,
        fallback::<229>,
    ];
    let mut found = fallbacks.map(|f| f as *const () as u64);
    // SAFETY: no arguments but a number.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    if base == 0 {
        return found;
    }
    // SAFETY: the kernel's image: its headers and dynamic section are whole.
    unsafe {
        let bytes = std::slice::from_raw_parts(base as *const u8, 4096);
        let Some(header) = Header::parse(bytes) else {
            return found;
        };
        let segments: Vec<ProgramHeader> = header.segments(bytes).collect();
        let Some(load) = segments.iter().find(|s| s.kind == elf::PT_LOAD) else {
            return found;
        };
        let bias = base.wrapping_add(load.offset).wrapping_sub(load.address);
        let Some(dynamic) = segments.iter().find(|s| s.kind == elf::PT_DYNAMIC) else {
            return found;
        };
        lookup(bias, bias.wrapping_add(dynamic.address), &mut found);
    }
    found
}

/// Looks the functions up in a dynamic section.
///
/// # Safety
/// `dynamic` is a loaded image's, `bias` its load bias.
unsafe fn lookup(bias: u64, dynamic: u64, found: &mut [u64; 5]) {
    const DT_STRTAB: u64 = 5;
    const DT_SYMTAB: u64 = 6;
    let (mut strings, mut symbols) = (0u64, 0u64);
    let mut entry = dynamic as *const [u64; 2];
    // SAFETY: the section ends with a null tag; the symbol table ends where
    // the string table begins, as linkers lay out every vDSO.
    unsafe {
        while (*entry)[0] != 0 {
            match (*entry)[0] {
                DT_STRTAB => strings = bias.wrapping_add((*entry)[1]),
                DT_SYMTAB => symbols = bias.wrapping_add((*entry)[1]),
                _ => {}
            }
            entry = entry.add(1);
        }
        let mut symbol = symbols;
        while symbol != 0 && symbol + 24 <= strings {
            let name = *(symbol as *const u32);
            let value = *((symbol + 8) as *const u64);
            let text = CStr::from_ptr((strings + u64::from(name)) as *const libc::c_char);
            if let Some(i) = FUNCTIONS.iter().position(|f| *f == text)
                && value != 0
            {
                found[i] = bias.wrapping_add(value);
            }
            symbol += 24;
        }
    }
}

/// The system call that a vDSO function stands for.
unsafe extern "C" fn fallback<const NR: i64>(a: u64, b: u64, c: u64) -> i64 {
    // SAFETY: the application's call with its own arguments.
    unsafe { sys::call(NR, [a, b, c, 0, 0, 0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_down_begins_anew() {
        map().expect("a place for the gate");
        let after = |offset: u64| {
            let mut frame = Frame::start(abi::GATE_ENTRY.wrapping_add(offset), 0, 0);
            begin_anew(&mut frame);
            frame.rip.wrapping_sub(abi::GATE_ENTRY)
        };
        // SAFETY: in the image that was just mapped.
        let descents = unsafe { *(abi::DESCENTS as *const [[u32; 2]; 2]) };
        for [begin, end] in descents.map(|d| d.map(u64::from)) {
            assert!(begin < end && end < abi::REISSUE - abi::GATE_ENTRY);
            assert!((begin..end).all(|offset| after(offset) == begin));
            assert_eq!([after(begin - 1), after(end)], [begin - 1, end]);
        }
        assert_eq!([after(0), after(u64::MAX)], [0, u64::MAX]);
    }
}
