//! The lower half in miniature, to try the upper half without a device:
//! `host [--park MICROSECONDS] [--gate] -- PROGRAM ARGS...`
//!
//! With `--park` a control thread parks and releases the program again and
//! again, at intervals around the given one, and says at the end how often.
//! `--save FILE --after MILLISECONDS` parks it once, writes a minimal image and
//! ends with status 85; `--restore FILE` goes on from there (standard streams
//! are the only descriptors that survive).
#![no_main]
#![allow(unsafe_code, reason = "plays the lower half")]

mod image;

use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use upper_half::{Hooks, Inherited, Program};

struct Host;
static SAVE: OnceLock<(String, Duration)> = OnceLock::new();
static PARK_EVERY: AtomicU64 = AtomicU64::new(0);
static PARKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn dispatch(call_id: u32, args: *mut u64) -> u64 {
    // SAFETY: the guest passes one slot with each call.
    let argument = unsafe { *args };
    match call_id & 0xffff {
        0 => argument + 1,
        1 => {
            std::thread::sleep(Duration::from_micros(argument));
            0
        }
        // Allocates and formats: uses the heap and TLS.
        2 => format!("{argument}").len() as u64,
        _ => u64::MAX,
    }
}

fn strings(all: &[Vec<u8>]) -> Vec<CString> {
    all.iter()
        .map(|s| CString::new(s.clone()).unwrap_or_default())
        .collect()
}

fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> i32 {
    let pointers = |all: &[CString]| {
        let mut p: Vec<_> = all.iter().map(|s| s.as_ptr()).collect();
        p.push(std::ptr::null());
        p
    };
    // SAFETY: null-terminated arrays of strings that live across the call.
    unsafe {
        libc::execve(
            path.as_ptr(),
            pointers(argv).as_ptr(),
            pointers(env).as_ptr(),
        );
        *libc::__errno_location()
    }
}

impl Hooks for Host {
    fn dispatch(&self) -> extern "C" fn(u32, *mut u64) -> u64 {
        dispatch
    }
    fn exec(&self, path: &[u8], argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>, upper: Inherited) -> i32 {
        let upper = serde_json::to_string(&upper).unwrap_or_default();
        let every = PARK_EVERY.load(Relaxed).to_string();
        let mut all = vec![
            b"host".to_vec(),
            b"--inherited".to_vec(),
            upper.into_bytes(),
        ];
        all.extend([b"--park".to_vec(), every.into_bytes()]);
        all.extend([b"--path".to_vec(), path.to_vec(), b"--".to_vec()]);
        all.extend(argv);
        exec(c"/proc/self/exe", &strings(&all), &strings(&env))
    }
    fn exec_native(&self, path: &[u8], argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>) -> i32 {
        exec(
            &CString::new(path).unwrap_or_default(),
            &strings(&argv),
            &strings(&env),
        )
    }
    fn after_fork(&self, in_child: bool, _child: i32) {
        if in_child {
            PARKS.store(0, Relaxed);
            control();
        }
    }
    fn fd_is_ours(&self, _fd: i32) -> bool {
        false
    }
    fn fd_base(&self) -> i32 {
        1 << 16
    }
}

/// Starts `f` on a thread that blocks all signals.
fn lower_thread(f: impl FnOnce() + Send + 'static) {
    // SAFETY: the masks live across the calls.
    unsafe {
        let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        std::thread::spawn(f);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut());
    }
}

