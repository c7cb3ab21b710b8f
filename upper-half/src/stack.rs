//! The application's first stack: arguments, environment and auxiliary
//! vector as the kernel lays them out.
//!
//! ```text
//!   sp -> argc | argv... 0 | envp... 0 | auxv... 0 0 | padding
//!         random bytes | platform | path | argument strings | environment strings | top
//! ```
#![allow(unsafe_code, reason = "writes a fresh stack")]

use crate::abi::{GATE_BASE, place};
use crate::elf::Loaded;
use crate::process::Image;
use crate::segments::FSGSBASE;
use crate::sys;
use crate::window::PAGE;

// Not in libc for this target.
const AT_MINSIGSTKSZ: u64 = 51;
const AT_RSEQ_FEATURE_SIZE: u64 = 27;
const AT_RSEQ_ALIGN: u64 = 28;

/// Where the stack begins for the program, and its string areas.
pub(crate) struct Stack {
    pub(crate) sp: u64,
    pub(crate) arguments: [u64; 2],
    pub(crate) environment: [u64; 2],
}

/// What goes onto the stack.
pub(crate) struct Content<'a> {
    pub(crate) argv: &'a [Vec<u8>],
    pub(crate) env: &'a [Vec<u8>],
    /// The name that was executed (AT_EXECFN).
    pub(crate) name: &'a [u8],
    pub(crate) program: &'a Loaded,
    pub(crate) interpreter: Option<&'a Loaded>,
    pub(crate) random: u64,
}

/// Smallest and largest stack, whatever the limit says.
const LEAST: u64 = 1 << 20;
const MOST: u64 = 1 << 30;

/// Maps and fills the stack.
pub(crate) fn build(content: &Content<'_>) -> Result<Stack, std::io::Error> {
    let size = size();
    let top = place::STACK_TOP - (content.random & 0xffff) * PAGE;
    let executable = if content.program.executable_stack {
        libc::PROT_EXEC
    } else {
        0
    };
    let prot = (libc::PROT_READ | libc::PROT_WRITE | executable) as u64;
    let flags = libc::MAP_PRIVATE
        | libc::MAP_ANONYMOUS
        | libc::MAP_FIXED_NOREPLACE
        | libc::MAP_STACK
        | libc::MAP_NORESERVE;
    // SAFETY: NOREPLACE harms nothing that is mapped.
    let r = unsafe { sys::mmap(top - size, size, prot, flags as u64, -1, 0) };
    if r as u64 != top - size {
        return Err(std::io::Error::from_raw_os_error(-r as i32));
    }
    let mut at = Writer {
        sp: top - 8,
        floor: top - size + PAGE,
    };
    let env: Vec<u64> = at.strings(content.env)?;
    let env_end = top - 8;
    let env_start = at.sp;
    let argv: Vec<u64> = at.strings(content.argv)?;
    let argv_start = at.sp;
    let name = at.string(content.name)?;
    let platform = at.string(b"x86_64")?;
    at.sp &= !15;
    at.sp -= 16;
    let random = at.sp;
    at.write(random, &random_bytes())?;
    let vector = auxiliary(content, name, platform, random);
    let mut words = vec![argv.len() as u64];
    words.extend(argv.iter().copied().chain([0]));
    words.extend(env.iter().copied().chain([0]));
    words.extend(vector.iter().flatten());
    let sp = (at.sp - 8 * words.len() as u64) & !15;
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    at.write(sp, &bytes)?;
    Ok(Stack {
        sp,
        arguments: [argv_start, env_start],
        environment: [env_start, env_end],
    })
}

/// The soft limit, within reason.
fn size() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives across the call.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &raw mut limit) };
    limit.rlim_cur.clamp(LEAST, MOST).next_multiple_of(PAGE)
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer has the 16 bytes that are asked for.
    unsafe {
        sys::call(
            libc::SYS_getrandom,
            [bytes.as_mut_ptr() as u64, 16, 0, 0, 0, 0],
        )
    };
    bytes
}

/// Writes downwards into the fresh mapping.
struct Writer {
    sp: u64,
    floor: u64,
}

