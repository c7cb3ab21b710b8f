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
    /// Flags and digits, how many `*` among them, the argument's size, and the
    /// conversion's letter.
    Conversion {
        flags: String,
        stars: usize,
        size: Size,
        letter: u8,
    },
}

/// What a conversion makes of an integer argument. Those below `int` are
/// passed as `int`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    Char,
    Short,
    Int,
    Long,
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
        let letters = at;
        while of(b"hlLqjzt", at) {
            at += 1;
        }
        let size = match &format[letters..at] {
            b"" => Size::Int,
            b"h" => Size::Short,
            b"hh" => Size::Char,
            _ => Size::Long,
        };
        match format.get(at) {
            Some(b'%') => text.push(b'%'),
            Some(&letter) if b"diouxXcsfFeEgGaAp".contains(&letter) => {
                if !text.is_empty() {
                    out.push(Piece::Text(std::mem::take(&mut text)));
                }
                out.push(Piece::Conversion {
                    flags: String::from_utf8_lossy(flags).into_owned(),
                    stars: flags.iter().filter(|c| **c == b'*').count(),
                    size,
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

/// Reads format, arguments and strings where a lane sees them: `byte` gives
/// the byte at a generic address.
struct Reader<B> {
    byte: B,
    at: u64,
}

impl<B: FnMut(u64) -> Result<u8, FaultKind>> Reader<B> {
    /// The next argument of that many bytes.
    fn next(&mut self, size: u64) -> Result<u64, FaultKind> {
        self.at = self.at.next_multiple_of(size);
        let mut bytes = [0; 8];
        for byte in bytes.iter_mut().take(size as usize) {
            *byte = (self.byte)(self.at)?;
            self.at += 1;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn string(&mut self, mut address: u64) -> Result<Vec<u8>, FaultKind> {
        let mut out = Vec::new();
        while out.len() < LONGEST {
            match (self.byte)(address)? {
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

/// An integer argument as 64 bits of the value that its size makes of it.
fn converted(bits: u64, size: Size, signed: bool) -> u64 {
    match (size, signed) {
        (Size::Char, true) => i64::from(bits as i8) as u64,
        (Size::Char, false) => u64::from(bits as u8),
        (Size::Short, true) => i64::from(bits as i16) as u64,
        (Size::Short, false) => u64::from(bits as u16),
        (Size::Int, true) => i64::from(bits as i32) as u64,
        (Size::Int, false) | (Size::Long, _) => bits,
    }
}

/// Formats one lane's call; also how many arguments it used.
fn format(
    reader: &mut Reader<impl FnMut(u64) -> Result<u8, FaultKind>>,
    format: u64,
) -> Result<(Vec<u8>, u32), FaultKind> {
    let text = reader.string(format)?;
    let (mut out, mut count) = (Vec::new(), 0);
    for piece in pieces(&text) {
        let (mut flags, stars, size, letter) = match piece {
            Piece::Text(text) => {
                out.extend(text);
                continue;
            }
            Piece::Conversion {
                flags,
                stars,
                size,
                letter,
            } => (flags, stars, size, letter),
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
                let long = size == Size::Long || letter == b'p';
                let bits = reader.next(if long { 8 } else { 4 })?;
                let value = converted(bits, size, matches!(letter, b'd' | b'i'));
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
        let reading = Inst::new(Op::Print, inst.line);
        let views = &mut cx.views;
        let byte = |address| {
            let from = views.resolve(&reading, lane, address, 1, false)?;
            // SAFETY: `resolve` checked that the byte is mapped.
            Ok(unsafe { from.read_volatile() })
        };
        let mut reader = Reader { byte, at };
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORMAT: u64 = 0x1000;
    const ARGUMENTS: u64 = 0x8000;
    const STRING: u64 = 0x2_0000;

    /// Arguments as a compiler packs them.
    #[derive(Default)]
    struct Packed(Vec<u8>);

    impl Packed {
        fn put(mut self, bytes: &[u8]) -> Self {
            let len = self.0.len().next_multiple_of(bytes.len());
            self.0.resize(len, 0xcc);
            self.0.extend(bytes);
            self
        }

        fn int(self, value: i32) -> Self {
            self.put(&value.to_le_bytes())
        }

        fn long(self, value: i64) -> Self {
            self.put(&value.to_le_bytes())
        }

        fn double(self, value: f64) -> Self {
            self.put(&value.to_le_bytes())
        }
    }

    /// Formats with memory that has nothing but format, arguments and one string.
    fn run(text: &[u8], arguments: &Packed, string: &[u8]) -> Result<(Vec<u8>, u32), FaultKind> {
        let ended = |bytes: &[u8]| [bytes, &[0]].concat();
        let memory = [
            (FORMAT, ended(text)),
            (ARGUMENTS, arguments.0.clone()),
            (STRING, ended(string)),
        ];
        let byte = |address: u64| {
            let inside = memory.iter().find_map(|(start, bytes)| {
                let at = usize::try_from(address.checked_sub(*start)?).ok()?;
                bytes.get(at).copied()
            });
            inside.ok_or(FaultKind::IllegalAddress { address })
        };
        let at = ARGUMENTS;
        format(&mut Reader { byte, at }, FORMAT)
    }

    #[track_caller]
    fn shown(text: &str, arguments: Packed, expected: &str, count: u32) {
        let (out, used) = run(text.as_bytes(), &arguments, b"a string").unwrap();
        assert_eq!(String::from_utf8_lossy(&out), expected, "`{text}`");
        assert_eq!(used, count, "arguments of `{text}`");
    }

    fn none() -> Packed {
        Packed::default()
    }

    #[test]
    fn text_and_percent_signs() {
        shown("", none(), "", 0);
        shown("plain\n", none(), "plain\n", 0);
        shown("100%%, %%d", none(), "100%, %d", 0);
        // What is no conversion stays as it stands.
        shown("50%, %y, %!, %", none(), "50%, %y, %!, %", 0);
    }

    #[test]
    fn integers_of_all_sizes() {
        shown("%d %i", none().int(-7).int(8), "-7 8", 2);
        shown(
            "%u %x %X %o",
            none().int(-1).int(255).int(255).int(8),
            "4294967295 ff FF 10",
            4,
        );
        shown(
            "%ld %lld",
            none().long(i64::MIN).long(-2),
            "-9223372036854775808 -2",
            2,
        );
        shown(
            "%lu %llx %zu %jd",
            none().long(-1).long(-1).long(5).long(-5),
            "18446744073709551615 ffffffffffffffff 5 -5",
            4,
        );
        shown("%hd %hu", none().int(70_000).int(-1), "4464 65535", 2);
        shown(
            "%hhd %hhu %hhx",
            none().int(200).int(-1).int(0x1ff),
            "-56 255 ff",
            3,
        );
        shown("%c%c", none().int(0x41).int(0x62), "Ab", 2);
    }

    /// A long after an int begins at the next multiple of eight.
    #[test]
    fn arguments_are_aligned_to_their_size() {
        shown(
            "%d %ld %d %f",
            none().int(1).long(2).int(3).double(4.5),
            "1 2 3 4.500000",
            4,
        );
    }

    #[test]
    fn floating_point() {
        shown(
            "%f %.2f %8.3f|",
            none().double(1.5).double(-2.345).double(3.0),
            "1.500000 -2.35    3.000|",
            3,
        );
        shown(
            "%e %G %g",
            none().double(12345.678).double(1e-10).double(0.5),
            "1.234568e+04 1E-10 0.5",
            3,
        );
        shown(
            "%f %F",
            none().double(f64::NAN.abs()).double(f64::NEG_INFINITY),
            "nan -INF",
            2,
        );
        shown("%a", none().double(1.0), "0x1p+0", 1);
    }

    #[test]
    fn flags_widths_and_stars() {
        shown(
            "%+d|% d|%05d|%-5d|%#x",
            none().int(3).int(3).int(3).int(3).int(31),
            "+3| 3|00003|3    |0x1f",
            5,
        );
        shown(
            "%*d|%-*d|%.*f",
            none().int(4).int(7).int(4).int(7).int(1).double(0.25),
            "   7|7   |0.2",
            6,
        );
        shown("%*d|", none().int(-4).int(7), "7   |", 2);
    }

    #[test]
    fn strings_and_addresses() {
        let string = || none().long(STRING.cast_signed());
        shown("<%s> %p", string().long(0x1234), "<a string> 0x1234", 2);
        shown(
            "%.3s|%10s|",
            string().long(STRING.cast_signed()),
            "a s|  a string|",
            2,
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        assert!(
            run(b"%d", &none(), b"").is_err(),
            "an argument that is not there"
        );
        assert!(run(b"%s", &none().long(0), b"").is_err(), "a null string");
    }

    #[test]
    fn what_is_printed_is_bounded() {
        let (out, _) = run(
            b"%s",
            &none().long(STRING.cast_signed()),
            &[b'x'; 3 * LONGEST],
        )
        .unwrap();
        assert_eq!(out.len(), LONGEST);
        let (out, _) = run(b"%999999999d", &none().int(1), b"").unwrap();
        assert!(out.len() <= 2 * LONGEST, "{}", out.len());
    }

    proptest! {
        #[test]
        fn no_format_makes_it_panic(
            text in prop::collection::vec(prop::sample::select(b"%%%%-+ #0123456789.*hlLqjztdiouxXcsfeEgGaApn\xff".to_vec()), 0..40),
            arguments in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok((out, _)) = run(&text, &Packed(arguments), b"x") {
                prop_assert!(out.len() <= 40 * 2 * LONGEST);
            }
        }

        #[test]
        fn integers_are_shown_as_the_c_library_shows_them(value: i32, wide: i64) {
            let (out, _) = run(b"%d %u %lld %llu", &none().int(value).int(value).long(wide).long(wide), b"").unwrap();
            let expected = format!("{value} {} {wide} {}", value.cast_unsigned(), wide.cast_unsigned());
            prop_assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
