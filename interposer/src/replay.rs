//! A restart: everything that was recorded is done again in a fresh driver, then verified.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use cuda_abi::driver::CUDA_SUCCESS;
use replay_log::{Log, Record, Replayer};

use crate::codec;
use crate::dispatch::context::{Primary, set_device, with_current};
use crate::dispatch::event::{self, PAST};
use crate::dispatch::{library, module, text};
use crate::driver::{self, out};
use crate::environment;
use crate::handles::{Kind, Real, Virtual};
use crate::record::{Op, decode};
use crate::session::{self, Session};
use crate::snapshot::{MAGIC, Saved, VERSION, base_event, set_regions};
use crate::table::{ArgKind, Class, ids, row};
use crate::{host, memory, threads, variables};

/// Why the devices could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The bytes are no snapshot, or of another version.
    #[error("the device log is damaged or of another version: {0}")]
    Format(String),
    /// Not in a fresh process.
    #[error("devices can be restored only before any CUDA call, in a process that was set up")]
    NotFresh,
    /// A recorded call failed.
    #[error("{call} could not be done again: {why}")]
    Call {
        /// Its name.
        call: String,
        /// The driver's answer.
        why: String,
    },
    /// The new driver placed something elsewhere.
    #[error("{0}")]
    Moved(String),
    /// Device or pinned memory could not be had.
    #[error("{0}")]
    Memory(String),
}

/// Context stacks of threads that have not come back yet.
static STACKS: Mutex<Option<HashMap<i32, Vec<Virtual>>>> = Mutex::new(None);

fn decode_saved(bytes: &[u8]) -> Result<Saved, RestoreError> {
    let format = |why: &str| RestoreError::Format(why.into());
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| format("no such magic"))?;
    let (version, rest) = rest
        .split_first_chunk::<4>()
        .ok_or_else(|| format("cut off"))?;
    let version = u32::from_le_bytes(*version);
    let saved: Result<Saved, String> = match version {
        // Pinned memory that is managed and images of several containers came after 2.
        2 | VERSION => codec::decode(rest),
        // It ended before the environment, of which nothing is known then.
        1 => codec::decode(&[rest, &[0, 0]].concat()),
        _ => Err(format!("version {version}, this is {VERSION}")),
    };
    let saved = saved.map_err(RestoreError::Format)?;
    saved.check().map_err(format)?;
    Ok(saved)
}

/// Brings the devices to the state of a snapshot, all but the contents of memory. In a fresh
/// process; the application's memory need not be there.
///
/// # Errors
/// What could not be done again or came out elsewhere, by name.
pub fn restore_log(bytes: &[u8]) -> Result<(), RestoreError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let session = session::get()
        .filter(|s| !s.initialized.load(Ordering::Acquire))
        .ok_or(RestoreError::NotFresh)?;
    let saved = decode_saved(bytes)?;
    let log = Log::decode(&saved.log).map_err(|error| RestoreError::Format(error.to_string()))?;
    environment::restore(session, saved.environment.clone());
    session.recorder().numbers.set_floors(&saved.floors);
    session
        .life
        .store(saved.life.wrapping_add(1), Ordering::Relaxed);
    let mut replay = Replay {
        session,
        current: None,
        ended: HashSet::new(),
        retained: HashMap::new(),
    };
    log.replay(&mut replay).map_err(|error| error.source)?;
    let ended: Vec<Virtual> = replay.ended.iter().copied().collect();
    session.recorder().bury(&ended);
    session
        .handles
        .finish_restore(&mut session.recorder().numbers);
    for handle in ended {
        session.end_handle(handle);
    }
    restore_primary(session, &saved, &replay.retained)?;
    for region in &saved.arena.regions {
        memory::map_again(session, region).map_err(RestoreError::Memory)?;
    }
    session.arena().restore(saved.arena);
    {
        let mut recorder = session.recorder();
        recorder.set_log(log);
        for (owner, names) in saved.asked {
            for name in names {
                recorder.ask(owner, name);
            }
        }
    }
    variables::verify(session, &saved.variables).map_err(RestoreError::Moved)?;
    restore_events(session, &saved.events)?;
    {
        let mut host = session.host();
        host.ranges = saved.host.into_iter().collect();
        host.events = saved.host_events;
    }
    *session.names() = saved.names;
    *STACKS.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(saved.threads.into_iter().collect());
    set_regions(session, &saved.variables);
    driver::call(ids::cuCtxSetCurrent, &[0]);
    Ok(())
}

