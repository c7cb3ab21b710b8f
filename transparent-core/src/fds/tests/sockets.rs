//! Pairs of sockets and receivers of signals.

use super::*;
use crate::sys::sockets;

/// A pair at two numbers.
fn pair_at(numbers: [i32; 2], kind: i32) {
    let [a, b] = sockets::pair(kind).unwrap();
    at(numbers[0], a, false);
    at(numbers[1], b, true);
}

fn send(fd: i32, bytes: &[u8]) {
    assert_eq!(sockets::send(fd, bytes).unwrap(), bytes.len());
}

/// Everything that is in flight, message by message.
fn receive(fd: i32) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut room = vec![0; 1 << 20];
        match sys::descriptor::read(fd, &mut room) {
            Ok(n) => all.push(room[..n].to_vec()),
            Err(e) => {
                assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "{e}");
                return all;
            }
        }
    }
}

#[test]
fn pairs_come_back_with_what_is_in_flight_both_ways() {
    in_child(|| {
        let harness = Harness::new();
        pair_at([20, 21], libc::SOCK_STREAM);
        pair_at([22, 23], libc::SOCK_DGRAM);
        pair_at([24, 25], libc::SOCK_SEQPACKET);
        sys::descriptor::dup_to(20, 30, false).unwrap();
        sys::descriptor::fcntl(22, libc::F_SETFL, libc::O_RDWR).unwrap();
        sockets::set_int_option(20, libc::SO_SNDBUF, 1 << 20).unwrap();
        sockets::set_int_option(21, libc::SO_PASSCRED, 1).unwrap();
        let timeout = [0_i64, 250_000].map(i64::to_ne_bytes).concat();
        sockets::set_option(20, libc::SO_RCVTIMEO, &timeout).unwrap();
        // The kernel rounds it.
        let timeout = sockets::option(20, libc::SO_RCVTIMEO).unwrap();
        let long: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
        send(20, &long);
        send(21, b"back");
        for message in [b"one".as_slice(), b"", b"three"] {
            send(22, message);
            send(25, message);
        }
        sockets::shutdown(24, libc::SHUT_WR).unwrap();
        for _ in 0..2 {
            let table = harness.capture();
            assert_eq!(table.pairs.len(), 3);
            harness.restore(&table, FilesRule::Rollback);
        }
        assert_eq!(flags(22) & libc::O_NONBLOCK, 0);
        assert_ne!(flags(20) & libc::O_NONBLOCK, 0);
        assert!(cloexec(21) && !cloexec(20));
        assert_eq!(receive(30), [b"back"]);
        assert_eq!(receive(21).concat(), long);
        let messages = [b"one".as_slice(), b"", b"three"];
        assert_eq!(receive(23), messages);
        assert_eq!(receive(24), messages);
        assert_eq!(
            sys::descriptor::read(25, &mut [0; 9]).unwrap(),
            0,
            "the end"
        );
        assert_eq!(sockets::option(20, libc::SO_RCVTIMEO).unwrap(), timeout);
        assert_eq!(sockets::int_option(21, libc::SO_PASSCRED).unwrap(), 1);
        send(30, b"again");
        assert_eq!(receive(21), [b"again"]);
    });
}

#[test]
fn an_empty_packet_is_not_the_end_of_what_is_in_flight() {
    in_child(|| {
        let harness = Harness::new();
        for (fd, kept) in [(20, true), (22, false)] {
            pair_at([fd, fd + 1], libc::SOCK_SEQPACKET);
            for message in [b"one".as_slice(), b"", b"three"] {
                send(fd + 1, message);
            }
            match kept {
                true => sockets::shutdown(fd + 1, libc::SHUT_WR).unwrap(),
                false => sys::descriptor::close(fd + 1).unwrap(),
            }
        }
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        let mut room = [0; 9];
        let mut read = |fd| sys::descriptor::read(fd, &mut room).unwrap();
        for fd in [20, 22] {
            assert_eq!([(); 5].map(|()| read(fd)), [3, 0, 5, 0, 0]);
        }
    });
}

