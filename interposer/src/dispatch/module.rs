//! Modules: their images are kept, so that a restart can load them again, for another device too.

use cuda_abi::driver::{
    CUDA_ERROR_FILE_NOT_FOUND, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_SUCCESS,
};

use super::{Call, generic_forward};
use crate::driver::{self, out};
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::image::{self, Owned};
use crate::record::Op;
use crate::session::Session;
use crate::table::ids;
use crate::threads;

/// `CU_JIT_…` options that a restart gives again. The others return something (wall time, log
/// buffers and their sizes: 2 to 6) or are pointers.
fn is_plain(option: u32) -> bool {
    !(2..=6).contains(&option) && !(17..=19).contains(&option) && !(25..=28).contains(&option)
}

/// Options of a JIT compilation as a record keeps them.
pub(crate) fn options(count: u32, names: u64, values: u64) -> Vec<(u32, u64)> {
    if names == 0 || values == 0 {
        return Vec::new();
    }
    let all = (0..u64::from(count)).map(|i| {
        (
            guest::read::<u32>(names + 4 * i),
            guest::read::<u64>(values + 8 * i),
        )
    });
    all.filter(|&(option, _)| is_plain(option)).collect()
}

/// `CU_JIT_GLOBAL_SYMBOL_…`: addresses that the application gives to a module's symbols.
pub(crate) fn binds_symbols(count: u32, names: u64) -> bool {
    names != 0
        && (0..u64::from(count)).any(|i| (17..=19).contains(&guest::read::<u32>(names + 4 * i)))
}

fn loaded(call: &Call, real: u64, image: Option<Owned>, options: Vec<(u32, u64)>) -> u32 {
    let (session, real) = (call.session, Real::from_driver(real));
    let Some(handle) = session.new_handle(Kind::Module, real) else {
        return CUDA_ERROR_OUT_OF_MEMORY.0;
    };
    let image = image::or_poison(image, call);
    let context = threads::current();
    let parents: Vec<Virtual> = context.into_iter().collect();
    let op = Op::Module {
        handle,
        context,
        options,
        wrapped: image.wrapped,
    };
    session
        .recorder()
        .create_from(handle, real, &parents, &op, Some(&image.bytes));
    guest::write(call.arg(0), handle.bits());
    CUDA_SUCCESS.0
}

/// `cuModuleLoad`: module, file name. The driver loads what we read, so that the record holds what
/// the driver saw.
pub(crate) fn load(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let Some(bytes) = read_file(call.arg(1)) else {
        return CUDA_ERROR_FILE_NOT_FOUND.0;
    };
    let mut real = 0u64;
    let status = driver::call(
        ids::cuModuleLoadData,
        &[out(&mut real), bytes.as_ptr() as u64],
    );
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    loaded(
        call,
        real,
        Some(Owned {
            bytes,
            wrapped: false,
        }),
        Vec::new(),
    )
}

/// The file with this name, with a NUL at its end as PTX text needs one.
pub(crate) fn read_file(name: u64) -> Option<Vec<u8>> {
    let name = guest::c_string(name);
    let name = std::ffi::OsStr::from_bytes(name.strip_suffix(&[0]).unwrap_or(&name));
    let mut bytes = std::fs::read(name).ok()?;
    bytes.push(0);
    Some(bytes)
}

use std::os::unix::ffi::OsStrExt;

