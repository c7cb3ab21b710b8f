//! `vprintf`: what a kernel prints, formatted here and written to standard output.
//!
//! The arguments lie packed in memory as C passes them to a variadic function:
//! integers of 4 or 8 bytes, doubles and addresses, each aligned to its size.
#![allow(unsafe_code, reason = "formats by the C library, reads device memory")]

use std::ffi::{CStr, CString};

use super::super::code::{CallSite, Inst, Op, Place};
use super::super::error::FaultKind;
use super::cx::{Cx, lanes};

/// The longest string that is printed.
const LONGEST: usize = 1 << 16;

/// One conversion of a format string.
#[derive(Debug, PartialEq)]
enum Piece {
    Text(Vec<u8>),
    /// Flags and digits, how many `*` among them, bytes of the argument, and
    /// the conversion's letter.
    Conversion {
        flags: String,
        stars: usize,
        long: bool,
        letter: u8,
    },
}

/// Takes a format string apart; what is no conversion is text.
fn pieces(format: &[u8]) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut text = Vec::new();
    let mut at = 0;
    while at < format.len() {
        if format[at] != b'%' {
            text.push(format[at]);
            at += 1;
            continue;
        }
        let start = at;
        at += 1;
        let of = |set: &[u8], at: usize| format.get(at).is_some_and(|c| set.contains(c));
        while of(b"-+ #0123456789.*", at) {
            at += 1;
        }
        let flags = &format[start + 1..at];
        let mut long = false;
        while of(b"hlLqjzt", at) {
            long |= !of(b"h", at);
            at += 1;
        }
        match format.get(at) {
            Some(b'%') => text.push(b'%'),
            Some(&letter) if b"diouxXcsfFeEgGaAp".contains(&letter) => {
                if !text.is_empty() {
                    out.push(Piece::Text(std::mem::take(&mut text)));
                }
                out.push(Piece::Conversion {
                    flags: String::from_utf8_lossy(flags).into_owned(),
                    stars: flags.iter().filter(|c| **c == b'*').count(),
                    long,
                    letter,
                });
            }
            _ => {
                text.extend_from_slice(&format[start..(at + 1).min(format.len())]);
            }
        }
        at += 1;
    }
    if !text.is_empty() {
        out.push(Piece::Text(text));
    }
    out
}

/// Reads what a lane sees at generic addresses.
struct Reader<'a, 'b> {
    cx: &'a mut Cx<'b>,
    inst: Inst,
    lane: usize,
    at: u64,
}

impl Reader<'_, '_> {
    fn byte(&mut self, address: u64) -> Result<u8, FaultKind> {
        let views = &mut self.cx.views;
        let from = views.resolve(&self.inst, self.lane, address, 1, false)?;
        // SAFETY: `resolve` checked that the byte is mapped.
        Ok(unsafe { from.read_volatile() })
    }

