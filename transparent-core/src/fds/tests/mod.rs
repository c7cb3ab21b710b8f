//! Descriptors captured, closed, restored, and used, each test in a child process
//! of its own.

mod outside;
mod sockets;

use super::*;
use crate::apart;
use crate::codec;
use crate::fds::look::open_numbers;
use crate::sys;
use crate::testing::in_child;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;

/// What the test harness has open, which is "ours" to the code under test.
struct Harness(HashSet<i32>);

impl Harness {
    /// Closes what the harness's own parent happens to have open.
    fn new() -> Self {
        for fd in open_numbers().unwrap() {
            if (3..400).contains(&fd) {
                sys::descriptor::close(fd).unwrap();
            }
        }
        Self(open_numbers().unwrap().into_iter().collect())
    }

    fn without(mut self, fds: &[i32]) -> Self {
        for fd in fds {
            self.0.remove(fd);
        }
        self
    }

    fn is_ours(&self) -> impl Fn(i32) -> bool + '_ {
        |fd| self.0.contains(&fd)
    }

    fn capture(&self) -> FdTable {
        let streams = StandardStreams::default();
        check(&self.is_ours(), &streams).unwrap_or_else(|refused| panic!("{refused:?}"));
        let table = capture(&self.is_ours(), &streams).unwrap();
        let from_afar = apart(|| capture(&self.is_ours(), &streams)).unwrap();
        assert_eq!(lasting(from_afar), lasting(table.clone()));
        let bytes = codec::encode(&table).unwrap();
        let decoded: FdTable = codec::decode(&bytes).unwrap();
        assert_eq!(decoded, table);
        decoded
    }

    fn refused(&self) -> Vec<String> {
        let streams = StandardStreams::default();
        let by_check = check(&self.is_ours(), &streams).unwrap_err();
        let by_capture = capture(&self.is_ours(), &streams).unwrap_err();
        assert_eq!(by_check, by_capture);
        let from_afar = apart(|| check(&self.is_ours(), &streams));
        assert_eq!(from_afar, Err(by_check.clone()));
        by_check.iter().map(ToString::to_string).collect()
    }

    /// Closes the program's descriptors and restores them.
    fn restore(&self, table: &FdTable, rule: FilesRule) {
        self.close_all();
        restore(table, rule, &self.is_ours()).unwrap();
        assert_eq!(settle(table, rule).unwrap(), Vec::<String>::new());
        let open: Vec<i32> = self.program();
        let expected: Vec<i32> = table.descriptors.iter().map(|d| d.number).collect();
        assert_eq!(open, expected, "more or less than the table has");
    }

    fn program(&self) -> Vec<i32> {
        let mut open = open_numbers().unwrap();
        open.retain(|fd| !self.0.contains(fd));
        open
    }

    fn close_all(&self) {
        for fd in self.program() {
            sys::descriptor::close(fd).unwrap();
        }
    }
}

/// Does `work` on a thread with a table of its own.
fn apart<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let (tell, told) = mpsc::channel();
    let (go, gone) = mpsc::channel();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let both = apart::leave(&[]).unwrap();
            let own = sys::descriptor::numbers("/proc/thread-self/fd").unwrap();
            assert_eq!(own, [&[0, 1, 2], both.as_slice()].concat());
            tell.send(both).unwrap();
            gone.recv().unwrap();
            work()
        });
        for fd in told.recv().unwrap() {
            sys::descriptor::close(fd).unwrap();
        }
        go.send(()).unwrap();
        thread.join().unwrap()
    })
}

/// Without what is not the same at a second look: times, and empty messages.
fn lasting(mut table: FdTable) -> FdTable {
    let ends = table.pairs.iter_mut().flat_map(|pair| &mut pair.ends);
    for end in ends.flatten() {
        end.contents.retain(|message| !message.is_empty());
    }
    for file in &mut table.files {
        if let Kind::Timerfd(timer) = &mut file.kind {
            (timer.remaining_ns, timer.deadline_ns) = (0, 0);
        }
    }
    table
}

/// Puts a descriptor at a number of the program's.
fn at(number: i32, fd: impl IntoRawFd, cloexec: bool) -> i32 {
    let fd = fd.into_raw_fd();
    sys::descriptor::dup_to(fd, number, cloexec).unwrap();
    if fd != number {
        sys::descriptor::close(fd).unwrap();
    }
    number
}

/// A descriptor as a file that does not close it.
#[allow(unsafe_code, reason = "descriptors by number are what is tested")]
fn file(fd: i32) -> std::mem::ManuallyDrop<File> {
    // SAFETY: never dropped, so never closed.
    std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(fd) })
}

