//! What is recorded, and what is known about live objects.
//!
//! A record owns every byte it needs: values, virtual handles, strings, and (as a blob of the log)
//! a module's image. No record holds a pointer. Device and pinned memory have no records: their
//! books ([`crate::arena`], [`crate::host`]) are saved as they are.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use replay_log::{Died, Entry, Log, ObjectId};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;

use crate::codec;
use crate::fast::{Map, Set};
use crate::handles::{Kind, Numbers, Real, Virtual};

/// One recorded call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// `cuInit`
    Init {
        /// Its flags.
        flags: u32,
    },
    /// A call that its row describes wholly: made again with the same values, the handles
    /// translated.
    Call {
        /// Call id.
        id: u32,
        /// Context that it acted on, for rows that act on the current one.
        context: Option<Virtual>,
        /// Arguments: values and virtual handles; 0 for pointers.
        #[serde(deserialize_with = "few")]
        slots: SmallVec<[u64; 8]>,
        /// Bytes that the driver reads through an argument.
        data: Vec<(u8, Vec<u8>)>,
        /// The argument that receives a handle, and the handle that the application knows.
        out: Option<(u8, Virtual)>,
    },
    /// A context was created.
    Context {
        /// Call id.
        id: u32,
        /// Its handle.
        handle: Virtual,
        /// Its flags.
        flags: u32,
        /// Its device.
        device: i32,
    },
    /// A primary context came to life.
    Primary {
        /// Its device.
        device: i32,
        /// Its handle.
        handle: Virtual,
    },
    /// A module was loaded; the image is the record's blob.
    Module {
        /// Its handle.
        handle: Virtual,
        /// Context that it was loaded into.
        context: Option<Virtual>,
        /// JIT options without those that only return something.
        options: Vec<(u32, u64)>,
        /// The image came in a fatbin wrapper.
        wrapped: bool,
    },
    /// A library was loaded; the image is the record's blob.
    Library {
        /// Its handle.
        handle: Virtual,
        /// JIT options without those that only return something.
        options: Vec<(u32, u64)>,
        /// The image came in a fatbin wrapper.
        wrapped: bool,
    },
    /// A library was used in a context for the first time: from here on its variables live there.
    Materialize {
        /// The library.
        library: Virtual,
        /// The context.
        context: Virtual,
    },
    /// Keeps a module in the log beyond its end (see [`Pin`]); nothing to do.
    Pin {
        /// The module.
        owner: Virtual,
    },
}

/// Where the driver puts a module's variables and its code, which kernels may keep the address of,
/// may depend on every module that was loaded before, the unloaded ones included. So a module is
/// *pinned*: after its end the log keeps its load and its unload for the replay, in their places.
/// When there are more than [`MOST_DEAD_PINS`] of ended modules, the oldest go: first of those that
/// were placed and ended with nothing in between, as those of programs that load and unload over
/// and over. If that moves a variable, the restart says so.
struct Pin {
    id: ObjectId,
    owner: Virtual,
    context: Option<Virtual>,
    dead: bool,
    /// Nothing was placed between its load and its end, so that nothing's place depends on it
    /// where a driver gives places out again.
    alone: bool,
}

const MOST_DEAD_PINS: usize = 256;

/// Top byte of a pin's object id; no handle has it.
const PIN_TAG: u64 = 0x68 << 56;

/// Times of events that were recorded in an earlier life.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Milliseconds from the event to the checkpoint.
    pub(crate) past: Map<Virtual, f64>,
    /// Driver's event that this life's times count from, by context.
    pub(crate) bases: Map<Virtual, u64>,
}

