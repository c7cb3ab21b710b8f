//! Question 7: how fast memory moves, natively: the limit that a checkpoint's
//! device memory is held against.
//!
//! Each figure is the median of several transfers of the same bytes; a stream copies
//! its share in chunks, one after the other.
#![allow(
    unsafe_code,
    reason = "copies by address, and pages that are registered"
)]

use crate::driver::{DriverError, Session};
use crate::probe::{Outcome, Probe, Verdict};
use crate::probes::mix;
use crate::statistics::{gb_s, median, short};
use crate::steps::Step;
use cuda_abi::driver::{CUdeviceptr, CUstream};
use std::ffi::c_void;
use std::time::Instant;

const MIB: usize = 1 << 20;
const REPETITIONS: usize = 5;
const STREAMS: [usize; 3] = [1, 2, 4];
/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

pub(crate) fn steps() -> Vec<Step> {
    let step = Step::new(
        "bandwidth",
        7,
        130,
        "how fast are copies, pinned and pageable, both ways and on the device?",
        bandwidth,
    );
    vec![step.time(20, 120)]
}

/// What is measured: the sizes of a real device, or small ones on the mock.
struct Sizes {
    /// Bytes of the buffers on host and device.
    buffer: usize,
    /// Bytes of one measured transfer; the buffers are gone over again.
    transfer: usize,
    chunks_mib: &'static [usize],
}

const REAL: Sizes = Sizes {
    buffer: 256 * MIB,
    transfer: 2048 * MIB,
    chunks_mib: &[4, 16, 64],
};
const MOCK: Sizes = Sizes {
    buffer: 16 * MIB,
    transfer: 16 * MIB,
    chunks_mib: &[4],
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
    Within,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::In => "host_to_device",
            Way::Out => "device_to_host",
            Way::Within => "device_to_device",
        }
    }
}

struct Bench<'a> {
    probe: &'a Probe,
    session: &'a Session,
    sizes: &'a Sizes,
    streams: Vec<CUstream>,
    device: CUdeviceptr,
    other: CUdeviceptr,
}

fn bandwidth(probe: &Probe) -> Outcome {
    let begin = Instant::now();
    let session = Session::open(probe.driver()?)?;
    probe.figure("context_s", short(begin.elapsed().as_secs_f64()));
    let sizes = if probe.is_mock() { &MOCK } else { &REAL };
    let mut streams = Vec::new();
    for _ in 0..STREAMS[STREAMS.len() - 1] {
        let mut stream = std::ptr::null_mut();
        // SAFETY: the pointer is good for one handle.
        unsafe { session.driver.cuStreamCreate(&mut stream, NON_BLOCKING)? };
        streams.push(stream);
    }
    let bench = Bench {
        probe,
        session: &session,
        sizes,
        streams,
        device: session.alloc(sizes.buffer)?,
        other: session.alloc(sizes.buffer)?,
    };
    if let Some(wrong) = bench.pinned()? {
        return Ok(wrong);
    }
    bench.pageable()?;
    bench.registered()?;
    bench.within()?;
    Ok(Verdict::Supported)
}

