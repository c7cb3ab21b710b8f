//! Links of one input: what goes in comes out.

use std::ffi::c_char;
use std::sync::Mutex;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::{get_all, name, put, wanted};
use crate::call::{Answer, exports};
use crate::code::{Jit, Link};
use crate::driver::alive;
use crate::handles::Handle;
use crate::sync::lock;
use crate::thread;

fn create(count: u32, options: *const u32, values: *mut u64, out: *mut Handle) -> Answer {
    wanted(out)?;
    let driver = alive()?;
    thread::current()?;
    let jit = Jit::read(count, options, values)?;
    let link = driver.handles.insert(|handle| Link {
        handle,
        jit,
        inputs: Mutex::default(),
    })?;
    put(out, link.handle)
}

fn add(link: Handle, kind: u32, image: Vec<u8>) -> Answer {
    let driver = alive()?;
    let link = driver.handles.get::<Link>(link)?;
    if !matches!(kind, CU_JIT_INPUT_PTX | CU_JIT_INPUT_FATBINARY) {
        crate::report(format_args!(
            "cuLinkAddData: only PTX and fat binaries can be linked"
        ));
        return Err(CUDA_ERROR_NOT_SUPPORTED);
    }
    // Errors show here, as with a real compiler.
    link.jit.parse(driver, &image)?;
    let mut inputs = lock(&link.inputs);
    if !inputs.is_empty() {
        crate::report(format_args!(
            "cuLinkAddData: linking several inputs is not supported"
        ));
        return Err(CUDA_ERROR_NOT_SUPPORTED);
    }
    inputs.push(image.into_boxed_slice());
    Ok(())
}

fn add_file(link: Handle, kind: u32, path: *const c_char) -> Answer {
    let image = std::fs::read(name(path)?).map_err(|_| CUDA_ERROR_FILE_NOT_FOUND)?;
    add(link, kind, image)
}

exports! {
    5050 "cuLinkCreate"
    fn cuLinkCreate(count: u32, options: *const u32, values: *mut u64, out: *mut Handle) {
        create(count, options, values, out)
    }
    6050 "cuLinkCreate"
    fn cuLinkCreate_v2(count: u32, options: *const u32, values: *mut u64, out: *mut Handle) {
        create(count, options, values, out)
    }
    5050 "cuLinkAddData"
    fn cuLinkAddData(
        link: Handle, kind: u32, data: *const u8, size: usize, _name: *const c_char,
        _count: u32, _options: *const u32, _values: *const u64,
    ) {
        add(link, kind, get_all(data, size)?)
    }
    6050 "cuLinkAddData"
    fn cuLinkAddData_v2(
        link: Handle, kind: u32, data: *const u8, size: usize, _name: *const c_char,
        _count: u32, _options: *const u32, _values: *const u64,
    ) {
        add(link, kind, get_all(data, size)?)
    }
    5050 "cuLinkAddFile"
    fn cuLinkAddFile(
        link: Handle, kind: u32, path: *const c_char,
        _count: u32, _options: *const u32, _values: *const u64,
    ) {
        add_file(link, kind, path)
    }
    6050 "cuLinkAddFile"
    fn cuLinkAddFile_v2(
        link: Handle, kind: u32, path: *const c_char,
        _count: u32, _options: *const u32, _values: *const u64,
    ) {
        add_file(link, kind, path)
    }
    5050 "cuLinkComplete" fn cuLinkComplete(link: Handle, out: *mut *const u8, size: *mut usize) {
        let link = alive()?.handles.get::<Link>(link)?;
        let mut inputs = lock(&link.inputs);
        let first = inputs.first_mut().ok_or(CUDA_ERROR_INVALID_VALUE)?;
        // Text has to end with NUL to be loaded again.
        if first.last() != Some(&0) {
            let mut closed = std::mem::take(first).into_vec();
            closed.push(0);
            *first = closed.into_boxed_slice();
        }
        // Lives as long as the link, as documented.
        put(out, first.as_ptr())?;
        put(size, first.len())
    }
    5050 "cuLinkDestroy" fn cuLinkDestroy(link: Handle) {
        alive()?.handles.remove::<Link>(link).map(drop)
    }
}
