//! Threads of a library in the lower half, which takes no part in our rules.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Beside the test's own executable, where nothing else is called so.
fn compiled() -> PathBuf {
    let library = std::env::current_exe()
        .expect("the test's own path")
        .with_file_name("careless.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/careless.c");
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-pthread", "-o"])
        .arg(&library)
        .arg(source)
        .status()
        .expect("the compiler runs");
    assert!(status.success());
    library
}

#[test]
fn a_drivers_threads_block_every_signal_and_have_no_record() {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuckpt-lower"))
        .env("LD_PRELOAD", compiled())
        .output()
        .expect("gpuckpt-lower runs");
    let seen = String::from_utf8_lossy(&output.stdout);
    // All of 1 to 31 but SIGKILL and SIGSTOP.
    let expected = "no record, 29 signals blocked\nby return\n\
        no record, 29 signals blocked\nby exit\ncancelled\nthe caller is as it was\n";
    assert_eq!(seen, expected, "{output:?}");
}
