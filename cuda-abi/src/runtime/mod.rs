//! The runtime API: `libcudart.so.12` and `.13`.

pub mod error;

pub use error::*;
