//! `gpu-kit`: one folder that is carried to a machine with a GPU and needs nothing
//! there but the driver.
//!
//! ```text
//! run  README.md  kit.json
//! dist/       the distribution tree, stripped
//! guests/     the CUDA guests: driver API, and nvcc with -cudart shared
//! static/     a few of them with NVIDIA's static runtime
//! programs/   small C programs that probes launch
//! python/     programs for frameworks, where those are installed
//! ```

use crate::sysroot::Sysroot;
use crate::{dist, prove, setup, sh};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder must be quick to carry.
const MOST_BYTES: u64 = 60 << 20;

/// Device code: PTX for all devices since Turing, and ready code for data centres'.
const CODE: [&str; 3] = [
    "arch=compute_75,code=compute_75",
    "arch=compute_80,code=sm_80",
    "arch=compute_90,code=sm_90",
];

/// Guests that are built with the static runtime too.
const STATIC: [&str; 4] = ["vector", "reduce", "streams", "symbols"];

/// The machine may have no C++ library, or an older one; and threads had a library of
/// their own before glibc 2.34.
const SELF_CONTAINED: [&str; 3] = ["-static-libstdc++", "-static-libgcc", "-pthread"];

const PACKAGE: &str = "gpu-kit";

/// The task `gpu-kit`.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let releases = match args {
        [] => None,
        [flag] if flag == "--here" => {
            let kit = build_here(&compiler()?, &dist::build("release")?)?;
            eprintln!("xtask: {}", kit.display());
            return Ok(());
        }
        [flag, releases @ ..] if flag == "--prove" => Some(releases),
        _ => bail!("gpu-kit takes nothing but `--prove [RELEASE…]` or `--here`"),
    };
    let sysroot = Sysroot::fetch()
        .context("the kit is linked with an older C library, so that it runs where that is")?;
    let portable = dist::build_portable(&sysroot, &[PACKAGE])?;
    let parts = Parts {
        folder: sh::target_dir().join("gpu-kit"),
        program: portable.made.join("run"),
        tree: portable.tree,
        nvcc: compiler()?,
        flags: sysroot.flags(),
        cxx_flags: sysroot.cxx_flags(),
    };
    let folder = build(&parts)?;
    eprintln!("xtask: {}", folder.display());
    match releases {
        Some(releases) => prove::run(&folder, releases),
        None => Ok(()),
    }
}

/// What the kit is made of.
struct Parts {
    /// Where it goes.
    folder: PathBuf,
    /// The program `run`.
    program: PathBuf,
    /// The distribution tree.
    tree: PathBuf,
    /// NVIDIA's compiler.
    nvcc: PathBuf,
    /// Flags of the C compiler.
    flags: Vec<String>,
    /// Flags of the C++ compiler behind NVIDIA's.
    cxx_flags: Vec<String>,
}

/// The kit for the tests of this machine: of the same `tree` as theirs, and linked with
/// the libraries that are here. Quick when nothing changed.
pub(crate) fn build_here(nvcc: &Path, tree: &Path) -> Result<PathBuf> {
    sh::run(sh::cargo().args(["build", "--profile", "release", "--package", PACKAGE]))?;
    build(&Parts {
        folder: sh::target_dir().join("gpu-kit-here"),
        program: sh::target_dir().join("release/run"),
        tree: tree.to_path_buf(),
        nvcc: nvcc.to_path_buf(),
        flags: Vec::new(),
        cxx_flags: Vec::new(),
    })
}

fn compiler() -> Result<PathBuf> {
    match std::env::var_os("GPUCKPT_NVCC") {
        Some(nvcc) if !nvcc.is_empty() => Ok(PathBuf::from(nvcc)),
        _ => Ok(setup::run(&[])?.nvcc),
    }
}

fn build(parts: &Parts) -> Result<PathBuf> {
    let mut kit = Folder {
        root: parts.folder.clone(),
        files: BTreeSet::new(),
    };
    forget_other_recipes(parts)?;
    kit.stripped(&parts.program, "run")?;
    for file in files_below(&parts.tree)? {
        let name = format!("dist/{}", file.strip_prefix(&parts.tree)?.display());
        kit.stripped(&file, &name)?;
    }
    kit.copied(&sh::root().join("gpu-tests/README.md"), "README.md")?;
    guests(&mut kit, parts)?;
    programs(&mut kit, parts)?;
    let glibc = newest_glibc(&kit)?;
    kit.origin(&parts.nvcc, &glibc)?;
    kit.sweep()?;
    let bytes = kit.size()?;
    eprintln!(
        "xtask: {:.1} MiB; needs glibc {glibc} or newer",
        bytes as f64 / f64::from(1 << 20)
    );
    if bytes > MOST_BYTES {
        bail!("the kit has {bytes} bytes, more than {MOST_BYTES}");
    }
    Ok(kit.root)
}

