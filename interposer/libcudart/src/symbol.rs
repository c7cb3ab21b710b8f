//! Variables of modules, named by the address of their host-side stand-in.
#![allow(unsafe_code, reason = "exports symbols by name")]

use core::ffi::c_void;

use cuda_abi::driver::CUdeviceptr;
use cuda_abi::runtime::{cudaErrorInvalidSymbol, cudaErrorInvalidValue, cudaErrorSymbolNotFound};

use crate::context::bind;
use crate::export::{Answer, Out};
use crate::register::variable;

/// Address and size, in the current context, of a variable. Asked for every time: after a device
/// reset it is another one.
fn find(name: *const c_void) -> Answer<(CUdeviceptr, usize)> {
    let driver = bind()?;
    let (library, name) = variable(driver, name)?;
    let (mut address, mut bytes) = (0, 0);
    match driver.library_get_global(&mut address, &mut bytes, library, name.as_ptr()) {
        Err(cudaErrorSymbolNotFound) => Err(cudaErrorInvalidSymbol),
        answer => answer.map(|()| (address, bytes)),
    }
}

/// The address of a part of a variable, which must lie inside it.
pub(crate) fn range(name: *const c_void, offset: usize, bytes: usize) -> Answer<CUdeviceptr> {
    let (address, size) = find(name)?;
    if offset.checked_add(bytes).is_none_or(|end| end > size) {
        return Err(cudaErrorInvalidValue);
    }
    Ok(address + offset as u64)
}

export! {
    fn cudaGetSymbolAddress(to: Out<CUdeviceptr>, name: *const c_void) {
        to.check()?;
        to.set(find(name)?.0)
    }

    fn cudaGetSymbolSize(to: Out<usize>, name: *const c_void) {
        to.check()?;
        to.set(find(name)?.1)
    }
}
