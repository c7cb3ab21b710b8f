//! Exports the wrappers of `descriptors.rs` and `threads.rs` from the executable,
//! so that the libraries it loads resolve them before libc's own.

const EXPORTED: &[&str] = &[
    "open",
    "open64",
    "openat",
    "openat64",
    "creat",
    "socket",
    "socketpair",
    "accept",
    "accept4",
    "pipe",
    "pipe2",
    "eventfd",
    "epoll_create",
    "epoll_create1",
    "timerfd_create",
    "memfd_create",
    "inotify_init",
    "inotify_init1",
    "dup",
    "fcntl",
    "fcntl64",
    "fopen",
    "fopen64",
    "opendir",
    "close",
    "fclose",
    "closedir",
    "pthread_create",
];

fn main() {
    for name in EXPORTED {
        println!("cargo::rustc-link-arg-bins=-Wl,--export-dynamic-symbol={name}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
