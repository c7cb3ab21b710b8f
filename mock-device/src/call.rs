//! What stands around every exported function: the checks that hold for all
//! of them, and the boundary that no panic crosses.
//!
//! The table of exported functions is made by [`exports!`]: each row gives the
//! API version in which that form of the function came, its symbol, and the
//! symbol of its variant for per-thread default streams if it has one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use cuda_abi::driver::result::*;

use crate::{driver, thread};

/// What the inside answers: a value, or the code that the caller gets.
pub(crate) type Answer<T = ()> = Result<T, CUresult>;

/// One exported symbol, for `cuGetProcAddress`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Export {
    /// Name without version and variant.
    pub(crate) base: &'static str,
    /// First API version that has this form.
    pub(crate) version: i32,
    /// The variant for per-thread default streams.
    pub(crate) per_thread: bool,
    /// The exported symbol.
    pub(crate) symbol: &'static str,
    /// Its address, as a function of no arguments.
    pub(crate) address: fn() -> usize,
}

/// Runs `body` for an exported function that needs `cuInit` first.
pub(crate) fn guarded(name: &str, body: impl FnOnce() -> Answer) -> CUresult {
    boundary(name, || {
        driver::alive()?;
        if thread::in_callback() {
            return Err(CUDA_ERROR_NOT_PERMITTED);
        }
        body()
    })
}

/// Runs `body` for an exported function that works at any time.
pub(crate) fn boundary(name: &str, body: impl FnOnce() -> Answer) -> CUresult {
    thread::check(name);
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => CUDA_SUCCESS,
        Ok(Err(code)) => code,
        Err(_) => {
            crate::report(format_args!("internal error in {name}"));
            CUDA_ERROR_UNKNOWN
        }
    }
}

/// Exports functions of the driver API and lists them for `cuGetProcAddress`.
///
/// A row reads `VERSION "base" fn symbol(arguments) { body }`. With a default
/// stream it reads `VERSION "base" fn symbol | symbol_ptsz [per_thread]
/// (arguments) { body }`, where `per_thread` tells the body which of the two
/// was called. A row that starts with `any` works without `cuInit`. The body
/// gives an [`Answer`].
macro_rules! exports {
    (@guard any) => { $crate::call::boundary };
    (@guard) => { $crate::call::guarded };
    (@function [$($meta:tt)*] [$($when:ident)?] $symbol:ident
     ($($arg:ident: $ty:ty),* $(,)?) [$($flag:ident = $value:literal)?] $body:block) => {
        $($meta)*
        #[unsafe(no_mangle)]
        #[allow(non_snake_case, reason = "the driver API's name")]
        pub(crate) extern "C" fn $symbol($($arg: $ty),*) -> cuda_abi::driver::result::CUresult {
            $(let $flag = $value;)?
            exports!(@guard $($when)?)(stringify!($symbol), || $body)
        }
    };
    (@row $meta:tt $when:tt $symbol:ident [] $args:tt $body:block) => {
        exports!(@function $meta $when $symbol $args [] $body);
    };
    (@row $meta:tt $when:tt $symbol:ident [$ptsz:ident $flag:ident] $args:tt $body:block) => {
        exports!(@function $meta $when $symbol $args [$flag = false] $body);
        exports!(@function $meta $when $ptsz $args [$flag = true] $body);
    };
    ($(
        $(#[$meta:meta])*
        $(@$when:ident)? $version:literal $base:literal
        fn $symbol:ident $(| $ptsz:ident [$flag:ident])? ($($args:tt)*) $body:block
    )*) => {
        $(exports! {
            @row [$(#[$meta])*] [$($when)?] $symbol [$($ptsz $flag)?] ($($args)*) $body
        })*

        /// The functions of this file.
        pub(crate) const EXPORTS: &[$crate::call::Export] = &[
            $(
                $crate::call::Export {
                    base: $base,
                    version: $version,
                    per_thread: false,
                    symbol: stringify!($symbol),
                    address: || $symbol as *const () as usize,
                },
                $($crate::call::Export {
                    base: $base,
                    version: if $version < 7000 { 7000 } else { $version },
                    per_thread: true,
                    symbol: stringify!($ptsz),
                    address: || $ptsz as *const () as usize,
                },)?
            )*
        ];
    };
}
pub(crate) use exports;
