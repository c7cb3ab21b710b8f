//! Devices: number, names, attributes, and what two of them are to each other.

use std::ffi::c_char;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, get_all, name, put, put_text};
use crate::call::exports;
use crate::device::DRIVER_VERSION;
use crate::driver::{self, alive};

exports! {
    @any 2000 "cuInit" fn cuInit(flags: u32) {
        if flags != 0 {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        driver::init()
    }
    @any 2020 "cuDriverGetVersion" fn cuDriverGetVersion(version: *mut i32) {
        put(version, DRIVER_VERSION)
    }
    2000 "cuDeviceGet" fn cuDeviceGet(device: *mut i32, ordinal: i32) {
        alive()?.device(ordinal)?;
        put(device, ordinal)
    }
    2000 "cuDeviceGetCount" fn cuDeviceGetCount(count: *mut i32) {
        put(count, alive()?.devices.len() as i32)
    }
    2000 "cuDeviceGetName" fn cuDeviceGetName(text: *mut c_char, size: i32, device: i32) {
        put_text(text, size, alive()?.device(device)?.name())
    }
    2000 "cuDeviceTotalMem" fn cuDeviceTotalMem(bytes: *mut u32, device: i32) {
        let memory = alive()?.device(device)?.memory;
        put(bytes, u32::try_from(memory).unwrap_or(u32::MAX))
    }
    3020 "cuDeviceTotalMem" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: i32) {
        put(bytes, alive()?.device(device)?.memory as usize)
    }
    2000 "cuDeviceGetAttribute"
    fn cuDeviceGetAttribute(value: *mut i32, attribute: u32, device: i32) {
        let found = alive()?.device(device)?.attribute(attribute);
        put(value, found.ok_or(CUDA_ERROR_INVALID_VALUE)?)
    }
    2000 "cuDeviceComputeCapability"
    fn cuDeviceComputeCapability(major: *mut i32, minor: *mut i32, device: i32) {
        let sm = alive()?.device(device)?.sm as i32;
        put(major, sm / 10)?;
        put(minor, sm % 10)
    }
    2000 "cuDeviceGetProperties"
    fn cuDeviceGetProperties(properties: *mut CUdevprop, device: i32) {
        put(properties, alive()?.device(device)?.properties())
    }
    9020 "cuDeviceGetUuid" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: i32) {
        put(uuid, alive()?.device(device)?.uuid())
    }
    11040 "cuDeviceGetUuid" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: i32) {
        put(uuid, alive()?.device(device)?.uuid())
    }
    4010 "cuDeviceGetPCIBusId"
    fn cuDeviceGetPCIBusId(text: *mut c_char, size: i32, device: i32) {
        let pci = alive()?.device(device)?.pci();
        if usize::try_from(size).unwrap_or(0) <= pci.len() {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put_text(text, size, &pci)
    }
    4010 "cuDeviceGetByPCIBusId" fn cuDeviceGetByPCIBusId(device: *mut i32, text: *const c_char) {
        let wanted = name(text)?.to_ascii_uppercase();
        let found = alive()?.devices.iter().find(|d| {
            let full = d.pci();
            let forms = [&full[..], &full[5..], &full[..10], &full[5..10]];
            forms.contains(&wanted.as_str())
        });
        put(device, found.ok_or(CUDA_ERROR_INVALID_DEVICE)?.ordinal as i32)
    }
    4000 "cuDeviceCanAccessPeer"
    fn cuDeviceCanAccessPeer(can: *mut i32, device: i32, peer: i32) {
        let driver = alive()?;
        driver.device(device)?;
        driver.device(peer)?;
        put(can, i32::from(device != peer))
    }
    8000 "cuDeviceGetP2PAttribute"
    fn cuDeviceGetP2PAttribute(value: *mut i32, attribute: u32, from: i32, to: i32) {
        let driver = alive()?;
        driver.device(from)?;
        driver.device(to)?;
        if from == to {
            return Err(CUDA_ERROR_INVALID_DEVICE);
        }
        let answer = match attribute {
            CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK
            | CU_DEVICE_P2P_ATTRIBUTE_CUDA_ARRAY_ACCESS_SUPPORTED => 0,
            CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED
            | CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED => 1,
            _ => return Err(CUDA_ERROR_INVALID_VALUE),
        };
        put(value, answer)
    }
    11010 "cuDeviceGetTexture1DLinearMaxWidth"
    fn cuDeviceGetTexture1DLinearMaxWidth(width: *mut usize, format: u32, channels: u32, device: i32) {
        alive()?.device(device)?;
        if format == 0 || !matches!(channels, 1 | 2 | 4) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(width, 1 << 27)
    }
    11040 "cuDeviceGetExecAffinitySupport"
    fn cuDeviceGetExecAffinitySupport(supported: *mut i32, kind: u32, device: i32) {
        alive()?.device(device)?;
        if kind != CU_EXEC_AFFINITY_TYPE_SM_COUNT {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        put(supported, 0)
    }
    10000 "cuDeviceGetLuid" fn cuDeviceGetLuid(_luid: *mut c_char, _mask: *mut u32, device: i32) {
        // Windows has these.
        alive()?.device(device)?;
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    13000 "cuDeviceGetHostAtomicCapabilities"
    fn cuDeviceGetHostAtomicCapabilities(out: *mut u32, operations: *const u32, count: u32, device: i32) {
        alive()?.device(device)?;
        let operations = get_all(operations, count as usize)?;
        (0..operations.len()).try_for_each(|i| put(out.wrapping_add(i), 0))
    }
    13000 "cuDeviceGetP2PAtomicCapabilities"
    fn cuDeviceGetP2PAtomicCapabilities(
        out: *mut u32, operations: *const u32, count: u32, device: i32, peer: i32,
    ) {
        alive()?.device(device)?;
        alive()?.device(peer)?;
        let operations = get_all(operations, count as usize)?;
        (0..operations.len()).try_for_each(|i| put(out.wrapping_add(i), 0))
    }
    11030 "cuFlushGPUDirectRDMAWrites" fn cuFlushGPUDirectRDMAWrites(_target: u32, _scope: u32) {
        alive()?;
        Err(CUDA_ERROR_NOT_SUPPORTED)
    }
    4000 "cuProfilerStart" fn cuProfilerStart() {
        Ok(())
    }
    4000 "cuProfilerStop" fn cuProfilerStop() {
        Ok(())
    }
    4000 "cuProfilerInitialize"
    fn cuProfilerInitialize(config: *const c_char, output: *const c_char, _mode: u32) {
        get(config)?;
        get(output)?;
        Ok(())
    }
}
