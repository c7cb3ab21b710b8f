//! Copies and fills: what the caller describes, checked, resolved to bytes,
//! and put on a stream.
//!
//! As documented, an asynchronous copy from pageable memory has read it when
//! the call returns (it is staged), one to pageable memory is complete when
//! the call returns, and copies within the device do not wait at all.

use std::sync::Arc;

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use crate::call::Answer;
use crate::context::Context;
use crate::driver::Driver;
use crate::handles::Handle;
use crate::memory::Extent;
use crate::schedule::Ticket;
use crate::stream::{self, Stream, Work};

/// One side of a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// Host memory; pinned or not is found out.
    Host(u64),
    /// Device memory.
    Device(u64),
    /// Whatever is at that address.
    Unified(u64),
}

/// A box of bytes: one side of a copy and its strides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side {
    pub(crate) place: Place,
    /// Bytes from row to row, and from slice to slice.
    pub(crate) pitch: usize,
    pub(crate) slice: usize,
}

impl Side {
    /// A plain run of bytes.
    pub(crate) fn linear(place: Place) -> Side {
        Side {
            place,
            pitch: 0,
            slice: 0,
        }
    }
}

/// Width in bytes, height, depth.
pub(crate) type Size = [usize; 3];

/// Who waits for a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The call is complete when it returns, unless both sides are device
    /// memory.
    Sync,
    /// The call returns when it can.
    Async,
}

/// A resolved side.
struct Resolved {
    extent: Extent,
    pageable: bool,
    on_host: bool,
}

/// How many bytes a box spans in its strides; `None` on overflow.
fn span(side: &Side, [width, height, depth]: Size) -> Option<usize> {
    let rows = side.pitch.checked_mul(height - 1)?;
    let slices = side.slice.checked_mul(depth - 1)?;
    rows.checked_add(slices)?.checked_add(width)
}

fn resolve(
    driver: &Driver,
    device: usize,
    side: &Side,
    size: Size,
    write: bool,
) -> Answer<Resolved> {
    let bytes = span(side, size).ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let (address, expected) = match side.place {
        Place::Host(at) => (at, Some(true)),
        Place::Device(at) => (at, Some(false)),
        Place::Unified(at) => (at, None),
    };
    if address == 0 || address.checked_add(bytes as u64).is_none() {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let found = driver.space.find(address);
    let host_memory = found.as_ref().is_none_or(|m| m.is_host());
    match (expected, &found) {
        // A device pointer where the host's is asked for, and the reverse.
        (Some(true), _) if !host_memory => return Err(CUDA_ERROR_INVALID_VALUE),
        (Some(false), None) => return Err(CUDA_ERROR_INVALID_VALUE),
        _ => (),
    }
    if host_memory && expected != Some(false) {
        // A range that starts in pinned memory and leaves it is as good as
        // pageable.
        let pinned = found.is_some_and(|m| address + bytes as u64 <= m.end());
        return Ok(Resolved {
            extent: Extent::host(address, bytes),
            pageable: !pinned,
            on_host: true,
        });
    }
    Ok(Resolved {
        extent: driver.space.extent(device, address, bytes, write)?,
        pageable: false,
        on_host: host_memory,
    })
}

/// Copies a box.
pub(crate) fn copy(
    driver: &Driver,
    (stream, per_thread): (Handle, bool),
    to: Side,
    from: Side,
    size: Size,
    mode: Mode,
) -> Answer {
    let (context, stream) = stream::resolve(driver, stream, per_thread)?;
    if size.contains(&0) {
        return Ok(());
    }
    let (to_pitch, to_slice) = (to.pitch, to.slice);
    let target = resolve(driver, context.device, &to, size, true)?;
    let source = resolve(driver, context.device, &from, size, false)?;
    let on_device = !target.on_host && !source.on_host;
    let staged = mode == Mode::Async && source.pageable && !target.on_host;
    let waits = match mode {
        Mode::Sync => !on_device,
        Mode::Async => target.pageable || (source.pageable && !staged),
    };
    let target = target.extent;
    let (owner, slow) = (Arc::clone(&context), driver.config.slow_copies);
    let work = if staged {
        let bytes = pack(&source.extent, &from, size);
        Work::device(move |_| {
            owner.linger(slow);
            let source = Extent::host(bytes.as_ptr() as u64, bytes.len());
            let [width, height, _] = size;
            let packed = (width, width * height);
            copy_rows(&target, (to_pitch, to_slice), &source, packed, size);
            Ok(())
        })
    } else {
        let strides = (from.pitch, from.slice);
        Work::device(move |_| {
            owner.linger(slow);
            copy_rows(&target, (to_pitch, to_slice), &source.extent, strides, size);
            Ok(())
        })
    };
    run(&context, &stream, work, mode == Mode::Sync, waits)
}

/// Puts work on a stream and waits for it if that is asked for.
fn run(context: &Arc<Context>, stream: &Stream, work: Work, here: bool, waits: bool) -> Answer {
    let ticket: Arc<Ticket> = context.submit(stream, Vec::new(), work, here);
    if waits {
        ticket.wait();
        context.check()?;
    }
    Ok(())
}

fn pack(source: &Extent, side: &Side, [width, height, depth]: Size) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(width * height * depth);
    for slice in 0..depth {
        for row in 0..height {
            source.snapshot(slice * side.slice + row * side.pitch, width, &mut bytes);
        }
    }
    bytes
}

