//! Several devices: access to each other's memory, and copies between them.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::{c_int, c_uint};

use cuda_abi::driver::{CUdeviceptr, CUstream};

use crate::context::{bind, check_device, primary};
use crate::driver::driver;
use crate::export::Out;

export! {
    fn cudaDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) {
        can.check()?;
        let driver = driver()?;
        check_device(driver, device)?;
        check_device(driver, peer)?;
        driver.device_can_access_peer(can.pointer(), device, peer)
    }

    fn cudaDeviceEnablePeerAccess(peer: c_int, flags: c_uint) {
        let driver = bind()?;
        check_device(driver, peer)?;
        driver.ctx_enable_peer_access(primary(driver, peer)?, flags)
    }

    fn cudaDeviceDisablePeerAccess(peer: c_int) {
        let driver = bind()?;
        check_device(driver, peer)?;
        driver.ctx_disable_peer_access(primary(driver, peer)?)
    }

    fn cudaMemcpyPeer(
        dst: CUdeviceptr,
        dst_device: c_int,
        src: CUdeviceptr,
        src_device: c_int,
        bytes: usize,
    ) {
        let driver = bind()?;
        check_device(driver, dst_device)?;
        check_device(driver, src_device)?;
        driver.memcpy_peer(
            dst, primary(driver, dst_device)?, src, primary(driver, src_device)?, bytes,
        )
    }

    fn cudaMemcpyPeerAsync(
        dst: CUdeviceptr,
        dst_device: c_int,
        src: CUdeviceptr,
        src_device: c_int,
        bytes: usize,
        stream: CUstream,
    ) {
        let driver = bind()?;
        check_device(driver, dst_device)?;
        check_device(driver, src_device)?;
        let (to, from) = (primary(driver, dst_device)?, primary(driver, src_device)?);
        driver.memcpy_peer_async(dst, to, src, from, bytes, stream)
    }
}
