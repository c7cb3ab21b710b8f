//! What the log refuses, it refuses without a trace; damaged bytes never panic.

use proptest::prelude::*;
use replay_log::{DecodeError, Entry, FORMAT_VERSION, Kind, Log, LogError, ObjectId};
use xxhash_rust::xxh3::xxh3_64;

fn sample() -> Log {
    let mut log = Log::new();
    let image = vec![3; 5000];
    log.push(
        Entry::new(1)
            .payload(b"context")
            .creates(ObjectId(1), Kind(1)),
    )
    .expect("valid");
    for id in 2..6 {
        let entry = Entry::new(2).blob(&image).creates(ObjectId(id), Kind(2));
        log.push(entry.inside(ObjectId(1))).expect("valid");
    }
    log.push(
        Entry::new(3)
            .creates(ObjectId(9), Kind(3))
            .needs(ObjectId(2)),
    )
    .expect("valid");
    log.push(
        Entry::new(4)
            .payload(&[0; 100])
            .inside(ObjectId(3))
            .key(1, 2),
    )
    .expect("valid");
    log.push(Entry::new(5).destroys(ObjectId(2)))
        .expect("valid");
    log.retain(ObjectId(1)).expect("it lives");
    log
}

#[test]
fn contradictions_leave_no_trace() {
    let mut log = sample();
    let before = log.encode();
    let missing = ObjectId(77);
    let unknown = |op| Err(LogError::Unknown { op, id: missing });
    assert_eq!(log.push(Entry::new(8).inside(missing)), unknown(8));
    assert_eq!(log.push(Entry::new(8).needs(missing)), unknown(8));
    assert_eq!(log.push(Entry::new(8).destroys(missing)), unknown(8));
    assert_eq!(log.destroy(missing).err(), unknown(0).err());
    let again = Entry::new(8).creates(ObjectId(1), Kind(0));
    assert_eq!(
        log.push(again),
        Err(LogError::Exists {
            op: 8,
            id: ObjectId(1)
        })
    );
    let twice = Entry::new(8)
        .creates(missing, Kind(0))
        .creates(missing, Kind(0));
    assert_eq!(
        log.push(twice),
        Err(LogError::Exists { op: 8, id: missing })
    );
    let both = Entry::new(8)
        .creates(missing, Kind(0))
        .destroys(ObjectId(1));
    assert!(matches!(
        log.push(both),
        Err(LogError::Malformed { op: 8, .. })
    ));
    assert_eq!(log.encode(), before);
}

#[test]
fn equal_blobs_are_stored_once() {
    let mut log = sample();
    assert_eq!(log.counters().blobs, 1);
    assert_eq!(log.counters().blob_bytes, 5000);
    assert!(log.encode().len() < 6000);
}

#[test]
fn each_header_field_is_checked() {
    let good = sample().encode();
    assert!(matches!(
        Log::decode(&good[..20]),
        Err(DecodeError::Truncated { .. })
    ));
    assert!(matches!(
        Log::decode(&good[..good.len() - 1]),
        Err(DecodeError::Truncated { .. })
    ));
    let longer = [&good[..], &[0]].concat();
    assert!(matches!(
        Log::decode(&longer),
        Err(DecodeError::Leftover(1))
    ));
    let mut other = good.clone();
    other[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    assert!(matches!(Log::decode(&other), Err(DecodeError::Version(v)) if v == FORMAT_VERSION + 1));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Log::decode(&bad).is_err(), "byte {at} is not covered");
    }
}

/// Makes the header fit a body that was tampered with.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let (len, sum) = (bytes.len() as u64 - 32, xxh3_64(&bytes[32..]));
    bytes[16..24].copy_from_slice(&len.to_le_bytes());
    bytes[24..32].copy_from_slice(&sum.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// With a right checksum, a damaged body is refused or gives a log that works.
    #[test]
    fn damaged_bodies_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
                                  cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut bytes = sample().encode();
        // The blob's contents mean nothing; damage the rest.
        let interesting: Vec<usize> = (32..60).chain(bytes.len() - 220..bytes.len()).collect();
        for (at, value) in changes {
            bytes[interesting[at.index(interesting.len())]] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(32 + cut.index(bytes.len() - 32));
        }
        if let Ok(mut log) = Log::decode(&sealed(bytes)) {
            let again = Log::decode(&log.encode()).expect("own bytes");
            prop_assert_eq!(again.counters(), log.counters());
            let ids: Vec<_> = log.objects().map(|(id, _)| id).collect();
            for id in ids {
                if log.exists(id) {
                    log.destroy(id).expect("it exists");
                }
            }
            prop_assert_eq!(log.counters().objects, 0);
        }
    }

    #[test]
    fn noise_is_no_log(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Log::decode(&bytes).is_err());
    }
}