fn position(fd: i32) -> u64 {
    file(fd).stream_position().unwrap()
}

fn flags(fd: i32) -> i32 {
    sys::descriptor::fcntl(fd, libc::F_GETFL, 0).unwrap()
}

fn cloexec(fd: i32) -> bool {
    sys::descriptor::fcntl(fd, libc::F_GETFD, 0).unwrap() & libc::FD_CLOEXEC != 0
}

fn read_available(fd: i32) -> Vec<u8> {
    let mut out = vec![0; 1 << 20];
    let n = sys::descriptor::read(fd, &mut out).unwrap_or(0);
    out.truncate(n);
    out
}

fn appending(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

#[test]
fn files_come_back_at_their_positions_shared_where_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    fs::write(&path, b"0123456789").unwrap();
    in_child(|| {
        let harness = Harness::new();
        let mut input = File::open(&path).unwrap();
        input.seek(SeekFrom::Start(4)).unwrap();
        at(20, input.try_clone().unwrap(), true);
        at(21, input, false);
        at(22, File::open(&path).unwrap(), false);
        at(300, appending(&dir.path().join("log")), false);
        file(300).write_all(b"before").unwrap();
        let directory = File::open(dir.path()).unwrap();
        at(23, directory, false);
        at(
            24,
            sys::descriptor::open(&path, libc::O_PATH, 0).unwrap(),
            true,
        );
        let table = harness.capture();
        assert_eq!(table.files.len(), 5);
        file(300).write_all(b" and after").unwrap();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!((position(20), position(22)), (4, 0));
        file(20).read_exact(&mut [0; 3]).unwrap();
        assert_eq!(
            (position(21), position(22)),
            (7, 0),
            "20 and 21 are one open file"
        );
        assert_eq!((cloexec(20), cloexec(21), cloexec(24)), (true, false, true));
        assert_eq!(flags(24) & libc::O_PATH, libc::O_PATH);
        assert_eq!(flags(300) & libc::O_APPEND, libc::O_APPEND);
        file(300).write_all(b" again").unwrap();
        assert_eq!(fs::read(dir.path().join("log")).unwrap(), b"before again");
        let listed = fs::read_dir("/proc/self/fd/23").unwrap().count();
        assert_eq!(listed, 2);
    });
}

#[test]
fn the_rule_decides_about_files_that_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    in_child(|| {
        let harness = Harness::new();
        fs::write(&path, b"one").unwrap();
        let out = OpenOptions::new().write(true).open(&path).unwrap();
        at(20, out, false);
        at(21, File::open(&path).unwrap(), false);
        sys::descriptor::seek(20, 3, libc::SEEK_SET).unwrap();
        let table = harness.capture();
        file(20).write_all(b" two").unwrap();
        assert_eq!(check_restore(&table, FilesRule::Keep), []);
        let refused = check_restore(&table, FilesRule::Refuse);
        assert!(refused[0].to_string().contains("out"), "{refused:?}");
        harness.restore(&table, FilesRule::Keep);
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        assert_eq!(position(20), 3);
        harness.close_all();
        restore(&table, FilesRule::Rollback, &harness.is_ours()).unwrap();
        // A restart can still fail after this step: others must see no change.
        assert_eq!(fs::read(&path).unwrap(), b"one two");
        assert_eq!(position(20), 3);
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        fs::write(&path, b"o").unwrap();
        let refused = check_restore(&table, FilesRule::Rollback);
        assert!(refused[0].to_string().contains("has only 1"), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), b"o", "a check changes nothing");
        fs::remove_file(&path).unwrap();
        let refused = check_restore(&table, FilesRule::Rollback);
        assert_eq!(refused.len(), 2);
    });
}

#[test]
fn a_file_that_was_read_and_changed_is_refused_before_anything_happens() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("input"), dir.path().join("out"));
    fs::write(&input, b"input").unwrap();
    in_child(|| {
        let harness = Harness::new();
        at(20, File::open(&input).unwrap(), false);
        at(21, appending(&out), false);
        let table = harness.capture();
        file(21).write_all(b"later").unwrap();
        fs::write(&input, b"changed").unwrap();
        harness.close_all();
        let error = restore(&table, FilesRule::Rollback, &harness.is_ours()).unwrap_err();
        assert!(error.to_string().contains("input"), "{error}");
        assert!(matches!(error, RestoreError::Refused(_)));
        fs::remove_file(&input).unwrap();
        crate::testing::make_fifo(&input);
        let refused = check_restore(&table, FilesRule::Rollback);
        assert!(
            refused[0].to_string().contains("not a regular file"),
            "{refused:?}"
        );
        assert_eq!(
            fs::read(&out).unwrap(),
            b"later",
            "rolled back all the same"
        );
        assert_eq!(harness.program(), Vec::<i32>::new());
    });
}

