//! How a [`Config`] gets from one program to `gpuckpt-lower` across an exec: an
//! unnamed file in memory, whose descriptor number is an argument.

use crate::config::{Config, VERSION};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

/// The option of `gpuckpt-lower` that carries the descriptor number.
pub const OPTION: &str = "--config-fd";

/// Longest configuration: arguments and environment fit into this by the kernel's
/// own limit (a quarter of the largest stack, as JSON arrays of bytes).
const LIMIT: u64 = 64 << 20;

/// Writes `config` into a file that survives an exec.
pub fn send(config: &Config) -> io::Result<OwnedFd> {
    let fd = memfd_create(c"gpuckpt-config", MFdFlags::empty())?;
    let mut file = File::from(fd);
    file.write_all(&serde_json::to_vec(config)?)?;
    file.rewind()?;
    let fd = OwnedFd::from(file);
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(fd)
}

/// Reads what [`send`] wrote; the descriptor is closed.
pub fn receive(fd: OwnedFd) -> io::Result<Config> {
    let mut text = Vec::new();
    File::from(fd).take(LIMIT).read_to_end(&mut text)?;
    let config: Config = serde_json::from_slice(&text)?;
    if config.version != VERSION {
        return Err(io::Error::other(format!(
            "the configuration has version {}, this gpuckpt-lower reads {VERSION}: the two programs are of different installations",
            config.version
        )));
    }
    Ok(config)
}