impl Bench<'_> {
    /// Both ways from memory that the driver allocated, and both at once; the data
    /// must come back as it went.
    fn pinned(&self) -> anyhow::Result<Option<Verdict>> {
        let begin = Instant::now();
        let mut host = std::ptr::null_mut();
        // SAFETY: the pointer is good for one address.
        unsafe {
            let driver = &self.session.driver;
            driver.cuMemAllocHost_v2(&mut host, self.sizes.buffer)?;
        }
        self.time_a_gib("pinned_allocation_ms_per_gib", begin);
        // SAFETY: the driver gave so many bytes, readable and writable, aligned to a page; the
        // device works on them only while a transfer is timed, and no reference lives then.
        let words =
            || unsafe { std::slice::from_raw_parts_mut(host.cast::<u64>(), self.sizes.buffer / 8) };
        for (i, word) in words().iter_mut().enumerate() {
            *word = random(i);
        }
        for way in [Way::In, Way::Out] {
            for &count in &STREAMS {
                for &chunk in self.sizes.chunks_mib {
                    let name = format!("pinned_{}_{count}_streams_{chunk}_mib_gb_s", way.name());
                    let rate = self.rate(|| self.transfer(way, host, count, chunk * MIB))?;
                    self.probe.figure(&name, rate);
                }
            }
            words().fill(if way == Way::In { 0 } else { 1 });
        }
        // The last transfer out was before the fill: once more, to compare.
        self.transfer(Way::Out, host, 1, 4 * MIB)?;
        if let Some((at, word)) = first_wrong(words()) {
            return Ok(Some(Verdict::Wrong(format!(
                "word {at} came back as {word:#x}, expected {:#x}",
                random(at)
            ))));
        }
        let chunk = self.sizes.chunks_mib[self.sizes.chunks_mib.len() - 1] * MIB;
        let rate = self.rate(|| self.both(host, chunk))?;
        self.probe.figure("pinned_both_ways_at_once_gb_s", rate);
        let begin = Instant::now();
        // SAFETY: the driver gave the address, and nothing uses it any more.
        unsafe { self.session.driver.cuMemFreeHost(host)? };
        self.time_a_gib("pinned_free_ms_per_gib", begin);
        Ok(None)
    }

    /// From ordinary memory, in calls that wait.
    fn pageable(&self) -> anyhow::Result<()> {
        let chunk = self.sizes.chunks_mib[self.sizes.chunks_mib.len() - 1] * MIB;
        let mut memory: Vec<u64> = (0..chunk / 8).map(random).collect();
        let rounds = (self.sizes.transfer / 4 / chunk).max(1);
        for way in [Way::In, Way::Out] {
            let rate = self.rate(|| {
                for _ in 0..rounds {
                    match way {
                        Way::In => self.session.write(self.device, &memory)?,
                        _ => self.session.read(&mut memory, self.device)?,
                    }
                }
                Ok(rounds * chunk)
            })?;
            let name = format!("pageable_{}_{}_mib_gb_s", way.name(), chunk / MIB);
            self.probe.figure(&name, rate);
        }
        Ok(())
    }

    /// Ordinary memory that was registered, as gpuckpt stages through.
    fn registered(&self) -> anyhow::Result<()> {
        let driver = &self.session.driver;
        let layout = std::alloc::Layout::from_size_align(self.sizes.buffer, 4096)?;
        // SAFETY: the size is not zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        anyhow::ensure!(!memory.is_null(), "no memory for {} bytes", layout.size());
        let host = memory.cast::<c_void>();
        // SAFETY: the block is as long as said; this makes its pages be there.
        unsafe { memory.write_bytes(1, layout.size()) };
        let begin = Instant::now();
        // SAFETY: the block is as long as said and stays until it is unregistered.
        let registered = unsafe { driver.cuMemHostRegister_v2(host, layout.size(), 0) };
        match registered {
            Ok(()) => {
                self.time_a_gib("registration_ms_per_gib", begin);
                let chunk = self.sizes.chunks_mib[self.sizes.chunks_mib.len() - 1] * MIB;
                for way in [Way::In, Way::Out] {
                    let rate = self.rate(|| self.transfer(way, host, 2, chunk))?;
                    let name = format!("registered_{}_2_streams_gb_s", way.name());
                    self.probe.figure(&name, rate);
                }
                // SAFETY: it was registered, and no transfer goes on.
                unsafe { driver.cuMemHostUnregister(host)? };
            }
            Err(error) => self.probe.figure("registration", error.to_string()),
        }
        // SAFETY: allocated above with this layout; nothing uses it any more.
        unsafe { std::alloc::dealloc(memory, layout) };
        Ok(())
    }

    /// On the device; bytes that were copied, each read once and written once.
    fn within(&self) -> anyhow::Result<()> {
        for &count in &STREAMS {
            let chunk = self.sizes.chunks_mib[self.sizes.chunks_mib.len() - 1] * MIB;
            let nowhere = std::ptr::null_mut();
            let rate = self.rate(|| self.transfer(Way::Within, nowhere, count, chunk))?;
            let name = format!("{}_{count}_streams_gb_s", Way::Within.name());
            self.probe.figure(&name, rate);
        }
        Ok(())
    }

    /// Median rate of `work`, which gives the bytes that it moved; once more before, to warm up.
    fn rate(&self, mut work: impl FnMut() -> Result<usize, DriverError>) -> anyhow::Result<f64> {
        work()?;
        let mut rates = Vec::with_capacity(REPETITIONS);
        for _ in 0..REPETITIONS {
            let begin = Instant::now();
            let bytes = work()?;
            rates.push(gb_s(bytes as f64, begin.elapsed().as_secs_f64()));
        }
        Ok(median(&rates))
    }

    /// Moves `sizes.transfer` bytes, `chunk` at a time on `count` streams in turn, and waits.
    fn transfer(
        &self,
        way: Way,
        host: *mut c_void,
        count: usize,
        chunk: usize,
    ) -> Result<usize, DriverError> {
        let chunks = self.sizes.transfer / chunk;
        let places = self.sizes.buffer / chunk;
        for i in 0..chunks {
            self.enqueue(
                way,
                host,
                i % places * chunk,
                chunk,
                self.streams[i % count],
            )?;
        }
        self.session.synchronize()?;
        Ok(chunks * chunk)
    }

    /// In on one stream and out on another, in two halves of the buffers.
    fn both(&self, host: *mut c_void, chunk: usize) -> Result<usize, DriverError> {
        let chunk = chunk.min(self.sizes.buffer / 2);
        let half = self.sizes.buffer / 2;
        let chunks = self.sizes.transfer / chunk / 2;
        for i in 0..chunks {
            let at = i * chunk % half;
            self.enqueue(Way::In, host, at, chunk, self.streams[0])?;
            self.enqueue(Way::Out, host, half + at, chunk, self.streams[1])?;
        }
        self.session.synchronize()?;
        Ok(chunks * chunk * 2)
    }

    fn enqueue(
        &self,
        way: Way,
        host: *mut c_void,
        at: usize,
        bytes: usize,
        stream: CUstream,
    ) -> Result<(), DriverError> {
        let driver = &self.session.driver;
        let device = self.device + at as u64;
        let host = host.wrapping_byte_add(at);
        // SAFETY: `at + bytes` is within the buffers, and the caller waits for the copy before
        // it looks at the host's.
        unsafe {
            match way {
                Way::In => driver.cuMemcpyHtoDAsync_v2(device, host, bytes, stream),
                Way::Out => driver.cuMemcpyDtoHAsync_v2(host, device, bytes, stream),
                Way::Within => {
                    let to = self.other + at as u64;
                    driver.cuMemcpyDtoDAsync_v2(to, device, bytes, stream)
                }
            }
        }
    }

    fn time_a_gib(&self, name: &str, begin: Instant) {
        let gib = self.sizes.buffer as f64 / (1 << 30) as f64;
        let took = begin.elapsed().as_secs_f64() * 1e3 / gib;
        self.probe.figure(name, short(took));
    }
}

/// Content of the word of this number.
fn random(i: usize) -> u64 {
    mix(i as u64)
}

fn first_wrong(words: &[u64]) -> Option<(usize, u64)> {
    let mut all = words.iter().copied().enumerate();
    all.find(|&(i, word)| word != random(i))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_word_is_found() {
        let mut words: Vec<u64> = (0..64).map(random).collect();
        assert_eq!(first_wrong(&words), None);
        words[7] ^= 1;
        assert_eq!(first_wrong(&words), Some((7, random(7) ^ 1)));
    }
}