fn copy_rows(
    to: &Extent,
    to_strides: (usize, usize),
    from: &Extent,
    from_strides: (usize, usize),
    [width, height, depth]: Size,
) {
    for slice in 0..depth {
        for row in 0..height {
            let at = slice * to_strides.1 + row * to_strides.0;
            let source = slice * from_strides.1 + row * from_strides.0;
            to.copy_from(at, from, source, width);
        }
    }
}

/// Fills `height` rows of `width` elements with `element` (1, 2 or 4 bytes).
pub(crate) fn fill(
    driver: &Driver,
    stream: (Handle, bool),
    (address, pitch): (u64, usize),
    element: &[u8],
    (width, height): (usize, usize),
    mode: Mode,
) -> Answer {
    let (context, stream) = stream::resolve(driver, stream.0, stream.1)?;
    if width == 0 || height == 0 {
        return Ok(());
    }
    let width = width
        .checked_mul(element.len())
        .ok_or(CUDA_ERROR_INVALID_VALUE)?;
    let aligned = |value: u64| value.is_multiple_of(element.len() as u64);
    if !aligned(address) || (height > 1 && (!aligned(pitch as u64) || pitch < width)) {
        return Err(CUDA_ERROR_INVALID_VALUE);
    }
    let side = Side {
        place: Place::Device(address),
        pitch,
        slice: 0,
    };
    let target = resolve(driver, context.device, &side, [width, height, 1], true)?;
    // Documented: asynchronous, except on pinned host memory.
    let waits = mode == Mode::Sync && target.on_host;
    let element: Vec<u8> = element.to_vec();
    let work = Work::device(move |_| {
        for row in 0..height {
            target.extent.fill(row * pitch, width, &element);
        }
        Ok(())
    });
    run(&context, &stream, work, mode == Mode::Sync, waits)
}

/// The side that a 2D or 3D descriptor gives.
pub(crate) struct Described {
    pub(crate) memory: CUmemorytype,
    pub(crate) host: u64,
    pub(crate) device: u64,
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) z: usize,
    pub(crate) pitch: usize,
    pub(crate) height: usize,
}

impl Described {
    /// As a side of a copy of that size.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` for rows longer than the pitch and unknown
    /// kinds of memory; arrays are not supported.
    pub(crate) fn side(&self, [width, height, depth]: Size) -> Answer<Side> {
        let invalid = CUDA_ERROR_INVALID_VALUE;
        let row = self.x.checked_add(width).ok_or(invalid)?;
        let pitch = if self.pitch == 0 { row } else { self.pitch };
        if pitch < row && (height > 1 || depth > 1 || self.pitch != 0) {
            return Err(invalid);
        }
        let rows = if self.height == 0 {
            self.y.checked_add(height).ok_or(invalid)?
        } else {
            self.height
        };
        if depth > 1 && rows < self.y.saturating_add(height) {
            return Err(invalid);
        }
        let slice = pitch.checked_mul(rows).ok_or(invalid)?;
        let skip = self
            .z
            .checked_mul(slice)
            .and_then(|z| {
                z.checked_add(self.y.checked_mul(pitch)?)?
                    .checked_add(self.x)
            })
            .ok_or(invalid)? as u64;
        let at = |base: u64| base.checked_add(skip).filter(|_| base != 0).ok_or(invalid);
        let place = match self.memory {
            CU_MEMORYTYPE_HOST => Place::Host(at(self.host)?),
            CU_MEMORYTYPE_DEVICE => Place::Device(at(self.device)?),
            CU_MEMORYTYPE_UNIFIED => Place::Unified(at(self.device)?),
            CU_MEMORYTYPE_ARRAY => return Err(CUDA_ERROR_NOT_SUPPORTED),
            _ => return Err(invalid),
        };
        Ok(Side {
            place,
            pitch,
            slice,
        })
    }
}
