//! The seccomp filters that keep the application in its window.
//!
//! Number first, instruction pointer second: a number that the program never
//! mentions stays in the kernel's constant-allow cache. Filters survive
//! `execve` and stack up, so each carries a pseudo call by which a later
//! process finds it in force; what a filter contains is part of the ABI.
#![allow(unsafe_code, reason = "builds and installs filters, probes them")]

use crate::abi::{
    self, NR_PENDING, NR_PROBE_BASE, NR_PROBE_IDS, NR_PROBE_LOW, NR_PROBE_LOW_IDS, NR_SIGNAL,
    PROBE, W_HI, W_LO,
};
use crate::reissue::REISSUE_RETURN;
use crate::sys;
use libc::sock_filter;

/// Which filters a process needs, or has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Filters {
    /// The base filter.
    pub(crate) base: bool,
    /// The base filter for code below 4 GiB: static non-PIE programs.
    pub(crate) low: bool,
    /// Calls that take or give ids: restarted programs.
    pub(crate) ids: bool,
    /// The same for code below 4 GiB.
    pub(crate) low_ids: bool,
}

impl Filters {
    /// What a program needs: `low` when it is a static non-PIE one, `ids`
    /// when its ids are virtual.
    pub(crate) fn needed(low: bool, ids: bool) -> Self {
        Self {
            base: true,
            low,
            ids,
            low_ids: low && ids,
        }
    }
}

// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const IP: u32 = 8;
const fn argument(i: u32) -> u32 {
    16 + 8 * i
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const ARCH_X86_64: u32 = 0xc000_003e;

/// Where a tested call goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Trap,
    Errno(i32),
    /// Index of a block that tests arguments.
    Block(usize),
}

/// A filter under construction: numbers with verdicts, then argument blocks.
#[derive(Default)]
struct Builder {
    calls: Vec<(u32, Verdict)>,
    blocks: Vec<Vec<Step>>,
}

/// One step of a block that tests arguments; it ends in allow or a verdict.
enum Step {
    Load(u32),
    /// Keep these bits.
    And(u32),
    /// Test; on success the verdict, else the next step.
    When(u16, u32, Verdict),
    /// Test; on success allow, else the next step.
    AllowWhen(u16, u32),
    /// The end, when no test decided.
    Otherwise(Verdict),
    Allow,
}

impl Builder {
    fn all(&mut self, numbers: &[i64], verdict: Verdict) {
        self.calls
            .extend(numbers.iter().map(|n| (*n as u32, verdict)));
    }

    fn block(&mut self, numbers: &[i64], steps: Vec<Step>) {
        self.blocks.push(steps);
        self.all(numbers, Verdict::Block(self.blocks.len() - 1));
    }

    /// `low`: code below 4 GiB counts as the application's (and only that).
    fn build(self, low: bool) -> Vec<sock_filter> {
        let mut code = Assembler::default();
        code.op(LOAD, ARCH);
        code.test(EQUAL, ARCH_X86_64, None, Some(Label::Allow));
        code.op(LOAD, NR);
        for (number, verdict) in &self.calls {
            code.test(EQUAL, *number, Some(Label::of(*verdict)), None);
        }
        code.jump(Label::Allow);
        for (index, steps) in self.blocks.iter().enumerate() {
            code.place(Label::Block(index));
            for step in steps {
                match step {
                    Step::Load(offset) => code.op(LOAD, *offset),
                    Step::And(bits) => code.op(AND, *bits),
                    Step::When(op, k, v) => code.test(*op, *k, Some(Label::of(*v)), None),
                    Step::AllowWhen(op, k) => code.test(*op, *k, Some(Label::Allow), None),
                    Step::Otherwise(v) => code.jump(Label::of(*v)),
                    Step::Allow => code.jump(Label::Allow),
                }
            }
        }
        let mut verdicts: Vec<Verdict> = Vec::new();
        let in_blocks = self.blocks.iter().flatten().filter_map(|s| match s {
            Step::When(_, _, v) | Step::Otherwise(v) => Some(*v),
            _ => None,
        });
        for v in self.calls.iter().map(|c| c.1).chain(in_blocks) {
            if !matches!(v, Verdict::Block(_)) && !verdicts.contains(&v) {
                verdicts.push(v);
            }
        }
        for verdict in verdicts {
            code.place(Label::of(verdict));
            code.upper_only(low);
            code.op(
                RETURN,
                match verdict {
                    Verdict::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
                    _ => libc::SECCOMP_RET_TRAP,
                },
            );
        }
        code.place(Label::Allow);
        code.op(RETURN, libc::SECCOMP_RET_ALLOW);
        code.finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Allow,
    Trap,
    Errno(i32),
    Block(usize),
}

impl Label {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Trap => Self::Trap,
            Verdict::Errno(e) => Self::Errno(e),
            Verdict::Block(i) => Self::Block(i),
        }
    }
}

