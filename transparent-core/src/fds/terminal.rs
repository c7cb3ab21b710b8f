//! Terminals: those of the standard streams, and other openings of the same ones.

use super::look::Look;
use super::standard::{self, STREAMS};
use super::survey::{Group, Survey};
use super::{Kind, device};
use crate::apart::hold;
use crate::{Refusal, sys};
use serde::{Deserialize, Serialize};
use std::os::fd::{AsRawFd, OwnedFd};

/// A terminal opened apart from the standard stream that is the same terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// The stream: 0, 1 or 2.
    pub stream: i32,
}

/// A terminal's modes (termios(3)).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modes {
    /// Input, output, control and local flags.
    pub flags: [u32; 4],
    /// Control characters.
    pub characters: Vec<u8>,
}

/// `/dev/tty` itself is a device that is opened again; all other terminals are here.
pub(super) fn is_terminal(look: &Look) -> bool {
    let dev_tty = (libc::major(look.rdev), libc::minor(look.rdev)) == (5, 0);
    !dev_tty && hold(look.fd).is_ok_and(|file| sys::objects::is_terminal(file.as_raw_fd()))
}

pub(super) fn take(group: &Group, survey: &Survey<'_>) -> Result<Kind, Refusal> {
    if let Some(standard) = standard::of_group(group, survey) {
        return Ok(Kind::Standard(standard));
    }
    let look = group.first();
    if is_master(look) {
        return Err(look.refuse(
            "the master of a pseudo-terminal cannot be saved yet",
            "end the programs in it before the checkpoint",
        ));
    }
    let current = STREAMS.into_iter().find(|&stream| {
        survey
            .groups
            .iter()
            .flat_map(|g| &g.looks)
            .any(|l| l.fd == stream && l.rdev == look.rdev && l.file_type() == libc::S_IFCHR)
    });
    if let Some(stream) = current.or_else(|| survey.streams.with_rdev(look.rdev)) {
        return Ok(Kind::Terminal(Terminal { stream }));
    }
    if controlling_terminal() == Some(look.rdev) {
        let path = crate::RawPath(b"/dev/tty".to_vec());
        return Ok(Kind::Device(device::Device { path }));
    }
    Err(look.refuse(
        "it is a terminal that is not the job's own",
        "close it before the checkpoint",
    ))
}

/// `/dev/ptmx` is 5:2; older systems have a device for each master, major 128–135.
fn is_master(look: &Look) -> bool {
    let major = libc::major(look.rdev);
    (major, libc::minor(look.rdev)) == (5, 2) || (128..136).contains(&major)
}

/// Device number of the controlling terminal (field 7 of proc_pid_stat(5)).
fn controlling_terminal() -> Option<u64> {
    let text = std::fs::read("/proc/self/stat").ok()?;
    let name_end = text.iter().rposition(|&c| c == b')')?;
    let rest = std::str::from_utf8(&text[name_end + 1..]).ok()?;
    let number: i32 = rest.split_ascii_whitespace().nth(4)?.parse().ok()?;
    let number = number as u32;
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    (number != 0).then(|| libc::makedev(major, minor))
}

impl Terminal {
    /// Opens the restarting command's stream anew; `streams` are its three.
    pub(super) fn open(&self, flags: i32, streams: &[OwnedFd; 3]) -> Result<OwnedFd, Refusal> {
        standard::reopen(self.stream, flags, streams)
    }
}

impl Modes {
    /// Of a terminal that the job has in the foreground.
    pub(super) fn of(fd: i32) -> Option<Self> {
        let file = hold(fd).ok()?;
        let fd = file.as_raw_fd();
        if !sys::objects::is_terminal(fd) || !sys::objects::in_foreground(fd) {
            return None;
        }
        let modes = sys::objects::terminal_modes(fd).ok()?;
        Some(Self {
            flags: [modes.c_iflag, modes.c_oflag, modes.c_cflag, modes.c_lflag],
            characters: modes.c_cc.to_vec(),
        })
    }

    /// Sets what the program had set, on a terminal that the restarted job has in
    /// the foreground; speed and size are the terminal's own.
    pub(super) fn apply(&self, fd: i32) -> std::io::Result<()> {
        if !sys::objects::is_terminal(fd) || !sys::objects::in_foreground(fd) {
            return Ok(());
        }
        let mut modes = sys::objects::terminal_modes(fd)?;
        let [input, output, control, local] = self.flags;
        modes.c_iflag = input;
        modes.c_oflag = output;
        let speed = libc::CBAUD | libc::CBAUDEX;
        modes.c_cflag = control & !speed | modes.c_cflag & speed;
        modes.c_lflag = local;
        for (to, from) in modes.c_cc.iter_mut().zip(&self.characters) {
            *to = *from;
        }
        sys::objects::set_terminal_modes(fd, &modes)
    }
}