/// Retains primary contexts as often as the application had; keeps the handles of released ones.
fn restore_primary(
    session: &Session,
    saved: &Saved,
    retained: &HashMap<i32, u32>,
) -> Result<(), RestoreError> {
    for &(device, handle, references) in &saved.primary {
        let have = retained.get(&device).copied().unwrap_or(0);
        for _ in have..references {
            let mut real = 0u64;
            let status = driver::call(
                ids::cuDevicePrimaryCtxRetain,
                &[out(&mut real), device as u64],
            );
            check("cuDevicePrimaryCtxRetain", status)?;
        }
        for _ in references..have {
            check(
                "cuDevicePrimaryCtxRelease",
                driver::call(ids::cuDevicePrimaryCtxRelease_v2, &[device as u64]),
            )?;
        }
        session
            .contexts()
            .primary
            .insert(device, Primary { handle, references });
    }
    Ok(())
}

fn restore_events(
    session: &Session,
    events: &[crate::snapshot::PastEvent],
) -> Result<(), RestoreError> {
    for past in events {
        event::set_state(session, past.event, PAST);
        let Some(before) = past.before else { continue };
        session.recorder().clock.past.insert(past.event, before);
        let context = event::context_of(session, past.event);
        let Some(context) = context else { continue };
        if !session.recorder().clock.bases.contains_key(&context) {
            let made = with_current(session, context, base_event).and_then(|made| made);
            let event = made.map_err(|status| RestoreError::Call {
                call: "cuEventRecord".into(),
                why: text(status),
            })?;
            session.recorder().clock.bases.insert(context, event);
        }
    }
    Ok(())
}

/// Registers pinned host memory again; the application's memory is back.
///
/// # Errors
/// What the driver refuses, or has at another device address.
pub fn restore_host() -> Result<(), RestoreError> {
    let Some(session) = session::get() else {
        return Ok(());
    };
    let ranges: Vec<_> = session
        .host()
        .ranges
        .iter()
        .map(|(&address, pinned)| (address, pinned.clone()))
        .collect();
    for (address, pinned) in ranges {
        host::register_again(session, address, &pinned).map_err(RestoreError::Memory)?;
    }
    Ok(())
}

/// Gives a thread its stack of current contexts back. To be called on the thread's host, before the
/// thread runs.
pub fn restore_thread(vtid: i32) {
    let stack = STACKS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_mut()
        .and_then(|stacks| stacks.remove(&vtid));
    let (Some(session), Some(stack)) = (session::get(), stack) else {
        return;
    };
    let mut pushed = Vec::new();
    for context in stack {
        // A context that another thread destroyed may still lie in a stack; it is of no use there.
        if let Some(real) = session.handles.real(context)
            && driver::call(ids::cuCtxPushCurrent_v2, &[real.bits()]) == CUDA_SUCCESS.0
        {
            pushed.push(context);
        }
    }
    threads::replace(pushed);
}

fn check(call: &str, status: u32) -> Result<(), RestoreError> {
    if status == CUDA_SUCCESS.0 {
        return Ok(());
    }
    Err(RestoreError::Call {
        call: call.into(),
        why: text(status),
    })
}

struct Replay {
    session: &'static Session,
    current: Option<Virtual>,
    /// Replayed for the sake of others; the application had ended them.
    ended: HashSet<Virtual>,
    /// References to primary contexts, by device.
    retained: HashMap<i32, u32>,
}

impl Replay {
    fn real(&self, call: &str, handle: Virtual) -> Result<u64, RestoreError> {
        let missing = || RestoreError::Call {
            call: call.into(),
            why: "it needs an object that was not restored".into(),
        };
        self.session
            .handles
            .real(handle)
            .map(Real::bits)
            .ok_or_else(missing)
    }

    fn make_current(&mut self, context: Option<Virtual>) -> Result<(), RestoreError> {
        if context.is_some() && context != self.current {
            let real = context
                .map(|context| self.real("cuCtxSetCurrent", context))
                .transpose()?;
            check(
                "cuCtxSetCurrent",
                driver::call(ids::cuCtxSetCurrent, &[real.unwrap_or(0)]),
            )?;
            self.current = context;
        }
        Ok(())
    }

