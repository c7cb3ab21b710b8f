//! Which of the two libraries this is, and what versions it speaks of.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and reads the library's own dynamic section"
)]

use core::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use cuda_abi::runtime::cudaErrorInsufficientDriver;

use crate::driver::driver;
use crate::export::Out;

/// What `libcudart.so.12` says of itself.
const VERSION_12: c_int = 12_090;
/// What `libcudart.so.13` says of itself.
const VERSION_13: c_int = 13_000;

/// The library's version, as `cudaRuntimeGetVersion` says it.
pub(crate) fn version() -> c_int {
    static VERSION: OnceLock<c_int> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let twelve = soname().is_some_and(|name| name.to_bytes() == b"libcudart.so.12");
        if twelve { VERSION_12 } else { VERSION_13 }
    })
}

/// Whether the layouts are CUDA 12's.
pub(crate) fn is_12() -> bool {
    version() == VERSION_12
}

/// The start of glibc's `struct link_map`, see `dladdr(3)` and `<link.h>`.
#[repr(C)]
struct LinkMap {
    base: u64,
    name: *const c_char,
    dynamic: *const Dynamic,
}

/// `Elf64_Dyn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Dynamic {
    tag: i64,
    value: u64,
}

const DT_NULL: i64 = 0;
const DT_STRTAB: i64 = 5;
const DT_SONAME: i64 = 14;
const RTLD_DL_LINKMAP: c_int = 2;

unsafe extern "C" {
    fn dladdr1(
        address: *const c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}

/// The soname of the object that this code lies in.
fn soname() -> Option<&'static CStr> {
    let mut map: *mut c_void = core::ptr::null_mut();
    let mut info = core::mem::MaybeUninit::<libc::Dl_info>::uninit();
    let here = soname as *const () as *const c_void;
    // SAFETY: the address is code of this object; both places for answers are valid.
    let found = unsafe { dladdr1(here, info.as_mut_ptr(), &mut map, RTLD_DL_LINKMAP) };
    if found == 0 || map.is_null() {
        return None;
    }
    // SAFETY: the loader's own record of this object, which stays while the object does.
    let map = unsafe { &*map.cast::<LinkMap>() };
    let (mut strings, mut name, mut entry) = (None, None, map.dynamic);
    loop {
        // SAFETY: the dynamic section is an array that ends with DT_NULL, where the loop ends.
        let Dynamic { tag, value } = unsafe { *entry };
        match tag {
            DT_NULL => break,
            DT_STRTAB => strings = Some(value),
            DT_SONAME => name = Some(value),
            _ => {}
        }
        entry = entry.wrapping_add(1);
    }
    // glibc has made the table's address absolute; other loaders leave it relative.
    let strings = strings.map(|at| if at < map.base { at + map.base } else { at })?;
    let name = core::ptr::with_exposed_provenance::<c_char>((strings + name?) as usize);
    // SAFETY: DT_SONAME is the offset of a NUL-terminated string in the string table.
    Some(unsafe { CStr::from_ptr(name) })
}

export! {
    fn cudaRuntimeGetVersion(version: Out<c_int>) {
        version.set(crate::version::version())
    }

    fn cudaDriverGetVersion(version: Out<c_int>) {
        version.check()?;
        let mut found = 0;
        match driver() {
            // Without a driver the answer is zero, and no error.
            Err(cudaErrorInsufficientDriver) => {}
            driver => driver?.driver_get_version(&mut found)?,
        }
        version.set(found)
    }
}