/// Instructions with forward jumps to labels. A conditional jump reaches 255
/// instructions, more than any filter here has.
#[derive(Default)]
struct Assembler {
    code: Vec<sock_filter>,
    /// Instruction, whether its true branch, and where it goes.
    open: Vec<(usize, Branch, Label)>,
    places: Vec<(Label, usize)>,
}

#[derive(Clone, Copy)]
enum Branch {
    True,
    False,
    Always,
}

impl Assembler {
    fn op(&mut self, code: u16, k: u32) {
        self.code.push(sock_filter {
            code,
            jt: 0,
            jf: 0,
            k,
        });
    }

    fn test(&mut self, code: u16, k: u32, yes: Option<Label>, no: Option<Label>) {
        let at = self.code.len();
        self.op(code, k);
        self.open.extend(yes.map(|l| (at, Branch::True, l)));
        self.open.extend(no.map(|l| (at, Branch::False, l)));
    }

    fn jump(&mut self, label: Label) {
        self.open.push((self.code.len(), Branch::Always, label));
        self.op(JUMP, 0);
    }

    fn place(&mut self, label: Label) {
        self.places.push((label, self.code.len()));
    }

    /// Goes on only for calls of the application, but for the exempt one.
    fn upper_only(&mut self, low: bool) {
        self.op(LOAD, IP + 4);
        if low {
            self.test(EQUAL, 0, None, Some(Label::Allow));
            return;
        }
        self.test(AT_LEAST, (W_HI >> 32) as u32, Some(Label::Allow), None);
        self.test(AT_LEAST, (W_LO >> 32) as u32, None, Some(Label::Allow));
        // The window's addresses differ from the exempt one's in the low half
        // nearly always, so that is tested alone first.
        self.op(LOAD, IP);
        let not_exempt = self.code.len();
        self.op(EQUAL, REISSUE_RETURN as u32);
        self.code[not_exempt].jf = 2;
        self.op(LOAD, IP + 4);
        self.test(
            EQUAL,
            (REISSUE_RETURN >> 32) as u32,
            Some(Label::Allow),
            None,
        );
    }

    fn finish(mut self) -> Vec<sock_filter> {
        for (at, branch, label) in self.open {
            let (_, target) = self
                .places
                .iter()
                .find(|p| p.0 == label)
                .expect("every label is placed");
            let distance = target - at - 1;
            let short = || u8::try_from(distance).expect("filters are short");
            match branch {
                Branch::True => self.code[at].jt = short(),
                Branch::False => self.code[at].jf = short(),
                Branch::Always => self.code[at].k = distance as u32,
            }
        }
        self.code
    }
}

