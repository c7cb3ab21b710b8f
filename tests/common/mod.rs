//! What the end-to-end tests share: the programs and how they are built
//! ([`guests`]), jobs that always end ([`job`]), and processes with deadlines
//! ([`process`]). Real processes only; nothing here looks inside the product.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod guests;
pub(crate) mod job;
pub(crate) mod process;
pub(crate) mod scenario;

use std::path::PathBuf;

/// The relocatable tree under test: `GPUCKPT_DIST`, else `target/dist`.
pub(crate) fn dist() -> PathBuf {
    let dist =
        std::env::var_os("GPUCKPT_DIST").map_or_else(|| target().join("dist"), PathBuf::from);
    assert!(
        dist.join("bin/gpuckpt").exists(),
        "{} is not built: run `cargo xtask dist`, or the tests by `cargo xtask test`",
        dist.display()
    );
    dist
}

/// Cargo's target folder, where guests are built and jobs work.
pub(crate) fn target() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the temporary folder lies in the target folder")
        .to_owned()
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// True when the heavier loops are wanted (`cargo xtask nightly`).
pub(crate) fn long() -> bool {
    std::env::var_os("GPUCKPT_TEST_LONG").is_some_and(|v| !v.is_empty() && v != "0")
}

/// Random numbers for the moments of checkpoints: splitmix64 over
/// `GPUCKPT_TEST_SEED` (else a fresh seed) and the name of the test. The seed is
/// printed, and cargo shows it when the test fails.
pub(crate) struct Random(u64);

impl Random {
    /// Numbers for the test called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let given = std::env::var("GPUCKPT_TEST_SEED").ok();
        let seed: u64 = given.and_then(|s| s.parse().ok()).unwrap_or_else(|| {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH);
            since.expect("a clock after 1970").subsec_nanos().into()
        });
        eprintln!("{name}: GPUCKPT_TEST_SEED={seed}");
        let salt = name.bytes().fold(seed, |s, b| {
            (s ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(salt)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % bound.max(1)
    }
}
