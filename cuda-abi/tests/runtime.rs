//! The runtime's layouts against sizes and offsets that a C compiler gave for the headers of CUDA
//! 12.9 and 13.5, and its codes against the driver's.
#![allow(
    missing_docs,
    non_upper_case_globals,
    reason = "a test; the API's names"
)]

use std::mem::offset_of;

use cuda_abi::driver::{self, CUresult};
use cuda_abi::runtime::*;

macro_rules! places {
    ($ty:ty: $size:literal; $($field:ident $offset:literal),*) => {
        assert_eq!(size_of::<$ty>(), $size);
        $(assert_eq!(offset_of!($ty, $field), $offset, stringify!($field));)*
    };
}

#[test]
fn device_properties_of_12() {
    places!(CudaDeviceProp12: 1032; totalGlobalMem 288, major 360, maxTexture3DAlt 468,
        surfaceAlignment 568, pciBusID 584, sharedMemPerMultiprocessor 640,
        sharedMemPerBlockOptin 696, reservedSharedMemPerBlock 720, hostRegisterSupported 728,
        clusterLaunch 772, unifiedFunctionPointers 776, reserved 780);
    assert_eq!(DEVICE_PROP_11_SIZE, 728);
}

#[test]
fn device_properties_of_13() {
    places!(CudaDeviceProp13: 1008; totalGlobalMem 288, major 360, maxTexture3DAlt 452,
        surfaceAlignment 552, pciBusID 568, sharedMemPerMultiprocessor 624,
        sharedMemPerBlockOptin 672, reservedSharedMemPerBlock 696, hostRegisterSupported 704,
        clusterLaunch 748, unifiedFunctionPointers 752, reserved 784);
}

#[test]
fn other_structures() {
    assert_eq!(size_of::<CudaPointerAttributes12>(), 24);
    assert_eq!(size_of::<CudaPointerAttributes13>(), 88);
    assert_eq!(size_of::<CudaFuncAttributes>(), 144);
    assert_eq!(size_of::<CudaLaunchConfig>(), 56);
    assert_eq!(size_of::<CudaMemcpy3DParms>(), 160);
    assert_eq!(size_of::<driver::CUlaunchAttribute>(), 72);
}

#[test]
fn codes_have_names_and_texts() {
    assert_eq!(
        cudaErrorMemoryAllocation.name(),
        "cudaErrorMemoryAllocation"
    );
    assert_eq!(cudaErrorMemoryAllocation.text(), "out of memory");
    assert_eq!(
        driver::CUDA_ERROR_ILLEGAL_ADDRESS.name(),
        "CUDA_ERROR_ILLEGAL_ADDRESS"
    );
    assert_eq!(
        driver::CUDA_ERROR_ILLEGAL_ADDRESS.to_string(),
        "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access was encountered"
    );
    assert_eq!(CudaError(54321).name(), "unrecognized error code");
    assert_eq!(CudaError(54321).name_c(), None);
    assert_eq!(format!("{:?}", CUresult(0)), "CUDA_SUCCESS(0)");
}

/// The runtime takes a driver's code over by number, so both must mean the same.
#[test]
fn the_driver_speaks_the_runtimes_numbers() {
    // These three have no counterpart.
    let driver_only = [47, 202, 916];
    for &(code, name, text) in driver::TABLE
        .iter()
        .filter(|entry| !driver_only.contains(&entry.0))
    {
        let error = CudaError::from(CUresult(code));
        assert_eq!(error, CudaError(code), "{name:?}");
        assert_eq!(error.text_c(), Some(text), "{name:?}");
    }
    assert_eq!(CudaError::from(CUresult(12345)), cudaErrorUnknown);
    for table in [driver::TABLE, cuda_abi::runtime::TABLE] {
        assert!(table.is_sorted_by_key(|entry| entry.0));
    }
}