/// The base filter. Descriptors from `fd_base` on are looked at.
fn base(fd_base: u32, strict: bool, low: bool) -> Vec<sock_filter> {
    use Step::{Allow, AllowWhen, Load, Otherwise, When};
    use Verdict::{Errno, Trap};
    let mut b = Builder::default();
    b.block(
        &[libc::SYS_close],
        vec![Load(argument(0)), When(AT_LEAST, fd_base, Trap), Allow],
    );
    let fixed = (libc::MAP_FIXED | libc::MAP_FIXED_NOREPLACE) as u32;
    b.block(
        &[libc::SYS_mmap],
        vec![
            Load(argument(3)),
            When(ANY_BIT, fixed, Verdict::Block(2)),
            Otherwise(Trap),
        ],
    );
    // Block 2: a fixed address must be the application's.
    b.blocks.push(vec![
        Load(argument(0) + 4),
        AllowWhen(EQUAL, 0),
        When(AT_LEAST, (W_HI >> 32) as u32, Trap),
        AllowWhen(AT_LEAST, (W_LO >> 32) as u32),
        Otherwise(Trap),
    ]);
    // A mask by address: both halves of the pointer.
    for (numbers, i) in [
        (&[libc::SYS_ppoll][..], 3),
        (&[libc::SYS_pselect6], 5),
        (&[libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2], 4),
    ] {
        b.block(
            numbers,
            vec![
                Load(argument(i)),
                When(AT_LEAST, 1, Trap),
                Load(argument(i) + 4),
                When(AT_LEAST, 1, Trap),
                Allow,
            ],
        );
    }
    b.block(
        &[libc::SYS_dup2, libc::SYS_dup3],
        vec![
            Load(argument(0)),
            When(AT_LEAST, fd_base, Trap),
            Load(argument(1)),
            When(AT_LEAST, fd_base, Trap),
            Allow,
        ],
    );
    b.block(
        &[libc::SYS_prctl],
        vec![
            Load(argument(0)),
            When(EQUAL, libc::PR_SET_SECCOMP as u32, Errno(libc::EINVAL)),
            When(EQUAL, 59, Errno(libc::EINVAL)), // PR_SET_SYSCALL_USER_DISPATCH
            When(EQUAL, libc::PR_SET_MM as u32, Errno(libc::EPERM)),
            Allow,
        ],
    );
    const ARCH_SET_GS: u32 = 0x1001;
    b.block(
        &[libc::SYS_arch_prctl],
        vec![
            Load(argument(0)),
            When(EQUAL, ARCH_SET_GS, Errno(libc::EPERM)),
            Allow,
        ],
    );
    let io_uring = if strict { libc::EPERM } else { libc::ENOSYS };
    b.all(
        &[libc::SYS_clone3, libc::SYS_rseq, libc::SYS_userfaultfd],
        Errno(libc::ENOSYS),
    );
    b.all(&[libc::SYS_io_uring_setup], Errno(io_uring));
    b.all(&[libc::SYS_seccomp], Errno(libc::EINVAL));
    b.all(TRAPPED, Trap);
    b.all(&[if low { NR_PROBE_LOW } else { NR_PROBE_BASE }], Trap);
    b.build(low)
}

/// Trapped whatever their arguments.
const TRAPPED: &[i64] = &[
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_shmat,
    libc::SYS_clone,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_exit,
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_signalfd,
    libc::SYS_signalfd4,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_close_range,
    NR_PENDING,
    NR_SIGNAL,
];

/// The filter of restarted programs.
fn ids(low: bool) -> Vec<sock_filter> {
    use Step::{Allow, And, Load, When};
    use Verdict::Trap;
    const SIGN: u32 = 1 << 31;
    let mut b = Builder::default();
    b.block(
        &[
            libc::SYS_clock_gettime,
            libc::SYS_clock_getres,
            libc::SYS_clock_settime,
            libc::SYS_clock_nanosleep,
        ],
        vec![Load(argument(0)), When(AT_LEAST, SIGN, Trap), Allow],
    );
    // Locks with priority inheritance: 6 to 8, 11 to 13.
    b.block(
        &[libc::SYS_futex],
        vec![
            Load(argument(1)),
            And(0x7f),
            When(AT_LEAST, libc::FUTEX_WAIT_REQUEUE_PI as u32, Trap),
            When(EQUAL, libc::FUTEX_LOCK_PI as u32, Trap),
            When(EQUAL, libc::FUTEX_UNLOCK_PI as u32, Trap),
            When(EQUAL, libc::FUTEX_TRYLOCK_PI as u32, Trap),
            Allow,
        ],
    );
    let own = [libc::F_SETOWN as u32, libc::F_GETOWN as u32, 15, 16];
    let mut steps = vec![Load(argument(1))];
    steps.extend(own.map(|command| When(EQUAL, command, Trap)));
    steps.push(Allow);
    b.block(&[libc::SYS_fcntl], steps);
    b.all(IDENTITY, Trap);
    b.all(&[if low { NR_PROBE_LOW_IDS } else { NR_PROBE_IDS }], Trap);
    b.build(low)
}

