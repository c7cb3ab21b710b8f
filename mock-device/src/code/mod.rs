//! Device code: images, modules, libraries, functions, kernels and links.
//!
//! An image becomes a parsed program once ([`image`]); a [`Module`] is a
//! program placed in a context, with addresses for its variables; a
//! [`Library`] is a program that is placed in a context when first used there.

mod function;
mod image;
mod jit;
mod library;
mod link;
mod module;

pub(crate) use function::{Attributes, Function};
pub(crate) use image::{Program, read_image};
pub(crate) use jit::Jit;
pub(crate) use library::{Kernel, Library};
pub(crate) use link::Link;
pub(crate) use module::Module;