/// Removes what another compiler or other flags made: times of files do not tell.
fn forget_other_recipes(parts: &Parts) -> Result<()> {
    let recipe = format!(
        "{:?} {:?} {:?} {CODE:?}",
        parts.nvcc, parts.flags, parts.cxx_flags
    );
    let mark = parts.folder.with_extension("recipe");
    if fs::read_to_string(&mark).is_ok_and(|have| have == recipe) {
        return Ok(());
    }
    for made in ["guests", "static", "programs"] {
        fs::remove_dir_all(parts.folder.join(made)).ok();
    }
    fs::write(&mark, recipe).with_context(|| format!("cannot write {}", mark.display()))
}

/// The folder as it is being made; what is not in `files` at the end is removed.
struct Folder {
    root: PathBuf,
    files: BTreeSet<PathBuf>,
}

impl Folder {
    /// The place of a file, its folder made.
    fn place(&mut self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let parent = path.parent().context("a file needs a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        self.files.insert(path.clone());
        Ok(path)
    }

    fn copied(&mut self, from: &Path, name: &str) -> Result<()> {
        sh::install(from, &self.place(name)?)
    }

    /// Copies a file; a program or library without its symbols for debuggers.
    fn stripped(&mut self, from: &Path, name: &str) -> Result<()> {
        let magic = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        if !magic.starts_with(b"\x7fELF") {
            return self.copied(from, name);
        }
        let to = self.place(name)?;
        made(&to, &[from], |temporary| {
            sh::run(Command::new("strip").arg("-o").arg(temporary).arg(from))
        })
    }

    /// `kit.json`: which kit it is.
    fn origin(&mut self, nvcc: &Path, glibc: &str) -> Result<()> {
        let said = |command: &mut Command| sh::output(command).unwrap_or_default();
        let git = |args: &[&str]| said(Command::new("git").current_dir(sh::root()).args(args));
        let mut commit = git(&["rev-parse", "--short=12", "HEAD"]).trim().to_owned();
        if !git(&["status", "--porcelain"]).trim().is_empty() {
            commit.push_str(" and changes");
        }
        let version = said(Command::new(nvcc).arg("--version"));
        let release = version.lines().find_map(|line| line.split(", V").nth(1));
        let date = said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]));
        let fields = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", commit.as_str()),
            ("nvcc", release.unwrap_or_default()),
            ("glibc", glibc),
            ("made", date.trim()),
        ];
        // None of the values has a character that JSON would escape.
        let lines: Vec<String> = fields
            .iter()
            .map(|(key, value)| format!("  \"{key}\": \"{value}\""))
            .collect();
        let path = self.place("kit.json")?;
        fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n")))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what an earlier build left and this one has not.
    fn sweep(&self) -> Result<()> {
        for file in files_below(&self.root)? {
            if !self.files.contains(&file) {
                fs::remove_file(&file)
                    .with_context(|| format!("cannot remove {}", file.display()))?;
            }
        }
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        let mut bytes = 0;
        for file in &self.files {
            bytes += fs::metadata(file)
                .with_context(|| format!("cannot look at {}", file.display()))?
                .len();
        }
        Ok(bytes)
    }
}

