//! The API table as the dispatcher sees it: static rows generated from `table/driver.table`.

use crate::handles::Kind;

/// What a call means for a checkpoint; see the head of `driver.table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks; nothing is recorded.
    Query,
    /// Device work, drained before a checkpoint.
    Work,
    /// Makes an object.
    Create,
    /// Ends an object.
    Destroy,
    /// Changes the state of an object.
    State,
    /// Answered without the driver.
    Local,
    /// Not supported, by name.
    Refused,
}

/// Who serves a call.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// The argument types say it all.
    Generic,
    /// The stub library itself; the call does not come here.
    Upper,
    /// Nobody, for this reason.
    Refused(&'static str),
    /// A function of [`crate::dispatch`].
    Own(fn(&crate::dispatch::Call) -> u32),
}

/// How an argument is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// As it is.
    Value,
    /// As it is: a pointer to memory of the application.
    Pointer,
    /// A C string that the driver reads.
    CString,
    /// So many bytes that the driver reads.
    Bytes(usize),
    /// A handle: virtual in, real out.
    Handle(Kind),
    /// Where the driver puts a handle: real in, virtual out.
    HandleOut(Kind),
}

/// One argument.
#[derive(Debug)]
pub struct Arg {
    /// Its documented name.
    pub name: &'static str,
    /// How it is passed on.
    pub kind: ArgKind,
    /// Part of the key of the state that the call sets.
    pub key: bool,
}

/// One symbol of the driver API.
pub struct Row {
    /// Call id.
    pub id: u32,
    /// Exported symbol.
    pub symbol: &'static str,
    /// Name without version and stream suffix.
    pub base: &'static str,
    /// CUDA version of this variant.
    pub version: u32,
    /// Stream 0 is the calling thread's default stream.
    pub per_thread: bool,
    /// What it means for a checkpoint.
    pub class: Class,
    /// It acts on the calling thread's current context.
    pub on_context: bool,
    /// Who serves it.
    pub(crate) handler: Handler,
    /// Its arguments.
    pub args: &'static [Arg],
}

include!(concat!(env!("OUT_DIR"), "/rows.rs"));

/// The row of a call id.
pub fn row(id: u32) -> Option<&'static Row> {
    ROWS.get(id as usize)
}
