//! `cuGetProcAddress`: from a name, a CUDA version and the stream mode to the right stub.
//!
//! It answers as the driver would: the newest variant that is not newer than the version asked
//! for. What the real driver lacks is not found here either, so that libraries probe as they would
//! without us; a stub that nobody probed for answers `CUDA_ERROR_NOT_SUPPORTED`.
#![allow(
    unsafe_code,
    reason = "answers a C interface: reads a name and writes results through the caller's pointers"
)]

use std::ffi::{CStr, c_char, c_void};

use crate::abi::DRIVER_HAS;
use crate::gate;

const SUCCESS: u32 = 0;
const INVALID_VALUE: u32 = 1;
const NOT_FOUND: u32 = 500;

/// `CUdriverProcAddressQueryResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Status {
    Success = 0,
    SymbolNotFound = 1,
    VersionNotSufficient = 2,
}

/// `CUdriverProcAddress_flags`.
const FLAG_LEGACY: u64 = 1;
const FLAG_PER_THREAD: u64 = 2;

/// A variant of a driver function.
#[derive(Debug)]
pub struct Proc {
    /// Name without version and stream suffix.
    pub base: &'static str,
    /// CUDA version that brought this variant.
    pub version: u32,
    /// Stream 0 is the calling thread's own default stream.
    pub per_thread: bool,
    /// Call id.
    pub id: u32,
    /// Answered without the driver.
    pub local: bool,
}

include!(concat!(env!("OUT_DIR"), "/procs.rs"));

/// Finds the variant for `version`, or says whether the name is unknown or only newer.
fn find(name: &[u8], version: i32, per_thread: bool) -> Result<&'static Proc, Status> {
    let first = PROCS.partition_point(|p| p.base.as_bytes() < name);
    let variants = &PROCS[first..];
    let variants = &variants[..variants.partition_point(|p| p.base.as_bytes() == name)];
    if variants.is_empty() {
        return Err(Status::SymbolNotFound);
    }
    let newest = |threads: bool| {
        variants
            .iter()
            .rev()
            .find(|p| p.per_thread == threads && i64::from(p.version) <= i64::from(version))
    };
    let own = if per_thread { newest(true) } else { None };
    own.or_else(|| newest(false))
        .ok_or(Status::VersionNotSufficient)
}

/// Does the driver have it? Asked of the dispatcher, which loads the driver if need be.
fn driver_has(proc: &Proc) -> bool {
    proc.local || gate::call(DRIVER_HAS, &mut [u64::from(proc.id)]) != 0
}

fn lookup(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
    status: *mut u32,
    own_streams: bool,
) -> u32 {
    if symbol.is_null()
        || pfn.is_null()
        || flags & !(FLAG_LEGACY | FLAG_PER_THREAD) != 0
        || flags == (FLAG_LEGACY | FLAG_PER_THREAD)
    {
        return INVALID_VALUE;
    }
    let per_thread = flags & FLAG_PER_THREAD != 0 || (flags == 0 && own_streams);
    // SAFETY: the caller passes a C string, by the documentation of cuGetProcAddress.
    let name = unsafe { CStr::from_ptr(symbol) }.to_bytes();
    let found = find(name, version, per_thread).and_then(|p| {
        if driver_has(p) {
            Ok(p)
        } else {
            Err(Status::SymbolNotFound)
        }
    });
    let (address, outcome) = match found {
        Ok(proc) => (gate::stub(proc.id), Status::Success),
        Err(outcome) => (std::ptr::null(), outcome),
    };
    // SAFETY: not null, and the caller's by the documentation.
    unsafe { pfn.write(address) };
    if !status.is_null() {
        // SAFETY: as above.
        unsafe { status.write(outcome as u32) };
    }
    if outcome == Status::Success {
        SUCCESS
    } else {
        NOT_FOUND
    }
}

/// `cuGetProcAddress` of CUDA 11.3.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_cuGetProcAddress(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
) -> u32 {
    lookup(symbol, pfn, version, flags, std::ptr::null_mut(), false)
}

/// `cuGetProcAddress_v2`.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_cuGetProcAddress_v2(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
    status: *mut u32,
) -> u32 {
    lookup(symbol, pfn, version, flags, status, false)
}

