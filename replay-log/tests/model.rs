//! Replaying the pruned log gives the same machine as replaying everything that ever happened.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use replay_log::{Died, Entry, Kind, Log, ObjectId, Released};
use smallvec::smallvec;
use support::{APPEND, CREATE, DESTROY, Machine, SET};

/// One drawn step; the numbers choose among what is alive at that time.
type Step = (u8, u16, u16, u16, u8);

/// The log under test, and a machine that did every call when it was made.
#[derive(Default)]
struct World {
    log: Log,
    whole: Machine,
    alive: BTreeSet<u64>,
}

impl World {
    fn choose(&self, number: u16) -> Option<u64> {
        let len = self.alive.len();
        if len == 0 {
            None
        } else {
            self.alive.iter().nth(usize::from(number) % len).copied()
        }
    }

    /// A few names are given again and again.
    fn fresh(&self, number: u16) -> u64 {
        (u64::from(number) % 16..)
            .find(|name| !self.alive.contains(name))
            .expect("endless")
    }

    fn create(&mut self, count: usize, inside: &[u64], needs: &[u64], n: u16, byte: u8) {
        let mut names = Vec::new();
        for _ in 0..count {
            let name = self.fresh(n);
            self.alive.insert(name);
            names.push(name);
        }
        let blobs: Vec<Vec<u8>> = (0..byte % 3).map(|i| vec![byte % 4 + i; 1000]).collect();
        let payload = [byte, n as u8];
        let mut entry = Entry::new(CREATE).payload(&payload);
        for &name in &names {
            entry = entry.creates(ObjectId(name), Kind(u16::from(byte)));
        }
        for &name in inside {
            entry = entry.inside(ObjectId(name));
        }
        for &name in needs {
            entry = entry.needs(ObjectId(name));
        }
        for blob in &blobs {
            entry = entry.blob(blob);
        }
        self.log.push(entry).expect("a valid entry");
        let named: Vec<_> = names.iter().map(|&name| (name, 1)).collect();
        self.whole
            .create(&named, inside, needs, &payload, blobs.clone())
            .expect("all alive");
    }

    fn buried(&mut self, died: Died, asked: u64) {
        assert_eq!(died.last(), Some(&ObjectId(asked)), "contents die first");
        let mut left = self.alive.clone();
        for id in died {
            assert!(left.remove(&id.0), "{id:?} died twice or never lived");
        }
        let alive: BTreeSet<u64> = self.whole.observe().into_keys().collect();
        assert_eq!(left, alive);
        self.alive = left;
    }

    fn step(&mut self, (op, a, b, c, byte): Step) {
        let (x, y) = (self.choose(a), self.choose(b));
        match (op % 12, x, y) {
            (0, ..) => self.create(1, &[], &[], c, byte),
            (1 | 2, Some(x), _) => self.create(1, &[x], &[], c, byte),
            (3, Some(x), Some(y)) => self.create(1, &[x, y], &[], c, byte),
            (4, Some(x), Some(y)) => self.create(1, &[x], &[y], c, byte),
            (5, Some(x), Some(y)) => self.create(1, &[], &[x, y], c, byte),
            (6, Some(x), _) => self.create(2, &[x], &[], c, byte),
            (7, Some(x), _) => {
                let payload = [byte];
                self.log
                    .push(Entry::new(APPEND).payload(&payload).inside(ObjectId(x)))
                    .expect("valid");
                self.whole.append(x, byte).expect("alive");
            }
            (8, Some(x), _) => {
                let payload = [byte % 3, c as u8];
                let entry = Entry::new(SET).payload(&payload).inside(ObjectId(x));
                self.log
                    .push(entry.key(x, u64::from(byte % 3)))
                    .expect("valid");
                self.whole
                    .set(x, u64::from(byte % 3), c as u8)
                    .expect("alive");
            }
            (9 | 10, Some(x), _) => {
                self.whole.destroy(x).expect("alive");
                let pushed = self
                    .log
                    .push(Entry::new(DESTROY).destroys(ObjectId(x)))
                    .expect("valid");
                self.buried(pushed.died, x);
            }
            (11, Some(x), _) if byte % 2 == 0 => {
                *self.whole.references(x) = self.log.retain(ObjectId(x)).expect("alive");
            }
            (11, Some(x), _) if *self.whole.references(x) > 1 => {
                let left = *self.whole.references(x) - 1;
                assert_eq!(self.log.release(ObjectId(x)), Ok(Released::Left(left)));
                *self.whole.references(x) = left;
            }
            _ => {}
        }
    }

