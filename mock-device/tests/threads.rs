//! Many threads, each with its stream, that allocate, copy, launch and free.

mod common;
use common::*;

/// A small generator (xorshift), so that every thread has its own sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn eight_threads_allocate_and_free() {
    let context = new_context();
    std::thread::scope(|scope| {
        for number in 1..=8u64 {
            scope.spawn(move || churn(context, number));
        }
    });
    ok!(cuCtxSynchronize());
    ok!(cuCtxDestroy_v2(context));
}

fn churn(context: Handle, number: u64) {
    ok!(cuCtxSetCurrent(context));
    let mut random = Random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let stream = new_stream(CU_STREAM_NON_BLOCKING);
    let event = new_event(0);
    let mut blocks: Vec<(u64, usize, u8)> = Vec::new();
    for round in 0..300u32 {
        match random.below(4) {
            0 | 1 => {
                let size = 1 + random.below(40_000) as usize;
                let (at, value) = (alloc(size), (round ^ number as u32) as u8);
                ok!(cuMemsetD8Async(at, value, size, stream));
                blocks.push((at, size, value));
            }
            2 if !blocks.is_empty() => {
                let index = random.below(blocks.len() as u64) as usize;
                let (at, size, value) = blocks.swap_remove(index);
                let mut bytes = vec![!value; size];
                ok!(cuMemcpyDtoHAsync_v2(
                    bytes.as_mut_ptr().cast(),
                    at,
                    size,
                    stream
                ));
                assert!(
                    bytes.iter().all(|b| *b == value),
                    "thread {number}, round {round}"
                );
                ok!(cuMemFree_v2(at));
            }
            _ => {
                ok!(cuEventRecord(event, stream));
                ok!(cuStreamWaitEvent(stream, event, 0));
                ok!(cuEventSynchronize(event));
            }
        }
    }
    for (at, ..) in blocks {
        ok!(cuMemFree_v2(at));
    }
    ok!(cuEventDestroy_v2(event));
    ok!(cuStreamDestroy_v2(stream));
}

#[test]
fn contexts_come_and_go_in_threads() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let context = new_context();
                    let (p, stream) = (alloc(1000), new_stream(0));
                    ok!(cuMemsetD8Async(p, 1, 1000, stream));
                    ok!(cuMemsetD8Async(p, 2, 1000, 2));
                    ok!(cuCtxDestroy_v2(context));
                }
            });
        }
    });
}

#[test]
fn threads_leave_their_default_streams_behind() {
    let context = new_context();
    let p = alloc(4);
    for value in 0..200 {
        std::thread::spawn(move || {
            ok!(cuCtxSetCurrent(context));
            ok!(cuMemsetD32Async(p, value, 1, 2));
        })
        .join()
        .unwrap();
    }
    // The legacy stream waits for the work of threads that are gone.
    assert_eq!(words(p, 1), [199]);
    ok!(cuCtxDestroy_v2(context));
}
