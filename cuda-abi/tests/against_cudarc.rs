//! Every constant and layout of the driver tables against `cudarc`'s bindings, which were made
//! from the header by bindgen and know nothing of ours.
#![allow(
    unsafe_code,
    non_snake_case,
    non_camel_case_types,
    reason = "bindings are read as bare integers, and tests are named after the API's types"
)]

use cudarc::driver::sys;

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
            assert_eq!(size_of::<cuda_abi::driver::$name>(), size_of::<sys::$tag>());
            $(assert_eq!(
                cuda_abi::driver::$constant as u32,
                number(sys::$tag::$constant),
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
                sys::$constant as u64,
                stringify!($constant)
            );)*
        }
    };
}

macro_rules! codes {
    ($name:ident { $($constant:ident = $value:expr, $text:expr;)* }) => {
        #[test]
        fn $name() {
            $(assert_eq!(
                cuda_abi::driver::$constant.0,
                number(sys::cudaError_enum::$constant),
                stringify!($constant)
            );)*
        }
    };
}

macro_rules! layout {
    ($(#[$doc:meta])* $name:ident as $tag:ident { $($field:ident: $ty:ty,)* }) => {
        #[test]
        fn $name() {
            type Ours = cuda_abi::driver::$name;
            type Theirs = sys::$tag;
            assert_eq!(size_of::<Ours>(), size_of::<Theirs>(), "size");
            assert_eq!(align_of::<Ours>(), align_of::<Theirs>(), "alignment");
            $(offset!(Ours, Theirs, $field);)*
        }
    };
}

/// Fields whose place is a union in the bindings are compared by their neighbours and the size.
macro_rules! offset {
    ($ours:ty, $theirs:ty, $field:ident) => {
        assert_eq!(
            std::mem::offset_of!($ours, $field),
            theirs::offset(stringify!($theirs), stringify!($field))
                .unwrap_or(std::mem::offset_of!($theirs, $field)),
            stringify!($field)
        )
    };
}
