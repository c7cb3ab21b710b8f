//! The dispatcher: every driver call of the application comes through [`dispatch`], in the lower
//! half, on the calling thread's host.
//!
//! A call is served by its row: generically (translate handles, call the driver, translate back,
//! record), by a function of one of the modules here, or refused by name. Nothing here may panic
//! through to the application or keep one of its pointers.
#![allow(unsafe_code, reason = "reads the argument slots that a stub passes")]
#![allow(
    clippy::not_unsafe_ptr_arg_deref,
    reason = "the gate calls through a plain C function pointer"
)]

pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod device;
pub(crate) mod event;
pub(crate) mod host;
pub(crate) mod launch;
pub(crate) mod library;
pub(crate) mod managed;
pub(crate) mod memory;
pub(crate) mod module;
pub(crate) mod occupancy;
pub(crate) mod pool;
pub(crate) mod stream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use cuda_abi::driver::{
    CUDA_ERROR_ASSERT, CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_ADDRESS,
    CUDA_ERROR_INVALID_CONTEXT, CUDA_ERROR_INVALID_HANDLE, CUDA_ERROR_LAUNCH_FAILED,
    CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_NOT_INITIALIZED, CUDA_ERROR_NOT_SUPPORTED,
    CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_UNKNOWN, CUDA_SUCCESS, CUresult,
};

use replay_log::ObjectId;
use smallvec::SmallVec;

use crate::abi;
use crate::driver;
use crate::environment;
use crate::guest;
use crate::handles::{Kind, Real, Virtual};
use crate::record::{Made, Op, object};
use crate::session::{self, Session};
use crate::table::{ArgKind, Class, Handler, Row, row};
use crate::threads;

/// Most arguments that a supported function has.
const MOST_ARGS: usize = 16;

/// One call of the application.
pub(crate) struct Call<'a> {
    /// Its row.
    pub(crate) row: &'static Row,
    /// The session.
    pub(crate) session: &'a Session,
    /// Its arguments as the application passed them.
    pub(crate) args: &'a [u64],
}

impl Call<'_> {
    /// The argument at `index`, 0 where the row has none.
    pub(crate) fn arg(&self, index: usize) -> u64 {
        self.args.get(index).copied().unwrap_or(0)
    }

    /// Refuses this call by name.
    pub(crate) fn refuse(&self, why: &str) -> u32 {
        self.session.say_refused(self.row, why);
        CUDA_ERROR_NOT_SUPPORTED.0
    }

    /// The driver's handle for an argument; null and the special streams pass through.
    pub(crate) fn real(&self, index: usize, kind: Kind) -> Result<u64, u32> {
        real_of(self.session, self.arg(index), kind)
    }

    /// Calls the driver's function of this row with other slots.
    pub(crate) fn driver(&self, slots: &[u64]) -> u32 {
        driver::call(self.row.id, slots)
    }
}

/// The driver's handle for what the application passed as a handle of `kind`.
pub(crate) fn real_of(session: &Session, bits: u64, kind: Kind) -> Result<u64, u32> {
    if bits == 0 || (kind == Kind::Stream && bits <= 2) {
        return Ok(bits);
    }
    let fits = |handle: &Virtual| match handle.kind() {
        // Since CUDA 12 a CUkernel may stand where a CUfunction is asked for.
        Some(Kind::Kernel) => matches!(kind, Kind::Kernel | Kind::Function),
        found => found == Some(kind),
    };
    let real = Virtual::from_application(bits)
        .filter(fits)
        .and_then(|handle| session.handles.real(handle));
    real.map(Real::bits).ok_or(if kind == Kind::Context {
        CUDA_ERROR_INVALID_CONTEXT.0
    } else {
        CUDA_ERROR_INVALID_HANDLE.0
    })
}

/// What the gate calls: `args` are the slots of the row's arguments.
pub extern "C" fn dispatch(call_id: u32, args: *mut u64) -> u64 {
    let served = catch_unwind(AssertUnwindSafe(|| {
        let Some(session) = session::get() else {
            return u64::from(CUDA_ERROR_NOT_INITIALIZED.0);
        };
        if call_id & abi::INTERNAL != 0 {
            // SAFETY: the stub library passes eight slots with internal calls, or one (never read further).
            return unsafe { internal(session, call_id, args) };
        }
        u64::from(serve(session, call_id, args))
    }));
    served.unwrap_or_else(|_| {
        if let Some(session) = session::get() {
            session.poison(format!("a driver call ({call_id}) failed inside gpuckpt"));
        }
        u64::from(CUDA_ERROR_UNKNOWN.0)
    })
}

