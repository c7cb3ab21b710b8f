//! The environment: hides the preload, and shows the driver what the application has set.
//!
//! The application and its children see the user's own environment.
//! `launch` puts our libraries in front of `LD_PRELOAD`, so that they win over every search path.
//! Before the application's first instruction, a constructor takes them out again, in place: the
//! strings and the array are the process's initial stack, nothing is allocated.
//!
//! A driver reads variables when it is initialised, which the application may have set before, in
//! its own half: `cuInit` says where they are.
#![allow(
    unsafe_code,
    reason = "edits the environment block that the loader passes to constructors"
)]

use std::ffi::{CStr, c_char, c_int};

use crate::abi::ENVIRONMENT;
use crate::gate;

const PRELOAD: &[u8] = b"LD_PRELOAD=";

/// Folders of the installation whose libraries are preloaded.
const OURS: [&[u8]; 2] = [b"/lib/gpuckpt/driver/", b"/lib/gpuckpt/cudart/"];

#[used]
#[unsafe(link_section = ".init_array")]
static RESTORE: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = constructor;

extern "C" fn constructor(_argc: c_int, _argv: *mut *mut c_char, envp: *mut *mut c_char) {
    if !envp.is_null() {
        // SAFETY: glibc passes main's arguments to constructors; the array ends with a null.
        unsafe { restore(envp) };
    }
}

fn is_ours(library: &[u8]) -> bool {
    OURS.iter()
        .any(|folder| library.windows(folder.len()).any(|part| part == *folder))
}

/// Moves what is not ours to the front of a list; its new length.
fn strip(list: &mut [u8]) -> usize {
    let is_separator = |byte: &u8| matches!(byte, b':' | b' ');
    let (mut read, mut write) = (0, 0);
    while read < list.len() {
        let rest = list.get(read..).unwrap_or_default();
        let len = rest.iter().position(is_separator).unwrap_or(rest.len());
        let keep = !is_ours(rest.get(..len).unwrap_or_default());
        if keep {
            if write > 0 {
                if let Some(byte) = list.get_mut(write) {
                    *byte = b':';
                }
                write += 1;
            }
            list.copy_within(read..read + len, write);
            write += len;
        }
        read += len + 1;
    }
    write
}

/// Rewrites the null-terminated array `envp`.
///
/// # Safety
/// `envp` must be an environment array whose array and strings may be written.
unsafe fn restore(envp: *mut *mut c_char) {
    let (mut from, mut to) = (envp, envp);
    loop {
        // SAFETY: `from` has not passed the null at the end.
        let entry = unsafe { from.read() };
        // SAFETY: entries of the environment are C strings that may be written.
        let keep = entry.is_null() || unsafe { edit(entry) };
        if keep {
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

/// Takes our libraries out of an entry if it is the preload; whether anything is left of it.
///
/// # Safety
/// `entry` must be a C string that may be written.
unsafe fn edit(entry: *mut c_char) -> bool {
    // SAFETY: a C string.
    let len = unsafe { CStr::from_ptr(entry) }.to_bytes().len();
    // SAFETY: its bytes, without the final zero; nobody else runs yet.
    let bytes = unsafe { std::slice::from_raw_parts_mut(entry.cast::<u8>(), len) };
    let Some(list) = bytes.strip_prefix_mut(PRELOAD) else {
        return true;
    };
    if !is_ours(list) {
        return true;
    }
    let left = strip(list);
    if let Some(end) = list.get_mut(left) {
        *end = 0;
    }
    left > 0
}

/// `strip_prefix` for a slice that is written.
trait StripPrefixMut {
    fn strip_prefix_mut(&mut self, prefix: &[u8]) -> Option<&mut [u8]>;
}

impl StripPrefixMut for [u8] {
    fn strip_prefix_mut(&mut self, prefix: &[u8]) -> Option<&mut [u8]> {
        if self.starts_with(prefix) {
            self.get_mut(prefix.len()..)
        } else {
            None
        }
    }
}

unsafe extern "C" {
    /// environ(7).
    static environ: *const *const c_char;
}

/// Called by the stub of `cuInit`, before it goes through the gate.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_tell_environment() {
    // SAFETY: a pointer of the C library's; that nobody changes the environment just now is
    // as much the application's care as with any getenv.
    let variables = unsafe { environ };
    gate::call(ENVIRONMENT, &mut [variables as u64]);
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
        let driver = "/x/lib/gpuckpt/driver/libcuda.so.1";
        let runtime = "/x/lib/gpuckpt/cudart/libcudart.so.12";
        let alone = format!("LD_PRELOAD={driver}:{runtime}");
        assert_eq!(after(&["A=1", &alone, "B=2"]), ["A=1", "B=2"]);
        let with = format!("LD_PRELOAD={driver}:{runtime}:/mine.so:other.so");
        assert_eq!(
            after(&["A=1", &with, "B=2"]),
            ["A=1", "LD_PRELOAD=/mine.so:other.so", "B=2"]
        );
        let around = format!("LD_PRELOAD=/mine.so:{driver} other.so {runtime}");
        assert_eq!(after(&[&around]), ["LD_PRELOAD=/mine.so:other.so"]);
        for theirs in [
            "LD_PRELOAD=/a.so:/b.so c.so",
            "LD_PRELOAD=",
            "LD_PRELOADS=1",
        ] {
            assert_eq!(after(&[theirs]), [theirs]);
        }
        assert_eq!(after(&[]), Vec::<String>::new());
    }
}
