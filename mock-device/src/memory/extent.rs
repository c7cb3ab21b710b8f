//! A run of bytes to copy from or to: host memory, or a range of device
//! addresses with the pieces of host memory behind it.

#![allow(unsafe_code, reason = "copies bytes between raw places")]

use std::sync::Arc;

use super::Backing;

/// A contiguous piece, kept alive by its backing.
#[derive(Debug)]
struct Piece {
    at: *mut u8,
    size: usize,
    _keep: Option<Arc<Backing>>,
}

/// Bytes in one or more pieces.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    pieces: Vec<Piece>,
}

// SAFETY: the pointers are to memory that any thread may access; device
// memory is kept alive here, host memory by the program, as the API demands.
unsafe impl Send for Extent {}

impl Extent {
    /// Host memory at an address.
    pub(crate) fn host(start: u64, size: usize) -> Extent {
        Extent {
            pieces: vec![Piece {
                at: std::ptr::with_exposed_provenance_mut(start as usize),
                size,
                _keep: None,
            }],
        }
    }

    /// Adds `size` bytes at `offset` of a backing.
    pub(crate) fn add(&mut self, backing: &Arc<Backing>, offset: u64, size: u64) {
        self.pieces.push(Piece {
            at: backing.start().wrapping_add(offset as usize),
            size: size as usize,
            _keep: Some(backing.clone()),
        });
    }

    /// Calls `each` with the pieces of `[offset, offset + size)`.
    fn visit(&self, mut offset: usize, mut size: usize, mut each: impl FnMut(*mut u8, usize)) {
        for piece in &self.pieces {
            if size == 0 {
                return;
            }
            if offset >= piece.size {
                offset -= piece.size;
                continue;
            }
            let part = size.min(piece.size - offset);
            each(piece.at.wrapping_add(offset), part);
            offset = 0;
            size -= part;
        }
        debug_assert_eq!(size, 0, "an extent is shorter than its copy");
    }

    /// Copies `size` bytes at `from` of `source` to `at`.
    pub(crate) fn copy_from(&self, at: usize, source: &Extent, from: usize, size: usize) {
        let mut done = 0;
        self.visit(at, size, |to, part| {
            let mut here = 0;
            source.visit(from + done, part, |bytes, count| {
                // SAFETY: both runs lie inside their pieces, which are valid
                // for their sizes; copy() allows that they overlap.
                unsafe { std::ptr::copy(bytes, to.wrapping_add(here), count) };
                here += count;
            });
            done += part;
        });
    }

    /// Copies the bytes of host memory at `from` into memory of our own.
    pub(crate) fn snapshot(&self, from: usize, size: usize, into: &mut Vec<u8>) {
        into.reserve(size);
        self.visit(from, size, |bytes, count| {
            let old = into.len();
            // SAFETY: `count` bytes are readable there, and the vector has
            // room for `size` more, of which these are some.
            unsafe { std::ptr::copy_nonoverlapping(bytes, into.as_mut_ptr().add(old), count) };
            // SAFETY: the bytes up to here were just written.
            unsafe { into.set_len(old + count) };
        });
    }

    /// Fills `size` bytes at `at` with a pattern of 1, 2 or 4 bytes; `size`
    /// is a multiple of the pattern, and so is every piece's.
    pub(crate) fn fill(&self, at: usize, size: usize, pattern: &[u8]) {
        self.visit(at, size, |to, part| match pattern {
            // SAFETY: the run lies inside a valid piece.
            [byte] => unsafe { std::ptr::write_bytes(to, *byte, part) },
            _ => {
                for offset in (0..part).step_by(pattern.len()) {
                    let to = to.wrapping_add(offset);
                    // SAFETY: as above; the pattern divides the run.
                    unsafe { std::ptr::copy_nonoverlapping(pattern.as_ptr(), to, pattern.len()) };
                }
            }
        });
    }
}