/// `cuGetProcAddress_v2_ptsz`: of a program compiled for per-thread default streams.
#[unsafe(no_mangle)]
pub extern "C" fn gpuckpt_upper_cuGetProcAddress_v2_ptsz(
    symbol: *const c_char,
    pfn: *mut *const c_void,
    version: i32,
    flags: u64,
    status: *mut u32,
) -> u32 {
    lookup(symbol, pfn, version, flags, status, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::format;

    fn table() -> format::Table {
        format::parse(include_str!("../../table/driver.table")).unwrap()
    }

    fn answer(name: &str, version: i32, per_thread: bool) -> Result<String, Status> {
        find(name.as_bytes(), version, per_thread)
            .map(|p| table().rows[p.id as usize].symbol.clone())
    }

    #[test]
    fn the_variant_follows_version_and_stream_mode() {
        let expected = [
            ("cuMemAlloc", 3020, false, "cuMemAlloc_v2"),
            ("cuMemAlloc", 2000, false, "cuMemAlloc"),
            ("cuMemAlloc", 13000, true, "cuMemAlloc_v2"),
            ("cuCtxCreate", 3020, false, "cuCtxCreate_v2"),
            ("cuCtxCreate", 12050, false, "cuCtxCreate_v4"),
            ("cuDeviceGetUuid", 9020, false, "cuDeviceGetUuid"),
            ("cuDeviceGetUuid", 11040, false, "cuDeviceGetUuid_v2"),
            (
                "cuDevicePrimaryCtxRelease",
                7000,
                false,
                "cuDevicePrimaryCtxRelease",
            ),
            (
                "cuDevicePrimaryCtxRelease",
                11000,
                false,
                "cuDevicePrimaryCtxRelease_v2",
            ),
            ("cuMemcpy", 4000, false, "cuMemcpy"),
            ("cuMemcpy", 7000, true, "cuMemcpy_ptds"),
            ("cuMemcpy", 4000, true, "cuMemcpy"),
            ("cuMemcpyHtoD", 7000, true, "cuMemcpyHtoD_v2_ptds"),
            ("cuMemcpyHtoDAsync", 7000, true, "cuMemcpyHtoDAsync_v2_ptsz"),
            (
                "cuStreamGetCaptureInfo",
                10010,
                true,
                "cuStreamGetCaptureInfo_ptsz",
            ),
            (
                "cuStreamGetCaptureInfo",
                11030,
                true,
                "cuStreamGetCaptureInfo_v2_ptsz",
            ),
            (
                "cuStreamGetCaptureInfo",
                12030,
                false,
                "cuStreamGetCaptureInfo_v3",
            ),
            ("cuGraphInstantiate", 10000, false, "cuGraphInstantiate"),
            ("cuGraphInstantiate", 11000, false, "cuGraphInstantiate_v2"),
            ("cuEventElapsedTime", 12080, false, "cuEventElapsedTime_v2"),
            ("cuLaunchHostFunc", 10000, true, "cuLaunchHostFunc_ptsz"),
            ("cuLaunchHostFunc", 13010, true, "cuLaunchHostFunc_v2_ptsz"),
            ("cuGetProcAddress", 11030, false, "cuGetProcAddress"),
            ("cuGetProcAddress", 12000, false, "cuGetProcAddress_v2"),
            ("cuMemHostRegister", 6050, false, "cuMemHostRegister_v2"),
            ("cuMemPrefetchAsync", 8000, true, "cuMemPrefetchAsync_ptsz"),
            (
                "cuMemPrefetchAsync",
                12020,
                true,
                "cuMemPrefetchAsync_v2_ptsz",
            ),
            ("cuStreamCreate", 2000, true, "cuStreamCreate"),
        ];
        for (name, version, per_thread, symbol) in expected {
            assert_eq!(
                answer(name, version, per_thread).as_deref(),
                Ok(symbol),
                "{name} {version} {per_thread}"
            );
        }
        assert_eq!(
            answer("cuMemcpyBatchAsync", 12000, false),
            Err(Status::VersionNotSufficient)
        );
        assert_eq!(answer("cuMem", 13000, false), Err(Status::SymbolNotFound));
        assert_eq!(
            answer("cuMemAlloc_v2", 13000, false),
            Err(Status::SymbolNotFound)
        );
    }

    /// What real runtimes ask for exists, in a variant of exactly the version that they name
    /// wherever the driver has one; only the graphics interfaces of other libraries are unknown.
    #[test]
    fn what_runtimes_ask_for_is_found() {
        let elsewhere = [
            "cuGL",
            "cuGraphicsGL",
            "cuGraphicsEGL",
            "cuEGL",
            "cuGraphicsResourceGetMappedEgl",
            "cuVDPAU",
        ];
        let elsewhere = |name: &str| {
            elsewhere.iter().any(|e| name.starts_with(e))
                || name.starts_with("cuGraphicsVDPAU")
                || name.starts_with("cuSubgrid")
        };
        let asked = [
            include_str!("../../table/asked-by-cudart-12.txt"),
            include_str!("../../table/asked-by-cudart-13.txt"),
        ];
        let rows = table().rows;
        let mut count = 0;
        for line in asked.iter().flat_map(|text| text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, version, flags] = words[..] else {
                panic!("{line}")
            };
            let (version, per_thread) = (version.parse().unwrap(), flags == "2");
            match find(name.as_bytes(), version, per_thread) {
                Ok(proc) => {
                    let row = &rows[proc.id as usize];
                    assert!(row.version as i32 <= version, "{line}: {}", row.symbol);
                    let newer = rows.iter().any(|other| {
                        other.base == name
                            && other.per_thread == row.per_thread
                            && other.version > row.version
                            && other.version as i32 <= version
                    });
                    assert!(!newer, "{line}: {} is not the newest", row.symbol);
                    assert!(!per_thread || row.per_thread, "{line}: {}", row.symbol);
                    count += 1;
                }
                Err(_) => assert!(elsewhere(name), "{line}: not found"),
            }
        }
        assert!(count > 800, "{count}");
    }
}
