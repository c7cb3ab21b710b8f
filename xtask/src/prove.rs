//! `gpu-kit --prove`: the kit in roots of other systems, so that no dependency of the
//! machine that built it hides.
//!
//! Such a root has the C library of a Debian release, `/proc`, `/dev` and the kit,
//! read-only: no shell, no tool, no `/etc`, no `/tmp`. The kit runs there on the mock
//! device under another user's id, and has to answer as it does here.

use crate::sh;
use crate::sysroot::DEBIAN_ROOT;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// glibc 2.41, 2.36 and 2.31: a newer and an older C library than that of most build
/// machines.
const RELEASES: [&str; 3] = ["trixie", "bookworm", "bullseye"];

/// The C library, and what Rust's programs unwind with.
const PACKAGES: [&str; 2] = ["libc6", "libgcc-s1"];

/// Arguments: root, kit, folder for the evidence, user, arguments of the kit.
const ENTER: &str = r#"
set -eu
root=$1 kit=$2 out=$3 user=$4
shift 4
mount --bind "$kit" "$root/kit"
mount -o remount,bind,ro "$root/kit"
mount --bind "$out" "$root/out"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
chroot=$(command -v chroot || echo /usr/sbin/chroot)
env=$(command -v env)
cd "$root"
exec "$env" -i "$chroot" $user "$root" /kit/run --device mock --out /out "$@"
"#;

/// Proves the kit in `folder`, in these releases or in all.
pub(crate) fn run(kit: &Path, releases: &[String]) -> Result<()> {
    let releases: Vec<&str> = match releases {
        [] => RELEASES.to_vec(),
        given => given.iter().map(String::as_str).collect(),
    };
    can_enter()?;
    let work = sh::target_dir().join("gpu-kit-proof");
    fs::remove_dir_all(&work).ok();
    let here = work.join("here");
    eprintln!("xtask: the kit on this machine");
    sh::run(
        Command::new(kit.join("run"))
            .args(["--device", "mock", "--out"])
            .arg(&here),
    )?;
    let needed = needed_glibc(kit)?;
    let mut wrong = Vec::new();
    for release in releases {
        let result = prove(kit, release, &work, needed);
        match result {
            Ok(said) => eprintln!("xtask: {release}: {said}"),
            Err(error) => {
                eprintln!("xtask: {release}: {error:#}");
                wrong.push(release);
            }
        }
    }
    if !wrong.is_empty() {
        bail!("the kit is not proved in {}", wrong.join(", "));
    }
    Ok(())
}

/// Root's rights are not needed where users may make namespaces.
fn can_enter() -> Result<()> {
    if enter()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        return Ok(());
    }
    bail!(
        "cannot make a mount namespace here: be root, or allow users' namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces; in a container --cap-add SYS_ADMIN)"
    )
}

fn is_root() -> bool {
    sh::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// `unshare` with namespaces in which folders can be mounted.
fn enter() -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--propagation", "private"]);
    command
}

fn prove(kit: &Path, release: &str, work: &Path, needed: (u32, u32)) -> Result<String> {
    let (root, out) = (
        work.join(release).join("root"),
        work.join(release).join("out"),
    );
    for folder in [
        root.join("kit"),
        root.join("out"),
        root.join("proc"),
        root.join("dev"),
        out.clone(),
    ] {
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::copy(work.join("here/evidence.json"), out.join("here.json"))
        .context("the evidence of this machine")?;
    let mut python = Command::new("python3");
    let packages = sh::output(
        python
            .args(["-c", DEBIAN_ROOT, release])
            .arg(&root)
            .args(PACKAGES),
    )?;
    let glibc = glibc_of(&packages)?;
    // Anybody may write there, and nowhere else.
    sh::run(Command::new("chmod").arg("1777").arg(&out))?;
    let user = if is_root() {
        "--userspec=4711:4711"
    } else {
        ""
    };
    let ran = enter()
        .args(["sh", "-c", ENTER, "sh"])
        .args([&root, kit, &out])
        .args([user, "--against", "/out/here.json"])
        .output()
        .context("cannot run unshare")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    if glibc < needed {
        let named = said.contains("version `GLIBC_") && said.contains("not found");
        if ran.status.success() || !named {
            bail!(
                "the loader should have named the missing version, but: {}",
                said.trim()
            );
        }
        let first = said.lines().next().unwrap_or_default();
        return Ok(format!(
            "glibc {}.{} is older than {}.{}, and the loader says so: {first}",
            glibc.0, glibc.1, needed.0, needed.1
        ));
    }
    let page = fs::read_to_string(out.join("evidence.md")).unwrap_or_default();
    if !ran.status.success() || !page.contains("No state changed.") {
        bail!(
            "{}: {}\nsee {}",
            ran.status,
            said.trim(),
            out.join("evidence.md").display()
        );
    }
    let last = said.lines().next_back().unwrap_or_default();
    Ok(format!(
        "glibc {}.{}: as on this machine: {last}",
        glibc.0, glibc.1
    ))
}

/// Version of the C library among the packages: `libc6 2.41-12`.
fn glibc_of(packages: &str) -> Result<(u32, u32)> {
    let version = packages
        .lines()
        .find_map(|line| line.strip_prefix("libc6 "));
    version
        .and_then(numbers)
        .with_context(|| format!("no version in `{packages}`"))
}

fn needed_glibc(kit: &Path) -> Result<(u32, u32)> {
    let path: PathBuf = kit.join("kit.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let version = text.split("\"glibc\": \"").nth(1).and_then(numbers);
    version.with_context(|| format!("{} does not say which glibc it needs", path.display()))
}

/// The two numbers that a text begins with.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once('.')?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(
            glibc_of("libgcc-s1 14.2.0\nlibc6 2.41-12+deb13u4\n").unwrap(),
            (2, 41)
        );
        assert!(glibc_of("libc6 x").is_err());
        assert_eq!(numbers("2.34\", x"), Some((2, 34)));
    }
}
