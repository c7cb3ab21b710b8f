//! `/proc/self/maps` and `/proc/self/smaps` (proc_pid_maps(5), proc_pid_smaps(5)).
//!
//! `smaps` walks the page tables, so [`read_detailed`] reads it only up to the end
//! of the last range asked for. Nothing here judges what it reads.

use crate::{Range, RawPath};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// Access that a mapping allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `x`
    pub exec: bool,
    /// `s` instead of `p`
    pub shared: bool,
}

/// One line of `/proc/self/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Addresses.
    pub range: Range,
    /// The four letters.
    pub access: Access,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// The file's inode; 0 without a file.
    pub inode: u64,
    /// Path, `[name]`, or nothing; escapes undone, ` (deleted)` kept.
    pub name: RawPath,
}

/// What `/proc/self/smaps` adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Two-letter flags of the line `VmFlags`.
    pub flags: Vec<[u8; 2]>,
    /// Bytes in memory.
    pub rss: u64,
    /// Bytes in swap, those of shared memory included.
    pub swap: u64,
    /// Protection key, 0 when none is set.
    pub protection_key: u32,
}

impl Details {
    /// True when `VmFlags` has this flag.
    pub fn has(&self, flag: &[u8; 2]) -> bool {
        self.flags.contains(flag)
    }
}

impl fmt::Display for Mapping {
    /// As the kernel writes it, spaces before the name collapsed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access {
            read,
            write,
            exec,
            shared,
        } = self.access;
        let letter = |on, c| if on { c } else { '-' };
        write!(
            f,
            "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} {}",
            self.range.start,
            self.range.end,
            letter(read, 'r'),
            letter(write, 'w'),
            letter(exec, 'x'),
            if shared { 's' } else { 'p' },
            self.offset,
            self.device.0,
            self.device.1,
            self.inode,
            self.name
        )
    }
}

/// Parses one line of `/proc/PID/maps`, without its newline.
pub fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let range = field(&mut rest)?;
    let (start, end) = range.split_once('-')?;
    let range = Range::new(hex(start)?, hex(end)?);
    let access = parse_access(field(&mut rest)?)?;
    let offset = hex(field(&mut rest)?)?;
    let (major, minor) = field(&mut rest)?.split_once(':')?;
    let device = (
        u32::from_str_radix(major, 16).ok()?,
        u32::from_str_radix(minor, 16).ok()?,
    );
    let inode = field(&mut rest)?.parse().ok()?;
    let blanks = rest.iter().take_while(|&&c| c == b' ').count();
    (range.start < range.end).then(|| Mapping {
        range,
        access,
        offset,
        device,
        inode,
        name: RawPath(unescape(&rest[blanks..])),
    })
}

/// The next field; one space after it is consumed.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|&c| c == b' ').unwrap_or(rest.len());
    let field = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = rest.get(end + 1..).unwrap_or_default();
    (!field.is_empty()).then_some(field)
}

fn hex(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|c| c.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

fn parse_access(text: &str) -> Option<Access> {
    let &[r, w, x, s] = text.as_bytes() else {
        return None;
    };
    let on = |c, yes| match c {
        b'-' => Some(false),
        c if c == yes => Some(true),
        _ => None,
    };
    Some(Access {
        read: on(r, b'r')?,
        write: on(w, b'w')?,
        exec: on(x, b'x')?,
        shared: match s {
            b's' => true,
            b'p' => false,
            _ => return None,
        },
    })
}

/// The kernel writes a newline in a name as `\012`, and nothing else so.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&c, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            out.push(b'\n');
            rest = after;
        } else {
            out.push(c);
            rest = tail;
        }
    }
    out
}

/// Takes a line of `smaps` that follows a mapping's.
fn detail_line(line: &[u8], details: &mut Details) -> Option<()> {
    let line = std::str::from_utf8(line).ok()?;
    let (key, value) = line.split_once(':')?;
    let bytes = || {
        let kib = value.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    match key {
        "Rss" => details.rss = bytes()?,
        "Swap" => details.swap = bytes()?,
        "ProtectionKey" => details.protection_key = value.trim().parse().ok()?,
        "VmFlags" => {
            details.flags = value
                .split_ascii_whitespace()
                .filter_map(|flag| flag.as_bytes().try_into().ok())
                .collect();
        }
        _ => {}
    }
    Some(())
}

fn malformed(line: &[u8]) -> io::Error {
    let line = String::from_utf8_lossy(line);
    io::Error::new(io::ErrorKind::InvalidData, format!("unknown line {line:?}"))
}

fn proc_lines(path: &str) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
    let file: File = crate::sys::descriptor::open_read(path.as_ref())?;
    // One large buffer: the fewer reads, the fewer chances for maps to change.
    Ok(BufReader::with_capacity(1 << 20, file).split(b'\n'))
}

