//! Gives the shared library the name under which programs look for a driver.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=-Wl,-soname,libcuda.so.1");
    // Streams have threads and threads have exit hooks: it must stay loaded.
    println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
}