/// `cuModuleLoadData` and `cuModuleLoadFatBinary`: module, image.
pub(crate) fn load_data(call: &Call) -> u32 {
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let mut real = 0u64;
    let status = call.driver(&[out(&mut real), call.arg(1)]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    loaded(call, real, image::copy(call.arg(1)), Vec::new())
}

/// `cuModuleLoadDataEx`: module, image, number of options, options, values.
pub(crate) fn load_data_ex(call: &Call) -> u32 {
    let count = call.arg(2) as u32;
    if call.arg(0) == 0 || call.arg(1) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    if binds_symbols(count, call.arg(3)) {
        return call.refuse("symbols bound to addresses of the application are not recorded");
    }
    let mut real = 0u64;
    let options = options(count, call.arg(3), call.arg(4));
    let status = call.driver(&[
        out(&mut real),
        call.arg(1),
        call.arg(2),
        call.arg(3),
        call.arg(4),
    ]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    loaded(call, real, image::copy(call.arg(1)), options)
}

/// `cuModuleUnload`
pub(crate) fn unload(call: &Call) -> u32 {
    super::generic(call)
}

/// `cuModuleGetGlobal`: address, size, module, name. Kernels may hold the address, so a restart
/// verifies it.
pub(crate) fn global(call: &Call) -> u32 {
    let status = generic_forward(call);
    if status == CUDA_SUCCESS.0 {
        ask(call.session, call.arg(2), call.arg(3));
    }
    status
}

/// Keeps the name of a variable that the application has the address of.
pub(crate) fn ask(session: &Session, owner: u64, name: u64) {
    if let Some(owner) = Virtual::from_application(owner) {
        let name = guest::c_string(name);
        let name = String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(&name)).into_owned();
        session.recorder().ask(owner, name);
    }
}

/// `cuModuleEnumerateFunctions`: functions, room, module. Recorded as if asked for by name.
pub(crate) fn enumerate(call: &Call) -> u32 {
    let queries = Queries {
        kind: Kind::Function,
        owner: Kind::Module,
        name: ids::cuFuncGetName,
        by_name: ids::cuModuleGetFunction,
    };
    enumerate_with(call, &queries)
}

/// What tells [`enumerate_with`] functions of modules from kernels of libraries.
pub(crate) struct Queries {
    pub(crate) kind: Kind,
    pub(crate) owner: Kind,
    pub(crate) name: u32,
    pub(crate) by_name: u32,
}

/// Lists the functions of a module or the kernels of a library.
pub(crate) fn enumerate_with(call: &Call, queries: &Queries) -> u32 {
    let room = call.arg(1) as u32 as usize;
    let owner = match call.real(2, queries.owner) {
        Ok(owner) => owner,
        Err(status) => return status,
    };
    if call.arg(0) == 0 || room == 0 {
        return call.driver(&[call.arg(0), call.arg(1), owner]);
    }
    let mut found = vec![0u64; room];
    let status = call.driver(&[found.as_mut_ptr() as u64, room as u64, owner]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    for (index, &bits) in found.iter().enumerate().filter(|(_, bits)| **bits != 0) {
        let Some(handle) = adopt(call, queries, Real::from_driver(bits)) else {
            return CUDA_ERROR_OUT_OF_MEMORY.0;
        };
        guest::write(call.arg(0) + 8 * index as u64, handle.bits());
    }
    CUDA_SUCCESS.0
}

fn adopt(call: &Call, queries: &Queries, real: Real) -> Option<Virtual> {
    let session = call.session;
    if let Some(handle) = session.recorder().find(queries.kind, real) {
        return Some(handle);
    }
    let mut name = 0u64;
    let status = driver::call(queries.name, &[out(&mut name), real.bits()]);
    let owner = Virtual::from_application(call.arg(2))?;
    let handle = session.new_handle(queries.kind, real)?;
    if status != CUDA_SUCCESS.0 || name == 0 {
        session.poison(format!(
            "{}: the driver does not tell the names",
            call.row.base
        ));
        session.recorder().learn(handle, real);
        return Some(handle);
    }
    let op = Op::Call {
        id: queries.by_name,
        context: None,
        slots: smallvec::smallvec![0, owner.bits(), 0],
        data: vec![(2, guest::c_string(name))],
        out: Some((0, handle)),
    };
    session.recorder().create(handle, real, &[owner], &op);
    Some(handle)
}

/// `cuFuncGetName`: where the name goes, function.
pub(crate) fn function_name(call: &Call) -> u32 {
    name(call, Kind::Function)
}

/// Answers with a name that stays where it is: in the application's memory, not in the driver's.
pub(crate) fn name(call: &Call, kind: Kind) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let real = match call.real(1, kind) {
        Ok(real) => real,
        Err(status) => return status,
    };
    let mut theirs = 0u64;
    let status = call.driver(&[out(&mut theirs), real]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    match call
        .session
        .names()
        .intern(call.session, &guest::c_string(theirs))
    {
        Some(address) => {
            guest::write(call.arg(0), address);
            CUDA_SUCCESS.0
        }
        None => CUDA_ERROR_OUT_OF_MEMORY.0,
    }
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
    let status = if wrapped && options.is_empty() {
        driver::call(ids::cuModuleLoadFatBinary, &[out(&mut real), image])
    } else {
        let (names_at, values_at) = (names.as_ptr() as u64, values.as_ptr() as u64);
        driver::call(
            ids::cuModuleLoadDataEx,
            &[
                out(&mut real),
                image,
                names.len() as u64,
                names_at,
                values_at,
            ],
        )
    };
    if status == CUDA_SUCCESS.0 {
        Ok(Real::from_driver(real))
    } else {
        Err(status)
    }
}