fn serve(session: &Session, call_id: u32, args: *mut u64) -> u32 {
    let Some(row) = row(call_id) else {
        return CUDA_ERROR_NOT_SUPPORTED.0;
    };
    if session.forked.load(Ordering::Relaxed) {
        return CUDA_ERROR_NOT_INITIALIZED.0;
    }
    let args = if row.args.is_empty() {
        &[][..]
    } else {
        // SAFETY: the stub of this row spills exactly these arguments.
        unsafe { std::slice::from_raw_parts(args, row.args.len()) }
    };
    let call = Call { row, session, args };
    let status = match row.handler {
        Handler::Generic => generic(&call),
        Handler::Own(function) => function(&call),
        Handler::Refused(why) => call.refuse(why),
        Handler::Upper => CUDA_ERROR_NOT_SUPPORTED.0,
    };
    if breaks_context(status)
        && let Some(context) = threads::current()
    {
        session.arena().note_broken(context, status);
    }
    status
}

/// Errors of a kernel after which a context is good for nothing but its end.
fn breaks_context(status: u32) -> bool {
    let first = CUDA_ERROR_HARDWARE_STACK_ERROR.0;
    let last = CUDA_ERROR_LAUNCH_FAILED.0;
    (first..=last).contains(&status)
        || [
            CUDA_ERROR_ILLEGAL_ADDRESS.0,
            CUDA_ERROR_LAUNCH_TIMEOUT.0,
            CUDA_ERROR_ASSERT.0,
        ]
        .contains(&status)
}

/// Serves an internal call of the stub library.
///
/// # Safety
/// `slots` must have room for what [`crate::abi`] says of the call.
unsafe fn internal(session: &Session, call_id: u32, slots: *mut u64) -> u64 {
    // SAFETY: every internal call has at least one slot.
    let first = unsafe { slots.read() };
    match call_id {
        abi::DRIVER_HAS => u64::from(driver::has(first as u32)),
        abi::ENVIRONMENT => {
            // SAFETY: the stub library passes its `environ`, as the C library keeps it.
            unsafe { environment::take(session, first as *const *const std::ffi::c_char) };
            0
        }
        abi::CALLBACK_WAIT => match session.callbacks.wait() {
            Some(request) => {
                for (index, value) in request.into_iter().enumerate() {
                    // SAFETY: CALLBACK_WAIT has eight slots, a request fewer.
                    unsafe { slots.add(index).write(value) };
                }
                1
            }
            None => 0,
        },
        abi::CALLBACK_DONE => {
            session.callbacks.done(first);
            0
        }
        _ => u64::from(CUDA_ERROR_NOT_SUPPORTED.0),
    }
}

/// Serves a call by the types of its arguments.
pub(crate) fn generic(call: &Call) -> u32 {
    let (row, session) = (call.row, call.session);
    let mut slots = [0u64; MOST_ARGS];
    let mut result = 0u64;
    let mut wanted = None;
    let mut subject = None;
    let all = row.args.iter().zip(call.args).zip(&mut slots);
    for (index, ((arg, &value), slot)) in all.enumerate() {
        *slot = match arg.kind {
            ArgKind::Handle(kind) => match real_of(session, value, kind) {
                Ok(real) => {
                    subject = Virtual::from_application(value);
                    real
                }
                Err(status) => return status,
            },
            ArgKind::HandleOut(kind) if value != 0 => {
                wanted = Some((index, kind, value));
                driver::out(&mut result)
            }
            _ => value,
        };
    }
    let status = driver::call(row.id, &slots[..row.args.len()]);
    if status != CUDA_SUCCESS.0 {
        return status;
    }
    for (arg, &value) in row.args.iter().zip(call.args) {
        if matches!(arg.kind, ArgKind::Handle(Kind::Function)) {
            library::used(call, value);
        }
    }
    match (row.class, wanted) {
        (Class::Create | Class::Query, Some((index, kind, pointer))) => {
            return created(call, index, kind, Real::from_driver(result), pointer);
        }
        (Class::State, _) => state(call),
        (Class::Destroy, _) => ended(call, subject),
        _ => {}
    }
    status
}

/// Translates handles and calls the driver, nothing more.
pub(crate) fn generic_forward(call: &Call) -> u32 {
    let mut slots = [0u64; MOST_ARGS];
    for (index, arg) in call.row.args.iter().enumerate() {
        slots[index] = match arg.kind {
            ArgKind::Handle(kind) => match call.real(index, kind) {
                Ok(real) => real,
                Err(status) => return status,
            },
            _ => call.arg(index),
        };
    }
    call.driver(&slots[..call.row.args.len()])
}

