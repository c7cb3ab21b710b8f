//! The driver API as a program sees it, and what several tests need.
#![allow(unsafe_code, reason = "calls C functions")]
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(non_snake_case, reason = "the driver API's names")]
#![allow(unreachable_pub, reason = "shared by several test crates")]
#![allow(clippy::too_many_arguments, reason = "the driver API's functions")]

use std::ffi::{CString, c_char, c_void};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};

pub use cuda_abi::driver::result::*;
pub use cuda_abi::driver::*;
use mock_device as _;

pub type Handle = u64;
pub type HostFn = extern "C" fn(*mut c_void);
pub type StreamFn = extern "C" fn(Handle, CUresult, *mut c_void);

macro_rules! api {
    ($(fn $name:ident($($arg:ident: $ty:ty),* $(,)?);)*) => {
        mod raw {
            use super::*;
            unsafe extern "C" {
                $(pub fn $name($($arg: $ty),*) -> CUresult;)*
            }
        }
        $(
            pub fn $name($($arg: $ty),*) -> CUresult {
                // SAFETY: the test passes what the API wants, or what the
                // driver must refuse.
                unsafe { raw::$name($($arg),*) }
            }
        )*
    };
}

api! {
    fn cuInit(flags: u32);
    fn cuDriverGetVersion(out: *mut i32);
    fn cuDeviceGet(out: *mut i32, ordinal: i32);
    fn cuDeviceGetCount(out: *mut i32);
    fn cuDeviceGetName(out: *mut c_char, size: i32, device: i32);
    fn cuDeviceGetAttribute(out: *mut i32, attribute: u32, device: i32);
    fn cuDeviceGetUuid_v2(out: *mut [u8; 16], device: i32);
    fn cuDeviceGetPCIBusId(out: *mut c_char, size: i32, device: i32);
    fn cuDeviceGetByPCIBusId(out: *mut i32, id: *const c_char);
    fn cuDeviceCanAccessPeer(out: *mut i32, device: i32, peer: i32);
    fn cuDeviceTotalMem_v2(out: *mut usize, device: i32);
    fn cuCtxCreate_v2(out: *mut Handle, flags: u32, device: i32);
    fn cuCtxDestroy_v2(context: Handle);
    fn cuCtxPushCurrent_v2(context: Handle);
    fn cuCtxPopCurrent_v2(out: *mut Handle);
    fn cuCtxSetCurrent(context: Handle);
    fn cuCtxGetCurrent(out: *mut Handle);
    fn cuCtxGetDevice(out: *mut i32);
    fn cuCtxSynchronize();
    fn cuCtxSetLimit(limit: u32, value: usize);
    fn cuCtxGetLimit(out: *mut usize, limit: u32);
    fn cuCtxEnablePeerAccess(peer: Handle, flags: u32);
    fn cuCtxDisablePeerAccess(peer: Handle);
    fn cuDevicePrimaryCtxRetain(out: *mut Handle, device: i32);
    fn cuDevicePrimaryCtxRelease_v2(device: i32);
    fn cuDevicePrimaryCtxReset_v2(device: i32);
    fn cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32);
    fn cuMemAlloc_v2(out: *mut u64, size: usize);
    fn cuMemAllocPitch_v2(out: *mut u64, pitch: *mut usize, width: usize, height: usize, element: u32);
    fn cuMemFree_v2(address: u64);
    fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    fn cuMemGetAddressRange_v2(base: *mut u64, size: *mut usize, address: u64);
    fn cuMemHostAlloc(out: *mut u64, size: usize, flags: u32);
    fn cuMemFreeHost(address: u64);
    fn cuMemHostRegister_v2(address: u64, size: usize, flags: u32);
    fn cuMemHostUnregister(address: u64);
    fn cuMemHostGetDevicePointer_v2(out: *mut u64, address: u64, flags: u32);
    fn cuMemHostGetFlags(out: *mut u32, address: u64);
    fn cuPointerGetAttribute(out: *mut c_void, attribute: u32, address: u64);
    fn cuMemcpy(to: u64, from: u64, size: usize);
    fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, size: usize);
    fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, size: usize);
    fn cuMemcpyDtoD_v2(to: u64, from: u64, size: usize);
    fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, size: usize, stream: Handle);
    fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, size: usize, stream: Handle);
    fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, size: usize, stream: Handle);
    fn cuMemcpyDtoHAsync_v2_ptsz(to: *mut c_void, from: u64, size: usize, stream: Handle);
    fn cuMemcpy2D_v2(description: *const CUDA_MEMCPY2D);
    fn cuMemcpy2DAsync_v2(description: *const CUDA_MEMCPY2D, stream: Handle);
    fn cuMemcpy3D_v2(description: *const CUDA_MEMCPY3D);
    fn cuMemcpyPeer(to: u64, to_context: Handle, from: u64, from_context: Handle, size: usize);
    fn cuMemsetD8_v2(to: u64, value: u8, count: usize);
    fn cuMemsetD16_v2(to: u64, value: u16, count: usize);
    fn cuMemsetD32_v2(to: u64, value: u32, count: usize);
    fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle);
    fn cuMemsetD32Async(to: u64, value: u32, count: usize, stream: Handle);
    fn cuMemsetD2D8_v2(to: u64, pitch: usize, value: u8, width: usize, height: usize);
    fn cuMemsetD2D32_v2(to: u64, pitch: usize, value: u32, width: usize, height: usize);
    fn cuMemGetAllocationGranularity(out: *mut usize, properties: *const CUmemAllocationProp, option: u32);
    fn cuMemAddressReserve(out: *mut u64, size: usize, align: usize, wish: u64, flags: u64);
    fn cuMemAddressFree(address: u64, size: usize);
    fn cuMemCreate(out: *mut Handle, size: usize, properties: *const CUmemAllocationProp, flags: u64);
    fn cuMemRelease(handle: Handle);
    fn cuMemRetainAllocationHandle(out: *mut Handle, address: u64);
    fn cuMemGetAllocationPropertiesFromHandle(out: *mut CUmemAllocationProp, handle: Handle);
    fn cuMemMap(address: u64, size: usize, offset: usize, handle: Handle, flags: u64);
    fn cuMemUnmap(address: u64, size: usize);
    fn cuMemSetAccess(address: u64, size: usize, list: *const CUmemAccessDesc, count: usize);
    fn cuMemGetAccess(out: *mut u64, location: *const CUmemLocation, address: u64);
    fn cuStreamCreate(out: *mut Handle, flags: u32);
    fn cuStreamCreateWithPriority(out: *mut Handle, flags: u32, priority: i32);
    fn cuStreamDestroy_v2(stream: Handle);
    fn cuStreamQuery(stream: Handle);
    fn cuStreamSynchronize(stream: Handle);
    fn cuStreamSynchronize_ptsz(stream: Handle);
    fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: u32);
    fn cuStreamAddCallback(stream: Handle, callback: Option<StreamFn>, data: *mut c_void, flags: u32);
    fn cuLaunchHostFunc(stream: Handle, function: Option<HostFn>, data: *mut c_void);
    fn cuLaunchHostFunc_ptsz(stream: Handle, function: Option<HostFn>, data: *mut c_void);
    fn cuStreamGetCtx(stream: Handle, out: *mut Handle);
    fn cuStreamGetFlags(stream: Handle, out: *mut u32);
    fn cuStreamGetPriority(stream: Handle, out: *mut i32);
    fn cuStreamGetId(stream: Handle, out: *mut u64);
    fn cuStreamGetId_ptsz(stream: Handle, out: *mut u64);
    fn cuEventCreate(out: *mut Handle, flags: u32);
    fn cuEventDestroy_v2(event: Handle);
    fn cuEventRecord(event: Handle, stream: Handle);
    fn cuEventQuery(event: Handle);
    fn cuEventSynchronize(event: Handle);
    fn cuEventElapsedTime(out: *mut f32, start: Handle, end: Handle);
    fn cuModuleLoadData(out: *mut Handle, image: *const c_void);
    fn cuModuleLoadDataEx(out: *mut Handle, image: *const c_void, count: u32, options: *const u32, values: *mut u64);
    fn cuModuleUnload(module: Handle);
    fn cuModuleGetFunction(out: *mut Handle, module: Handle, name: *const c_char);
    fn cuModuleGetGlobal_v2(out: *mut u64, size: *mut usize, module: Handle, name: *const c_char);
    fn cuLibraryLoadData(out: *mut Handle, image: *const c_void, a: *const u32, b: *mut u64, c: u32, d: *const u32, e: *const u64, f: u32);
    fn cuLibraryUnload(library: Handle);
    fn cuLibraryGetKernel(out: *mut Handle, library: Handle, name: *const c_char);
    fn cuLibraryGetKernelCount(out: *mut u32, library: Handle);
    fn cuLibraryEnumerateKernels(out: *mut Handle, count: u32, library: Handle);
    fn cuLibraryGetModule(out: *mut Handle, library: Handle);
    fn cuLibraryGetGlobal(out: *mut u64, size: *mut usize, library: Handle, name: *const c_char);
    fn cuKernelGetFunction(out: *mut Handle, kernel: Handle);
    fn cuKernelGetName(out: *mut *const c_char, kernel: Handle);
    fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: Handle, device: i32);
    fn cuFuncGetAttribute(out: *mut i32, attribute: u32, function: Handle);
    fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32);
    fn cuFuncGetParamInfo(function: Handle, index: usize, offset: *mut usize, size: *mut usize);
    fn cuLaunchKernel(
        function: Handle, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32,
        shared: u32, stream: Handle, parameters: *const *const c_void, extra: *const *const c_void,
    );
    fn cuLaunchKernelEx(config: *const CUlaunchConfig, function: Handle, parameters: *const *const c_void, extra: *const *const c_void);
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(out: *mut i32, function: Handle, threads: i32, dynamic: usize);
    fn cuOccupancyMaxPotentialBlockSize(grid: *mut i32, block: *mut i32, function: Handle, map: CUoccupancyB2DSize, dynamic: usize, limit: i32);
    fn cuLinkCreate_v2(count: u32, options: *const u32, values: *mut u64, out: *mut Handle);
    fn cuLinkAddData_v2(link: Handle, kind: u32, data: *const c_void, size: usize, name: *const c_char, n: u32, o: *const u32, v: *const u64);
    fn cuLinkComplete(link: Handle, out: *mut *const c_void, size: *mut usize);
    fn cuLinkDestroy(link: Handle);
    fn cuGetErrorName(error: u32, out: *mut *const c_char);
    fn cuGetErrorString(error: u32, out: *mut *const c_char);
    fn cuGetProcAddress_v2(name: *const c_char, out: *mut *mut c_void, version: i32, flags: u64, status: *mut u32);
    fn cuGetExportTable(out: *mut *const c_void, id: *const c_void);
}

