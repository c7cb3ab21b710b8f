//! Device memory: addresses, what backs them, and who may use them.
//!
//! Device addresses are looked up in a table; the host memory behind them lies
//! elsewhere, and nothing is mapped at the device address itself. Pinned host
//! memory stands in the same table at its own address. All devices share one
//! address space, as with unified addressing.
//!
//! This module runs nothing: whoever unmaps something sees to it that no work
//! uses it any more. Backing memory itself lives as long as anybody holds it,
//! a running kernel ([`View`]) included.

mod addresses;
mod backing;
mod extent;
mod mapping;
mod physical;
mod space;
mod view;

pub(crate) use addresses::{GRANULARITY, host_is_mapped};
pub(crate) use backing::{Backing, Charge};
pub(crate) use extent::Extent;
pub(crate) use mapping::{Kind, Mapping};
pub(crate) use physical::Physical;
pub(crate) use space::Space;
pub(crate) use view::View;
