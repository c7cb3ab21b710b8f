//! Assembles the gate image (`src/arch/x86_64/vdso.S`) with the C compiler.
use std::{env, path::PathBuf, process::Command};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("gate.so");
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let status = Command::new(&compiler)
        .args(["-shared", "-nostdlib", "-fPIC", "-Wl,-z,max-page-size=4096"])
        .args([
            "-Wl,--build-id=none",
            "-Wl,--hash-style=both",
            "-Wl,--eh-frame-hdr",
        ])
        .args(["-Wl,-soname,linux-vdso.so.1", "-Wl,--no-warn-rwx-segments"])
        .args([
            "-Wl,-T,src/arch/x86_64/vdso.lds",
            "src/arch/x86_64/vdso.S",
            "-o",
        ])
        .arg(&out)
        .status()
        .unwrap_or_else(|error| panic!("cannot run {compiler:?}: {error}"));
    assert!(
        status.success(),
        "{compiler:?} could not build the gate image: {status}"
    );
    for source in [
        "src/arch/x86_64/vdso.S",
        "src/arch/x86_64/vdso.lds",
        "build.rs",
    ] {
        println!("cargo:rerun-if-changed={source}");
    }
    println!("cargo:rerun-if-env-changed=CC");
}