/// Succeeds, or says which call did not.
#[macro_export]
macro_rules! ok {
    ($call:expr) => {
        assert_eq!($call, $crate::common::CUDA_SUCCESS, "{}", stringify!($call))
    };
}

/// Fails with that code, or says which call did not.
#[macro_export]
macro_rules! fails {
    ($call:expr, $code:ident) => {
        assert_eq!($call, $crate::common::$code, "{}", stringify!($call))
    };
}

/// The result that a call stores, when it succeeds.
pub fn out<T: Default>(call: impl FnOnce(*mut T) -> CUresult) -> T {
    let mut value = T::default();
    assert_eq!(call(&raw mut value), CUDA_SUCCESS);
    value
}

/// A context of its own for the calling thread.
pub fn new_context() -> Handle {
    ok!(cuInit(0));
    out(|c| cuCtxCreate_v2(c, 0, 0))
}

/// Device memory of that size.
pub fn alloc(size: usize) -> u64 {
    out(|p| cuMemAlloc_v2(p, size))
}

/// A stream with these flags.
pub fn new_stream(flags: u32) -> Handle {
    out(|s| cuStreamCreate(s, flags))
}

/// An event with these flags.
pub fn new_event(flags: u32) -> Handle {
    out(|e| cuEventCreate(e, flags))
}