/// Records and knowledge about live objects.
#[derive(Default)]
pub(crate) struct Recorder {
    log: Log,
    /// Objects that the driver may name again (not streams and events: it never does).
    known: Map<(Kind, u64), Virtual>,
    /// The way back, to forget them.
    real: Map<Virtual, (Kind, u64)>,
    /// Library of each kernel.
    libraries: Map<Virtual, Virtual>,
    /// Libraries that a context has a place for.
    materialized: Set<(Virtual, Virtual)>,
    /// Variables that the application asked the address of, by module or library.
    asked: Map<Virtual, BTreeSet<String>>,
    /// Attributes set on streams, to copy them.
    attributes: Map<Virtual, Vec<(u64, Op)>>,
    /// Modules and libraries, whose images the driver places.
    placed: Set<Virtual>,
    pins: VecDeque<Pin>,
    pins_made: u64,
    pub(crate) clock: Clock,
    /// Why recording failed, for the session's poison; taken by whoever asks.
    pub(crate) failure: Option<String>,
    buffer: Vec<u8>,
    /// Which handles are free.
    pub(crate) numbers: Numbers,
}

/// Handles of objects that ended together, contents first.
pub(crate) type Dead = SmallVec<[Virtual; 4]>;

/// A handle's name in the log.
pub(crate) fn object(handle: Virtual) -> ObjectId {
    ObjectId(handle.bits())
}

/// The driver may return an object of this kind again later.
fn may_be_named(kind: Kind) -> bool {
    !matches!(kind, Kind::Stream | Kind::Event)
}

/// Bytes of a record.
pub(crate) fn encode(op: &Op, buffer: &mut Vec<u8>) -> Result<(), String> {
    buffer.clear();
    if let Op::Call {
        id,
        context,
        slots,
        data,
        out,
    } = op
    {
        let call = Made {
            id: *id,
            context: *context,
            slots,
            data,
            out: *out,
        };
        call.encode(buffer);
        return Ok(());
    }
    codec::encode(op, buffer)
}

/// An [`Op::Call`] that borrows what it consists of: most records are such.
pub(crate) struct Made<'a> {
    pub(crate) id: u32,
    pub(crate) context: Option<Virtual>,
    pub(crate) slots: &'a [u64],
    pub(crate) data: &'a [(u8, Vec<u8>)],
    pub(crate) out: Option<(u8, Virtual)>,
}

impl Made<'_> {
    /// Appends the bytes that [`Op::Call`] is written as, but quickly.
    fn encode(&self, bytes: &mut Vec<u8>) {
        const VARIANT: u8 = 1;
        bytes.reserve(64);
        bytes.push(VARIANT);
        codec::number(self.id.into(), bytes);
        bytes.push(self.context.is_some().into());
        if let Some(context) = self.context {
            codec::number(context.bits(), bytes);
        }
        codec::number(self.slots.len() as u64, bytes);
        for &slot in self.slots {
            codec::number(slot, bytes);
        }
        codec::number(self.data.len() as u64, bytes);
        for (index, owned) in self.data {
            bytes.push(*index);
            codec::number(owned.len() as u64, bytes);
            bytes.extend_from_slice(owned);
        }
        bytes.push(self.out.is_some().into());
        if let Some((index, handle)) = self.out {
            bytes.push(index);
            codec::number(handle.bits(), bytes);
        }
    }
}

/// A record of these bytes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Op, String> {
    codec::decode(bytes)
}

/// Few values. The type's own way would reserve for as many as are announced.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SmallVec<[u64; 8]>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = SmallVec<[u64; 8]>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("numbers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = SmallVec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }
    deserializer.deserialize_seq(Few)
}

fn log_kind(handle: Virtual) -> replay_log::Kind {
    replay_log::Kind(handle.kind().map_or(0, |kind| kind as u16))
}

impl Recorder {
    /// The handle that the application has for a driver's object.
    pub(crate) fn find(&self, kind: Kind, real: Real) -> Option<Virtual> {
        if !may_be_named(kind) {
            return None;
        }
        self.known.get(&(kind, real.bits())).copied()
    }

    /// Keeps the way from a driver's object to its handle.
    pub(crate) fn learn(&mut self, handle: Virtual, real: Real) {
        if let Some(kind) = handle.kind()
            && may_be_named(kind)
        {
            self.known.insert((kind, real.bits()), handle);
            self.real.insert(handle, (kind, real.bits()));
        }
    }