impl Writer {
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), std::io::Error> {
        if at < self.floor {
            return Err(std::io::Error::from_raw_os_error(libc::E2BIG));
        }
        // SAFETY: between the floor and the top of the mapping made by `build`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len()) };
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) -> Result<u64, std::io::Error> {
        self.sp -= bytes.len() as u64 + 1;
        self.write(self.sp, bytes)?;
        Ok(self.sp) // the mapping is zero: the terminator is there
    }

    /// The strings in order, first lowest.
    fn strings(&mut self, all: &[Vec<u8>]) -> Result<Vec<u64>, std::io::Error> {
        let mut places = all
            .iter()
            .rev()
            .map(|s| self.string(s))
            .collect::<Result<Vec<_>, _>>()?;
        places.reverse();
        Ok(places)
    }
}

fn auxiliary(content: &Content<'_>, name: u64, platform: u64, random: u64) -> Vec<[u64; 2]> {
    // SAFETY: no arguments but a number.
    let kernel = |kind: u64| unsafe { libc::getauxval(kind) };
    let program = content.program;
    let mut vector = vec![
        [libc::AT_SYSINFO_EHDR, GATE_BASE],
        [AT_MINSIGSTKSZ, kernel(AT_MINSIGSTKSZ)],
        [libc::AT_HWCAP, kernel(libc::AT_HWCAP)],
        [libc::AT_PAGESZ, PAGE],
        [libc::AT_CLKTCK, kernel(libc::AT_CLKTCK)],
        [libc::AT_PHDR, program.headers],
        [libc::AT_PHENT, 56],
        [libc::AT_PHNUM, u64::from(program.count)],
        [libc::AT_BASE, content.interpreter.map_or(0, |i| i.base)],
        [libc::AT_FLAGS, 0],
        [libc::AT_ENTRY, program.entry],
        [libc::AT_UID, kernel(libc::AT_UID)],
        [libc::AT_EUID, kernel(libc::AT_EUID)],
        [libc::AT_GID, kernel(libc::AT_GID)],
        [libc::AT_EGID, kernel(libc::AT_EGID)],
        [libc::AT_SECURE, 0],
        [libc::AT_RANDOM, random],
        [libc::AT_HWCAP2, kernel(libc::AT_HWCAP2) & !FSGSBASE],
        [libc::AT_EXECFN, name],
        [libc::AT_PLATFORM, platform],
    ];
    for kind in [AT_RSEQ_FEATURE_SIZE, AT_RSEQ_ALIGN] {
        if kernel(kind) != 0 {
            vector.push([kind, kernel(kind)]);
        }
    }
    vector.push([0, 0]);
    vector
}

/// Makes /proc/PID/cmdline and environ show the application's. Failure only
/// costs that (a kernel without CONFIG_CHECKPOINT_RESTORE).
pub(crate) fn show_in_proc(image: &Image) {
    #[repr(C)]
    #[derive(Default)]
    struct Map {
        code: [u64; 2],
        data: [u64; 2],
        start_brk: u64,
        brk: u64,
        start_stack: u64,
        arguments: [u64; 2],
        environment: [u64; 2],
        auxv: u64,
        auxv_size: u32,
        exe_fd: i32,
    }
    const PR_SET_MM_MAP: u64 = 14;
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return;
    };
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return;
    };
    // The first field here is number 3 of proc_pid_stat(5).
    let fields: Vec<u64> = rest
        .split(' ')
        .map(|f| f.trim().parse().unwrap_or(0))
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    // SAFETY: brk(0) only asks.
    let brk = unsafe { sys::call(libc::SYS_brk, [0; 6]) } as u64;
    let map = Map {
        code: [field(26), field(27)],
        data: [field(45), field(46)],
        start_brk: field(47),
        brk,
        start_stack: field(28),
        arguments: image.arguments,
        environment: image.environment,
        exe_fd: -1,
        ..Map::default()
    };
    let size = size_of::<Map>() as u64;
    let args = [
        libc::PR_SET_MM as u64,
        PR_SET_MM_MAP,
        &raw const map as u64,
        size,
        0,
        0,
    ];
    // SAFETY: the structure lives across the call and has the kernel's layout.
    unsafe { sys::call(libc::SYS_prctl, args) };
}
