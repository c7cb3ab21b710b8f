//! From the bytes of an image to a parsed program.
//!
//! PTX text, a fat binary's wrapper and its raw container are understood;
//! machine code is refused, since there is no machine for it.

#![allow(unsafe_code, reason = "images come as bare pointers")]

use std::sync::Arc;

use cuda_abi::driver::result::*;
use cuda_abi::fatbin::{self, Image, Kind};

use crate::call::Answer;
use crate::driver::Driver;
use crate::ptx::{self, PtxError};

/// A program that the device can run.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) module: Arc<ptx::Module>,
    /// `.version` times 10, 78 for 7.8.
    pub(crate) version: u32,
    /// `.target`, 75 for `sm_75`.
    pub(crate) target: u32,
}

/// Why there is no program, with the text for the log.
pub(crate) struct Refused {
    pub(crate) code: CUresult,
    pub(crate) log: String,
}

impl Refused {
    pub(crate) fn new(code: CUresult, log: impl Into<String>) -> Refused {
        Refused {
            code,
            log: log.into(),
        }
    }
}

/// Copies the image at an address.
///
/// # Errors
/// `CUDA_ERROR_INVALID_VALUE` for a null pointer, `CUDA_ERROR_INVALID_IMAGE`
/// for what no image starts with.
pub(crate) fn read_image(address: u64) -> Answer<Vec<u8>> {
    if address == 0 {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let mut peek = |at: u64, buffer: &mut [u8]| {
        // SAFETY: the caller of the API passes an image; measure() asks only
        // for bytes that its headers say belong to it, or in small steps for
        // the closing NUL of text.
        unsafe {
            std::ptr::copy_nonoverlapping(
                std::ptr::with_exposed_provenance(at as usize),
                buffer.as_mut_ptr(),
                buffer.len(),
            );
        };
        true
    };
    let measured = fatbin::measure(address, &mut peek).ok_or(CUDA_ERROR_INVALID_IMAGE)?;
    if let Image::Wrapper { container, list } = measured.image {
        if container == 0 {
            return Err(CUDA_ERROR_INVALID_IMAGE);
        }
        let all = fatbin::linked(container, list, &mut peek).ok_or(CUDA_ERROR_INVALID_IMAGE)?;
        let mut bytes = Vec::new();
        for (address, len) in all {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend(copy(address, len));
        }
        return Ok(bytes);
    }
    Ok(copy(address, measured.len))
}

fn copy(address: u64, len: usize) -> Vec<u8> {
    let start: *const u8 = std::ptr::with_exposed_provenance(address as usize);
    // SAFETY: the image has `len` bytes, as its own header says, and nobody
    // changes it while the driver reads it.
    unsafe { std::slice::from_raw_parts(start, len) }.to_vec()
}

impl Program {
    /// Parses an image: PTX text, a container, or an ELF that is refused.
    pub(crate) fn parse(driver: &Driver, image: &[u8]) -> Result<Program, Refused> {
        if image.starts_with(b"\x7fELF") {
            return Err(Refused::new(
                CUDA_ERROR_NO_BINARY_FOR_GPU,
                "the image is machine code (cubin), and the mock device runs PTX only; \
                 compile with -gencode arch=compute_75,code=compute_75",
            ));
        }
        if image.starts_with(&fatbin::CONTAINER_MAGIC.to_le_bytes()) {
            return Program::from_fatbin(driver, image);
        }
        let end = image.iter().position(|&b| b == 0).unwrap_or(image.len());
        Program::from_ptx(driver, &[&image[..end]])
    }

    fn from_fatbin(driver: &Driver, image: &[u8]) -> Result<Program, Refused> {
        let containers = fatbin::containers(image)
            .map_err(|e| Refused::new(CUDA_ERROR_INVALID_IMAGE, e.to_string()))?;
        if driver.config.no_fatbin {
            return Err(Refused::new(
                CUDA_ERROR_NO_BINARY_FOR_GPU,
                "the switch no-fatbin is on",
            ));
        }
        let sm = driver.config.sm;
        // What was linked is machine code; the objects that went into it have the PTX.
        let parts = match &containers[..] {
            [linked, objects @ ..] if linked.best_ptx(sm).is_none() && !objects.is_empty() => {
                objects
            }
            all => &all[..all.len().min(1)],
        };
        // An object of a library may have machine code alone; what the others need of it is
        // missed by name.
        let entries: Vec<_> = parts.iter().filter_map(|part| part.best_ptx(sm)).collect();
        if entries.is_empty() {
            let held: Vec<_> = containers
                .iter()
                .flat_map(|container| &container.entries)
                .map(|e| match e.kind {
                    Kind::PTX => format!("compute_{}", e.arch),
                    Kind::ELF => format!("sm_{}", e.arch),
                    Kind(other) => format!("kind {other}"),
                })
                .collect();
            return Err(Refused::new(
                CUDA_ERROR_NO_BINARY_FOR_GPU,
                format!(
                    "the fat binary holds no PTX for sm_{sm} or older (only: {})",
                    held.join(", ")
                ),
            ));
        }
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| entry.payload())
            .collect::<Result<_, _>>()
            .map_err(|e| Refused::new(CUDA_ERROR_INVALID_IMAGE, e.to_string()))?;
        let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
        Program::from_ptx(driver, &texts)
    }

    fn from_ptx(driver: &Driver, texts: &[&[u8]]) -> Result<Program, Refused> {
        let texts: Vec<&str> = texts
            .iter()
            .map(|text| std::str::from_utf8(text))
            .collect::<Result<_, _>>()
            .map_err(|_| Refused::new(CUDA_ERROR_INVALID_IMAGE, "the image is no text"))?;
        let headers: Option<Vec<_>> = texts.iter().map(|text| header(text)).collect();
        let newest = headers.and_then(|headers| {
            let version = headers.iter().map(|(version, _)| *version).max()?;
            Some((version, headers.iter().map(|(_, target)| *target).max()?))
        });
        let Some((version, target)) = newest else {
            return Err(Refused::new(
                CUDA_ERROR_INVALID_PTX,
                "the text has no .version and .target",
            ));
        };
        if target > driver.config.sm {
            return Err(Refused::new(
                CUDA_ERROR_INVALID_PTX,
                format!(
                    "the text is for sm_{target}, newer than the device's sm_{}",
                    driver.config.sm
                ),
            ));
        }
        let module = ptx::Module::link(&texts).map_err(|error| {
            let code = match error {
                PtxError::Unsupported { .. } => CUDA_ERROR_NOT_SUPPORTED,
                _ => CUDA_ERROR_INVALID_PTX,
            };
            Refused::new(code, format!("ptx: {error}"))
        })?;
        Ok(Program {
            module: Arc::new(module),
            version,
            target,
        })
    }
}

/// Version and target as the first directives of a PTX text give them.
fn header(text: &str) -> Option<(u32, u32)> {
    let number = |s: &str| -> Option<u32> {
        let digits = s.trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit());
        digits[..end.unwrap_or(digits.len())].parse().ok()
    };
    let (_, version) = text.split_once(".version")?;
    let (major, minor) = version.split_once('.')?;
    let (_, target) = version.split_once(".target")?;
    let (_, target) = target.split_once("sm_")?;
    Some((number(major)? * 10 + number(minor)?, number(target)?))
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn header_is_found() {
        let text = "// sm_52 in a comment\n.version 7.8\n.target sm_90a, texmode_independent\n";
        assert_eq!(header(text), Some((78, 90)));
        assert_eq!(header("hello"), None);
        assert_eq!(header(".version 8.0\n"), None);
    }
}