    fn push(&mut self, op: &Op, image: Option<&[u8]>, shape: impl FnOnce(Entry<'_>) -> Entry<'_>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let pushed = encode(op, &mut buffer).and_then(|()| {
            let mut entry = Entry::new(number(op)).payload(&buffer);
            if let Some(bytes) = image {
                entry = entry.blob(bytes);
            }
            let pushed = self.log.push(shape(entry));
            pushed.map_err(|error| error.to_string())
        });
        if let Err(why) = pushed {
            self.fail(why);
        }
        self.buffer = buffer;
    }

    #[cold]
    fn fail(&mut self, why: impl fmt::Display) {
        self.failure
            .get_or_insert(format!("a call could not be recorded: {why}"));
    }

    /// Records a call that made an object, which dies with any of its parents.
    pub(crate) fn create(&mut self, handle: Virtual, real: Real, parents: &[Virtual], op: &Op) {
        self.create_from(handle, real, parents, op, None);
    }

    /// The same, with an image.
    pub(crate) fn create_from(
        &mut self,
        handle: Virtual,
        real: Real,
        parents: &[Virtual],
        op: &Op,
        image: Option<&[u8]>,
    ) {
        self.learn(handle, real);
        self.relate(handle, parents);
        self.push(op, image, |entry| {
            let entry = entry.creates(object(handle), log_kind(handle));
            parents
                .iter()
                .fold(entry, |entry, &parent| entry.inside(object(parent)))
        });
        if image.is_some() {
            self.placed.insert(handle);
            if handle.kind() == Some(Kind::Module) {
                self.pin(&Op::Pin { owner: handle }, handle, parents.first().copied());
            }
        }
    }

    /// The same for a call that its row describes wholly.
    pub(crate) fn create_made(
        &mut self,
        handle: Virtual,
        real: Real,
        parents: &[ObjectId],
        call: &Made<'_>,
    ) {
        self.learn(handle, real);
        if handle.kind() == Some(Kind::Kernel)
            && let Some(parent) = parents.first()
            && let Some(library) = Virtual::from_application(parent.0)
        {
            self.libraries.insert(handle, library);
        }
        self.buffer.clear();
        call.encode(&mut self.buffer);
        let object = (object(handle), log_kind(handle));
        if let Err(error) = self.log.create(call.id, &self.buffer, object, parents) {
            self.fail(error);
        }
    }

    /// Records something that keeps a module, and the context it was placed in, for the replay.
    fn pin(&mut self, op: &Op, owner: Virtual, context: Option<Virtual>) {
        let id = ObjectId(PIN_TAG | self.pins_made);
        self.pins_made += 1;
        self.push(op, None, |entry| {
            let entry = entry.creates(id, replay_log::Kind(0)).needs(object(owner));
            context
                .into_iter()
                .fold(entry, |entry, context| entry.needs(object(context)))
        });
        self.pins.push_back(Pin {
            id,
            owner,
            context,
            dead: false,
            alone: false,
        });
    }

    fn mark_pins(&mut self, dead: &[Virtual]) {
        // Of what ends with a module or a context, most are functions.
        let function = |handle: &Virtual| handle.kind() == Some(Kind::Function);
        let dead: Set<Virtual> = dead.iter().copied().filter(|h| !function(h)).collect();
        let mut others = false;
        for pin in self.pins.iter_mut().rev() {
            let ends = !pin.dead
                && (dead.contains(&pin.owner)
                    || pin.context.is_some_and(|context| dead.contains(&context)));
            if ends {
                (pin.dead, pin.alone) = (true, !others);
            } else {
                others = true;
            }
        }
    }

    /// The oldest pins of ended modules go when they are too many.
    fn trim_pins(&mut self) {
        let mut surplus = self
            .pins
            .iter()
            .filter(|pin| pin.dead)
            .count()
            .saturating_sub(MOST_DEAD_PINS);
        let mut gone = Vec::new();
        for alone in [true, false] {
            self.pins.retain(|pin| {
                let goes = pin.dead && pin.alone >= alone && surplus > 0;
                if goes {
                    surplus -= 1;
                    gone.push(pin.id);
                }
                !goes
            });
        }
        for id in gone {
            if let Err(error) = self.log.destroy(id) {
                self.failure
                    .get_or_insert(format!("a record could not be dropped: {error}"));
            }
        }
    }

    /// A pin of an earlier life.
    pub(crate) fn pin_again(&mut self, id: ObjectId, owner: Virtual, context: Option<Virtual>) {
        self.placed.insert(owner);
        self.pins_made = self.pins_made.max((id.0 & !PIN_TAG) + 1);
        self.pins.push_back(Pin {
            id,
            owner,
            context,
            dead: false,
            alone: false,
        });
    }

    /// Objects of an earlier life that had ended, but were needed for the replay.
    pub(crate) fn bury(&mut self, dead: &[Virtual]) {
        for &handle in dead {
            self.forget(handle);
        }
        self.mark_pins(dead);
    }

    /// Keeps what later calls must know about a new object's parents.
    pub(crate) fn relate(&mut self, handle: Virtual, parents: &[Virtual]) {
        let Some(&parent) = parents.first() else {
            return;
        };
        if handle.kind() == Some(Kind::Kernel) {
            self.libraries.insert(handle, parent);
        }
    }

    /// Records the last value of a state of an object.
    pub(crate) fn state(&mut self, of: Virtual, key: u64, op: Op) {
        self.push(&op, None, |entry| {
            entry.inside(object(of)).key(of.bits(), key)
        });
        if of.kind() == Some(Kind::Stream) {
            let attributes = self.attributes.entry(of).or_default();
            attributes.retain(|(other, _)| *other != key);
            attributes.push((key, op));
        }
    }

    /// Records the last value of a state of the whole session.
    pub(crate) fn root(&mut self, key: u64, op: Op) {
        self.push(&op, None, |entry| entry.key(0, key));
    }

    /// One stream's attributes were copied to another.
    pub(crate) fn copy_states(&mut self, from: Virtual, to: Virtual) {
        for (key, mut op) in self.attributes.get(&from).cloned().unwrap_or_default() {
            if let Op::Call { slots, .. } = &mut op
                && let Some(first) = slots.first_mut()
            {
                *first = to.bits();
                self.state(to, key, op);
            }
        }
    }

    /// An object has ended; it and everything inside it are forgotten and returned. `op` is how,
    /// where a replay may have to do that too.
    pub(crate) fn destroy(&mut self, handle: Virtual, op: Option<&Op>) -> Dead {
        let result = match op {
            None => self.log.destroy(object(handle)).map_err(|e| e.to_string()),
            Some(op) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let pushed = encode(op, &mut buffer).and_then(|()| {
                    let entry = Entry::new(number(op))
                        .payload(&buffer)
                        .destroys(object(handle));
                    self.log
                        .push(entry)
                        .map(|pushed| pushed.died)
                        .map_err(|e| e.to_string())
                });
                self.buffer = buffer;
                pushed
            }
        };
        let died = result.unwrap_or_else(|why| {
            self.failure
                .get_or_insert(format!("the end of an object could not be recorded: {why}"));
            Died::new()
        });
        let mut dead = Dead::new();
        for gone in died.iter().filter_map(|id| Virtual::from_application(id.0)) {
            self.forget(gone);
            dead.push(gone);
        }
        // It is among them, last, unless its end could not be recorded.
        if dead.last() != Some(&handle) {
            self.forget(handle);
        }
        if op.is_some() && !self.pins.is_empty() {
            self.mark_pins(&dead);
            self.trim_pins();
        }
        dead
    }