/// Writes to device memory.
pub fn upload(to: u64, bytes: &[u8]) {
    ok!(cuMemcpyHtoD_v2(to, bytes.as_ptr().cast(), bytes.len()));
}

/// Reads device memory.
pub fn download(from: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    ok!(cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), from, size));
    bytes
}

/// Reads device memory as 32-bit words.
pub fn words(from: u64, count: usize) -> Vec<u32> {
    let bytes = download(from, count * 4);
    let words = bytes.chunks_exact(4);
    words
        .map(|w| u32::from_ne_bytes(w.try_into().unwrap()))
        .collect()
}

/// A C string.
pub fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// Loads PTX text.
pub fn load(ptx: &str) -> Handle {
    let text = c(ptx);
    out(|m| cuModuleLoadData(m, text.as_ptr().cast()))
}

/// A function of a module.
pub fn function(module: Handle, name: &str) -> Handle {
    let name = c(name);
    out(|f| cuModuleGetFunction(f, module, name.as_ptr()))
}

/// Address and size of a module's variable.
pub fn global(module: Handle, name: &str) -> (u64, usize) {
    let (name, mut size) = (c(name), 0);
    let at = out(|p| cuModuleGetGlobal_v2(p, &raw mut size, module, name.as_ptr()));
    (at, size)
}

