//! Hides the preload: the application and its children see the user's own environment.
//!
//! `launch` puts this library in front of `LD_PRELOAD`, so that it wins over every search path. If
//! the user had an `LD_PRELOAD`, its value is handed over in `GPUCKPT_PRELOAD_ORIG`. Before the
//! application's first instruction, a constructor puts it back, in place: the strings and the array
//! are the process's initial stack, nothing is allocated.
#![allow(
    unsafe_code,
    reason = "edits the environment block that the loader passes to constructors"
)]

use std::ffi::{CStr, c_char, c_int};

const PRELOAD: &[u8] = b"LD_PRELOAD=";
const ORIGINAL: &[u8] = b"GPUCKPT_PRELOAD_ORIG=";

#[used]
#[unsafe(link_section = ".init_array")]
static RESTORE: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = constructor;

extern "C" fn constructor(_argc: c_int, _argv: *mut *mut c_char, envp: *mut *mut c_char) {
    if !envp.is_null() {
        // SAFETY: glibc passes main's arguments to constructors; the array ends with a null.
        unsafe { restore(envp) };
    }
}

fn starts_with(entry: *const c_char, prefix: &[u8]) -> bool {
    // SAFETY: entries of the environment are C strings.
    unsafe { CStr::from_ptr(entry) }
        .to_bytes()
        .starts_with(prefix)
}

/// Rewrites the null-terminated array `envp`.
///
/// # Safety
/// `envp` must be an environment array whose array and strings may be written.
unsafe fn restore(envp: *mut *mut c_char) {
    let mut original: *mut c_char = std::ptr::null_mut();
    let (mut from, mut to) = (envp, envp);
    loop {
        // SAFETY: `from` has not passed the null at the end.
        let entry = unsafe { from.read() };
        let keep = if entry.is_null() {
            true
        } else if starts_with(entry, ORIGINAL) {
            original = entry;
            false
        } else {
            true
        };
        if keep {
            // SAFETY: `to` never overtakes `from`.
            unsafe { to.write(entry) };
            to = to.wrapping_add(1);
        }
        if entry.is_null() {
            break;
        }
        from = from.wrapping_add(1);
    }
    // Now the preload itself: the user's value, or no entry at all.
    let (mut from, mut to) = (envp, envp);
    loop {
        // SAFETY: as above.
        let mut entry = unsafe { from.read() };
        let ours = !entry.is_null() && starts_with(entry, PRELOAD);
        if ours && !original.is_null() {
            // GPUCKPT_PRELOAD_ORIG=value becomes LD_PRELOAD=value, ending at the same byte.
            entry = original.wrapping_add(ORIGINAL.len() - PRELOAD.len());
            // SAFETY: lies inside the longer original string.
            unsafe { std::ptr::copy_nonoverlapping(PRELOAD.as_ptr(), entry.cast(), PRELOAD.len()) };
        }
        if !ours || !original.is_null() {
            // SAFETY: `to` never overtakes `from`.
            unsafe { to.write(entry) };
            to = to.wrapping_add(1);
        }
        if entry.is_null() {
            return;
        }
        from = from.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;

    fn after(entries: &[&str]) -> Vec<String> {
        let mut strings: Vec<Vec<u8>> = entries
            .iter()
            .map(|e| CString::new(*e).unwrap().into_bytes_with_nul())
            .collect();
        let mut array: Vec<*mut c_char> =
            strings.iter_mut().map(|s| s.as_mut_ptr().cast()).collect();
        array.push(std::ptr::null_mut());
        // SAFETY: a null-terminated array of writable C strings.
        unsafe { restore(array.as_mut_ptr()) };
        let until = array.iter().position(|entry| entry.is_null()).unwrap();
        // SAFETY: C strings, as left by `restore`.
        array[..until]
            .iter()
            .map(|&e| unsafe { CStr::from_ptr(e) }.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_environment_is_the_user_s_own() {
        let ours = "LD_PRELOAD=/x/libcuda.so.1:/x/libcudart.so.12";
        assert_eq!(after(&["A=1", ours, "B=2"]), ["A=1", "B=2"]);
        let with = "LD_PRELOAD=/x/libcuda.so.1:/mine.so";
        let original = "GPUCKPT_PRELOAD_ORIG=/mine.so:/other.so";
        assert_eq!(
            after(&["A=1", with, original, "B=2"]),
            ["A=1", "LD_PRELOAD=/mine.so:/other.so", "B=2"]
        );
        assert_eq!(after(&[original, with]), ["LD_PRELOAD=/mine.so:/other.so"]);
        assert_eq!(after(&["LD_PRELOADS=1"]), ["LD_PRELOADS=1"]);
        assert_eq!(after(&[]), Vec::<String>::new());
    }
}