    /// The next argument of that many bytes.
    fn next(&mut self, size: u64) -> Result<u64, FaultKind> {
        self.at = self.at.next_multiple_of(size);
        let mut bytes = [0; 8];
        for byte in bytes.iter_mut().take(size as usize) {
            *byte = self.byte(self.at)?;
            self.at += 1;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, mut address: u64) -> Result<Vec<u8>, FaultKind> {
        let mut out = Vec::new();
        while out.len() < LONGEST {
            match self.byte(address)? {
                0 => break,
                byte => out.push(byte),
            }
            address += 1;
        }
        Ok(out)
    }
}

/// Calls the C library's formatter.
fn format_one(
    spec: &str,
    value: impl Fn(*mut libc::c_char, usize, *const libc::c_char) -> i32,
) -> Vec<u8> {
    let Ok(spec) = CString::new(spec) else {
        return Vec::new();
    };
    let mut buffer = vec![0u8; 512];
    loop {
        let len = value(buffer.as_mut_ptr().cast(), buffer.len(), spec.as_ptr());
        let len = usize::try_from(len).unwrap_or(0);
        if len < buffer.len() || len > 2 * LONGEST {
            buffer.truncate(len.min(buffer.len()));
            return buffer;
        }
        buffer.resize(len + 1, 0);
    }
}

/// Formats one lane's call; also how many arguments it used.
fn format(reader: &mut Reader<'_, '_>, format: u64) -> Result<(Vec<u8>, u32), FaultKind> {
    let text = reader.string(format)?;
    let (mut out, mut count) = (Vec::new(), 0);
    for piece in pieces(&text) {
        let (mut flags, stars, long, letter) = match piece {
            Piece::Text(text) => {
                out.extend(text);
                continue;
            }
            Piece::Conversion {
                flags,
                stars,
                long,
                letter,
            } => (flags, stars, long, letter),
        };
        for _ in 0..stars {
            let number = (reader.next(4)? as u32 as i32).clamp(-4096, 4096);
            flags = flags.replacen('*', &number.to_string(), 1);
        }
        count += 1 + stars as u32;
        let shown = letter as char;
        let formatted = match letter {
            b's' => {
                let address = reader.next(8)?;
                let mut string = reader.string(address)?;
                string.push(0);
                let string = CStr::from_bytes_until_nul(&string).unwrap_or_default();
                format_one(&format!("%{flags}s"), |to, room, spec| {
                    // SAFETY: the format has one conversion, of a string.
                    unsafe { libc::snprintf(to, room, spec, string.as_ptr()) }
                })
            }
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
                let value = f64::from_bits(reader.next(8)?);
                format_one(&format!("%{flags}{shown}"), |to, room, spec| {
                    // SAFETY: the format has one conversion, of a double.
                    unsafe { libc::snprintf(to, room, spec, value) }
                })
            }
            b'c' => {
                let value = reader.next(4)? as u32;
                format_one(&format!("%{flags}c"), |to, room, spec| {
                    // SAFETY: the format has one conversion, of an int.
                    unsafe { libc::snprintf(to, room, spec, value) }
                })
            }
            _ => {
                let bits = reader.next(if long || letter == b'p' { 8 } else { 4 })?;
                let signed = matches!(letter, b'd' | b'i');
                let value = if signed && !long {
                    i64::from(bits as u32 as i32) as u64
                } else {
                    bits
                };
                let spec = match letter {
                    b'p' => format!("%{flags}p"),
                    _ => format!("%{flags}ll{shown}"),
                };
                format_one(&spec, |to, room, spec| {
                    // SAFETY: the format has one conversion, of 64 bits.
                    unsafe { libc::snprintf(to, room, spec, value) }
                })
            }
        };
        out.extend(formatted);
    }
    Ok((out, count))
}

/// Executes a call of `vprintf` for the lanes in `cx.mask`.
pub(super) fn vprintf(cx: &mut Cx<'_>, inst: &Inst, site: &CallSite) -> Result<(), FaultKind> {
    let mut all = Vec::new();
    let word = |cx: &Cx<'_>, place: Place, lane: usize| {
        let bytes = cx.get_place(place, lane, 8);
        u64::from_le_bytes(bytes.try_into().unwrap_or_default())
    };
    for lane in lanes(cx.mask) {
        let format_at = word(cx, site.args[0], lane);
        let at = word(cx, site.args[1], lane);
        let mut reader = Reader {
            cx: &mut *cx,
            inst: Inst::new(Op::Print, inst.line),
            lane,
            at,
        };
        let (text, count) = format(&mut reader, format_at)?;
        all.extend(text);
        if let Some(result) = site.results.first() {
            let size = (result.size() as usize).min(4);
            cx.set_place(*result, lane, &count.to_le_bytes()[..size]);
        }
    }
    write(&all);
    Ok(())
}

fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the bytes are ours.
        let n = unsafe { libc::write(1, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(n) {
            Ok(n) if n > 0 => bytes = &bytes[n.min(bytes.len())..],
            _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}