#[test]
fn devices_and_kernel_files_are_opened_again() {
    in_child(|| {
        let harness = Harness::new();
        let names = ["null", "zero", "full", "random", "urandom"];
        for (i, name) in names.into_iter().enumerate() {
            let device = OpenOptions::new()
                .read(true)
                .write(name == "null" || name == "full")
                .open(format!("/dev/{name}"))
                .unwrap();
            at(20 + i as i32, device, i % 2 == 0);
        }
        at(30, File::open("/proc/self/status").unwrap(), false);
        at(31, File::open("/proc/meminfo").unwrap(), false);
        at(32, File::open("/sys/kernel/mm").unwrap(), false);
        at(
            33,
            File::open(format!("/proc/{}/task", std::process::id())).unwrap(),
            false,
        );
        file(31).read_exact(&mut [0; 9]).unwrap();
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        let mut three = [1; 3];
        file(21).read_exact(&mut three).unwrap();
        assert_eq!(three, [0; 3]);
        let full = file(22).write(b"x").unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        assert_eq!((cloexec(20), cloexec(21)), (true, false));
        assert_eq!(position(31), 9);
        let mut status = String::new();
        file(30).read_to_string(&mut status).unwrap();
        assert!(status.contains(&format!("Pid:\t{}", std::process::id())));
    });
}

/// Both ends of a pipe of the program's.
fn pipe_at(reader: i32, writer: i32, options: i32) {
    let (r, w) = sys::objects::pipe(options).unwrap();
    at(reader, r, false);
    at(writer, w, true);
}

#[test]
fn pipes_come_back_with_their_contents_capacity_and_flags() {
    in_child(|| {
        let harness = Harness::new();
        pipe_at(20, 21, 0);
        sys::descriptor::fcntl(21, libc::F_SETPIPE_SZ, 1 << 18).unwrap();
        sys::descriptor::fcntl(20, libc::F_SETFL, libc::O_NONBLOCK).unwrap();
        let long: Vec<u8> = (0..200_000_u32).map(|i| (i * 7) as u8).collect();
        file(21).write_all(&long[..150_001]).unwrap();
        file(21).write_all(&long[150_001..]).unwrap();
        // Packets, and an end twice: as a dup and as another opening.
        pipe_at(30, 31, libc::O_DIRECT | libc::O_NONBLOCK);
        file(31).write_all(b"first").unwrap();
        file(31).write_all(b"second").unwrap();
        sys::descriptor::dup_to(31, 32, false).unwrap();
        at(33, File::open("/proc/self/fd/30").unwrap(), false);
        let table = harness.capture();
        assert_eq!(table.pipes.len(), 2);
        assert_eq!(
            read_available(33),
            b"first",
            "the capture took something out"
        );
        harness.restore(&table, FilesRule::Rollback);
        let mut back = Vec::new();
        while back.len() < long.len() {
            back.extend(read_available(20));
        }
        assert!(back == long);
        assert_eq!(
            sys::descriptor::fcntl(20, libc::F_GETPIPE_SZ, 0).unwrap(),
            1 << 18
        );
        assert_ne!(flags(20) & libc::O_NONBLOCK, 0);
        assert_eq!(flags(21) & libc::O_NONBLOCK, 0);
        assert_eq!(flags(33) & libc::O_NONBLOCK, 0);
        assert_eq!(read_available(30), b"first");
        assert_eq!(read_available(33), b"second");
        file(32).write_all(b"third").unwrap();
        assert_eq!(read_available(30), b"third");
        // The pipe ends when its ends do: nobody else holds one.
        for fd in [31, 32] {
            sys::descriptor::close(fd).unwrap();
        }
        assert_eq!(
            file(30).read(&mut [0; 9]).unwrap(),
            0,
            "a writer is left over"
        );
    });
}

#[test]
fn half_closed_pipes_come_back_half_closed() {
    in_child(|| {
        let harness = Harness::new();
        pipe_at(20, 21, 0);
        file(21).write_all(b"rest").unwrap();
        sys::descriptor::close(21).unwrap();
        pipe_at(30, 31, libc::O_NONBLOCK);
        sys::descriptor::close(30).unwrap();
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!(read_available(20), b"rest");
        assert_eq!(file(20).read(&mut [0; 9]).unwrap(), 0);
        let broken = file(31).write(b"x").unwrap_err();
        assert_eq!(broken.raw_os_error(), Some(libc::EPIPE));
    });
}

