//! Copies and fills. What they touch of the arena must lie in one block of the application's:
//! blocks share slabs, and the driver sees slabs alone. Descriptors that name arrays are refused.

use cuda_abi::driver::{CUDA_ERROR_INVALID_VALUE, CUDA_MEMCPY2D, CUDA_MEMCPY3D};

use super::{Call, generic};
use crate::arena::ARENA;
use crate::guest;
use crate::threads;

/// `CU_MEMORYTYPE_HOST`
const HOST: u32 = 1;

/// `CU_MEMORYTYPE_ARRAY`
const ARRAY: u32 = 3;

/// Rows, slices and bytes that a call touches from an address on.
#[derive(Clone, Copy, Default)]
struct Span {
    start: u64,
    pitch: u64,
    slice: u64,
    width: u64,
    height: u64,
    depth: u64,
}

impl Span {
    fn linear(start: u64, width: u64) -> Self {
        Span {
            start,
            width,
            height: 1,
            depth: 1,
            ..Span::default()
        }
    }

    /// Bytes from the first to the last, none where nothing is touched.
    fn len(self) -> u64 {
        let (Some(rows), Some(slices)) = (self.height.checked_sub(1), self.depth.checked_sub(1))
        else {
            return 0;
        };
        if self.width == 0 {
            return 0;
        }
        let rows = self.pitch.saturating_mul(rows);
        let slices = self.slice.saturating_mul(slices);
        rows.saturating_add(slices).saturating_add(self.width)
    }
}

/// Calls the driver when every span that begins in the arena ends in the block it begins in.
fn within(call: &Call, spans: &[Span]) -> u32 {
    let arena = call.session.arena();
    let inside = |span: &Span| {
        !ARENA.contains(&span.start) || span.len() == 0 || arena.holds(span.start, span.len())
    };
    if !spans.iter().all(inside) {
        // A broken context says so to every call.
        let broken = threads::current().and_then(|context| arena.broken(context));
        return broken.unwrap_or(CUDA_ERROR_INVALID_VALUE.0);
    }
    drop(arena);
    generic(call)
}

/// `cuMemcpy`, `cuMemcpyHtoD`, `cuMemcpyDtoH`, `cuMemcpyDtoD`: destination, source, bytes.
pub(crate) fn linear(call: &Call) -> u32 {
    let [to, from, bytes] = [call.arg(0), call.arg(1), call.arg(2)];
    within(call, &[Span::linear(to, bytes), Span::linear(from, bytes)])
}

/// `cuMemcpyPeer`: destination, its context, source, its context, bytes.
pub(crate) fn peer(call: &Call) -> u32 {
    let [to, from, bytes] = [call.arg(0), call.arg(2), call.arg(4)];
    within(call, &[Span::linear(to, bytes), Span::linear(from, bytes)])
}

/// Bytes of an element that a `cuMemset` of this name writes.
fn element(call: &Call) -> u64 {
    let base = call.row.base.trim_end_matches("Async");
    match base {
        _ if base.ends_with("D8") => 1,
        _ if base.ends_with("D16") => 2,
        _ => 4,
    }
}

/// `cuMemsetD8` and its variants: destination, value, elements.
pub(crate) fn fill(call: &Call) -> u32 {
    let bytes = call.arg(2).saturating_mul(element(call));
    within(call, &[Span::linear(call.arg(0), bytes)])
}

/// `cuMemsetD2D8` and its variants: destination, pitch, value, elements of a row, rows.
pub(crate) fn fill_2d(call: &Call) -> u32 {
    let span = Span {
        pitch: call.arg(1),
        height: call.arg(4),
        ..Span::linear(call.arg(0), call.arg(3).saturating_mul(element(call)))
    };
    within(call, &[span])
}

/// `cuMemcpy2D` and its variants
pub(crate) fn two_d(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let copy: CUDA_MEMCPY2D = guest::read(call.arg(0));
    if copy.srcMemoryType == ARRAY || copy.dstMemoryType == ARRAY {
        return call.refuse("arrays are not recorded yet");
    }
    let span = |memory: u32, base: u64, pitch: usize, x: usize, y: usize| {
        let pitch = pitch as u64;
        let skipped = pitch.saturating_mul(y as u64).saturating_add(x as u64);
        Span {
            start: if memory == HOST {
                0
            } else {
                base.saturating_add(skipped)
            },
            pitch,
            width: copy.WidthInBytes as u64,
            height: copy.Height as u64,
            depth: 1,
            ..Span::default()
        }
    };
    let to = span(
        copy.dstMemoryType,
        copy.dstDevice,
        copy.dstPitch,
        copy.dstXInBytes,
        copy.dstY,
    );
    let from = span(
        copy.srcMemoryType,
        copy.srcDevice,
        copy.srcPitch,
        copy.srcXInBytes,
        copy.srcY,
    );
    within(call, &[to, from])
}

/// `cuMemcpy3D` and its variants
pub(crate) fn three_d(call: &Call) -> u32 {
    if call.arg(0) == 0 {
        return CUDA_ERROR_INVALID_VALUE.0;
    }
    let copy: CUDA_MEMCPY3D = guest::read(call.arg(0));
    if copy.srcMemoryType == ARRAY || copy.dstMemoryType == ARRAY {
        return call.refuse("arrays are not recorded yet");
    }
    let span = |memory: u32, base: u64, [pitch, rows]: [usize; 2], [x, y, z]: [usize; 3]| {
        let pitch = pitch as u64;
        let slice = pitch.saturating_mul(rows as u64);
        let skipped = pitch
            .saturating_mul(y as u64)
            .saturating_add(slice.saturating_mul(z as u64))
            .saturating_add(x as u64);
        Span {
            start: if memory == HOST {
                0
            } else {
                base.saturating_add(skipped)
            },
            pitch,
            slice,
            width: copy.WidthInBytes as u64,
            height: copy.Height as u64,
            depth: copy.Depth as u64,
        }
    };
    let to = span(
        copy.dstMemoryType,
        copy.dstDevice,
        [copy.dstPitch, copy.dstHeight],
        [copy.dstXInBytes, copy.dstY, copy.dstZ],
    );
    let from = span(
        copy.srcMemoryType,
        copy.srcDevice,
        [copy.srcPitch, copy.srcHeight],
        [copy.srcXInBytes, copy.srcY, copy.srcZ],
    );
    within(call, &[to, from])
}
