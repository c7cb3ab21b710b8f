//! `libcudart.so.12` and `libcudart.so.13`: the CUDA runtime API over the driver API.
//!
//! Written from NVIDIA's public documentation. Programs built with `-cudart shared` run on it, on
//! the mock device and on real ones. It finds the driver with `dlopen("libcuda.so.1")` and
//! `cuGetProcAddress`, and is otherwise an ordinary library: under gpuckpt it lies in the upper
//! half and is saved and restored with the program, so its statics are the program's state. It
//! keeps no address but those that the driver library in the same half gave it.
//!
//! One archive serves both versions. `symbols/` lists what NVIDIA's libraries export, the version
//! scripts beside `Cargo.toml` are made from those lists, and at run time the library's own
//! soname tells which of the two it is (`version.rs`).
//!
//! Every exported function answers a `cudaError_t` that is also the thread's last error. What is
//! not done yet answers `cudaErrorNotSupported` and says its name once on standard error
//! (`unsupported.rs`).
#![allow(
    non_snake_case,
    non_upper_case_globals,
    reason = "exported functions and the constants they match have the runtime API's names"
)]

#[macro_use]
mod export;
mod context;
mod device;
mod driver;
mod entry_point;
mod error;
mod event;
mod function;
mod host_memory;
mod launch;
mod library;
mod managed;
mod memcpy;
mod memcpy2d;
mod memory;
mod memset;
mod occupancy;
mod peer;
mod pointer;
mod pool;
mod properties;
mod register;
mod stream;
mod symbol;
mod unsupported;
mod version;
