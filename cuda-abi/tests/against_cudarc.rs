//! Every constant and layout of the driver tables against `cudarc`'s bindings, which were made
//! from the header by bindgen and know nothing of ours.
#![allow(
    unsafe_code,
    non_snake_case,
    non_camel_case_types,
    non_upper_case_globals,
    reason = "bindings are read as bare integers, and tests are named after the API's types"
)]

/// The integer behind a binding, whether it is an enum or a newtype.
fn number<T: Copy>(value: T) -> u32 {
    assert_eq!(size_of::<T>(), 4);
    // SAFETY: the size is checked; both enums and newtypes of the bindings are initialised words.
    unsafe { std::mem::transmute_copy::<T, u32>(&value) }
}

macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident: $int:ty as $tag:ident { $($constant:ident = $value:expr,)* }) => {
        #[test]
        fn $name() {
            assert_eq!(size_of::<cuda_abi::driver::$name>(), size_of::<cudarc::driver::sys::$tag>());
            $(assert_eq!(
                cuda_abi::driver::$constant as u32,
                crate::number(cudarc::driver::sys::$tag::$constant),
                stringify!($constant)
            );)*
        }
    };
}

macro_rules! definitions {
    ($($constant:ident: $int:ty = $value:expr,)*) => {
        #[test]
        fn definitions() {
            $(assert_eq!(
                cuda_abi::driver::$constant as u64,
                cudarc::driver::sys::$constant as u64,
                stringify!($constant)
            );)*
        }
    };
}

macro_rules! codes {
    ($name:ident { $($constant:ident = $value:expr, $text:expr;)* }) => {
        #[test]
        fn every_code() {
            $(assert_eq!(
                cuda_abi::driver::$constant.0,
                crate::number(cudarc::driver::sys::cudaError_enum::$constant),
                stringify!($constant)
            );)*
        }
    };
}

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident as $tag:ident { $($field:ident $(in $union:ident)?: $ty:ty,)* }) => {
        #[test]
        fn $name() {
            type Ours = cuda_abi::driver::$name;
            type Theirs = cudarc::driver::sys::$tag;
            assert_eq!(size_of::<Ours>(), size_of::<Theirs>(), "size");
            assert_eq!(align_of::<Ours>(), align_of::<Theirs>(), "alignment");
            $(offset!(Ours, Theirs, $field $(in $union)?);)*
        }
    };
}

macro_rules! offset {
    ($ours:ty, $theirs:ty, $field:ident) => {
        offset!($ours, $theirs, $field in $field)
    };
    ($ours:ty, $theirs:ty, $field:ident in $place:ident) => {
        assert_eq!(
            std::mem::offset_of!($ours, $field),
            std::mem::offset_of!($theirs, $place),
            stringify!($field)
        )
    };
}

#[path = "../src/driver/array.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod array;
#[path = "../src/driver/device.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod device;
#[path = "../src/driver/flags.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod flags;
#[path = "../src/driver/graph.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod graph;
#[path = "../src/driver/memory.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod memory;
#[path = "../src/driver/module.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod module;
#[path = "../src/driver/result.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod result;
#[path = "../src/driver/stream.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod stream;
#[path = "../src/driver/structs.rs"]
#[allow(
    unused_imports,
    dead_code,
    unreachable_pub,
    reason = "included for its tables alone"
)]
mod structs;
