//! What `upper-half` asks of the rest of the lower half: where device calls go,
//! how an exec replaces the process, what a fork must take care of.
#![allow(unsafe_code, reason = "execve(2) with vectors made here")]

use crate::descriptors;
use crate::job::Job;
use lower_half::config::{Action, Bytes, Config, Inherited, VERSION};
use lower_half::handover;
use std::ffi::CString;
use std::os::fd::AsRawFd;
use upper_half::Hooks;

/// The job's answers to `upper-half`.
#[derive(Debug)]
pub(crate) struct LowerHooks {
    job: &'static Job,
}

impl LowerHooks {
    /// Hooks that live as long as the process.
    pub(crate) fn leak(job: &'static Job) -> &'static Self {
        Box::leak(Box::new(Self { job }))
    }
}

impl Hooks for LowerHooks {
    fn dispatch(&self) -> extern "C" fn(u32, *mut u64) -> u64 {
        interposer::dispatch
    }

    fn exec(
        &self,
        path: &[u8],
        argv: Vec<Vec<u8>>,
        env: Vec<Vec<u8>>,
        upper: upper_half::Inherited,
    ) -> i32 {
        let Ok(upper) = serde_json::to_value(&upper) else {
            return libc::EINVAL;
        };
        let table = self.job.processes.fd();
        let config = Config {
            version: VERSION,
            job: self.job.options.clone(),
            descriptors_from: Some(descriptors::base()),
            action: Action::Launch {
                program: Bytes(path.to_vec()),
                argv: argv.into_iter().map(Bytes).collect(),
                env: env.iter().cloned().map(Bytes).collect(),
                inherited: Some(Inherited {
                    upper,
                    is_root: self.job.is_root(),
                    process_table_fd: table,
                }),
            },
        };
        let fd = match handover::send(&config) {
            Ok(fd) => fd,
            Err(error) => return error.raw_os_error().unwrap_or(libc::ENOMEM),
        };
        let lower = self
            .job
            .layout
            .lower
            .as_os_str()
            .as_encoded_bytes()
            .to_vec();
        let argv = [
            b"gpuckpt-lower".to_vec(),
            handover::OPTION.into(),
            fd.as_raw_fd().to_string().into_bytes(),
        ];
        // As at a launch: the user's LD_* are for the upper half alone, but for the
        // folder of a driver that is found by them.
        let of_driver = self.job.layout.library_path(self.job.device, &env);
        let mut own_env = env;
        own_env.retain(|entry| !entry.starts_with(b"LD_"));
        own_env.extend(of_driver);
        keep_across_exec(table, true);
        let errno = execve(lower, &argv, &own_env);
        keep_across_exec(table, false);
        errno
    }

    fn exec_native(&self, path: &[u8], argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>) -> i32 {
        execve(path.to_vec(), &argv, &env)
    }

    fn strict(&self) -> bool {
        self.job.options.strict
    }

    fn before_fork(&self) {
        if self.job.has_device() {
            interposer::before_fork();
        }
    }

    fn after_fork(&self, in_child: bool, _child: i32) {
        if self.job.has_device() {
            interposer::after_fork(in_child);
        }
        if in_child {
            self.job.processes.add_self();
        }
    }

    fn fd_is_ours(&self, fd: i32) -> bool {
        descriptors::is_ours(fd)
    }

    fn fd_base(&self) -> i32 {
        descriptors::base()
    }
}

fn keep_across_exec(fd: i32, keep: bool) {
    let flags = if keep { 0 } else { libc::FD_CLOEXEC };
    // SAFETY: sets a flag of a descriptor of ours.
    unsafe { libc::fcntl(fd, libc::F_SETFD, flags) };
}

/// execve(2); returns the errno of a failure.
fn execve(path: Vec<u8>, argv: &[Vec<u8>], env: &[Vec<u8>]) -> i32 {
    let owned = |list: &[Vec<u8>]| -> Option<Vec<CString>> {
        list.iter()
            .map(|entry| CString::new(entry.clone()).ok())
            .collect()
    };
    let (Ok(path), Some(argv), Some(env)) = (CString::new(path), owned(argv), owned(env)) else {
        return libc::EINVAL;
    };
    let vector = |list: &[CString]| {
        list.iter()
            .map(|entry| entry.as_ptr())
            .chain([std::ptr::null()])
            .collect::<Vec<_>>()
    };
    let (argv, env) = (vector(&argv), vector(&env));
    // SAFETY: NUL-terminated vectors of C strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EINVAL)
}
