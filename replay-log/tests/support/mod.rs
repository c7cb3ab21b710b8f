//! A small machine whose objects depend on one another, to compare replays on.
//!
//! Its own ids are handed out in an order-dependent way, an object remembers what it was made
//! from as it was at that moment, and a call that names a missing object fails.

use std::collections::{BTreeMap, BTreeSet};

use replay_log::{Record, Replayer};

/// Operations of the machine.
pub(crate) const CREATE: u32 = 1;
pub(crate) const APPEND: u32 = 2;
pub(crate) const SET: u32 = 3;
pub(crate) const DESTROY: u32 = 4;

/// What is known about an object, in terms that do not depend on the machine's own ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) payload: Vec<u8>,
    /// The large bytes it was made with.
    pub(crate) blobs: Vec<Vec<u8>>,
    /// What was appended to it.
    pub(crate) appended: Vec<u8>,
    /// Its keyed states.
    pub(crate) states: BTreeMap<u64, u8>,
    /// What the objects it was made from looked like.
    pub(crate) made_from: Vec<Vec<u8>>,
    pub(crate) references: u32,
    /// Machine ids of the objects it lies inside.
    inside: BTreeSet<u64>,
}

/// The machine, with the table from the application's names to its own ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    objects: BTreeMap<u64, Object>,
    names: BTreeMap<u64, u64>,
    calls: u64,
}

/// A call that named a missing object.
#[derive(Debug, thiserror::Error)]
#[error("object {0} is missing")]
pub(crate) struct Missing(pub u64);

impl Machine {
    fn real(&self, name: u64) -> Result<u64, Missing> {
        self.names
            .get(&name)
            .copied()
            .filter(|id| self.objects.contains_key(id))
            .ok_or(Missing(name))
    }

    fn reals(&self, names: &[u64]) -> Result<Vec<u64>, Missing> {
        names.iter().map(|&name| self.real(name)).collect()
    }

    pub(crate) fn create(
        &mut self,
        names: &[(u64, u32)],
        inside: &[u64],
        needs: &[u64],
        payload: &[u8],
        blobs: Vec<Vec<u8>>,
    ) -> Result<(), Missing> {
        let around: BTreeSet<u64> = self.reals(inside)?.into_iter().collect();
        let mut made_from = Vec::new();
        for id in self.reals(needs)? {
            let object = &self.objects[&id];
            made_from.push([&object.payload[..], &object.appended].concat());
        }
        for &(name, references) in names {
            self.calls += 1;
            let id = self.calls.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let object = Object {
                payload: payload.to_vec(),
                blobs: blobs.clone(),
                appended: Vec::new(),
                states: BTreeMap::new(),
                made_from: made_from.clone(),
                references,
                inside: around.clone(),
            };
            self.objects.insert(id, object);
            self.names.insert(name, id);
        }
        Ok(())
    }

    pub(crate) fn append(&mut self, name: u64, byte: u8) -> Result<(), Missing> {
        let id = self.real(name)?;
        self.objects
            .get_mut(&id)
            .ok_or(Missing(name))?
            .appended
            .push(byte);
        Ok(())
    }

    pub(crate) fn set(&mut self, name: u64, slot: u64, value: u8) -> Result<(), Missing> {
        let id = self.real(name)?;
        self.objects
            .get_mut(&id)
            .ok_or(Missing(name))?
            .states
            .insert(slot, value);
        Ok(())
    }

    pub(crate) fn references(&mut self, name: u64) -> &mut u32 {
        let id = self.names[&name];
        &mut self.objects.get_mut(&id).expect("it is alive").references
    }

    /// Destroys an object and all that lies inside it.
    pub(crate) fn destroy(&mut self, name: u64) -> Result<(), Missing> {
        let mut todo = vec![self.real(name)?];
        while let Some(id) = todo.pop() {
            self.objects.remove(&id);
            todo.extend(
                self.objects
                    .iter()
                    .filter(|(_, o)| o.inside.contains(&id))
                    .map(|(&i, _)| i),
            );
        }
        Ok(())
    }

    /// Everything observable: the living by name, and what they lie inside by name.
    pub(crate) fn observe(&self) -> BTreeMap<u64, (Object, BTreeSet<u64>)> {
        let name_of: BTreeMap<u64, u64> = self.names.iter().map(|(&n, &id)| (id, n)).collect();
        self.objects
            .iter()
            .map(|(id, object)| {
                let inside = object.inside.iter().map(|id| name_of[id]).collect();
                let object = Object {
                    inside: BTreeSet::new(),
                    ..object.clone()
                };
                (name_of[id], (object, inside))
            })
            .collect()
    }

    /// How many objects the machine holds, leaked ones included.
    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }
}

impl Replayer for Machine {
    type Error = Missing;

    fn replay(&mut self, record: &Record<'_>) -> Result<(), Missing> {
        let inside: Vec<u64> = record.inside().map(|id| id.0).collect();
        let needs: Vec<u64> = record.needs().map(|id| id.0).collect();
        match record.op() {
            CREATE => {
                let names: Vec<_> = record.creates().map(|c| (c.id.0, c.references)).collect();
                let blobs = record.blobs().map(<[u8]>::to_vec).collect();
                self.create(&names, &inside, &needs, record.payload(), blobs)
            }
            APPEND => self.append(inside[0], record.payload()[0]),
            SET => self.set(
                inside[0],
                u64::from(record.payload()[0]),
                record.payload()[1],
            ),
            DESTROY => self.destroy(record.destroys().expect("a destruction").0),
            op => panic!("operation {op} is nobody's"),
        }
    }
}
