//! What kind of memory an address lies in.
#![allow(
    unsafe_code,
    reason = "exports symbols by name and fills the application's structure"
)]

use core::ffi::c_void;

use cuda_abi::driver::*;
use cuda_abi::runtime::*;

use crate::context::bind;
use crate::export::Answer;
use crate::version::is_12;

/// The driver answers zeros, and no error, for memory it does not know.
fn attributes(address: *mut c_void) -> Answer<CudaPointerAttributes12> {
    let driver = bind()?;
    let (mut kind, mut managed, mut device) = (0_u32, 0_u32, cudaInvalidDeviceId);
    let (mut on_device, mut on_host) = (0_u64, core::ptr::null_mut::<c_void>());
    let mut names = [
        CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        CU_POINTER_ATTRIBUTE_IS_MANAGED,
        CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
        CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
        CU_POINTER_ATTRIBUTE_HOST_POINTER,
    ];
    let mut places: [*mut c_void; 5] = [
        (&raw mut kind).cast(),
        (&raw mut managed).cast(),
        (&raw mut device).cast(),
        (&raw mut on_device).cast(),
        (&raw mut on_host).cast(),
    ];
    let asked = address.expose_provenance() as u64;
    driver.pointer_get_attributes(5, names.as_mut_ptr(), places.as_mut_ptr(), asked)?;
    let type_ = match kind {
        _ if managed != 0 => cudaMemoryTypeManaged,
        CU_MEMORYTYPE_HOST => cudaMemoryTypeHost,
        CU_MEMORYTYPE_DEVICE => cudaMemoryTypeDevice,
        _ => cudaMemoryTypeUnregistered,
    };
    let devicePointer = core::ptr::with_exposed_provenance_mut(on_device as usize);
    Ok(match type_ {
        cudaMemoryTypeUnregistered => CudaPointerAttributes12 {
            type_,
            device: cudaInvalidDeviceId,
            devicePointer: core::ptr::null_mut(),
            hostPointer: address,
        },
        cudaMemoryTypeDevice => CudaPointerAttributes12 {
            type_,
            device,
            devicePointer,
            hostPointer: core::ptr::null_mut(),
        },
        _ => CudaPointerAttributes12 {
            type_,
            device,
            devicePointer,
            hostPointer: on_host,
        },
    })
}

export! {
    fn cudaPointerGetAttributes(to: *mut c_void, address: *mut c_void) {
        if to.is_null() {
            return Err(cudaErrorInvalidValue);
        }
        let common = attributes(address)?;
        if is_12() {
            // SAFETY: the application's structure, of CUDA 12's layout by its soname.
            unsafe { to.cast::<CudaPointerAttributes12>().write_unaligned(common) };
        } else {
            let all = CudaPointerAttributes13 { common, reserved: [0; 8] };
            // SAFETY: the application's structure, of CUDA 13's layout by its soname.
            unsafe { to.cast::<CudaPointerAttributes13>().write_unaligned(all) };
        }
        Ok(())
    }
}
