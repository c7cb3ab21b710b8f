//! How long is the image at a bare pointer?
//!
//! `cuModuleLoadData` takes a pointer without a length, to a wrapper, a container, an ELF file
//! or PTX text. Memory is read through the caller's function: this crate follows no pointer.

use super::{CONTAINER_MAGIC, WRAPPER_MAGIC, container_len, u16_at, u32_at, u64_at};

const ELF_MAGIC: u32 = u32::from_le_bytes(*b"\x7fELF");
const ELF_HEADER: usize = 64;
const ELF_SECTION: usize = 64;
const ELF_SEGMENT: usize = 56;
/// More than any compiler makes; a larger count is damage.
const ELF_MAX_SECTIONS: usize = 1 << 20;
/// Version of a wrapper with a list.
const LINKED: u32 = 2;
/// More objects than anybody links.
const MAX_LINKED: usize = 1 << 16;
/// Longest PTX text that is looked through for its closing NUL.
const MAX_TEXT: usize = 1 << 30;
/// Text is read in steps that never cross a boundary of this size, so that a step stays within
/// the page that its first byte is in.
const STEP: usize = 256;

/// What kind of image a pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// A wrapper; the container is at this address.
    Wrapper {
        /// Address of the container.
        container: u64,
        /// Address of the list of containers that were linked into it, 0 for none.
        list: u64,
    },
    /// A fatbin container.
    Container,
    /// A cubin.
    Elf,
    /// Text that ends with a NUL, which the length includes.
    Text,
}

/// An image's kind and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The kind.
    pub image: Image,
    /// How many bytes belong to it.
    pub len: usize,
}

/// Measures the image at `address`. `read(address, buffer)` fills the buffer from memory and
/// says whether it could.
///
/// `None`: unreadable, longer than the bounds of this module, or a damaged header.
pub fn measure(address: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Option<Measured> {
    let mut first = [0; 4];
    if !read(address, &mut first) {
        return None;
    }
    match u32::from_le_bytes(first) {
        WRAPPER_MAGIC => {
            let mut wrapper = [0; 24];
            read(address, &mut wrapper).then(|| Measured {
                image: Image::Wrapper {
                    container: u64_at(&wrapper, 8),
                    list: if u32_at(&wrapper, 4) == LINKED {
                        u64_at(&wrapper, 16)
                    } else {
                        0
                    },
                },
                len: wrapper.len(),
            })
        }
        CONTAINER_MAGIC => {
            let mut header = [0; 16];
            let ok = read(address, &mut header);
            let len = ok.then(|| container_len(&header).ok()).flatten()?;
            Some(Measured {
                image: Image::Container,
                len,
            })
        }
        ELF_MAGIC => Some(Measured {
            image: Image::Elf,
            len: elf_len(address, read)?,
        }),
        _ => Some(Measured {
            image: Image::Text,
            len: text_len(address, read)?,
        }),
    }
}

/// Address and length of the containers that a wrapper leads to: its own, then those of its list,
/// which ends with a null pointer.
///
/// `None`: unreadable, no containers, or more than the bounds of this module.
pub fn linked(
    container: u64,
    list: u64,
    read: &mut dyn FnMut(u64, &mut [u8]) -> bool,
) -> Option<Vec<(u64, usize)>> {
    let mut found = Vec::new();
    let mut next = Some(container);
    while let Some(address) = next {
        let measured = measure(address, read).filter(|m| m.image == Image::Container)?;
        found.push((address, measured.len));
        let mut pointer = [0; 8];
        let at = list.checked_add(8 * (found.len() as u64 - 1))?;
        if list != 0 && (found.len() > MAX_LINKED || !read(at, &mut pointer)) {
            return None;
        }
        next = Some(u64::from_le_bytes(pointer)).filter(|&pointer| pointer != 0);
    }
    Some(found)
}

fn elf_len(address: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Option<usize> {
    let mut header = [0; ELF_HEADER];
    if !read(address, &mut header) {
        return None;
    }
    let (segments, sections) = (u64_at(&header, 32), u64_at(&header, 40));
    let n_segments = usize::from(u16_at(&header, 56));
    let mut n_sections = usize::from(u16_at(&header, 60));
    let mut end = ELF_HEADER as u64;
    if n_sections == 0 && sections != 0 {
        // More than 0xff00 sections: the count is in the first one's size.
        let mut section = [0; ELF_SECTION];
        if !read(address.checked_add(sections)?, &mut section) {
            return None;
        }
        n_sections = usize::try_from(u64_at(&section, 32)).ok()?;
    }
    if n_sections > ELF_MAX_SECTIONS {
        return None;
    }
    end = end.max(segments.checked_add((n_segments * ELF_SEGMENT) as u64)?);
    end = end.max(sections.checked_add((n_sections * ELF_SECTION) as u64)?);
    for i in 0..n_sections {
        let mut section = [0; ELF_SECTION];
        let at = address
            .checked_add(sections)?
            .checked_add((i * ELF_SECTION) as u64)?;
        if !read(at, &mut section) {
            return None;
        }
        const SHT_NOBITS: u32 = 8;
        if u32_at(&section, 4) != SHT_NOBITS {
            end = end.max(u64_at(&section, 24).checked_add(u64_at(&section, 32))?);
        }
    }
    usize::try_from(end)
        .ok()
        .filter(|&end| end <= super::MAX_PAYLOAD as usize)
}

fn text_len(address: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Option<usize> {
    let mut len = 0;
    while len < MAX_TEXT {
        let at = address.checked_add(len as u64)?;
        let step = STEP - (at as usize % STEP);
        let mut buffer = [0; STEP];
        let chunk = buffer.get_mut(..step)?;
        if !read(at, chunk) {
            return None;
        }
        if let Some(nul) = chunk.iter().position(|&b| b == 0) {
            return Some(len + nul + 1);
        }
        len += step;
    }
    None
}
