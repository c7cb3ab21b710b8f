//! Contexts: primary and created ones, and the calling thread's stack.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, put, put_if, wanted};
use crate::call::{Answer, exports};
use crate::context::Context;
use crate::device::PRIORITIES;
use crate::driver::{Driver, alive};
use crate::handles::Handle;
use crate::sync::lock;
use crate::thread;

/// What every context says about the version it was made for.
const API_VERSION: u32 = 3020;

fn check_flags(flags: u32) -> Answer {
    let scheduling = flags & CU_CTX_SCHED_MASK;
    if flags & !CU_CTX_FLAGS_MASK != 0 || !matches!(scheduling, 0 | 1 | 2 | 4) {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    Ok(())
}

fn create(out: *mut Handle, flags: u32, device: i32) -> Answer {
    let driver = alive()?;
    wanted(out)?;
    check_flags(flags)?;
    let ordinal = driver.device(device)?.ordinal;
    let context = driver
        .handles
        .insert(|handle| Context::new(driver, handle, ordinal, flags))?;
    driver.note_context(&context);
    thread::push(context.clone());
    put(out, context.handle)
}

fn primary(driver: &Driver, device: i32) -> Answer<Arc<Context>> {
    let device = driver.device(device)?;
    if let Some(context) = device.primary.get() {
        return Ok(context.clone());
    }
    let new = driver
        .handles
        .insert(|handle| Context::new_primary(driver, handle, device.ordinal))?;
    let kept = device.primary.get_or_init(|| new.clone());
    if Arc::ptr_eq(kept, &new) {
        driver.note_context(&new);
    } else {
        driver.handles.remove::<Context>(new.handle)?;
    }
    Ok(kept.clone())
}

/// The context of a handle; for 0 the thread's.
fn named(driver: &Driver, handle: Handle) -> Answer<Arc<Context>> {
    let context = match handle {
        0 => return thread::alive(),
        _ => driver.handles.get::<Context>(handle)?,
    };
    if context.is_destroyed() {
        return Err(CUDA_ERROR_CONTEXT_IS_DESTROYED);
    }
    Ok(context)
}

fn destroy(handle: Handle) -> Answer {
    let driver = alive()?;
    let context = driver.handles.get::<Context>(handle)?;
    if context.primary {
        return Err(CUDA_ERROR_INVALID_CONTEXT);
    }
    driver.handles.remove::<Context>(handle)?;
    if thread::top().is_some_and(|top| Arc::ptr_eq(&top, &context)) {
        thread::pop()?;
    }
    context.end(driver);
    Ok(())
}

fn release(device: i32) -> Answer {
    let driver = alive()?;
    let context = primary(driver, device)?;
    let mut references = lock(&context.references);
    if *references == 0 {
        return Err(CUDA_ERROR_INVALID_CONTEXT);
    }
    *references -= 1;
    if *references == 0 && !context.is_destroyed() {
        context.end(driver);
    }
    Ok(())
}

fn reset(device: i32) -> Answer {
    let driver = alive()?;
    let context = primary(driver, device)?;
    if !context.is_destroyed() {
        context.end(driver);
    }
    Ok(())
}

fn set_primary_flags(device: i32, flags: u32) -> Answer {
    check_flags(flags)?;
    primary(alive()?, device)?
        .flags
        .store(flags, Ordering::Relaxed);
    Ok(())
}

fn push(handle: Handle) -> Answer {
    let context = alive()?.handles.get::<Context>(handle)?;
    thread::push(context);
    Ok(())
}

fn pop(out: *mut Handle) -> Answer {
    let context = thread::pop()?;
    put_if(out, context.handle);
    Ok(())
}

fn synchronize(handle: Handle) -> Answer {
    let context = named(alive()?, handle)?;
    context.check()?;
    context.wait();
    context.check()
}

exports! {
    2000 "cuCtxCreate" fn cuCtxCreate(out: *mut Handle, flags: u32, device: i32) {
        create(out, flags, device)
    }
    3020 "cuCtxCreate" fn cuCtxCreate_v2(out: *mut Handle, flags: u32, device: i32) {
        create(out, flags, device)
    }
    11040 "cuCtxCreate"
    fn cuCtxCreate_v3(out: *mut Handle, _params: u64, count: i32, flags: u32, device: i32) {
        if count != 0 {
            return Err(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
        }
        create(out, flags, device)
    }
    12050 "cuCtxCreate"
    fn cuCtxCreate_v4(out: *mut Handle, params: *const CUctxCreateParams, flags: u32, device: i32) {
        if !params.is_null() {
            let params = get(params)?;
            if params.numExecAffinityParams != 0 {
                return Err(CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY);
            }
            if !params.cigParams.is_null() {
                return Err(CUDA_ERROR_NOT_SUPPORTED);
            }
        }
        create(out, flags, device)
    }
    2000 "cuCtxDestroy" fn cuCtxDestroy(context: Handle) { destroy(context) }
    4000 "cuCtxDestroy" fn cuCtxDestroy_v2(context: Handle) { destroy(context) }
    2000 "cuCtxAttach" fn cuCtxAttach(out: *mut Handle, flags: u32) {
        let context = thread::alive()?;
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(out, context.handle)?;
        *lock(&context.references) += 1;
        Ok(())
    }
    2000 "cuCtxDetach" fn cuCtxDetach(context: Handle) {
        let found = named(alive()?, context)?;
        let mut references = lock(&found.references);
        *references = references.saturating_sub(1);
        let last = *references == 0 && !found.primary;
        drop(references);
        if last { destroy(found.handle) } else { Ok(()) }
    }
    2000 "cuCtxPushCurrent" fn cuCtxPushCurrent(context: Handle) { push(context) }
    4000 "cuCtxPushCurrent" fn cuCtxPushCurrent_v2(context: Handle) { push(context) }
    2000 "cuCtxPopCurrent" fn cuCtxPopCurrent(out: *mut Handle) { pop(out) }
    4000 "cuCtxPopCurrent" fn cuCtxPopCurrent_v2(out: *mut Handle) { pop(out) }
    4000 "cuCtxSetCurrent" fn cuCtxSetCurrent(context: Handle) {
        let driver = alive()?;
        if context == 0 {
            thread::set(None);
            return Ok(());
        }
        thread::set(Some(driver.handles.get::<Context>(context)?));
        Ok(())
    }
    4000 "cuCtxGetCurrent" fn cuCtxGetCurrent(out: *mut Handle) {
        put(out, thread::top().map_or(0, |c| c.handle))
    }
    2000 "cuCtxGetDevice" fn cuCtxGetDevice(out: *mut i32) {
        put(out, thread::alive()?.device as i32)
    }
    13000 "cuCtxGetDevice" fn cuCtxGetDevice_v2(out: *mut i32, context: Handle) {
        put(out, named(alive()?, context)?.device as i32)
    }
    7000 "cuCtxGetFlags" fn cuCtxGetFlags(out: *mut u32) {
        put(out, thread::alive()?.flags.load(Ordering::Relaxed))
    }
    12010 "cuCtxSetFlags" fn cuCtxSetFlags(flags: u32) {
        let context = thread::alive()?;
        check_flags(flags)?;
        context.flags.store(flags, Ordering::Relaxed);
        Ok(())
    }
    12000 "cuCtxGetId" fn cuCtxGetId(context: Handle, out: *mut u64) {
        put(out, named(alive()?, context)?.generation())
    }
    3020 "cuCtxGetApiVersion" fn cuCtxGetApiVersion(context: Handle, out: *mut u32) {
        named(alive()?, context)?;
        put(out, API_VERSION)
    }
    2000 "cuCtxSynchronize" fn cuCtxSynchronize() { synchronize(0) }
    13000 "cuCtxSynchronize" fn cuCtxSynchronize_v2(context: Handle) { synchronize(context) }
    3010 "cuCtxSetLimit" fn cuCtxSetLimit(limit: u32, value: usize) {
        let context = thread::current()?;
        let mut settings = lock(&context.settings);
        let place = settings.limits.get_mut(limit as usize).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        match limit {
            CU_LIMIT_STACK_SIZE if value <= 512 << 10 => *place = (value as u64).next_multiple_of(16),
            CU_LIMIT_STACK_SIZE => return Err(CUDA_ERROR_INVALID_VALUE),
            CU_LIMIT_MAX_L2_FETCH_GRANULARITY if value <= 128 => *place = value as u64,
            CU_LIMIT_MAX_L2_FETCH_GRANULARITY => return Err(CUDA_ERROR_INVALID_VALUE),
            CU_LIMIT_PRINTF_FIFO_SIZE | CU_LIMIT_MALLOC_HEAP_SIZE => *place = value as u64,
            // Stays as it is: nothing is set aside in the mock's cache.
            CU_LIMIT_PERSISTING_L2_CACHE_SIZE => (),
            _ => return Err(CUDA_ERROR_UNSUPPORTED_LIMIT),
        }
        Ok(())
    }
    3010 "cuCtxGetLimit" fn cuCtxGetLimit(out: *mut usize, limit: u32) {
        let context = thread::current()?;
        if matches!(limit, CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH | CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT) {
            return Err(CUDA_ERROR_UNSUPPORTED_LIMIT);
        }
        let limits = lock(&context.settings).limits;
        put(out, *limits.get(limit as usize).ok_or(CUDA_ERROR_INVALID_VALUE)? as usize)
    }
    3020 "cuCtxGetCacheConfig" fn cuCtxGetCacheConfig(out: *mut u32) {
        put(out, lock(&thread::current()?.settings).cache)
    }
    3020 "cuCtxSetCacheConfig" fn cuCtxSetCacheConfig(config: u32) {
        let context = thread::current()?;
        if config > CU_FUNC_CACHE_PREFER_EQUAL {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        lock(&context.settings).cache = config;
        Ok(())
    }
    4020 "cuCtxGetSharedMemConfig" fn cuCtxGetSharedMemConfig(out: *mut u32) {
        put(out, lock(&thread::current()?.settings).banks)
    }
    4020 "cuCtxSetSharedMemConfig" fn cuCtxSetSharedMemConfig(config: u32) {
        thread::current()?;
        // Banks are 4 bytes wide on every current device; the wish is noted
        // nowhere.
        if config > CU_SHARED_MEM_CONFIG_EIGHT_BYTE_BANK_SIZE {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        Ok(())
    }
    5050 "cuCtxGetStreamPriorityRange"
    fn cuCtxGetStreamPriorityRange(least: *mut i32, greatest: *mut i32) {
        thread::current()?;
        put_if(least, PRIORITIES.0);
        put_if(greatest, PRIORITIES.1);
        Ok(())
    }
    11000 "cuCtxResetPersistingL2Cache" fn cuCtxResetPersistingL2Cache() {
        thread::current().map(drop)
    }
    4000 "cuCtxEnablePeerAccess" fn cuCtxEnablePeerAccess(peer: Handle, flags: u32) {
        let context = thread::current()?;
        let peer = named(alive()?, peer)?;
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        if Arc::ptr_eq(&context, &peer) {
            return Err(CUDA_ERROR_INVALID_CONTEXT);
        }
        if context.device == peer.device {
            return Err(CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
        }
        if !lock(&context.settings).peers.insert(peer.generation()) {
            return Err(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
        }
        Ok(())
    }
    4000 "cuCtxDisablePeerAccess" fn cuCtxDisablePeerAccess(peer: Handle) {
        let context = thread::current()?;
        let peer = named(alive()?, peer)?;
        if !lock(&context.settings).peers.remove(&peer.generation()) {
            return Err(CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
        }
        Ok(())
    }
    7000 "cuDevicePrimaryCtxRetain" fn cuDevicePrimaryCtxRetain(out: *mut Handle, device: i32) {
        let driver = alive()?;
        wanted(out)?;
        let context = primary(driver, device)?;
        context.retain_primary(driver);
        put(out, context.handle)
    }
    7000 "cuDevicePrimaryCtxRelease" fn cuDevicePrimaryCtxRelease(device: i32) { release(device) }
    11000 "cuDevicePrimaryCtxRelease" fn cuDevicePrimaryCtxRelease_v2(device: i32) { release(device) }
    7000 "cuDevicePrimaryCtxReset" fn cuDevicePrimaryCtxReset(device: i32) { reset(device) }
    11000 "cuDevicePrimaryCtxReset" fn cuDevicePrimaryCtxReset_v2(device: i32) { reset(device) }
    7000 "cuDevicePrimaryCtxSetFlags" fn cuDevicePrimaryCtxSetFlags(device: i32, flags: u32) {
        set_primary_flags(device, flags)
    }
    11000 "cuDevicePrimaryCtxSetFlags" fn cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32) {
        set_primary_flags(device, flags)
    }
    7000 "cuDevicePrimaryCtxGetState"
    fn cuDevicePrimaryCtxGetState(device: i32, flags: *mut u32, active: *mut i32) {
        let context = primary(alive()?, device)?;
        put(flags, context.flags.load(Ordering::Relaxed))?;
        put(active, i32::from(!context.is_destroyed()))
    }
}
