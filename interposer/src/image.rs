//! Module images: how long they are, and what stands in them.

use std::borrow::Cow;

use cuda_abi::fatbin::{Image, Kind, WRAPPER_MAGIC, containers, linked, measure};

use crate::dispatch::Call;
use crate::guest;

/// An image that a record can own.
pub(crate) struct Owned {
    /// Container, ELF or PTX text (with its final NUL); behind a container those of the objects
    /// that were linked into it.
    pub(crate) bytes: Vec<u8>,
    /// It came in a fatbin wrapper.
    pub(crate) wrapped: bool,
}

/// Copies the image at a bare pointer; `None` when it is none that we know.
pub(crate) fn copy(address: u64) -> Option<Owned> {
    let mut read = |at: u64, buffer: &mut [u8]| {
        guest::read_into(at, buffer);
        true
    };
    let measured = measure(address, &mut read)?;
    let Image::Wrapper { container, list } = measured.image else {
        return Some(Owned {
            bytes: guest::bytes(address, measured.len),
            wrapped: false,
        });
    };
    let mut bytes = Vec::new();
    for (start, len) in linked(container, list, &mut read)? {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(guest::bytes(start, len));
    }
    Some(Owned {
        bytes,
        wrapped: true,
    })
}

/// The image, or an empty one where it is of no kind that we know: then the session cannot
/// be saved.
pub(crate) fn or_poison(image: Option<Owned>, call: &Call) -> Owned {
    image.unwrap_or_else(|| {
        call.session.poison(format!(
            "{}: the image has no length that gpuckpt can tell",
            call.row.base
        ));
        Owned {
            bytes: Vec::new(),
            wrapped: false,
        }
    })
}

/// A fatbin wrapper around containers that stay where they are.
pub(crate) struct Wrapper {
    /// Magic and version, address of the container, address of the list.
    words: [u64; 3],
    /// The containers that were linked, and a null pointer.
    _list: Vec<u64>,
}

impl Wrapper {
    /// Its address, for the driver.
    pub(crate) fn address(&self) -> u64 {
        self.words.as_ptr() as u64
    }
}

/// Wraps what [`copy`] has taken out of a wrapper.
pub(crate) fn wrap(bytes: &[u8]) -> Wrapper {
    let start = bytes.as_ptr() as u64;
    let mut list = Vec::new();
    let mut at = 0;
    for container in containers(bytes).unwrap_or_default() {
        if at > 0 {
            list.push(start + at as u64);
        }
        at = (at + container.len).next_multiple_of(8);
    }
    let linked = !list.is_empty();
    list.push(0);
    let version = if linked { 2 } else { 1 };
    let more = if linked { list.as_ptr() as u64 } else { 0 };
    Wrapper {
        words: [version << 32 | u64::from(WRAPPER_MAGIC), start, more],
        _list: list,
    }
}

/// The code in an image.
#[derive(Default)]
pub(crate) struct Contents<'a> {
    /// PTX texts.
    pub(crate) ptx: Vec<Cow<'a, [u8]>>,
    /// Machine code for one architecture each, as ELF files.
    pub(crate) elf: Vec<Cow<'a, [u8]>>,
}

/// Looks into an image.
pub(crate) fn contents(bytes: &[u8]) -> Contents<'_> {
    if bytes.starts_with(b"\x7fELF") {
        return Contents {
            ptx: Vec::new(),
            elf: vec![Cow::Borrowed(bytes)],
        };
    }
    match containers(bytes) {
        Ok(containers) => {
            let of = |kind| {
                containers
                    .iter()
                    .flat_map(|container| container.of_kind(kind))
                    .filter_map(|entry| entry.payload().ok())
                    .collect()
            };
            Contents {
                ptx: of(Kind::PTX),
                elf: of(Kind::ELF),
            }
        }
        Err(_) => Contents {
            ptx: vec![Cow::Borrowed(bytes)],
            elf: Vec::new(),
        },
    }
}

/// Data objects of a cubin: the named objects of its symbol table.
pub(crate) fn elf_variables(elf: &[u8]) -> Vec<String> {
    symbols(elf).unwrap_or_default()
}

const SHT_SYMTAB: u32 = 2;
const STT_OBJECT: u8 = 1;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<usize> {
    let value = bytes
        .get(at..at.checked_add(8)?)?
        .try_into()
        .ok()
        .map(u64::from_le_bytes)?;
    usize::try_from(value).ok()
}

/// Contents of section `index` of a 64-bit ELF file, its type and its link.
fn section(elf: &[u8], index: usize) -> Option<(u32, usize, &[u8])> {
    let header = long(elf, 40)?.checked_add(index.checked_mul(64)?)?;
    let (start, len) = (
        long(elf, header.checked_add(24)?)?,
        long(elf, header.checked_add(32)?)?,
    );
    let body = elf.get(start..start.checked_add(len)?).unwrap_or_default();
    Some((
        word(elf, header.checked_add(4)?)?,
        word(elf, header.checked_add(40)?)? as usize,
        body,
    ))
}

fn symbols(elf: &[u8]) -> Option<Vec<String>> {
    let count = usize::from(u16::from_le_bytes(elf.get(60..62)?.try_into().ok()?));
    let (_, link, table) = (0..count)
        .filter_map(|i| section(elf, i))
        .find(|(kind, ..)| *kind == SHT_SYMTAB)?;
    let (_, _, strings) = section(elf, link)?;
    let name = |symbol: &[u8]| {
        let object = symbol.get(4)? & 0xf == STT_OBJECT && symbol.get(6..8)? != [0, 0];
        let rest = strings.get(word(symbol, 0)? as usize..)?;
        let end = rest.iter().position(|&byte| byte == 0)?;
        (object && end > 0)
            .then(|| String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned())
    };
    Some(table.chunks_exact(24).filter_map(name).collect())
}
