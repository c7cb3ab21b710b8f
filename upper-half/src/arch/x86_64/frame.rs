//! Signal frames as the kernel lays them out, the currency of this crate: a
//! thread starts, resumes, forks and clones by `rt_sigreturn` on one.
//!
//! ```text
//!   sp ->  pretcode                          8
//!          ucontext: flags link stack regs   304   <- `Frame`
//!          siginfo                           128
//!          ...
//!          extended state (fpstate)          length in its own header
//! ```
#![allow(unsafe_code, reason = "frames are read where the kernel put them")]

/// `struct ucontext` with the registers by name.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Frame {
    pub(crate) flags: u64,
    pub(crate) link: u64,
    pub(crate) stack_sp: u64,
    pub(crate) stack_flags: u64,
    pub(crate) stack_size: u64,
    pub(crate) r8: u64,
    pub(crate) r9: u64,
    pub(crate) r10: u64,
    pub(crate) r11: u64,
    pub(crate) r12: u64,
    pub(crate) r13: u64,
    pub(crate) r14: u64,
    pub(crate) r15: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    pub(crate) rax: u64,
    pub(crate) rcx: u64,
    pub(crate) rsp: u64,
    pub(crate) rip: u64,
    pub(crate) eflags: u64,
    pub(crate) selectors: u64,
    pub(crate) err: u64,
    pub(crate) trapno: u64,
    pub(crate) oldmask: u64,
    pub(crate) cr2: u64,
    pub(crate) fpstate: u64,
    pub(crate) reserved: [u64; 8],
    pub(crate) mask: u64,
}

const _: () = assert!(size_of::<Frame>() == 304);
const _: () = assert!(std::mem::offset_of!(Frame, rip) == 168);
const _: () = assert!(std::mem::offset_of!(Frame, rsp) == 160);

const SS_DISABLE: u64 = 2;
const MAGIC1: u32 = 0x4650_5853;
/// Bytes before a frame that `rt_sigreturn` counts as its return address.
const PRETCODE: usize = 64;

impl Frame {
    /// A frame that starts a program: everything zero but these.
    pub(crate) fn start(rip: u64, rsp: u64, mask: u64) -> Self {
        Self {
            rip,
            rsp,
            mask,
            eflags: 0x202,
            selectors: 0x33 | 0x2b << 48,
            stack_flags: SS_DISABLE,
            ..Self::default()
        }
    }

    /// Result register as the kernel would set it.
    pub(crate) fn set_result(&mut self, value: i64) {
        self.rax = value as u64;
    }

    /// Arguments of the interrupted system call.
    pub(crate) fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// Changes an argument of the system call to be made.
    pub(crate) fn set_argument(&mut self, number: usize, value: u64) {
        match number {
            0 => self.rdi = value,
            1 => self.rsi = value,
            2 => self.rdx = value,
            3 => self.r10 = value,
            4 => self.r8 = value,
            _ => self.r9 = value,
        }
    }

    /// Switches the alternate stack off, as a new thread has it.
    pub(crate) fn without_altstack(&mut self) {
        self.stack_sp = 0;
        self.stack_flags = SS_DISABLE;
        self.stack_size = 0;
    }
}

/// Length of the extended state at `fpstate`, from its own header, and the
/// features in it.
///
/// # Safety
/// `fpstate` is zero or points to an extended state that the kernel wrote.
pub(crate) unsafe fn extended_state(fpstate: u64) -> (usize, u64) {
    if fpstate == 0 {
        return (0, 0);
    }
    // SAFETY: the software-reserved bytes of the 512-byte area, by the caller's promise.
    let (magic, length, features) = unsafe {
        (
            *((fpstate + 464) as *const u32),
            *((fpstate + 468) as *const u32),
            *((fpstate + 472) as *const u64),
        )
    };
    if magic == MAGIC1 {
        (length as usize, features)
    } else {
        (512, 3)
    }
}

/// Owned memory for one frame with its extended state, outside of the window.
pub(crate) struct FrameCopy {
    bytes: Vec<u8>,
}

impl FrameCopy {
    /// No memory yet.
    pub(crate) const fn empty() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Copies `frame` and its extended state; returns the copy, which is
    /// valid as long as `self` is not used again.
    ///
    /// # Safety
    /// `frame` is complete: its `fpstate` is zero or an extended state.
    pub(crate) unsafe fn fill(&mut self, frame: &Frame) -> &mut Frame {
        // SAFETY: by the caller's promise.
        let (length, _) = unsafe { extended_state(frame.fpstate) };
        let need = PRETCODE + 320 + length + 64;
        if self.bytes.len() < need {
            self.bytes = vec![0; need];
        }
        let base = (self.bytes.as_mut_ptr() as u64).next_multiple_of(64);
        let copy = (base + PRETCODE as u64) as *mut Frame;
        // SAFETY: `bytes` holds pretcode, frame (304, rounded to 320) and state.
        unsafe {
            *copy = *frame;
            if length != 0 {
                let state = base + PRETCODE as u64 + 320;
                std::ptr::copy_nonoverlapping(frame.fpstate as *const u8, state as *mut u8, length);
                (*copy).fpstate = state;
            }
            &mut *copy
        }
    }
}
