//! Fills of device memory.

use crate::call::exports;
use crate::copy::{Mode, fill};
use crate::driver::alive;
use crate::handles::Handle;

exports! {
    3020 "cuMemsetD8"
    fn cuMemsetD8_v2 | cuMemsetD8_v2_ptds [per_thread] (to: u64, value: u8, count: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Sync)
    }
    3020 "cuMemsetD8Async"
    fn cuMemsetD8Async | cuMemsetD8Async_ptsz [per_thread] (to: u64, value: u8, count: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Async)
    }
    3020 "cuMemsetD2D8"
    fn cuMemsetD2D8_v2 | cuMemsetD2D8_v2_ptds [per_thread]
    (to: u64, pitch: usize, value: u8, width: usize, height: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Sync)
    }
    3020 "cuMemsetD2D8Async"
    fn cuMemsetD2D8Async | cuMemsetD2D8Async_ptsz [per_thread]
    (to: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Async)
    }
    3020 "cuMemsetD16"
    fn cuMemsetD16_v2 | cuMemsetD16_v2_ptds [per_thread] (to: u64, value: u16, count: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Sync)
    }
    3020 "cuMemsetD16Async"
    fn cuMemsetD16Async | cuMemsetD16Async_ptsz [per_thread] (to: u64, value: u16, count: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Async)
    }
    3020 "cuMemsetD2D16"
    fn cuMemsetD2D16_v2 | cuMemsetD2D16_v2_ptds [per_thread]
    (to: u64, pitch: usize, value: u16, width: usize, height: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Sync)
    }
    3020 "cuMemsetD2D16Async"
    fn cuMemsetD2D16Async | cuMemsetD2D16Async_ptsz [per_thread]
    (to: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Async)
    }
    3020 "cuMemsetD32"
    fn cuMemsetD32_v2 | cuMemsetD32_v2_ptds [per_thread] (to: u64, value: u32, count: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Sync)
    }
    3020 "cuMemsetD32Async"
    fn cuMemsetD32Async | cuMemsetD32Async_ptsz [per_thread] (to: u64, value: u32, count: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, 0), &value.to_ne_bytes(), (count, 1), Mode::Async)
    }
    3020 "cuMemsetD2D32"
    fn cuMemsetD2D32_v2 | cuMemsetD2D32_v2_ptds [per_thread]
    (to: u64, pitch: usize, value: u32, width: usize, height: usize) {
        let lane = (0, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Sync)
    }
    3020 "cuMemsetD2D32Async"
    fn cuMemsetD2D32Async | cuMemsetD2D32Async_ptsz [per_thread]
    (to: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Handle) {
        let lane = (stream, per_thread);
        fill(alive()?, lane, (to, pitch), &value.to_ne_bytes(), (width, height), Mode::Async)
    }
}