/// Calls that take or give ids whatever their arguments.
const IDENTITY: &[i64] = &[
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgrp,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getattr,
    libc::SYS_sched_rr_get_interval,
    libc::SYS_prlimit64,
    libc::SYS_get_robust_list,
    libc::SYS_pidfd_open,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    libc::SYS_ioprio_get,
    libc::SYS_ioprio_set,
    libc::SYS_timer_create,
    libc::SYS_wait4,
    libc::SYS_waitid,
];

/// Installs what `wanted` has beyond `present`, on the calling thread (and
/// those it will create).
pub(crate) fn install(
    wanted: Filters,
    present: Filters,
    fd_base: i32,
    strict: bool,
) -> std::io::Result<()> {
    if wanted.base && !present.base {
        load(base(fd_base as u32, strict, false))?;
    }
    if wanted.low && !present.low {
        load(base(fd_base as u32, strict, true))?;
    }
    if wanted.ids && !present.ids {
        load(ids(false))?;
    }
    if wanted.low_ids && !present.low_ids {
        load(ids(true))?;
    }
    Ok(())
}

fn load(mut code: Vec<sock_filter>) -> std::io::Result<()> {
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let set = [
        libc::SECCOMP_SET_MODE_FILTER as u64,
        flags,
        &raw const program as u64,
        0,
        0,
        0,
    ];
    // SAFETY: the program and its code live across the calls.
    let mut r = unsafe { sys::call(libc::SYS_seccomp, set) };
    if r == -(libc::EACCES as i64) {
        // Without CAP_SYS_ADMIN a filter needs no_new_privs.
        // SAFETY: no addresses.
        r = unsafe {
            sys::call(
                libc::SYS_prctl,
                [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0],
            );
            sys::call(libc::SYS_seccomp, set)
        };
    }
    if r < 0 {
        Err(std::io::Error::from_raw_os_error(-r as i32))
    } else {
        Ok(())
    }
}

/// Which filters are in force already. The gate image is mapped and our
/// SIGSYS handler installed; GS is the calling thread's record.
pub(crate) fn present() -> Filters {
    // SAFETY: the probe makes one system call that does not exist.
    let probe = |nr: i64| unsafe {
        let probe: extern "C" fn(i64) -> i64 = std::mem::transmute(PROBE as usize);
        crate::arch::with_zero_fs(probe, nr) == 1
    };
    let [low, low_ids] = probe_low();
    Filters {
        base: probe(NR_PROBE_BASE),
        low,
        ids: probe(NR_PROBE_IDS),
        low_ids,
    }
}

/// The same from a page below 4 GiB, which is made for it.
fn probe_low() -> [bool; 2] {
    let prot = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
    let place = (0..64).map(|i| 0x7f00_0000 + i * 0x10_0000).find(|at| {
        // SAFETY: NOREPLACE harms nothing that is mapped.
        unsafe { sys::mmap(*at, 4096, prot, flags, -1, 0) as u64 == *at }
    });
    let Some(place) = place else {
        return [false; 2];
    };
    // mov %rdi,%rax; syscall; ret
    const CODE: [u8; 6] = [0x48, 0x89, 0xf8, 0x0f, 0x05, 0xc3];
    // SAFETY: the page was just mapped for this; the code makes one system
    // call that does not exist.
    unsafe {
        std::ptr::copy_nonoverlapping(CODE.as_ptr(), place as *mut u8, CODE.len());
        sys::mprotect(place, 4096, (libc::PROT_READ | libc::PROT_EXEC) as u64);
        let probe: extern "C" fn(i64) -> i64 = std::mem::transmute(place as usize);
        let found =
            [NR_PROBE_LOW, NR_PROBE_LOW_IDS].map(|nr| crate::arch::with_zero_fs(probe, nr) == 1);
        sys::munmap(place, 4096);
        found
    }
}

const _: () = assert!(abi::REISSUE + 2 == REISSUE_RETURN);

#[cfg(test)]
mod tests {
    use super::*;