/// Gives the application the virtual handle of what the driver made or found, and records it if it
/// is new.
pub(crate) fn created(call: &Call, index: usize, kind: Kind, real: Real, pointer: u64) -> u32 {
    let (row, session) = (call.row, call.session);
    if real.bits() == 0 {
        guest::write(pointer, 0u64);
        return CUDA_SUCCESS.0;
    }
    let mut recorder = session.recorder();
    let handle = match recorder.find(kind, real) {
        Some(handle) => handle,
        None => {
            let Some(handle) = session.handles.insert(&mut recorder.numbers, kind, real) else {
                return CUDA_ERROR_OUT_OF_MEMORY.0;
            };
            if row.class != Class::Create {
                session.poison(format!(
                    "{} returned an object that no recorded call made",
                    row.base
                ));
            }
            let parents = parents_of(call);
            let mut slots = [0; MOST_ARGS];
            let data = owned(call, &mut slots);
            let made = Made {
                id: row.id,
                context: call.row.on_context.then(threads::current).flatten(),
                slots: &slots[..call.args.len()],
                data: &data,
                out: Some((index as u8, handle)),
            };
            recorder.create_made(handle, real, &parents, &made);
            handle
        }
    };
    drop(recorder);
    guest::write(pointer, handle.bits());
    CUDA_SUCCESS.0
}

/// What a new object of this call depends on.
fn parents_of(call: &Call) -> SmallVec<[ObjectId; 2]> {
    let mut parents = SmallVec::new();
    for (arg, &bits) in call.row.args.iter().zip(call.args) {
        if let ArgKind::Handle(_) = arg.kind
            && let Some(parent) = Virtual::from_application(bits)
        {
            parents.push(object(parent));
        }
    }
    if call.row.on_context
        && let Some(context) = threads::current()
    {
        parents.push(object(context));
    }
    parents
}

/// What a record keeps of a call's arguments: values and virtual handles go into `slots`, which
/// are zero before; the bytes that the driver reads are returned. A pointer of the application
/// must not reach a record.
fn owned(call: &Call, slots: &mut [u64]) -> Vec<(u8, Vec<u8>)> {
    let mut data = Vec::new();
    let all = call.row.args.iter().zip(call.args).zip(slots);
    for (index, ((arg, &value), slot)) in (0..).zip(all) {
        match arg.kind {
            ArgKind::Value | ArgKind::Handle(_) => *slot = value,
            ArgKind::CString if value != 0 => data.push((index, guest::c_string(value))),
            ArgKind::Bytes(len) if value != 0 => data.push((index, guest::bytes(value, len))),
            _ => {}
        }
    }
    data
}

/// The call as a record.
pub(crate) fn op_of(call: &Call, out: Option<(usize, Virtual)>) -> Op {
    let mut slots = SmallVec::from_elem(0, call.args.len());
    let data = owned(call, &mut slots);
    Op::Call {
        id: call.row.id,
        context: call.row.on_context.then(threads::current).flatten(),
        slots,
        data,
        out: out.map(|(index, handle)| (index as u8, handle)),
    }
}

/// Records the last value of an object's state.
pub(crate) fn state(call: &Call) {
    let handles = call
        .row
        .args
        .iter()
        .zip(call.args)
        .filter(|(arg, _)| matches!(arg.kind, ArgKind::Handle(_)));
    let named = handles
        .filter_map(|(_, &bits)| Virtual::from_application(bits))
        .next();
    let Some(object) = named.or_else(threads::current) else {
        return;
    };
    // A special stream's state belongs to the context: its number goes into the key.
    let special = if named.is_none() {
        call.row
            .args
            .iter()
            .position(|a| matches!(a.kind, ArgKind::Handle(_)))
    } else {
        None
    };
    let keys = call
        .row
        .args
        .iter()
        .zip(call.args)
        .filter(|(arg, _)| arg.key)
        .map(|(_, &value)| value);
    let key = state_key(
        call.row.base,
        keys.chain(special.map(|index| call.arg(index))),
    );
    let mut op = op_of(call, None);
    if let (Op::Call { context, .. }, None) = (&mut op, named) {
        *context = threads::current();
    }
    call.session.recorder().state(object, key, op);
}

/// FNV-1a over the function's base name and the values of its key arguments.
pub(crate) fn state_key(base: &str, values: impl Iterator<Item = u64>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = base.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    values.fold(hash, |hash, value| {
        value.to_le_bytes().into_iter().fold(hash, step)
    })
}

/// An object has ended in the driver: its records, and its dependents, go with it.
pub(crate) fn ended(call: &Call, object: Option<Virtual>) {
    let Some(object) = object else { return };
    let session = call.session;
    let op = matches!(object.kind(), Some(Kind::Module | Kind::Library)).then(|| op_of(call, None));
    let mut recorder = session.recorder();
    let dead = recorder.destroy(object, op.as_ref());
    // The object is among them, last, unless its end could not be recorded.
    if dead.last() != Some(&object) {
        session.handles.remove(&mut recorder.numbers, object);
    }
    for handle in dead {
        session.handles.remove(&mut recorder.numbers, handle);
    }
}

/// A status as text, for messages.
pub(crate) fn text(status: u32) -> String {
    CUresult(status).to_string()
}