#[test]
fn an_end_whose_other_is_closed_stays_so() {
    in_child(|| {
        let harness = Harness::new();
        pair_at([20, 21], libc::SOCK_STREAM);
        pair_at([22, 23], libc::SOCK_STREAM);
        pair_at([24, 25], libc::SOCK_DGRAM);
        for fd in [21, 23, 25] {
            send(fd, b"last words");
        }
        send(22, b"never received");
        for fd in [21, 23, 25] {
            sys::descriptor::close(fd).unwrap();
        }
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        let mut room = [0; 99];
        let mut read = |fd| sys::descriptor::read(fd, &mut room).map_err(|e| e.raw_os_error());
        assert_eq!((read(20), read(20)), (Ok(10), Ok(0)));
        let reset = Err(Some(libc::ECONNRESET));
        assert_eq!((read(22), read(22), read(22)), (Ok(10), reset, Ok(0)));
        assert_eq!((read(24), read(24)), (Ok(10), Err(Some(libc::EAGAIN))));
        let sent = |fd| sockets::send(fd, b"x").map_err(|e| e.raw_os_error());
        assert_eq!(sent(20), Err(Some(libc::EPIPE)));
        assert_eq!(sent(24), Err(Some(libc::ECONNREFUSED)));
    });
}

#[test]
fn sockets_that_lead_out_are_refused_and_so_is_more_than_bytes_in_flight() {
    in_child(|| {
        let harness = Harness::new();
        let [inside, outside] = sockets::pair(libc::SOCK_STREAM).unwrap();
        at(20, inside, false);
        at(300, outside, false);
        let is_ours = |fd| harness.is_ours()(fd) || fd == 300;
        let refused = capture(&is_ours, &StandardStreams::default()).unwrap_err();
        assert!(
            refused[0].to_string().contains("outside the job"),
            "{refused:?}"
        );
        sys::descriptor::close(20).unwrap();
        sys::descriptor::close(300).unwrap();

        let unconnected = std::os::unix::net::UnixDatagram::unbound().unwrap();
        at(20, OwnedFd::from(unconnected), false);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        at(21, OwnedFd::from(udp), false);
        let refused = harness.refused();
        assert!(refused[0].contains("without a connection"), "{refused:?}");
        assert!(refused[1].contains("out of the job"), "{refused:?}");
        sys::descriptor::close(20).unwrap();
        sys::descriptor::close(21).unwrap();

        pair_at([20, 21], libc::SOCK_STREAM);
        send(20, b"before");
        crate::testing::send_descriptor(20, 20);
        sockets::set_int_option(21, libc::SO_PASSCRED, 1).unwrap();
        let refused = capture(&harness.is_ours(), &StandardStreams::default()).unwrap_err();
        assert!(refused[0].to_string().contains("in flight"), "{refused:?}");
        assert_eq!(sockets::int_option(21, libc::SO_PASSCRED).unwrap(), 1);
        assert_eq!(receive(21).concat(), b"befored", "nothing was taken");

        send(20, b"before");
        if crate::testing::send_urgent(20) {
            send(20, b"after");
            let refused = capture(&harness.is_ours(), &StandardStreams::default()).unwrap_err();
            assert!(refused[0].to_string().contains("urgent"), "{refused:?}");
        }
    });
}

#[test]
fn a_receiver_of_signals_receives_the_same_ones() {
    in_child(|| {
        let harness = Harness::new();
        let mask = 1 << (libc::SIGUSR1 - 1);
        at(20, sockets::signalfd(mask, libc::O_NONBLOCK).unwrap(), true);
        let table = harness.capture();
        harness.restore(&table, FilesRule::Rollback);
        assert_eq!(receive(20), Vec::<Vec<u8>>::new());
        crate::testing::block_and_queue(libc::SIGUSR1);
        let got = receive(20);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0][..4], libc::SIGUSR1.to_ne_bytes());
        assert!(cloexec(20));
    });
}