/// Makes `to` with `make` unless it is newer than `inputs`; it appears by rename.
fn made(to: &Path, inputs: &[&Path], make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if !sh::stale(to, inputs)? {
        return Ok(());
    }
    let temporary = to.with_extension(format!("new-{}", std::process::id()));
    make(&temporary)?;
    fs::rename(&temporary, to).with_context(|| format!("cannot make {}", to.display()))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Sources in a folder with this ending.
fn sources(folder: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let has = |path: &PathBuf| path.extension().is_some_and(|e| e == ending);
    Ok(files_below(folder)?.into_iter().filter(has).collect())
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn guests(kit: &mut Folder, parts: &Parts) -> Result<()> {
    let folder = sh::root().join("tests/guests");
    let headers: Vec<PathBuf> = ["guest.h", "driver.h", "cuda/cuda_guest.h"]
        .map(|name| folder.join(name))
        .into();
    // Built elsewhere first: the link needs a library by another name.
    let link = sh::target_dir().join("gpu-kit-link");
    runtime_to_link(&parts.nvcc, &link)?;
    for source in sources(&folder.join("cuda"), "cu")? {
        let name = stem(&source);
        let mut kinds = vec![("guests", "shared")];
        if STATIC.contains(&name.as_str()) {
            kinds.push(("static", "static"));
        }
        for (place, runtime) in kinds {
            let to = kit.place(&format!("{place}/{name}"))?;
            let mut inputs: Vec<&Path> = headers.iter().map(PathBuf::as_path).collect();
            inputs.push(&source);
            made(&to, &inputs, |temporary| {
                let mut command = Command::new(&parts.nvcc);
                command
                    .args(["-std=c++17", "-O2", "-cudart", runtime, "-L"])
                    .arg(&link);
                for code in CODE {
                    command.args(["-gencode", code]);
                }
                let own = parts.cxx_flags.iter().map(String::as_str);
                for flag in own.chain(SELF_CONTAINED) {
                    command.args(["-Xcompiler", flag]);
                }
                command.args([
                    "-Xptxas",
                    "-suppress-stack-size-warning",
                    "-Xlinker",
                    "-s",
                    "-o",
                ]);
                sh::run(command.arg(temporary).arg(&source))
            })?;
        }
    }
    let source = folder.join("driver_ptx.c");
    let stub = parts.tree.join("lib/gpuckpt/driver/libcuda.so.1");
    for name in ["driver_ptx", "driver_linked"] {
        let to = kit.place(&format!("guests/{name}"))?;
        made(&to, &[&source, &headers[0], &headers[1]], |temporary| {
            let mut cc = c_compiler(parts);
            cc.arg("-o").arg(temporary).arg(&source);
            if name == "driver_linked" {
                cc.arg("-DLINKED").arg(&stub);
            }
            cc.arg("-ldl");
            sh::run(&mut cc)
        })?;
    }
    Ok(())
}

fn c_compiler(parts: &Parts) -> Command {
    let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args([
        "-std=gnu11",
        "-O2",
        "-s",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
    ]);
    command.args(&parts.flags);
    command.arg("-I").arg(sh::root().join("tests/guests"));
    command
}

/// A folder with `libcudart.so`, which `-lcudart` looks for: the compiler's own
/// runtime, of which the wheels have the versioned name only.
fn runtime_to_link(nvcc: &Path, folder: &Path) -> Result<()> {
    let nvcc = nvcc
        .canonicalize()
        .with_context(|| format!("cannot find {}", nvcc.display()))?;
    let kit = nvcc.ancestors().nth(2).context("nvcc is in a bin folder")?;
    let lib = kit.join("lib");
    let is_runtime = |path: &PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        name.starts_with("libcudart.so.")
    };
    let runtime = files_below(&lib)?.into_iter().find(is_runtime);
    let runtime = runtime.with_context(|| format!("no libcudart.so.N in {}", lib.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let name = folder.join("libcudart.so");
    if name.read_link().is_ok_and(|old| old == runtime) {
        return Ok(());
    }
    // Another build may do the same at this moment.
    fs::remove_file(&name).ok();
    symlink(&runtime, &name).with_context(|| format!("cannot make {}", name.display()))
}

/// `programs/*.c`, and `python/*.py` as they are.
fn programs(kit: &mut Folder, parts: &Parts) -> Result<()> {
    let folder = sh::root().join("gpu-tests");
    let guests = sh::root().join("tests/guests");
    for source in sources(&folder.join("programs"), "c")? {
        let to = kit.place(&format!("programs/{}", stem(&source)))?;
        let mut inputs = sources(&folder.join("programs"), "h")?;
        inputs.extend([
            source.clone(),
            guests.join("guest.h"),
            guests.join("driver.h"),
        ]);
        let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
        made(&to, &inputs, |temporary| {
            sh::run(
                c_compiler(parts)
                    .arg("-o")
                    .arg(temporary)
                    .arg(&source)
                    .args(["-ldl", "-lm"]),
            )
        })?;
    }
    for source in sources(&folder.join("python"), "py")? {
        let name = source
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        kit.copied(&source, &format!("python/{name}"))?;
    }
    Ok(())
}

/// The newest version of the C library that a file of the kit asks for.
fn newest_glibc(kit: &Folder) -> Result<String> {
    let mut newest = (0, 0);
    for file in &kit.files {
        if !fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")) {
            continue;
        }
        let needed = sh::output(Command::new("objdump").arg("-p").arg(file))?;
        newest = newest.max(newest_version(&needed));
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

/// The greatest `GLIBC_N.M` in a text.
fn newest_version(text: &str) -> (u32, u32) {
    let version = |word: &str| {
        let (major, minor) = word.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    let words = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_"));
    words.filter_map(version).max().unwrap_or((0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_by_number() {
        let text = "0x1 0x0 02 GLIBC_2.9\n GLIBC_2.34 x GLIBC_2.2.5 GLIBC_PRIVATE";
        assert_eq!(newest_version(text), (2, 34));
        assert_eq!(newest_version("nothing"), (0, 0));
    }

    #[test]
    fn what_is_not_made_any_more_is_removed() {
        let dir = tempfile::TempDir::new().unwrap();
        let mut kit = Folder {
            root: dir.path().to_path_buf(),
            files: BTreeSet::new(),
        };
        let kept = kit.place("a/kept").unwrap();
        fs::write(&kept, "x").unwrap();
        fs::write(dir.path().join("a/old"), "y").unwrap();
        kit.sweep().unwrap();
        assert_eq!(files_below(dir.path()).unwrap(), [kept]);
        assert_eq!(kit.size().unwrap(), 1);
    }
}
