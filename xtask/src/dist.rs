//! `dist`: the relocatable tree that a user gets.
//!
//! ```text
//! bin/gpuckpt
//! libexec/gpuckpt/gpuckpt-lower
//! libexec/gpuckpt/mock/libcuda.so.1        the mock driver, for the lower half
//! lib/gpuckpt/driver/libcuda.so.1          stubs, for the application
//! lib/gpuckpt/cudart/libcudart.so.{12,13}  the runtime API, for the application
//! include/gpuckpt.h  share/doc/gpuckpt/
//! ```
//!
//! The application's libraries are static libraries of Rust linked by the C
//! compiler, because a cdylib cannot carry symbol versions.

use crate::sh;
use crate::sysroot::{self, Sysroot};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A shared library made of a static library and a version script.
struct Linked {
    archive: &'static str,
    map: &'static str,
    soname: &'static str,
    folder: &'static str,
}

const LINKED: [Linked; 3] = [
    Linked {
        archive: "liblibcuda_upper.a",
        map: "interposer/libcuda/libcuda.map",
        soname: "libcuda.so.1",
        folder: "lib/gpuckpt/driver",
    },
    Linked {
        archive: "liblibcudart_upper.a",
        map: "interposer/libcudart/libcudart.so.12.map",
        soname: "libcudart.so.12",
        folder: "lib/gpuckpt/cudart",
    },
    Linked {
        archive: "liblibcudart_upper.a",
        map: "interposer/libcudart/libcudart.so.13.map",
        soname: "libcudart.so.13",
        folder: "lib/gpuckpt/cudart",
    },
];

/// Files that are copied as cargo made them.
const COPIED: [(&str, &str); 3] = [
    ("gpuckpt", "bin/gpuckpt"),
    ("gpuckpt-lower", "libexec/gpuckpt/gpuckpt-lower"),
    ("libmock_device.so", "libexec/gpuckpt/mock/libcuda.so.1"),
];

const PACKAGES: [&str; 5] = [
    "gpuckpt",
    "lower-half",
    "mock-device",
    "libcuda-upper",
    "libcudart-upper",
];

/// The task `dist`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    if let [flag] = args
        && flag == "--portable"
    {
        return portable_tree();
    }
    let mut profile = "release";
    let mut partial = false;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--partial" => partial = true,
            "--profile" => profile = args.next().context("--profile needs a name")?,
            other => bail!("dist does not know `{other}`"),
        }
    }
    let tree = if partial {
        build_partly(profile)?
    } else {
        build(profile)?
    };
    eprintln!("xtask: {}", tree.display());
    Ok(())
}

/// The tree for machines whose C library is older than this one's.
fn portable_tree() -> Result<()> {
    let sysroot = Sysroot::fetch().context(
        "a portable tree is linked with an older C library, so that it runs where that is",
    )?;
    eprintln!("xtask: {}", build_portable(&sysroot, &[])?.tree.display());
    Ok(())
}

/// Builds the tree and gives its path. Quick when nothing changed.
pub(crate) fn build(profile: &str) -> Result<PathBuf> {
    sh::run(&mut cargo_build(profile))?;
    let (made, tree) = folders(profile);
    fill(&made, &tree, &[])?;
    Ok(tree)
}

/// What [`build_portable`] made.
pub(crate) struct Portable {
    /// Where cargo put what it made.
    pub(crate) made: PathBuf,
    /// The tree.
    pub(crate) tree: PathBuf,
}

/// The same in folders of its own, linked with the C library of an older release,
/// and with more packages of the workspace.
pub(crate) fn build_portable(sysroot: &Sysroot, more: &[&str]) -> Result<Portable> {
    let target_dir = sh::target_dir().join("portable");
    let mut cargo = cargo_build("release");
    for package in more {
        cargo.args(["--package", package]);
    }
    sysroot.apply(&mut cargo, &target_dir);
    sh::run(&mut cargo)?;
    let made = target_dir.join(sysroot::TARGET).join("release");
    let tree = target_dir.join("dist");
    fill(&made, &tree, &sysroot.flags())?;
    Ok(Portable { made, tree })
}

/// Puts what cargo made into the tree; `flags` are for the linker.
fn fill(made: &Path, tree: &Path, flags: &[String]) -> Result<()> {
    for (from, to) in COPIED {
        sh::install(&made.join(from), &tree.join(to))?;
    }
    for library in &LINKED {
        link(library, made, tree, flags)?;
    }
    documents(tree)
}

/// The same, without the parts that cannot be built just now.
fn build_partly(profile: &str) -> Result<PathBuf> {
    let left_out = |error: anyhow::Error| eprintln!("xtask: left out: {error:#}");
    sh::run(cargo_build(profile).arg("--keep-going")).unwrap_or_else(left_out);
    let (made, tree) = folders(profile);
    for (from, to) in COPIED {
        sh::install(&made.join(from), &tree.join(to)).unwrap_or_else(left_out);
    }
    for library in &LINKED {
        link(library, &made, &tree, &[]).unwrap_or_else(left_out);
    }
    documents(&tree)?;
    Ok(tree)
}

fn cargo_build(profile: &str) -> Command {
    let mut cargo = sh::cargo();
    cargo.args(["build", "--profile", profile]);
    for package in PACKAGES {
        cargo.args(["--package", package]);
    }
    cargo
}

/// Where cargo puts what it makes, and where the tree is.
fn folders(profile: &str) -> (PathBuf, PathBuf) {
    // Cargo puts the profile `dev` into a folder of another name.
    let made = if profile == "dev" { "debug" } else { profile };
    (sh::target_dir().join(made), sh::target_dir().join("dist"))
}

fn link(library: &Linked, made: &Path, tree: &Path, flags: &[String]) -> Result<()> {
    let archive = made.join(library.archive);
    let map = sh::root().join(library.map);
    let folder = tree.join(library.folder);
    let output = folder.join(library.soname);
    if !sh::stale(&output, &[&archive, &map])? {
        return Ok(());
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let temporary = folder.join(format!(".{}-{}", library.soname, std::process::id()));
    let result = sh::run(
        Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(flags)
            .args(["-shared", "-static-libgcc", "-o"])
            .arg(&temporary)
            .arg(format!("-Wl,-soname,{}", library.soname))
            .arg(format!("-Wl,--version-script={}", map.display()))
            .args([
                "-Wl,--gc-sections",
                "-Wl,--strip-debug",
                "-Wl,-z,defs",
                "-Wl,-z,relro",
                "-Wl,-z,now",
            ])
            .arg("-Wl,--whole-archive")
            .arg(&archive)
            .arg("-Wl,--no-whole-archive")
            .args(["-lpthread", "-ldl", "-lm", "-lc"]),
    );
    if result.is_err() {
        // What the linker left is of no use, and the error says the rest.
        fs::remove_file(&temporary).ok();
        return result;
    }
    fs::rename(&temporary, &output).with_context(|| format!("cannot make {}", output.display()))
}

fn documents(tree: &Path) -> Result<()> {
    let root = sh::root();
    let header = root.join("upper-half/include/gpuckpt.h");
    if header.exists() {
        sh::install(&header, &tree.join("include/gpuckpt.h"))?;
    }
    let shelf = tree.join("share/doc/gpuckpt");
    for name in ["README.md", "LICENSE"] {
        if root.join(name).exists() {
            sh::install(&root.join(name), &shelf.join(name))?;
        }
    }
    for entry in fs::read_dir(root.join("docs")).context("cannot read docs/")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().context("a document needs a name")?;
            sh::install(&path, &shelf.join(name))?;
        }
    }
    Ok(())
}
