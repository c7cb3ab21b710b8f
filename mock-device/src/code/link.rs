//! Links (`cuLinkCreate` and on): one input passes through; the mock has no
//! linker for several.

use std::sync::Mutex;

use crate::code::Jit;
use crate::handles::Handle;

/// A link under way.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) handle: Handle,
    pub(crate) jit: Jit,
    /// The inputs so far.
    pub(crate) inputs: Mutex<Vec<Box<[u8]>>>,
}
