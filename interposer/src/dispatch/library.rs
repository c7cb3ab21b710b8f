//! Libraries and their kernels, which belong to no context until they are used in one.

use std::sync::atomic::Ordering;

use cuda_abi::driver::{
    CUDA_ERROR_FILE_NOT_FOUND, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS,
};

use super::module::{self, Queries};
use super::{Call, generic, generic_forward};
use crate::driver::{self, out};
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::image::{self, Owned};
use crate::record::Op;
use crate::session::Session;
use crate::table::ids;
use crate::threads;

/// `CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE`
const HOST_TABLE: u32 = 0;

fn loaded(call: &Call, image: Option<Owned>, pointer: u64) -> u32 {
    let (count, names, values) = (call.arg(4) as u32, call.arg(2), call.arg(3));
    if module::binds_symbols(count, names) {
        return call.refuse("symbols bound to addresses of the application are not recorded");
    }
    let (library_options, library_count) = (call.arg(5), call.arg(7) as u32);
    if library_options != 0
        && (0..u64::from(library_count))
            .any(|i| guest::read::<u32>(library_options + 4 * i) == HOST_TABLE)
    {
        return call.refuse("tables of host functions are not recorded");
    }
    let options = module::options(count, names, values);
    let mut real = 0u64;
    let rest = [
        call.arg(2),
        call.arg(3),
        call.arg(4),
        call.arg(5),
        call.arg(6),
        call.arg(7),
    ];
    let slots = [
        out(&mut real),
        pointer,
        rest[0],
        rest[1],
        rest[2],
        rest[3],
        rest[4],
        rest[5],
    ];
    let status = driver::call(ids::cuLibraryLoadData, &slots);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    let (session, real) = (call.session, Real::from_driver(real));
    let Some(handle) = session.new_handle(Kind::Library, real) else {
        return CUDA_ERROR_OUT_OF_MEMORY.0;
    };
    let image = image::or_poison(image, call);
    let op = Op::Library {
        handle,
        options,
        wrapped: image.wrapped,
    };
    session
        .recorder()
        .create_from(handle, real, &[], &op, Some(&image.bytes));
    guest::write(call.arg(0), handle.bits());
    CUDA_SUCCESS.0
}

/// `cuLibraryLoadData`: library, code, JIT options, values, their number, library options, values,
/// their number.
pub(crate) fn load_data(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    loaded(call, image::copy(call.arg(1)), call.arg(1))
}

/// `cuLibraryLoadFromFile`: the same with a file name.
pub(crate) fn load_file(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let Some(bytes) = module::read_file(call.arg(1)) else {
        return CUDA_ERROR_FILE_NOT_FOUND.0;
    };
    let pointer = bytes.as_ptr() as u64;
    loaded(
        call,
        Some(Owned {
            bytes,
            wrapped: false,
        }),
        pointer,
    )
}

/// `cuLibraryUnload`
pub(crate) fn unload(call: &Call) -> u32 {
    generic(call)
}

/// From here on the library's variables live in the current context.
fn materialized(call: &Call, library: Option<Virtual>) {
    if let (Some(library), Some(context)) = (library, threads::current()) {
        call.session.recorder().materialize(library, context);
    }
}

/// A function was launched: if it is a kernel, its library is now in use in the current context.
/// The kernel's note is the context in which that was last seen.
pub(crate) fn used(call: &Call, function: u64) {
    let Some(kernel) =
        Virtual::from_application(function).filter(|h| h.kind() == Some(Kind::Kernel))
    else {
        return;
    };
    let (Some(context), Some(note)) = (threads::current(), call.session.handles.note(kernel))
    else {
        return;
    };
    if note.swap(context.bits(), Ordering::Relaxed) != context.bits() {
        let library = call.session.recorder().library_of(kernel);
        materialized(call, library);
    }
}

/// A context has ended with all that libraries had in it. A primary one may come back under its
/// handle, with nothing of them in it yet.
pub(crate) fn context_ended(session: &Session, context: Virtual) {
    for (kernel, _) in session.handles.all(Kind::Kernel) {
        if let Some(note) = session.handles.note(kernel) {
            let (seen, none) = (context.bits(), 0);
            // A failure: it was last seen in another context.
            let _ = note.compare_exchange(seen, none, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// `cuLibraryGetModule`: module, library.
pub(crate) fn module(call: &Call) -> u32 {
    let status = generic(call);
    if status == CUDA_SUCCESS.0 {
        materialized(call, Virtual::from_application(call.arg(1)));
    }
    status
}

/// `cuKernelGetFunction`: function, kernel.
pub(crate) fn function(call: &Call) -> u32 {
    let status = generic(call);
    if status == CUDA_SUCCESS.0 {
        let library = Virtual::from_application(call.arg(1))
            .and_then(|k| call.session.recorder().library_of(k));
        materialized(call, library);
    }
    status
}

/// `cuLibraryGetGlobal`: address, size, library, name.
pub(crate) fn global(call: &Call) -> u32 {
    let status = generic_forward(call);
    if status == CUDA_SUCCESS.0 {
        materialized(call, Virtual::from_application(call.arg(2)));
        module::ask(call.session, call.arg(2), call.arg(3));
    }
    status
}

/// `cuLibraryEnumerateKernels`: kernels, room, library. Recorded as if asked for by name.
pub(crate) fn enumerate(call: &Call) -> u32 {
    let queries = Queries {
        kind: Kind::Kernel,
        owner: Kind::Library,
        name: ids::cuKernelGetName,
        by_name: ids::cuLibraryGetKernel,
    };
    module::enumerate_with(call, &queries)
}

/// `cuKernelGetName`: where the name goes, kernel.
pub(crate) fn kernel_name(call: &Call) -> u32 {
    module::name(call, Kind::Kernel)
}

/// Loads the image of a record again.
pub(crate) fn load_again(bytes: &[u8], wrapped: bool, options: &[(u32, u64)]) -> Result<Real, u32> {
    let wrapper = image::wrap(bytes);
    let image = if wrapped {
        wrapper.address()
    } else {
        bytes.as_ptr() as u64
    };
    let (names, values): (Vec<u32>, Vec<u64>) = options.iter().copied().unzip();
    let mut real = 0u64;
    let jit = [
        names.as_ptr() as u64,
        values.as_ptr() as u64,
        names.len() as u64,
    ];
    let status = driver::call(
        ids::cuLibraryLoadData,
        &[out(&mut real), image, jit[0], jit[1], jit[2], 0, 0, 0],
    );
    if status == CUDA_SUCCESS.0 {
        Ok(Real::from_driver(real))
    } else {
        Err(status)
    }
}