#[test]
fn eventfds_keep_count_and_kind() {
    in_child(|| {
        let harness = Harness::new();
        at(20, sys::objects::eventfd(5, 0).unwrap(), false);
        let kind = libc::EFD_SEMAPHORE | libc::EFD_NONBLOCK;
        at(21, sys::objects::eventfd(3, kind).unwrap(), true);
        at(
            22,
            sys::objects::eventfd(0, libc::EFD_NONBLOCK).unwrap(),
            true,
        );
        file(22).write_all(&(u64::MAX - 1).to_ne_bytes()).unwrap();
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        let read = |fd| {
            let mut bytes = [0; 8];
            file(fd)
                .read_exact(&mut bytes)
                .map(|()| u64::from_ne_bytes(bytes))
        };
        assert_eq!(read(20).unwrap(), 5);
        assert_eq!(
            [read(21).unwrap(), read(21).unwrap(), read(21).unwrap()],
            [1; 3]
        );
        assert!(read(21).is_err(), "three, and no more");
        assert_eq!(read(22).unwrap(), u64::MAX - 1);
        assert_ne!(flags(22) & libc::O_NONBLOCK, 0);
        assert_eq!(flags(20) & libc::O_NONBLOCK, 0);
    });
}

/// Data words of what is ready in an epoll set.
#[allow(unsafe_code, reason = "epoll_wait")]
fn ready(epoll: i32) -> Vec<u64> {
    let mut events = [libc::epoll_event { events: 0, u64: 0 }; 8];
    // SAFETY: room for eight events.
    let n = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 8, 0) };
    let mut ready: Vec<u64> = events[..n as usize].iter().map(|e| e.u64).collect();
    ready.sort_unstable();
    ready
}

#[test]
fn epoll_sets_watch_again_nested_and_dupped() {
    in_child(|| {
        let harness = Harness::new();
        at(20, sys::objects::eventfd(0, 0).unwrap(), false);
        pipe_at(21, 22, 0);
        at(24, sys::objects::epoll_create().unwrap(), true);
        at(25, sys::objects::epoll_create().unwrap(), true);
        let edge = (libc::EPOLLIN | libc::EPOLLET) as u32;
        sys::objects::epoll_add(24, 20, libc::EPOLLIN as u32, u64::MAX).unwrap();
        sys::objects::epoll_add(24, 21, edge, 21).unwrap();
        sys::objects::epoll_add(25, 24, libc::EPOLLIN as u32, 24).unwrap();
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!((ready(24), ready(25)), (vec![], vec![]));
        file(22).write_all(b"x").unwrap();
        assert_eq!(ready(25), [24]);
        assert_eq!(ready(24), [21]);
        assert_eq!(ready(24), [0; 0], "an edge is reported once");
        file(20).write_all(&1_u64.to_ne_bytes()).unwrap();
        assert_eq!(ready(24), [u64::MAX]);
        // A file that is watched under a number that is no longer its own.
        sys::descriptor::dup_to(20, 40, false).unwrap();
        sys::descriptor::close(20).unwrap();
        let refused = harness.refused();
        assert!(
            refused[0].contains("24") && refused[0].contains("number 20"),
            "{refused:?}"
        );
        at(20, sys::objects::eventfd(0, 0).unwrap(), false);
        assert_eq!(harness.refused().len(), 1, "another file under that number");
    });
}

