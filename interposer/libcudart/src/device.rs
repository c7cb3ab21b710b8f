//! Devices: choosing one, asking about it, its limits and flags.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_char, c_int, c_uint};

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::{bind, check_device, count, current_device, reset, set_device};
use crate::driver::driver;
use crate::export::{In, Out};

export! {
    fn cudaGetDeviceCount(n: Out<c_int>) {
        // Without a driver, or with one that finds nothing, the count is zero besides the error.
        n.set(0)?;
        let found = count(driver()?)?;
        n.set(found)?;
        if found == 0 { Err(cudaErrorNoDevice) } else { Ok(()) }
    }

    fn cudaSetDevice(device: c_int) {
        set_device(device)
    }

    fn cudaInitDevice(device: c_int, flags: c_uint, which: c_uint) {
        let driver = driver()?;
        check_device(driver, device)?;
        if which & 1 != 0 {
            driver.primary_ctx_set_flags(device, flags & !cudaDeviceMapHost)?;
        }
        crate::context::primary(driver, device).map(|_| ())
    }

    fn cudaGetDevice(device: Out<c_int>) {
        device.set(current_device()?)
    }

    fn cudaSetValidDevices(devices: *mut c_int, len: c_int) {
        // The first valid one is the default anyway; a list only widens the choice.
        if devices.is_null() && len != 0 { Err(cudaErrorInvalidValue) } else { Ok(()) }
    }

    fn cudaDeviceGetAttribute(value: Out<c_int>, attribute: CUdevice_attribute, device: c_int) {
        value.check()?;
        let driver = driver()?;
        check_device(driver, device)?;
        driver.device_get_attribute(value.pointer(), attribute, device)
    }

    fn cudaDeviceGetP2PAttribute(
        value: Out<c_int>,
        attribute: CUdevice_P2PAttribute,
        from: c_int,
        to: c_int,
    ) {
        value.check()?;
        let driver = driver()?;
        check_device(driver, from)?;
        check_device(driver, to)?;
        driver.device_get_p2p_attribute(value.pointer(), attribute, from, to)
    }

    fn cudaDeviceGetPCIBusId(id: *mut c_char, len: c_int, device: c_int) {
        let driver = driver()?;
        check_device(driver, device)?;
        driver.device_get_pci_bus_id(id, len, device)
    }

    fn cudaDeviceGetByPCIBusId(device: Out<c_int>, id: *const c_char) {
        device.check()?;
        driver()?.device_get_by_pci_bus_id(device.pointer(), id)
    }

    fn cudaDeviceSynchronize() {
        bind()?.ctx_synchronize()
    }

    fn cudaThreadSynchronize() {
        bind()?.ctx_synchronize()
    }

    fn cudaDeviceReset() {
        reset()
    }

    fn cudaThreadExit() {
        reset()
    }

    fn cudaSetDeviceFlags(flags: c_uint) {
        let driver = driver()?;
        driver.primary_ctx_set_flags(current_device()?, flags & cudaDeviceMask & !cudaDeviceMapHost)
    }

    fn cudaGetDeviceFlags(flags: Out<c_uint>) {
        flags.check()?;
        let (mut found, mut active) = (0, 0);
        driver()?.primary_ctx_get_state(current_device()?, &mut found, &mut active)?;
        flags.set(found | cudaDeviceMapHost)
    }

    fn cudaDeviceGetLimit(value: Out<usize>, limit: CUlimit) {
        value.check()?;
        bind()?.ctx_get_limit(value.pointer(), limit)
    }

    fn cudaDeviceSetLimit(limit: CUlimit, value: usize) {
        bind()?.ctx_set_limit(limit, value)
    }

    fn cudaThreadGetLimit(value: Out<usize>, limit: CUlimit) {
        value.check()?;
        bind()?.ctx_get_limit(value.pointer(), limit)
    }

    fn cudaThreadSetLimit(limit: CUlimit, value: usize) {
        bind()?.ctx_set_limit(limit, value)
    }

    fn cudaDeviceGetCacheConfig(config: Out<CUfunc_cache>) {
        config.check()?;
        bind()?.ctx_get_cache_config(config.pointer())
    }

    fn cudaDeviceSetCacheConfig(config: CUfunc_cache) {
        bind()?.ctx_set_cache_config(config)
    }

    fn cudaThreadGetCacheConfig(config: Out<CUfunc_cache>) {
        config.check()?;
        bind()?.ctx_get_cache_config(config.pointer())
    }

    fn cudaThreadSetCacheConfig(config: CUfunc_cache) {
        bind()?.ctx_set_cache_config(config)
    }

    fn cudaDeviceGetSharedMemConfig(config: Out<CUsharedconfig>) {
        config.check()?;
        bind()?.ctx_get_shared_mem_config(config.pointer())
    }

    fn cudaDeviceSetSharedMemConfig(config: CUsharedconfig) {
        bind()?.ctx_set_shared_mem_config(config)
    }

    fn cudaDeviceGetStreamPriorityRange(least: Out<c_int>, greatest: Out<c_int>) {
        let (mut low, mut high) = (0, 0);
        bind()?.ctx_get_stream_priority_range(&mut low, &mut high)?;
        least.set_if_wanted(low);
        greatest.set_if_wanted(high);
        Ok(())
    }

    fn cudaCtxResetPersistingL2Cache() {
        bind()?.ctx_reset_persisting_l2_cache()
    }

    fn cudaThreadExchangeStreamCaptureMode(mode: Out<CUstreamCaptureMode>) {
        mode.check()?;
        driver()?.exchange_capture_mode(mode.pointer())
    }

    fn cudaProfilerStart() {
        Ok(())
    }

    fn cudaProfilerStop() {
        Ok(())
    }

    fn cudaSetDoubleForDevice(value: In<f64>) {
        value.get().map(|_| ())
    }

    fn cudaSetDoubleForHost(value: In<f64>) {
        value.get().map(|_| ())
    }
}
