//! Options of the just-in-time compiler: the logs they ask for.
//!
//! Everything that tunes code generation is accepted and means nothing here.

#![allow(
    unsafe_code,
    reason = "reads option arrays and writes log buffers of the caller"
)]

use cuda_abi::driver::result::*;
use cuda_abi::driver::*;

use super::Program;
use crate::call::Answer;
use crate::driver::Driver;

/// One log buffer of the caller's.
#[derive(Debug, Default, Clone, Copy)]
struct Log {
    buffer: u64,
    size: usize,
    /// Where the number of bytes written is stored.
    count: Option<*mut u64>,
}

/// The options of one compilation.
#[derive(Debug, Default)]
pub(crate) struct Jit {
    error: Log,
    info: Log,
    time: Option<*mut u64>,
}

// SAFETY: the pointers belong to the caller of the API, who is waiting while
// they are used (links keep them until completion, as documented).
unsafe impl Send for Jit {}
// SAFETY: as above; they are used under a lock or by one thread alone.
unsafe impl Sync for Jit {}

impl Jit {
    /// Reads `count` options and their values.
    ///
    /// # Errors
    /// `CUDA_ERROR_INVALID_VALUE` for missing arrays and unknown options.
    pub(crate) fn read(count: u32, options: *const u32, values: *mut u64) -> Answer<Jit> {
        let mut jit = Jit::default();
        if count > 0 && (options.is_null() || values.is_null()) {
            return Err(CUDA_ERROR_INVALID_VALUE);
        }
        for i in 0..count as usize {
            // SAFETY: the caller passes `count` options...
            let option = unsafe { options.add(i).read() };
            // SAFETY: ...and as many values.
            let place = unsafe { values.add(i) };
            // SAFETY: as above.
            let value = unsafe { place.read() };
            match option {
                CU_JIT_ERROR_LOG_BUFFER => jit.error.buffer = value,
                CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES => {
                    jit.error.size = value as u32 as usize;
                    jit.error.count = Some(place);
                }
                CU_JIT_INFO_LOG_BUFFER => jit.info.buffer = value,
                CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES => {
                    jit.info.size = value as u32 as usize;
                    jit.info.count = Some(place);
                }
                CU_JIT_WALL_TIME => jit.time = Some(place),
                0..=64 => (),
                _ => return Err(CUDA_ERROR_INVALID_VALUE),
            }
        }
        Ok(jit)
    }

    /// Parses an image and writes the logs.
    ///
    /// # Errors
    /// What is wrong with the image; the words are in the log and on standard
    /// error.
    pub(crate) fn parse(&self, driver: &Driver, image: &[u8]) -> Answer<Program> {
        match Program::parse(driver, image) {
            Ok(program) => {
                self.finish("");
                Ok(program)
            }
            Err(refused) => {
                crate::report(format_args!("module load: {}", refused.log));
                self.finish(&refused.log);
                Err(refused.code)
            }
        }
    }

    /// Writes what the compiler has to say.
    pub(crate) fn finish(&self, error: &str) {
        self.error.write(error);
        self.info.write("");
        if let Some(time) = self.time {
            // SAFETY: the value's place in the caller's array, which takes a
            // float's bits as a result.
            unsafe { time.write(u64::from(0.0f32.to_bits())) };
        }
    }
}

impl Log {
    fn write(&self, text: &str) {
        let mut written = 0;
        if self.buffer != 0 && self.size > 0 {
            written = text.len().min(self.size - 1);
            let to: *mut u8 = std::ptr::with_exposed_provenance_mut(self.buffer as usize);
            // SAFETY: the caller's buffer has `size` bytes, more than these.
            unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, written) };
            // SAFETY: as above.
            unsafe { to.add(written).write(0) };
        }
        if let Some(count) = self.count {
            // SAFETY: the value's place in the caller's array.
            unsafe { count.write(written as u64) };
        }
    }
}