#[test]
fn timers_keep_what_is_left_and_what_nobody_has_read() {
    in_child(|| {
        let harness = Harness::new();
        const S: u64 = 1_000_000_000;
        let timer = |number, clock, flags, value, interval| {
            at(
                number,
                sys::objects::timerfd_create(clock, flags).unwrap(),
                false,
            );
            sys::objects::timerfd_set(number, 0, value, interval).unwrap();
        };
        timer(20, libc::CLOCK_MONOTONIC, 0, 1000 * S, 7 * S);
        timer(21, libc::CLOCK_REALTIME, libc::O_NONBLOCK, 0, 0);
        timer(22, libc::CLOCK_BOOTTIME, libc::O_NONBLOCK, 1, 1000 * S);
        let deadline = sys::objects::clock_ns(libc::CLOCK_REALTIME).unwrap() + 500 * S;
        at(
            23,
            sys::objects::timerfd_create(libc::CLOCK_REALTIME, 0).unwrap(),
            false,
        );
        sys::objects::timerfd_set(23, libc::TFD_TIMER_ABSTIME, deadline, 0).unwrap();
        while sys::descriptor::poll_now(22, libc::POLLIN).unwrap() == 0 {}
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        rearm_timers(&table).unwrap();
        let after = harness.capture();
        let timer = |table: &FdTable, number| {
            let descriptor = table.descriptors.iter().find(|d| d.number == number);
            match &table.files[descriptor.unwrap().file as usize].kind {
                Kind::Timerfd(timer) => *timer,
                other => panic!("{other:?}"),
            }
        };
        let close = |a: u64, b: u64| a.abs_diff(b) < 5 * S;
        let (was, is) = (timer(&table, 20), timer(&after, 20));
        assert!(close(was.remaining_ns, 1000 * S) && close(is.remaining_ns, 1000 * S));
        assert_eq!((is.clock, is.interval_ns), (libc::CLOCK_MONOTONIC, 7 * S));
        assert_eq!(timer(&after, 21).remaining_ns, 0);
        assert!(file(21).read(&mut [0; 8]).is_err());
        let (was, is) = (timer(&table, 22), timer(&after, 22));
        assert_eq!(is.interval_ns, 1000 * S);
        assert!(
            close(was.remaining_ns, 1000 * S) && close(is.remaining_ns, 1000 * S),
            "it goes on"
        );
        let mut ticks = [0; 8];
        file(22).read_exact(&mut ticks).unwrap();
        assert_eq!(u64::from_ne_bytes(ticks), 1);
        assert!(close(timer(&after, 23).deadline_ns, deadline));
    });
}

/// A pseudo-terminal: master and the slave's path.
#[allow(unsafe_code, reason = "openpty")]
fn terminal() -> (OwnedFd, String) {
    let master = sys::descriptor::open("/dev/ptmx".as_ref(), libc::O_RDWR | libc::O_NOCTTY, 0);
    let master = master.unwrap();
    let mut name = [0; 64];
    // SAFETY: a master, and room for the name.
    unsafe {
        assert_eq!(libc::grantpt(master.as_raw_fd()), 0);
        assert_eq!(libc::unlockpt(master.as_raw_fd()), 0);
        let result = libc::ptsname_r(master.as_raw_fd(), name.as_mut_ptr(), 64);
        assert_eq!(result, 0);
        let name = std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap();
        (master, name.to_owned())
    }
}

#[test]
fn a_hundred_descriptors_of_all_kinds_survive_three_generations() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        let harness = Harness::new();
        for i in 0..25 {
            let path = dir.path().join(format!("f{i}"));
            fs::write(&path, b"0123456789").unwrap();
            at(100 + i, File::open(&path).unwrap(), i % 2 == 0);
            sys::descriptor::seek(100 + i, i64::from(i % 10), libc::SEEK_SET).unwrap();
            sys::descriptor::dup_to(100 + i, 200 + i, false).unwrap();
            at(130 + i, sys::objects::eventfd(i as u32, 0).unwrap(), false);
            pipe_at(230 + 2 * i, 231 + 2 * i, 0);
            file(231 + 2 * i).write_all(&[i as u8; 9]).unwrap();
        }
        let first = harness.capture();
        assert_eq!(first.descriptors.len(), 125);
        let mut last = first.clone();
        for _ in 0..3 {
            harness.restore(&last, FilesRule::Rollback);
            last = harness.capture();
        }
        let plain = |table: &FdTable| {
            let mut table = table.clone();
            // Numbers of pipes change.
            table.files.iter_mut().for_each(|f| f.label.clear());
            table
        };
        assert_eq!(plain(&last), plain(&first));
    });
}

#[test]
fn more_descriptors_than_the_soft_limit_leaves_room_for_are_restored() {
    in_child(|| {
        let harness = Harness::new();
        // One number stays free for the test's own look at /proc.
        for number in (3..390).filter(|&n| n != 20) {
            at(number, File::open("/dev/null").unwrap(), false);
        }
        let table = harness.capture();
        harness.close_all();
        let (_, hard) = sys::process::limit(libc::RLIMIT_NOFILE).unwrap();
        sys::process::set_limit(libc::RLIMIT_NOFILE, 450, hard).unwrap();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!(
            sys::process::limit(libc::RLIMIT_NOFILE).unwrap(),
            (450, hard)
        );
        harness.close_all();
        sys::process::set_limit(libc::RLIMIT_NOFILE, 64, hard).unwrap();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!(
            sys::process::limit(libc::RLIMIT_NOFILE).unwrap(),
            (390, hard)
        );
    });
}
