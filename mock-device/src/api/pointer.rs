//! What the driver knows about an address.

use std::ffi::c_void;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get, get_all, put, wanted};
use crate::call::{Answer, exports};
use crate::driver::{Driver, alive};
use crate::memory::{Kind, Mapping};

/// Stores an attribute of a known address.
fn store(
    driver: &Driver,
    mapping: &Mapping,
    address: u64,
    attribute: u32,
    out: *mut c_void,
) -> Answer {
    wanted(out)?;
    let is_virtual = matches!(mapping.kind, Kind::Virtual { .. });
    match attribute {
        CU_POINTER_ATTRIBUTE_CONTEXT => {
            let owner = if is_virtual {
                0
            } else {
                driver.context_of(mapping.owner)
            };
            put(out.cast::<u64>(), owner)
        }
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE => {
            let host = mapping.is_host() && !matches!(mapping.kind, Kind::Managed);
            put(
                out.cast::<u32>(),
                if host {
                    CU_MEMORYTYPE_HOST
                } else {
                    CU_MEMORYTYPE_DEVICE
                },
            )
        }
        CU_POINTER_ATTRIBUTE_DEVICE_POINTER => put(out.cast::<u64>(), address),
        CU_POINTER_ATTRIBUTE_HOST_POINTER => {
            if !mapping.is_host() {
                put(out.cast::<u64>(), 0)?;
                return Err(CUDA_ERROR_INVALID_VALUE);
            }
            put(out.cast::<u64>(), address)
        }
        CU_POINTER_ATTRIBUTE_P2P_TOKENS => Err(CUDA_ERROR_INVALID_VALUE),
        CU_POINTER_ATTRIBUTE_BUFFER_ID => put(out.cast::<u64>(), mapping.id),
        CU_POINTER_ATTRIBUTE_IS_MANAGED => {
            let managed = matches!(mapping.kind, Kind::Managed);
            put(out.cast::<u8>(), u8::from(managed))
        }
        CU_POINTER_ATTRIBUTE_SYNC_MEMOPS
        | CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE
        | CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE
        | CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE => put(out.cast::<u8>(), 0),
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL => put(out.cast::<i32>(), mapping.device as i32),
        CU_POINTER_ATTRIBUTE_RANGE_START_ADDR => put(out.cast::<u64>(), range(driver, mapping).0),
        CU_POINTER_ATTRIBUTE_RANGE_SIZE => put(out.cast::<u64>(), range(driver, mapping).1),
        CU_POINTER_ATTRIBUTE_MAPPED => put(out.cast::<u8>(), 1),
        CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES | CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE => {
            put(out.cast::<u64>(), 0)
        }
        CU_POINTER_ATTRIBUTE_ACCESS_FLAGS => put(
            out.cast::<u32>(),
            CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE,
        ),
        CU_POINTER_ATTRIBUTE_MAPPING_SIZE => put(out.cast::<u64>(), mapping.size),
        CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR => put(out.cast::<u64>(), mapping.start),
        CU_POINTER_ATTRIBUTE_MEMORY_BLOCK_ID => {
            put(out.cast::<u64>(), mapping.backing.start() as u64)
        }
        _ => Err(CUDA_ERROR_INVALID_VALUE),
    }
}

/// The allocation, or the reservation around a mapping.
fn range(driver: &Driver, mapping: &Mapping) -> (u64, u64) {
    let own = (mapping.start, mapping.size);
    match mapping.kind {
        Kind::Virtual { .. } => driver.space.reservation(mapping.start).unwrap_or(own),
        _ => own,
    }
}

/// Stores what an unknown address has: nothing.
fn store_nothing(attribute: u32, out: *mut c_void) -> Answer {
    wanted(out)?;
    match attribute {
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE | CU_POINTER_ATTRIBUTE_ACCESS_FLAGS => {
            put(out.cast::<u32>(), 0)
        }
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL => put(out.cast::<i32>(), CU_DEVICE_INVALID),
        CU_POINTER_ATTRIBUTE_SYNC_MEMOPS
        | CU_POINTER_ATTRIBUTE_IS_MANAGED
        | CU_POINTER_ATTRIBUTE_MAPPED
        | CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE
        | CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE
        | CU_POINTER_ATTRIBUTE_IS_HW_DECOMPRESS_CAPABLE => put(out.cast::<u8>(), 0),
        CU_POINTER_ATTRIBUTE_P2P_TOKENS => Err(CUDA_ERROR_INVALID_VALUE),
        1..=20 => put(out.cast::<u64>(), 0),
        _ => Err(CUDA_ERROR_INVALID_VALUE),
    }
}

exports! {
    4000 "cuPointerGetAttribute"
    fn cuPointerGetAttribute(out: *mut c_void, attribute: u32, address: u64) {
        let driver = alive()?;
        wanted(out)?;
        match driver.space.find(address) {
            Some(mapping) => store(driver, &mapping, address, attribute, out),
            None => match (attribute, driver.space.reservation(address)) {
                // Reserved and unmapped: the reservation itself is known.
                (CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, Some((start, _))) => put(out.cast(), start),
                (CU_POINTER_ATTRIBUTE_RANGE_SIZE, Some((_, size))) => put(out.cast(), size),
                (CU_POINTER_ATTRIBUTE_MAPPED, Some(_)) => put(out.cast::<u8>(), 0),
                _ => Err(CUDA_ERROR_INVALID_VALUE),
            },
        }
    }
    7000 "cuPointerGetAttributes"
    fn cuPointerGetAttributes(count: u32, attributes: *const u32, out: *const *mut c_void, address: u64) {
        let driver = alive()?;
        let attributes = get_all(attributes, count as usize)?;
        let places = get_all(out, count as usize)?;
        let mapping = driver.space.find(address);
        for (attribute, place) in attributes.into_iter().zip(places) {
            let answer = match &mapping {
                Some(mapping) => store(driver, mapping, address, attribute, place),
                None => store_nothing(attribute, place),
            };
            // As documented: an attribute that does not apply is null and no
            // error, for known and unknown addresses alike.
            if answer.is_err() {
                store_nothing(attribute, place)?;
            }
        }
        Ok(())
    }
    6000 "cuPointerSetAttribute"
    fn cuPointerSetAttribute(value: *const u32, attribute: u32, address: u64) {
        let driver = alive()?;
        get(value)?;
        driver.space.find(address).ok_or(CUDA_ERROR_INVALID_VALUE)?;
        // Copies that must be synchronous already are as far as it shows.
        if attribute == CU_POINTER_ATTRIBUTE_SYNC_MEMOPS {
            Ok(())
        } else {
            Err(CUDA_ERROR_INVALID_VALUE)
        }
    }
}