    fn forget(&mut self, handle: Virtual) {
        if handle.kind().is_some_and(may_be_named)
            && let Some(key) = self.real.remove(&handle)
            && self.known.get(&key) == Some(&handle)
        {
            self.known.remove(&key);
        }
        match handle.kind() {
            Some(Kind::Kernel) => {
                self.libraries.remove(&handle);
            }
            Some(Kind::Event) if !self.clock.past.is_empty() => {
                self.clock.past.remove(&handle);
            }
            Some(Kind::Stream) => {
                self.attributes.remove(&handle);
            }
            Some(Kind::Context) => {
                self.materialized.retain(|&(_, context)| context != handle);
                self.clock.bases.remove(&handle);
            }
            Some(Kind::Library) => {
                self.materialized.retain(|&(library, _)| library != handle);
                self.asked.remove(&handle);
                self.placed.remove(&handle);
            }
            Some(Kind::Module) => {
                self.placed.remove(&handle);
                self.asked.remove(&handle);
            }
            _ => {}
        }
    }

    /// A library is used in a context: recorded the first time.
    pub(crate) fn materialize(&mut self, library: Virtual, context: Virtual) {
        if self.placed.contains(&library) && self.materialized.insert((library, context)) {
            self.pin(
                &Op::Materialize { library, context },
                library,
                Some(context),
            );
        }
    }