    /// An object is back: the application's handle leads to it.
    fn back(
        &mut self,
        record: &Record<'_>,
        handle: Virtual,
        real: Real,
    ) -> Result<(), RestoreError> {
        if record.creates().all(|created| created.alive) {
            self.ended.remove(&handle);
        } else {
            self.ended.insert(handle);
        }
        if !self.session.restore_handle(handle, real) {
            let why = format!("{:#x} cannot be a handle", handle.bits());
            return Err(RestoreError::Format(why));
        }
        let parents: Vec<Virtual> = record
            .inside()
            .filter_map(|id| Virtual::from_application(id.0))
            .collect();
        let mut recorder = self.session.recorder();
        recorder.learn(handle, real);
        recorder.relate(handle, &parents);
        drop(recorder);
        if handle.kind() == Some(Kind::Event)
            && let Some(&context) = parents.first()
        {
            event::set_context(self.session, handle, context);
        }
        Ok(())
    }

    fn call(&mut self, record: &Record<'_>, op: &Op) -> Result<(), RestoreError> {
        let Op::Call {
            id,
            context,
            slots,
            data,
            out: made,
        } = op
        else {
            return Ok(());
        };
        let row =
            row(*id).ok_or_else(|| RestoreError::Format(format!("call {id} is not known")))?;
        self.make_current(*context)?;
        let mut real = [0u64; 16];
        for (index, (arg, &value)) in row.args.iter().zip(slots).enumerate() {
            real[index] = match (arg.kind, Virtual::from_application(value)) {
                (ArgKind::Handle(_), Some(handle)) => self.real(row.symbol, handle)?,
                _ => value,
            };
        }
        for (index, bytes) in data {
            real[usize::from(*index) & 15] = bytes.as_ptr() as u64;
        }
        let mut result = 0u64;
        if let Some((index, _)) = made {
            real[usize::from(*index) & 15] = out(&mut result);
        }
        check(row.symbol, driver::call(*id, &real[..row.args.len()]))?;
        if let Some((_, handle)) = made {
            self.back(record, *handle, Real::from_driver(result))?;
        }
        if row.class == Class::Destroy {
            self.current = None;
            // A primary context may come back under its handle, as another one.
            if let Some(gone) = record.destroys() {
                let gone = Virtual::from_application(gone.0);
                self.session.recorder().bury(gone.as_slice());
            }
            if row.base == "cuDevicePrimaryCtxRelease"
                && let Some(count) = slots
                    .first()
                    .and_then(|&device| self.retained.get_mut(&(device as i32)))
            {
                *count = count.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Contexts come back with their last flags; their stacks are restored with their threads.
    fn context(
        &mut self,
        record: &Record<'_>,
        id: u32,
        handle: Virtual,
        flags: u32,
        device: i32,
    ) -> Result<(), RestoreError> {
        let mut real = 0u64;
        let (flags, device_slot) = (u64::from(flags), device as u64);
        let slots: &[u64] = match id {
            ids::cuCtxCreate_v3 => &[out(&mut real), 0, 0, flags, device_slot],
            ids::cuCtxCreate_v4 => &[out(&mut real), 0, flags, device_slot],
            _ => &[out(&mut real), flags, device_slot],
        };
        check("cuCtxCreate", driver::call(id, slots))?;
        let mut popped = 0u64;
        check(
            "cuCtxPopCurrent",
            driver::call(ids::cuCtxPopCurrent_v2, &[out(&mut popped)]),
        )?;
        self.back(record, handle, Real::from_driver(real))?;
        set_device(self.session, handle, device);
        self.make_current(Some(handle))
    }

    fn primary(
        &mut self,
        record: &Record<'_>,
        device: i32,
        handle: Virtual,
    ) -> Result<(), RestoreError> {
        let mut real = 0u64;
        check(
            "cuDevicePrimaryCtxRetain",
            driver::call(
                ids::cuDevicePrimaryCtxRetain,
                &[out(&mut real), device as u64],
            ),
        )?;
        self.back(record, handle, Real::from_driver(real))?;
        set_device(self.session, handle, device);
        *self.retained.entry(device).or_default() += 1;
        self.make_current(Some(handle))
    }

    fn materialize(
        &mut self,
        record: &Record<'_>,
        of: Virtual,
        context: Virtual,
    ) -> Result<(), RestoreError> {
        self.make_current(Some(context))?;
        let (mut loaded, real) = (0u64, self.real("cuLibraryGetModule", of)?);
        check(
            "cuLibraryGetModule",
            driver::call(ids::cuLibraryGetModule, &[out(&mut loaded), real]),
        )?;
        let mut recorder = self.session.recorder();
        recorder.note_materialized(of, context);
        for pin in record.creates() {
            recorder.pin_again(pin.id, of, Some(context));
        }
        Ok(())
    }
}

impl Replayer for Replay {
    type Error = RestoreError;

    fn replay(&mut self, record: &Record<'_>) -> Result<(), RestoreError> {
        let op = decode(record.payload()).map_err(RestoreError::Format)?;
        let image = record.blobs().next().unwrap_or_default();
        let loaded = |status: u32| RestoreError::Call {
            call: format!("loading a module of {} bytes", image.len()),
            why: text(status),
        };
        match &op {
            Op::Init { flags } => {
                check("cuInit", driver::call(ids::cuInit, &[u64::from(*flags)]))?;
                self.session.initialized.store(true, Ordering::Release);
                Ok(())
            }
            Op::Call { .. } => self.call(record, &op),
            Op::Context {
                id,
                handle,
                flags,
                device,
            } => self.context(record, *id, *handle, *flags, *device),
            Op::Primary { device, handle } => self.primary(record, *device, *handle),
            Op::Module {
                handle,
                context,
                options,
                wrapped,
            } => {
                self.make_current(*context)?;
                let real = module::load_again(image, *wrapped, options).map_err(loaded)?;
                self.back(record, *handle, real)
            }
            Op::Library {
                handle,
                options,
                wrapped,
            } => {
                let real = library::load_again(image, *wrapped, options).map_err(loaded)?;
                self.back(record, *handle, real)
            }
            Op::Materialize { library, context } => self.materialize(record, *library, *context),
            Op::Pin { owner } => {
                for pin in record.creates() {
                    self.session
                        .recorder()
                        .pin_again(pin.id, *owner, self.current);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap;
    use crate::snapshot::PastEvent;
    use crate::variables::Variable;
    use proptest::prelude::*;
    use proptest::sample::Index;

    fn handle(kind: Kind) -> Virtual {
        let handles = crate::handles::Handles::default();
        let mut numbers = crate::handles::Numbers::default();
        handles
            .insert(&mut numbers, kind, Real::from_driver(1))
            .unwrap()
    }

    fn region(base: u64, len: u64) -> crate::arena::Region {
        crate::arena::Region {
            base,
            len,
            context: handle(Kind::Context),
            device: 0,
            slab: true,
        }
    }

    fn block(size: u64, region: u64) -> crate::arena::Block {
        let id = 1;
        crate::arena::Block { size, region, id }
    }

    const BASE: u64 = crate::arena::ARENA.start;

    /// Something in every table.
    fn sample() -> Saved {
        let context = handle(Kind::Context);
        Saved {
            log: Log::new().encode(),
            life: u32::MAX,
            floors: vec![1; 7],
            arena: crate::arena::Saved {
                regions: vec![region(BASE, 2 << 20), region(BASE + (2 << 20), 4 << 20)],
                blocks: vec![(BASE, block(512, BASE)), (BASE + 512, block(100, BASE))],
                next_id: 3,
                events: 2,
            },
            host: Vec::new(),
            host_events: 0,
            primary: vec![(0, context, 2)],
            threads: vec![(17, vec![context])],
            events: vec![PastEvent {
                event: handle(Kind::Event),
                before: Some(1.5),
            }],
            asked: vec![(handle(Kind::Module), vec!["a_name".into()])],
            names: Default::default(),
            variables: vec![Variable {
                owner: handle(Kind::Module),
                context,
                name: "a_variable".into(),
                address: BASE,
                len: 4,
            }],
            environment: environment::sample(),
        }
    }

    fn bytes(saved: &Saved) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        codec::encode(saved, &mut bytes).unwrap();
        bytes
    }

    /// Decoding takes little memory, whatever is said of lengths.
    const BOUND: usize = 4 << 20;

    fn decode_within_bounds(bytes: &[u8]) -> Result<Saved, RestoreError> {
        let (saved, most) = heap::most(|| decode_saved(bytes));
        assert!(most < BOUND, "{most} bytes for {} bytes", bytes.len());
        saved
    }

    #[test]
    fn every_table_comes_back() {
        let saved = sample();
        let again = decode_within_bounds(&bytes(&saved)).unwrap();
        assert_eq!(format!("{again:?}"), format!("{saved:?}"));
    }

    #[test]
    fn images_of_earlier_versions_are_read() {
        let mut saved = sample();
        let mut second = bytes(&saved);
        second[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let again = decode_within_bounds(&second).unwrap();
        assert_eq!(format!("{again:?}"), format!("{saved:?}"));
        saved.environment = environment::Known::default();
        let mut old = bytes(&saved);
        assert_eq!((old.pop(), old.pop()), (Some(0), Some(0)));
        old[8..12].copy_from_slice(&1_u32.to_le_bytes());
        let again = decode_within_bounds(&old).unwrap();
        assert_eq!(format!("{again:?}"), format!("{saved:?}"));
        for version in [0, VERSION + 1] {
            old[8..12].copy_from_slice(&version.to_le_bytes());
            let error = decode_within_bounds(&old).unwrap_err().to_string();
            assert!(error.contains("version"), "{error}");
        }
    }

    /// A name of a petabyte in an image of some hundred bytes.
    #[test]
    fn hostile_lengths_are_refused() {
        let whole = bytes(&sample());
        for name in [&b"a_name"[..], b"a_variable"] {
            let at = whole.windows(name.len()).position(|w| w == name).unwrap();
            assert_eq!(usize::from(whole[at - 1]), name.len());
            for len in [1_u64 << 33, 1 << 50, u64::MAX] {
                // 253 says that a number of eight bytes follows.
                let hostile = [&whole[..at - 1], &[253], &len.to_le_bytes(), &whole[at..]];
                assert!(decode_within_bounds(&hostile.concat()).is_err());
            }
        }
    }

    #[test]
    fn hostile_lengths_in_records_are_refused() {
        let op = Op::Call {
            id: 7,
            context: None,
            slots: [1, 2, 3].into_iter().collect(),
            data: Vec::new(),
            out: None,
        };
        let mut whole = Vec::new();
        crate::record::encode(&op, &mut whole).unwrap();
        assert_eq!(decode(&whole).as_ref(), Ok(&op));
        // Variant, id, no context, then the number of slots.
        assert_eq!(whole[..4], [1, 7, 0, 3]);
        let hostile = [
            &whole[..3],
            &[253],
            &(1_u64 << 30).to_le_bytes(),
            &whole[4..],
        ]
        .concat();
        let (decoded, most) = heap::most(|| decode(&hostile));
        assert!(decoded.is_err() && most < BOUND, "{most} bytes");
    }

    #[test]
    fn impossible_books_are_refused() {
        let with = |change: &dyn Fn(&mut Saved)| {
            let mut saved = sample();
            change(&mut saved);
            decode_saved(&bytes(&saved)).map(drop)
        };
        assert!(with(&|_| ()).is_ok());
        let wrong: [&dyn Fn(&mut Saved); 7] = [
            &|s| s.arena.regions[1].base = u64::MAX - 5,
            &|s| s.arena.regions[1].len = u64::MAX,
            &|s| s.arena.regions[1].base = BASE,
            &|s| s.arena.regions[0].base = BASE - 4096,
            &|s| s.arena.blocks[1].0 = BASE,
            &|s| s.arena.blocks[1].1.size = u64::MAX,
            &|s| s.arena.blocks[1].1.size = 2 << 20,
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let error = with(change).expect_err(&number.to_string()).to_string();
            assert!(error.contains("impossible"), "{number}: {error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn noise_is_refused_without_much_memory(noise in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut tables = MAGIC.to_vec();
            tables.extend(VERSION.to_le_bytes());
            tables.extend(&noise);
            let _ = decode_within_bounds(&tables);
            let _ = decode_within_bounds(&noise);
            let (_, most) = heap::most(|| decode(&noise));
            prop_assert!(most < BOUND);
        }

        #[test]
        fn damaged_tables_never_panic(
            changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
            cut in prop::option::of(any::<Index>()),
        ) {
            let mut bytes = bytes(&sample());
            for (at, value) in changes {
                let at = 12 + at.index(bytes.len() - 12);
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(saved) = decode_within_bounds(&bytes) {
                let _ = Log::decode(&saved.log);
                let mut arena = crate::arena::Arena::default();
                arena.restore(saved.arena);
                arena.used(4096);
                arena.save();
                let handles = crate::handles::Handles::default();
                let mut numbers = crate::handles::Numbers::default();
                numbers.set_floors(&saved.floors);
                handles.insert(&mut numbers, Kind::Event, Real::from_driver(1));
                handles.floors(&numbers);
            }
        }
    }
}
