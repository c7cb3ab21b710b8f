//! What leads out of the job: standard streams, and what is refused.

use super::*;
use crate::testing::{Ended, child};

#[test]
fn standard_streams_are_the_restarting_commands() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        let (master, name) = terminal();
        let (from_user, to_program) = sys::objects::pipe(0).unwrap();
        let harness = Harness::new().without(&[0, 1, 2]);
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&name)
            .unwrap();
        at(0, from_user, false);
        at(1, slave.try_clone().unwrap(), false);
        at(2, slave, false);
        sys::descriptor::dup_to(1, 20, true).unwrap();
        at(
            21,
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(&name)
                .unwrap(),
            false,
        );
        // `exec 3>&0 </dev/null`: known by what was there at the start.
        let streams = StandardStreams::observe();
        sys::descriptor::dup_to(0, 22, false).unwrap();
        at(0, File::open("/dev/null").unwrap(), false);
        let table = capture(&harness.is_ours(), &streams).unwrap();
        let kinds: Vec<&str> = table.files.iter().map(|f| f.kind.name()).collect();
        assert_eq!(
            kinds,
            ["device", "standard stream", "terminal", "standard stream"]
        );
        let without = capture(&harness.is_ours(), &StandardStreams::default()).unwrap_err();
        assert!(
            without[0].to_string().contains("outside the job"),
            "{without:?}"
        );

        // The restarting command: a file, and another terminal.
        harness.close_all();
        let (second, second_name) = terminal();
        let new = dir.path().join("stdin");
        fs::write(&new, b"from the restart").unwrap();
        at(0, sys::descriptor::open_read(&new).unwrap(), false);
        // Out of the way of the numbers that are being set up.
        let slave = sys::descriptor::open(second_name.as_ref(), libc::O_RDWR, 0).unwrap();
        at(1, slave.try_clone().unwrap(), false);
        at(2, slave, false);
        let keep = |fd| harness.is_ours()(fd) || fd == second.as_raw_fd();
        restore(&table, FilesRule::Rollback, &keep).unwrap();
        for (fd, text) in [(1, "one"), (2, "two"), (20, "twenty"), (21, "other")] {
            file(fd).write_all(text.as_bytes()).unwrap();
        }
        // A terminal passes on what it is given in its own time.
        let mut shown = [0; 17];
        file(second.as_raw_fd()).read_exact(&mut shown).unwrap();
        assert_eq!(&shown, b"onetwotwentyother");
        assert_eq!(read_available(22), b"from the restart");
        assert_eq!(read_available(0), b"", "0 is /dev/null, as it was");
        assert!(cloexec(20) && !cloexec(21));
        drop((master, to_program));
    });
}

#[test]
fn a_closed_standard_stream_stays_closed_and_an_extra_descriptor_does_not_stay() {
    in_child(|| {
        let harness = Harness::new().without(&[0]);
        sys::descriptor::close(0).unwrap();
        let table = harness.capture();
        at(0, File::open("/dev/null").unwrap(), false);
        at(50, File::open("/dev/null").unwrap(), false);
        restore(&table, FilesRule::Rollback, &harness.is_ours()).unwrap();
        assert_eq!(harness.program(), Vec::<i32>::new());
    });
}

#[test]
fn what_is_not_supported_is_refused_by_name_and_number() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        let harness = Harness::new();
        let refused = |what: &str, why: &str| {
            let all = harness.refused();
            assert!(all.iter().all(|r| r.contains("descriptor ")), "{all:?}");
            assert!(all[0].contains(what) && all[0].contains(why), "{all:?}");
            harness.close_all();
            assert_eq!(harness.capture(), FdTable::default());
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        at(20, OwnedFd::from(listener), false);
        refused("descriptor 20 (socket:[", "sockets");
        at(20, crate::testing::memfd("buffer", 10), false);
        refused("/memfd:buffer", "memfd");
        let path = dir.path().join("gone");
        at(20, File::create(&path).unwrap(), false);
        fs::remove_file(&path).unwrap();
        refused("gone", "deleted");
        at(20, File::create(&path).unwrap(), false);
        fs::rename(&path, dir.path().join("moved")).unwrap();
        fs::write(&path, b"another").unwrap();
        at(21, File::open(&path).unwrap(), false);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"yet another").unwrap();
        refused("21", "deleted");
        at(20, terminal().0, false);
        refused("ptmx", "master");
        let (r, w) = sys::objects::pipe(0).unwrap();
        at(20, w, false);
        // The read end belongs to someone else.
        let outside = r.as_raw_fd();
        let others = |fd| harness.is_ours()(fd) || fd == outside;
        let all = capture(&others, &StandardStreams::default()).unwrap_err();
        assert!(all[0].to_string().contains("outside the job"), "{all:?}");
        harness.close_all();
        std::mem::forget(r);
        for (i, object) in crate::testing::odd_objects().into_iter().enumerate() {
            at(20 + i as i32, object, false);
        }
        let all = harness.refused();
        for name in ["inotify", "pidfd"] {
            assert!(all.iter().any(|r| r.contains(name)), "{name}: {all:?}");
        }
        harness.close_all();
        crate::testing::make_fifo(&dir.path().join("fifo"));
        let fifo = OpenOptions::new()
            .read(true)
            .write(true)
            .open(dir.path().join("fifo"));
        at(20, fifo.unwrap(), false);
        refused("fifo", "named pipe");
        at(20, File::create(dir.path().join("locked")).unwrap(), false);
        crate::testing::flock(20);
        refused("locked", "FLOCK");
        at(20, File::create(dir.path().join("record")).unwrap(), false);
        sys::descriptor::lock_whole(&file(20)).unwrap();
        refused("record", "POSIX");
        at(
            20,
            File::open(format!("/proc/{}/status", crate::testing::parent())).unwrap(),
            false,
        );
        refused("/proc/", "another process");
    });
}

#[test]
fn a_check_while_descriptors_come_and_go_refuses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        let harness = Harness::new();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let (r, w) = std::io::pipe().unwrap();
                    let path = dir.path().join("short");
                    let file = File::create(&path).unwrap();
                    drop((r, file, w));
                }
            });
            let passed = (0..200)
                .filter(|_| check(&harness.is_ours(), &StandardStreams::default()).is_ok())
                .count();
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(passed, 200);
        });
    });
}

#[test]
fn a_table_that_contradicts_itself_is_refused() {
    let table = FdTable {
        pairs: Vec::new(),
        files: vec![OpenFile {
            label: "x".into(),
            flags: 0,
            kind: Kind::Pipe(7),
        }],
        pipes: Vec::new(),
        descriptors: vec![Descriptor {
            number: 20,
            close_on_exec: false,
            file: 9,
        }],
    };
    let ended = child(|| {
        let harness = Harness::new();
        let error = restore(&table, FilesRule::Rollback, &harness.is_ours()).unwrap_err();
        assert!(matches!(error, RestoreError::Table(_)));
        assert!(!check_restore(&table, FilesRule::Rollback).is_empty());
    });
    assert_eq!(ended, Ended::Well);
}