    /// The same at a restart, where the record exists.
    pub(crate) fn note_materialized(&mut self, library: Virtual, context: Virtual) {
        self.materialized.insert((library, context));
    }

    /// Libraries and the contexts in which their variables live.
    pub(crate) fn materialized(&self) -> Vec<(Virtual, Virtual)> {
        let mut all: Vec<_> = self.materialized.iter().copied().collect();
        all.sort_unstable();
        all
    }

    /// The library of a kernel.
    pub(crate) fn library_of(&self, kernel: Virtual) -> Option<Virtual> {
        self.libraries.get(&kernel).copied()
    }

    /// The application has asked for the address of a variable.
    pub(crate) fn ask(&mut self, owner: Virtual, name: String) {
        self.asked.entry(owner).or_default().insert(name);
    }

    /// Variables that the application has asked for.
    pub(crate) fn asked(&self) -> &Map<Virtual, BTreeSet<String>> {
        &self.asked
    }

    /// The log itself.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// The log's bytes.
    pub(crate) fn encode_log(&mut self) -> Vec<u8> {
        self.log.encode()
    }

    /// Takes over the log of an earlier life.
    pub(crate) fn set_log(&mut self, log: Log) {
        self.log = log;
    }
}

/// Number of an operation in the log, for whoever counts records by sort.
fn number(op: &Op) -> u32 {
    match op {
        Op::Init { .. } => 0xffff_0000,
        Op::Call { id, .. } | Op::Context { id, .. } => *id,
        Op::Primary { .. } => 0xffff_0001,
        Op::Module { .. } => 0xffff_0002,
        Op::Library { .. } => 0xffff_0003,
        Op::Materialize { .. } => 0xffff_0004,
        Op::Pin { .. } => 0xffff_0005,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn handle() -> impl Strategy<Value = Virtual> {
        (0..7_usize, 0..1_u64 << 52)
            .prop_map(|(kind, short)| Virtual::from_short(crate::handles::KINDS[kind], short))
    }

    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64).prop_map(|(bits, shift)| bits >> shift)
    }

    proptest! {
        #[test]
        fn a_call_is_written_as_its_type_would_be(
            id in any::<u32>(),
            context in prop::option::of(handle()),
            slots in prop::collection::vec(number(), 0..17),
            data in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..300)), 0..3),
            out in prop::option::of((any::<u8>(), handle())),
        ) {
            let op = Op::Call { id, context, slots: slots.into(), data, out };
            let (mut quick, mut plain) = (vec![7], Vec::new());
            encode(&op, &mut quick).unwrap();
            codec::encode(&op, &mut plain).unwrap();
            prop_assert_eq!(&quick, &plain);
            prop_assert_eq!(decode(&quick), Ok(op));
        }
    }
}
