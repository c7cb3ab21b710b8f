//! History costs nothing: what was destroyed leaves neither records nor memory behind.

use replay_log::{Entry, Kind, Log, ObjectId};

/// Nanoseconds that this thread has run, which a busy machine does not inflate: the first number
/// of `/proc/thread-self/schedstat`.
fn ran() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

const PAIRS: u64 = 1_000_000;

#[test]
fn a_million_pairs_leave_a_tiny_log() {
    let mut log = Log::new();
    let context = ObjectId(1);
    log.push(Entry::new(1).creates(context, Kind(1)))
        .expect("valid");
    for id in 10..1010 {
        let entry = Entry::new(2)
            .payload(&[0; 24])
            .creates(ObjectId(id), Kind(2));
        log.push(entry.inside(context)).expect("valid");
    }
    let start = ran();
    for i in 0..PAIRS {
        let id = ObjectId(1_000_000 + i);
        let entry = Entry::new(2)
            .payload(&[0; 24])
            .creates(id, Kind(2))
            .inside(context);
        log.push(entry).expect("valid");
        log.push(Entry::new(3).destroys(id)).expect("valid");
    }
    let each = (ran() - start) as f64 / (2 * PAIRS) as f64;
    println!("{each:.0} ns for each create or destroy");
    let counters = log.counters();
    assert_eq!(counters.total, 1001 + 2 * PAIRS);
    assert_eq!(counters.live, 1001);
    assert!(log.encode().len() < 100_000, "{} bytes", log.encode().len());
}

#[test]
fn many_live_objects_die_in_one_sweep() {
    const LIVE: u64 = 200_000;
    let mut log = Log::new();
    let context = ObjectId(0);
    log.push(Entry::new(1).creates(context, Kind(1)))
        .expect("valid");
    let start = ran();
    for id in 1..=LIVE {
        let entry = Entry::new(2)
            .payload(&[0; 24])
            .creates(ObjectId(id), Kind(2));
        log.push(entry.inside(context)).expect("valid");
    }
    // Every other one first, so that sweeps happen on the way.
    for id in (1..=LIVE).step_by(2) {
        log.destroy(ObjectId(id)).expect("it lives");
    }
    assert_eq!(
        log.destroy(context).expect("it lives").len() as u64,
        LIVE / 2 + 1
    );
    println!("{} ms for {LIVE} objects", (ran() - start) / 1_000_000);
    assert_eq!(log.counters().live, 0);
}
