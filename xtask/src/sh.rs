//! Paths of the workspace, and running other programs with errors that say what
//! was run.

use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The workspace's root folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}

/// Cargo's target folder: `$CARGO_TARGET_DIR`, else `target/`.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => root().join(dir),
        _ => root().join("target"),
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command whose output goes where ours goes; an error names it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run `{shown}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True when a program of this name is in PATH.
pub(crate) fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let mut shown = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        shown.push(' ');
        shown.push_str(&arg.to_string_lossy());
    }
    shown
}

/// True when `output` is missing or older than one of `inputs`.
pub(crate) fn stale(output: &Path, inputs: &[&Path]) -> Result<bool> {
    let Ok(made) = modified(output) else {
        return Ok(true);
    };
    for input in inputs {
        if modified(input)? > made {
            return Ok(true);
        }
    }
    Ok(false)
}

fn modified(path: &Path) -> Result<SystemTime> {
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .with_context(|| format!("cannot look at {}", path.display()))
}

/// Copies a file unless the copy is current. The copy appears by rename: a running
/// program that has the old one mapped keeps it.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    if !stale(to, &[from])? {
        return Ok(());
    }
    let parent = to.parent().context("a target needs a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let temporary = to.with_extension(format!("new-{}", std::process::id()));
    fs::copy(from, &temporary)
        .and_then(|_| fs::rename(&temporary, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tempfile::TempDir;

    fn touch(path: &Path, text: &str, age_s: u64) {
        fs::write(path, text).unwrap();
        let time = SystemTime::now() - Duration::from_secs(age_s);
        fs::File::options()
            .append(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn a_copy_is_made_once_and_again_when_its_source_is_newer() {
        let dir = TempDir::new().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("a/b/to"));
        touch(&from, "1", 30);
        install(&from, &to).unwrap();
        touch(&to, "kept", 20);
        install(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "kept");
        touch(&from, "2", 10);
        install(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "2");
        assert_eq!(
            fs::read_dir(to.parent().unwrap()).unwrap().count(),
            1,
            "nothing is left over"
        );
        assert!(stale(&to, &[&dir.path().join("missing")]).is_err());
    }

    #[test]
    fn errors_name_the_command() {
        let failed = run(Command::new("false").arg("x")).unwrap_err().to_string();
        assert!(failed.contains("`false x`"), "{failed}");
        let missing = output(&mut Command::new("no-such-program"))
            .unwrap_err()
            .to_string();
        assert!(missing.contains("no-such-program"), "{missing}");
        assert!(have("sh") && !have("no-such-program"));
    }
}