    /// A small interpreter of the instructions used here.
    fn run(code: &[sock_filter], nr: i64, ip: u64, args: [u64; 6]) -> u32 {
        let (mut pc, mut a) = (0usize, 0u32);
        loop {
            let i = &code[pc];
            pc += 1;
            let jump = |yes: bool| usize::from(if yes { i.jt } else { i.jf });
            match i.code {
                LOAD => {
                    a = match i.k {
                        NR => nr as u32,
                        ARCH => ARCH_X86_64,
                        8 => ip as u32,
                        12 => (ip >> 32) as u32,
                        k => (args[(k as usize - 16) / 8] >> (8 * (k % 8))) as u32,
                    }
                }
                JUMP => pc += i.k as usize,
                EQUAL => pc += jump(a == i.k),
                AT_LEAST => pc += jump(a >= i.k),
                ANY_BIT => pc += jump(a & i.k != 0),
                AND => a &= i.k,
                RETURN => return i.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const UPPER: u64 = W_LO + 0x1234;
    const LOWER: u64 = 0x7f12_3456_7890;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const TRAP: u32 = libc::SECCOMP_RET_TRAP;

    #[test]
    fn only_the_window_is_trapped_and_the_gadget_is_exempt() {
        let f = base(700, false, false);
        assert!(
            f.len() <= 120,
            "{} instructions: fewer filters fit into a process",
            f.len()
        );
        for nr in TRAPPED {
            assert_eq!(run(&f, *nr, UPPER, [0; 6]), TRAP, "{nr}");
            for ip in [LOWER, 0x401000, REISSUE_RETURN, W_HI, W_LO - 1] {
                assert_eq!(run(&f, *nr, ip, [0; 6]), ALLOW, "{nr} at {ip:#x}");
            }
        }
        assert_eq!(run(&f, libc::SYS_read, UPPER, [0; 6]), ALLOW);
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(run(&f, libc::SYS_clone3, UPPER, [0; 6]), enosys);
        assert_eq!(run(&f, libc::SYS_clone3, LOWER, [0; 6]), ALLOW);
    }

    #[test]
    fn arguments_decide_where_they_must() {
        let f = base(700, false, false);
        let mmap = |addr: u64, flags: i32| {
            run(&f, libc::SYS_mmap, UPPER, [addr, 0, 0, flags as u64, 0, 0])
        };
        assert_eq!(mmap(0, libc::MAP_PRIVATE), TRAP);
        assert_eq!(mmap(W_LO, libc::MAP_FIXED), ALLOW);
        assert_eq!(mmap(0x40_0000, libc::MAP_FIXED), ALLOW);
        assert_eq!(mmap(LOWER, libc::MAP_FIXED), TRAP);
        assert_eq!(mmap(W_HI, libc::MAP_FIXED_NOREPLACE), TRAP);
        assert_eq!(run(&f, libc::SYS_close, UPPER, [699, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(run(&f, libc::SYS_close, UPPER, [700, 0, 0, 0, 0, 0]), TRAP);
        assert_eq!(run(&f, libc::SYS_ppoll, UPPER, [0; 6]), ALLOW);
        assert_eq!(
            run(&f, libc::SYS_ppoll, UPPER, [0, 0, 0, 1 << 40, 0, 0]),
            TRAP
        );
    }

    #[test]
    fn low_code_is_for_the_low_filter() {
        let f = base(700, false, true);
        assert_eq!(run(&f, libc::SYS_brk, 0x40_1000, [0; 6]), TRAP);
        assert_eq!(run(&f, libc::SYS_brk, UPPER, [0; 6]), ALLOW);
        let f = ids(false);
        assert!(f.len() <= 120);
        assert_eq!(run(&f, libc::SYS_getpid, UPPER, [0; 6]), TRAP);
        assert_eq!(run(&f, libc::SYS_clock_gettime, UPPER, [0; 6]), ALLOW);
        let futex = |op: i32| run(&f, libc::SYS_futex, UPPER, [0, op as u64, 0, 0, 0, 0]);
        for flags in [0, libc::FUTEX_PRIVATE_FLAG, libc::FUTEX_CLOCK_REALTIME] {
            for op in 0..14 {
                let inherits = crate::trap::is_inheriting(op as u64);
                let verdict = if inherits { TRAP } else { ALLOW };
                assert_eq!(futex(op | flags), verdict, "{op} {flags:#x}");
            }
        }
        assert_eq!(
            run(
                &f,
                libc::SYS_clock_gettime,
                UPPER,
                [-6i32 as u32 as u64, 0, 0, 0, 0, 0]
            ),
            TRAP
        );
    }
}
