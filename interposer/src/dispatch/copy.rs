//! Two- and three-dimensional copies: descriptors that may name arrays, which are refused.

use cuda_abi::driver::{CUDA_ERROR_INVALID_VALUE, CUDA_MEMCPY2D, CUDA_MEMCPY3D};

use super::{Call, generic};
use crate::guest;

/// `CU_MEMORYTYPE_ARRAY`
const ARRAY: u32 = 3;

/// `cuMemcpy2D` and its variants
pub(crate) fn two_d(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let copy: CUDA_MEMCPY2D = guest::read(call.arg(0));
    if copy.srcMemoryType == ARRAY || copy.dstMemoryType == ARRAY {
        return call.refuse("arrays are not recorded yet");
    }
    generic(call)
}

/// `cuMemcpy3D` and its variants
pub(crate) fn three_d(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let copy: CUDA_MEMCPY3D = guest::read(call.arg(0));
    if copy.srcMemoryType == ARRAY || copy.dstMemoryType == ARRAY {
        return call.refuse("arrays are not recorded yet");
    }
    generic(call)
}