/// Launches on a stream; every parameter has 8 bytes or fewer.
pub fn launch(
    function: Handle,
    grid: u32,
    block: u32,
    stream: Handle,
    parameters: &[u64],
) -> CUresult {
    let pointers: Vec<*const c_void> = parameters.iter().map(|p| (&raw const *p).cast()).collect();
    cuLaunchKernel(
        function,
        grid,
        1,
        1,
        block,
        1,
        1,
        0,
        stream,
        pointers.as_ptr(),
        std::ptr::null(),
    )
}

/// The name under which [`alone`] tells a child what to run.
const CHILD: &str = "MOCK_DEVICE_TEST";

/// Runs `body` in a process of its own, with these switches. `test` is the
/// name of the calling test.
pub fn alone(test: &str, switches: &str, body: impl FnOnce()) {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return;
    }
    let output = child(test, switches);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{test}: {:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Whether this process is the child that runs `test`.
pub fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// Runs one test of this file in a process of its own.
pub fn child(test: &str, switches: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env("GPUCKPT_MOCK", switches)
        .output()
        .unwrap()
}

/// Holds a stream back until opened.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    /// Holds `stream` back from here on.
    pub fn close(self: &Arc<Self>, stream: Handle) {
        extern "C" fn wait(data: *mut c_void) {
            #[allow(unsafe_code, reason = "takes back what close() gave")]
            // SAFETY: made by into_raw in close(), once for each call.
            let gate = unsafe { Arc::from_raw(data.cast::<Gate>()) };
            let mut open = gate.open.lock().unwrap();
            while !*open {
                open = gate.changed.wait(open).unwrap();
            }
        }
        let data = Arc::into_raw(self.clone()).cast_mut().cast();
        ok!(cuLaunchHostFunc(stream, Some(wait), data));
    }

    /// Lets it go on.
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }
}

/// A gate that holds `stream` back.
pub fn gate_on(stream: Handle) -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    gate.close(stream);
    gate
}

/// PTX of the kernels that the tests share.
pub const KERNELS: &str = "
.version 7.8
.target sm_75
.address_size 64
.visible .global .align 4 .u32 counter = 7;
.visible .const .align 4 .u32 factors[4] = {1, 2, 3, 4};

// out[i] = out[i] * scale + offset, for i < n
.visible .entry scale(.param .u64 p_out, .param .u32 p_scale, .param .u32 p_offset, .param .u32 p_n)
{
    .reg .pred %p;
    .reg .b32 %r<9>;
    .reg .b64 %d<4>;
    ld.param.u64 %d0, [p_out];
    ld.param.u32 %r0, [p_scale];
    ld.param.u32 %r1, [p_offset];
    ld.param.u32 %r2, [p_n];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p, %r6, %r2;
    @%p bra done;
    cvta.to.global.u64 %d1, %d0;
    mul.wide.u32 %d2, %r6, 4;
    add.s64 %d3, %d1, %d2;
    ld.global.u32 %r7, [%d3];
    mad.lo.s32 %r8, %r7, %r0, %r1;
    st.global.u32 [%d3], %r8;
done:
    ret;
}

// counter += factors[which]
.visible .entry count(.param .u32 p_which)
{
    .reg .b32 %r<4>;
    .reg .b64 %d<4>;
    ld.param.u32 %r0, [p_which];
    mul.wide.u32 %d0, %r0, 4;
    mov.u64 %d1, factors;
    add.s64 %d2, %d1, %d0;
    ld.const.u32 %r1, [%d2];
    ld.global.u32 %r2, [counter];
    add.s32 %r3, %r2, %r1;
    st.global.u32 [counter], %r3;
    ret;
}

// *p = 1, wherever that is
.visible .entry poke(.param .u64 p_at)
{
    .reg .b32 %r<1>;
    .reg .b64 %d<2>;
    ld.param.u64 %d0, [p_at];
    cvta.to.global.u64 %d1, %d0;
    mov.u32 %r0, 1;
    st.global.u32 [%d1], %r0;
    ret;
}

// waits until *p is not 0
.visible .entry spin(.param .u64 p_at)
{
    .reg .pred %p;
    .reg .b32 %r<1>;
    .reg .b64 %d<2>;
    ld.param.u64 %d0, [p_at];
    cvta.to.global.u64 %d1, %d0;
again:
    ld.volatile.global.u32 %r0, [%d1];
    setp.eq.u32 %p, %r0, 0;
    @%p bra again;
    ret;
}
";