    fn compare(&self) {
        let mut replayed = Machine::default();
        self.log.replay(&mut replayed).expect("a replayable log");
        assert_eq!(replayed.observe(), self.whole.observe());
        assert_eq!(
            replayed.len(),
            self.whole.len(),
            "a replay leaves nothing over"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn pruned_equals_whole(steps in prop::collection::vec(any::<Step>(), 0..80), pause in 0_usize..80) {
        let mut world = World::default();
        for (i, &step) in steps.iter().enumerate() {
            world.step(step);
            if i == pause {
                let bytes = world.log.encode();
                let mut decoded = Log::decode(&bytes).expect("own bytes");
                prop_assert_eq!(decoded.counters(), world.log.counters());
                prop_assert_eq!(decoded.encode(), bytes);
                world.log = decoded;
            }
            if i % 8 == 0 {
                world.compare();
            }
        }
        world.compare();
        while let Some(x) = world.choose(0) {
            world.whole.destroy(x).expect("alive");
            let pushed = world.log.push(Entry::new(DESTROY).destroys(ObjectId(x))).expect("valid");
            world.buried(pushed.died, x);
            world.compare();
        }
        // What destroyed objects needed of one another in a circle goes when the log is written.
        let _ = world.log.encode();
        let empty = world.log.counters();
        prop_assert_eq!((empty.live, empty.objects, empty.payload_bytes), (0, 0, 0));
        prop_assert_eq!((empty.blobs, empty.blob_bytes), (0, 0));
    }
}

/// Many records of all sorts, then few of them: what is left lies elsewhere then.
#[test]
fn a_log_that_became_small_is_whole() {
    let mut world = World::default();
    let mut number = 1_u64;
    let mut draw = move || {
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (number >> 40) as u16
    };
    // Names that no drawn step gives.
    for plain in 100..1500 {
        let entry = Entry::new(CREATE).creates(ObjectId(plain), Kind(0));
        world.log.push(entry).expect("valid");
        if plain % 20 == 0 {
            world.step((draw() as u8, draw(), draw(), draw(), draw() as u8));
        }
    }
    for plain in 100..1500 {
        assert_eq!(
            world.log.destroy(ObjectId(plain)).expect("it lives").len(),
            1
        );
    }
    world.compare();
    for _ in 0..200 {
        world.step((draw() as u8, draw(), draw(), draw(), draw() as u8));
        world.compare();
    }
}

#[test]
fn a_destroyed_object_stays_for_those_that_need_it() {
    let mut world = World::default();
    world.create(1, &[], &[], 0, 0);
    world.create(1, &[0], &[], 1, 0);
    world.create(1, &[], &[1], 2, 0);
    world.whole.destroy(0).expect("alive");
    let pushed = world
        .log
        .push(Entry::new(DESTROY).destroys(ObjectId(0)))
        .expect("valid");
    world.buried(pushed.died, 0);
    assert_eq!(
        world.log.counters().live,
        4,
        "three creations and one destruction"
    );
    world.compare();
    assert_eq!(world.log.destroy(ObjectId(2)), Ok(smallvec![ObjectId(2)]));
    assert_eq!(world.log.counters().live, 0);
}

#[test]
fn an_object_takes_along_what_needs_only_its_contents() {
    let mut log = Log::new();
    let create = |log: &mut Log, id: u64, inside: &[u64], needs: &[u64]| {
        let mut entry = Entry::new(CREATE).creates(ObjectId(id), Kind(0));
        for &id in inside {
            entry = entry.inside(ObjectId(id));
        }
        for &id in needs {
            entry = entry.needs(ObjectId(id));
        }
        log.push(entry).expect("valid");
    };
    create(&mut log, 1, &[], &[]);
    create(&mut log, 2, &[1], &[]);
    create(&mut log, 3, &[1], &[2]);
    let pushed = log
        .push(Entry::new(DESTROY).destroys(ObjectId(1)))
        .expect("valid");
    assert_eq!(pushed.died.len(), 3);
    assert_eq!(log.counters().live, 0);
}

#[test]
fn resetting_keeps_the_object_itself() {
    let mut log = Log::new();
    let context = ObjectId(1);
    log.push(Entry::new(CREATE).creates(context, Kind(0)))
        .expect("valid");
    log.push(
        Entry::new(CREATE)
            .creates(ObjectId(2), Kind(1))
            .inside(context),
    )
    .expect("valid");
    log.push(
        Entry::new(CREATE)
            .creates(ObjectId(3), Kind(1))
            .inside(ObjectId(2)),
    )
    .expect("valid");
    log.push(Entry::new(SET).inside(context).key(1, 1))
        .expect("valid");
    assert_eq!(
        log.destroy_inside(context),
        Ok(smallvec![ObjectId(3), ObjectId(2)])
    );
    assert!(log.exists(context));
    assert_eq!(log.counters().live, 1);
}
