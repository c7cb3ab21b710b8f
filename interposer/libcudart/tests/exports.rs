//! What the archive defines, what the version scripts export, and what NVIDIA's libraries have.
//!
//! `symbols/12.txt` and `symbols/13.txt` are the names that `nm -D` shows in NVIDIA's
//! `libcudart.so.12` (12.9) and `libcudart.so.13` (13.5).
#![allow(missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn listed(version: u32) -> BTreeSet<String> {
    let text = read(&here().join(format!("symbols/{version}.txt")));
    text.lines().map(str::to_owned).collect()
}

fn sources() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(here().join("src")).expect("the crate has sources");
    folder
        .map(|entry| entry.expect("readable").path())
        .collect()
}

/// Words of a line that name functions of the runtime.
fn names(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.trim_start_matches('_').starts_with("cuda"))
}

/// Every function that the sources export, with the number of times it is defined: the names
/// after `fn`, with a twin after the comma, and those of the list of unsupported ones.
fn defined() -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let mut add = |name: &str| *found.entry(name.to_owned()).or_default() += 1;
    for path in sources() {
        let unsupported = path.ends_with("unsupported.rs");
        let mut in_list = false;
        for line in read(&path).lines() {
            in_list = unsupported && (in_list || line == "unsupported! {") && line != "}";
            let code = line.trim_start().trim_start_matches("extern \"C\" ");
            if in_list {
                names(line).for_each(&mut add);
            } else if let Some(heads) = code.strip_prefix("fn ") {
                let heads = heads.split('(').next().unwrap_or("");
                names(heads).for_each(&mut add);
            }
        }
    }
    found
}

#[test]
fn everything_that_nvidia_exports_is_defined_once_and_nothing_else() {
    let wanted: BTreeSet<String> = &listed(12) | &listed(13);
    let defined = defined();
    let twice: Vec<_> = defined.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "defined more than once: {twice:?}");
    let defined: BTreeSet<String> = defined.into_keys().collect();
    let missing: Vec<_> = wanted.difference(&defined).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let extra: Vec<_> = defined.difference(&wanted).collect();
    assert!(extra.is_empty(), "no library exports {extra:?}");
    assert!(wanted.len() > 480, "the lists are whole");
}

#[test]
fn version_scripts_export_the_lists() {
    for version in [12, 13] {
        let mut script = format!("libcudart.so.{version} {{\n    global:\n");
        for name in listed(version) {
            script += &format!("        {name};\n");
        }
        script += "    local: *;\n};\n";
        let path = here().join(format!("libcudart.so.{version}.map"));
        assert_eq!(
            read(&path),
            script,
            "{} is not made from symbols/",
            path.display()
        );
    }
}

/// What 54 public CUDA programs needed must be real.
#[test]
fn the_common_calls_are_supported() {
    let text = read(&here().join("src/unsupported.rs"));
    let unsupported: BTreeSet<&str> = text.lines().map(str::trim).collect();
    let common = "
        __cudaUnregisterFatBinary __cudaRegisterFatBinaryEnd __cudaRegisterFatBinary
        __cudaRegisterFunction __cudaPopCallConfiguration __cudaLaunchKernel __cudaGetKernel
        __cudaPushCallConfiguration __cudaRegisterVar cudaMemcpy cudaMalloc cudaFree
        cudaGetErrorString cudaGetLastError cudaDeviceSynchronize cudaSetDevice
        cudaGetDeviceProperties cudaGetDeviceCount cudaMemset cudaGetErrorName cudaGetDevice
        cudaEventSynchronize cudaEventRecord cudaEventElapsedTime cudaEventCreate
        cudaMemcpyToSymbol cudaFreeHost cudaStreamSynchronize cudaMemcpyAsync
        cudaDeviceGetAttribute cudaMallocHost cudaStreamCreateWithFlags cudaStreamCreate
        cudaHostAlloc cudaEventDestroy cudaProfilerStop cudaProfilerStart cudaMemGetInfo
        cudaDeviceReset";
    let listed = listed(13);
    for name in common.split_whitespace() {
        assert!(!unsupported.contains(name), "{name} is not supported");
        assert!(listed.contains(name), "{name} is misspelt");
    }
    assert_eq!(common.split_whitespace().count(), 39);
}