/// All mappings of this process, ascending.
///
/// # Errors
/// When `/proc/self/maps` cannot be read.
pub fn read() -> io::Result<Vec<Mapping>> {
    proc_lines("/proc/self/maps")?
        .map(|line| {
            let line = line?;
            parse_line(&line).ok_or_else(|| malformed(&line))
        })
        .collect()
}

/// The mappings that overlap one of `ranges`, with their details, ascending.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read.
pub fn read_detailed(ranges: &[Range]) -> io::Result<Vec<(Mapping, Details)>> {
    let last = ranges.iter().map(|r| r.end).max().unwrap_or(0);
    let mut found: Vec<(Mapping, Details)> = Vec::new();
    let mut current = false;
    for line in proc_lines("/proc/self/smaps")? {
        let line = line?;
        if let Some(mapping) = parse_line(&line) {
            if mapping.range.start >= last {
                break;
            }
            current = ranges
                .iter()
                .any(|r| r.intersection(&mapping.range).is_some());
            if current {
                found.push((mapping, Details::default()));
            }
        } else if current && let Some((_, details)) = found.last_mut() {
            detail_line(&line, details).ok_or_else(|| malformed(&line))?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kernel_line(m: &Mapping) -> Vec<u8> {
        let mut named = m.clone();
        let name = std::mem::replace(&mut named.name, RawPath(Vec::new())).0;
        let mut line = named.to_string().into_bytes();
        if !name.is_empty() {
            // seq_pad: the name begins at column 73, or after one space.
            line.resize(line.len().max(72), b' ');
            line.push(b' ');
            for c in name {
                match c {
                    b'\n' => line.extend(b"\\012"),
                    c => line.push(c),
                }
            }
        }
        line
    }

    fn any_mapping() -> impl Strategy<Value = Mapping> {
        let name = prop_oneof![
            Just(Vec::new()),
            Just(b"[heap]".to_vec()),
            "/[a-z/ \\n()]{1,40}".prop_map(String::into_bytes),
            proptest::collection::vec(1_u8..=255, 1..20).prop_map(|mut v| {
                v.insert(0, b'/');
                v
            }),
        ];
        (
            (0_u64..1 << 47, 1_u64..1 << 40),
            any::<[bool; 4]>(),
            any::<u64>(),
            any::<(u8, u32)>(),
            any::<u64>(),
            name,
        )
            .prop_map(
                |(
                    (start, len),
                    [read, write, exec, shared],
                    offset,
                    (major, minor),
                    inode,
                    name,
                )| {
                    Mapping {
                        range: Range::new(start, start + len),
                        access: Access {
                            read,
                            write,
                            exec,
                            shared,
                        },
                        offset,
                        device: (u32::from(major), minor),
                        inode,
                        name: RawPath(name),
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_the_kernel_writes_is_read_back(mapping in any_mapping()) {
            // A name with the very text of an escape cannot be told from one.
            prop_assume!(!mapping.name.0.windows(4).any(|w| w == b"\\012"));
            prop_assert_eq!(parse_line(&kernel_line(&mapping)), Some(mapping));
        }

        #[test]
        fn any_bytes_are_taken_without_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_line(&line);
            let _ = detail_line(&line, &mut Details::default());
        }

        #[test]
        fn damaged_lines_are_taken_without_panic(mapping in any_mapping(), at in any::<usize>(), to in any::<u8>()) {
            let mut line = kernel_line(&mapping);
            let at = at % line.len();
            line[at] = to;
            let _ = parse_line(&line);
            let _ = parse_line(&line[..at]);
        }
    }

    #[test]
    fn real_lines() {
        let line = b"7f0d3c000000-7f0d3c021000 rw-p 00000000 00:00 0 ";
        let m = parse_line(line).unwrap();
        assert_eq!(m.range, Range::new(0x7f0d_3c00_0000, 0x7f0d_3c02_1000));
        assert_eq!(m.name, RawPath(Vec::new()));
        let line = b"1600000000-1600001000 r-xs 00002000 fd:01 1835018                    /tmp/a b (deleted)";
        let m = parse_line(line).unwrap();
        assert!(m.access.shared && m.access.exec && !m.access.write);
        assert_eq!(m.device, (0xfd, 1));
        assert_eq!(m.name, RawPath(b"/tmp/a b (deleted)".to_vec()));
        assert_eq!(parse_line(b"Rss:                   4 kB"), None);
        assert_eq!(parse_line(b"VmFlags: rd wr mr mw me ac "), None);
    }

    #[test]
    fn own_maps_hold_this_code_and_details() {
        let here = own_maps_hold_this_code_and_details as *const () as u64;
        let maps = read().unwrap();
        let mine = maps
            .iter()
            .find(|m| m.range.start <= here && here < m.range.end)
            .unwrap();
        assert!(mine.access.exec && mine.inode != 0);
        let detailed = read_detailed(&[Range::new(here, here + 1)]).unwrap();
        assert_eq!(detailed.len(), 1);
        assert_eq!(detailed[0].0.range, mine.range);
        assert!(detailed[0].1.has(b"ex") && detailed[0].1.rss > 0);
    }
}