/// Nobody can be parked before the program has a thread.
fn wait_for_program() {
    while upper_half::threads().is_empty() {
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Parks once, saves, ends the process.
fn save_once() {
    let Some((file, after)) = SAVE.get() else {
        return;
    };
    lower_thread(move || {
        std::thread::sleep(*after);
        wait_for_program();
        let parked = match upper_half::park(Instant::now() + Duration::from_secs(5)) {
            Ok(parked) => parked,
            Err(error) => {
                eprintln!("host: {error}");
                // SAFETY: ends the process.
                unsafe { libc::_exit(125) }
            }
        };
        // A signal that comes when everybody is parked belongs to the state, once.
        // SAFETY: a signal to this process, which every thread of it blocks.
        unsafe { libc::kill(libc::getpid(), libc::SIGURG) };
        assert!(parked.take_signals() && !parked.take_signals());
        let status = match image::save(file, parked.state()) {
            Ok(()) => 85,
            Err(error) => {
                eprintln!("host: {error}");
                125
            }
        };
        // SAFETY: ends the process with everybody parked.
        unsafe { libc::_exit(status) }
    });
}

/// Parks and releases, at random intervals around the one asked for.
fn control() {
    let every = PARK_EVERY.load(Relaxed);
    if every == 0 {
        return;
    }
    lower_thread(move || {
        wait_for_program();
        let mut random = every ^ 0x9e37_79b9_7f4a_7c15;
        loop {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            std::thread::sleep(Duration::from_micros((random >> 33) % (2 * every) + 1));
            // A signal of the controller's own, which no program may ever see.
            // SAFETY: a signal to this very thread.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGPIPE) };
            match upper_half::park(Instant::now() + Duration::from_secs(2)) {
                Ok(parked) => {
                    let state = parked.state();
                    assert!(serde_json::to_string(&state).is_ok());
                    PARKS.fetch_add(1, Relaxed);
                    if random >> 60 == 0 {
                        std::thread::sleep(Duration::from_micros(300));
                    }
                    parked.release();
                }
                Err(error) => eprintln!("host: {error}"),
            }
        }
    });
}

/// # Safety
/// Called by the C runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: i32, argv: *const *const libc::c_char) -> i32 {
    let argument = |i: usize| {
        // SAFETY: the C runtime's argument array.
        unsafe { CStr::from_ptr(*argv.add(i)) }.to_bytes().to_vec()
    };
    let args: Vec<Vec<u8>> = (0..argc as usize).map(argument).collect();
    if let Err(error) = upper_half::prepare() {
        eprintln!("host: {error}");
        return 125;
    }
    let (mut inherited, mut path, mut rest) = (None, None, Vec::new());
    let (mut save, mut after, mut restore) = (None, 100, None::<String>);
    let mut i = 1;
    while i < args.len() {
        match args[i].as_slice() {
            b"--park" => {
                i += 1;
                let text = String::from_utf8_lossy(&args[i]);
                PARK_EVERY.store(text.parse().unwrap_or(0), Relaxed);
            }
            b"--save" => {
                i += 1;
                save = Some(String::from_utf8_lossy(&args[i]).into_owned());
            }
            b"--after" => {
                i += 1;
                after = String::from_utf8_lossy(&args[i]).parse().unwrap_or(100);
            }
            b"--restore" => {
                i += 1;
                restore = Some(String::from_utf8_lossy(&args[i]).into_owned());
            }
            b"--inherited" => {
                i += 1;
                inherited = serde_json::from_slice(&args[i]).ok();
            }
            b"--path" => {
                i += 1;
                path = Some(PathBuf::from(OsString::from_vec(args[i].clone())));
            }
            b"--" => {
                rest = args[i + 1..].to_vec();
                break;
            }
            _ => return 2,
        }
        i += 1;
    }
    if let Some(file) = save {
        let _ = SAVE.set((file, Duration::from_millis(after)));
    }
    if let Some(file) = restore {
        return go_on(&file);
    }
    let path = path.unwrap_or_else(|| search(&rest[0]));
    let env = std::env::vars_os()
        .map(|(n, v)| [n.as_bytes(), b"=", v.as_bytes()].concat())
        .collect();
    control();
    save_once();
    match upper_half::launch(
        Program {
            path,
            argv: rest,
            env,
            dynamic_env: None,
        },
        inherited,
        &Host,
    ) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("host: {error}");
            error.exit_status()
        }
    }
}

fn search(name: &[u8]) -> PathBuf {
    let plain = PathBuf::from(OsString::from_vec(name.to_vec()));
    if name.contains(&b'/') {
        return plain;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).map(|d| d.join(&plain));
    candidates.find(|c| c.is_file()).unwrap_or(plain)
}

/// Restores an image and continues it.
fn go_on(file: &str) -> i32 {
    let restored = image::load(file)
        .map_err(|e| e.to_string())
        .and_then(|state| upper_half::restore(state, &Host, |_| {}).map_err(|e| e.to_string()));
    match restored {
        Ok(restored) => {
            control();
            save_once();
            restored.resume()
        }
        Err(error) => {
            eprintln!("host: {error}");
            125
        }
    }
}
