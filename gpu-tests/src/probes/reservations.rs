//! Question 3: does the driver give the device addresses that it is asked for?
//! Device memory keeps its address over a restart only because it does.

use crate::driver::{DriverError, Session};
use crate::probe::{Outcome, Probe, Verdict, text};
use crate::probes::maps::{self, ARENA};
use crate::steps::Step;
use anyhow::{Result, bail};
use cuda_abi::driver::{
    CU_MEM_ALLOC_GRANULARITY_MINIMUM, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED,
    CU_MEM_ALLOCATION_TYPE_PINNED, CU_MEM_HANDLE_TYPE_NONE,
    CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CU_MEM_LOCATION_TYPE_DEVICE, CUdeviceptr,
    CUmemAllocationHandleType, CUmemAllocationProp, CUmemAllocationPropFlags, CUmemLocation,
};

const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;
/// Fresh processes that have to agree.
pub(crate) const PROCESSES: u32 = 10;

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "granularity",
            3,
            11,
            "in which units is device memory mapped?",
            granularity,
        )
        .time(2, 60),
        Step::new(
            "reservations",
            3,
            12,
            "are addresses in the arena honoured: first, after others, after use, 64 GiB?",
            reservations,
        )
        .time(4, 90),
        Step::new(
            "reservations-fresh",
            3,
            13,
            "are the same addresses honoured in ten fresh processes?",
            fresh,
        )
        .time(15, 180),
    ]
}

/// Device memory as gpuckpt creates it.
pub(crate) fn properties(
    session: &Session,
    handle: CUmemAllocationHandleType,
    rdma: bool,
) -> CUmemAllocationProp {
    CUmemAllocationProp {
        type_: CU_MEM_ALLOCATION_TYPE_PINNED,
        requestedHandleTypes: handle,
        location: CUmemLocation {
            type_: CU_MEM_LOCATION_TYPE_DEVICE,
            id: session.device,
        },
        win32HandleMetaData: std::ptr::null_mut(),
        allocFlags: CUmemAllocationPropFlags {
            compressionType: 0,
            gpuDirectRDMACapable: u8::from(rdma),
            usage: 0,
            reserved: [0; 4],
        },
    }
}

fn granularity(probe: &Probe) -> Outcome {
    let session = Session::open(probe.driver()?)?;
    let kinds = [
        ("plain", CU_MEM_HANDLE_TYPE_NONE, false),
        (
            "descriptor",
            CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR,
            false,
        ),
        ("rdma", CU_MEM_HANDLE_TYPE_NONE, true),
    ];
    for (name, handle, rdma) in kinds {
        let prop = properties(&session, handle, rdma);
        let options = [
            ("minimum", CU_MEM_ALLOC_GRANULARITY_MINIMUM),
            ("recommended", CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        ];
        for (option, number) in options {
            let figure = format!("{name}_{option}_bytes");
            match session.granularity(&prop, number) {
                Ok(bytes) => probe.figure(&figure, bytes),
                // Only plain memory is needed.
                Err(error) if name != "plain" => probe.figure(&figure, error.to_string()),
                Err(error) => return Ok(Verdict::Refused(error.to_string())),
            }
        }
    }
    Ok(Verdict::Supported)
}

/// Reserves, and says whether the wish was honoured.
fn reserve(session: &Session, bytes: usize, wish: CUdeviceptr) -> Result<CUdeviceptr, DriverError> {
    session.reserve(bytes, wish)
}

/// What came of several wishes.
#[derive(Default)]
struct Wishes {
    honoured: u32,
    refused: Vec<String>,
    moved: Vec<String>,
}

impl Wishes {
    fn ask(&mut self, session: &Session, what: &str, bytes: usize, wish: CUdeviceptr) {
        match reserve(session, bytes, wish) {
            Ok(given) if given == wish => self.honoured += 1,
            Ok(given) => self
                .moved
                .push(format!("{what}: asked for {wish:#x}, given {given:#x}")),
            Err(error) => self.refused.push(format!("{what} at {wish:#x}: {error}")),
        }
    }

    fn verdict(&self) -> Verdict {
        match (self.moved.is_empty(), self.refused.is_empty()) {
            (true, true) => Verdict::Supported,
            (false, _) => Verdict::Wrong(self.moved.join("; ")),
            (true, false) => Verdict::Refused(self.refused.join("; ")),
        }
    }
}

fn reservations(probe: &Probe) -> Outcome {
    let session = Session::open(probe.driver()?)?;
    let (low, high) = ARENA;
    let mut wishes = Wishes::default();
    wishes.ask(&session, "the first, at the arena's begin", 32 * MIB, low);
    for index in 1..=32_u64 {
        let wish = low + index * GIB as u64;
        wishes.ask(&session, "one of many", 32 * MIB, wish);
    }
    wishes.ask(&session, "beside the first", 2 * MIB, low + 32 * MIB as u64);
    wishes.ask(
        &session,
        "at the arena's end",
        64 * MIB,
        high - 64 * MIB as u64,
    );
    let block = session.alloc(64 * MIB)?;
    wishes.ask(
        &session,
        "after an allocation",
        64 * MIB,
        low + 100 * GIB as u64,
    );
    wishes.ask(&session, "of 64 GiB", 64 * GIB, low + 200 * GIB as u64);
    wishes.ask(&session, "of 1 TiB", 1024 * GIB, low + 1024 * GIB as u64);
    let unaligned = reserve(&session, 2 * MIB, low + 300 * GIB as u64 + 65536);
    probe.figure(
        "unaligned_by_64_kib",
        match unaligned {
            Ok(given) => format!("{given:#x}"),
            Err(error) => error.to_string(),
        },
    );
    probe.figure("honoured", wishes.honoured);
    probe.figure("moved", wishes.moved.len());
    probe.figure("refused", wishes.refused.len());
    // Does the driver keep the host's side of a reserved range too?
    probe.figure("host_mappings_in_arena", maps::count(ARENA)?);
    if wishes.verdict() == Verdict::Supported
        && let Some(wrong) = usable(&session, low + 200 * GIB as u64)?
    {
        return Ok(Verdict::Wrong(wrong));
    }
    session.free(block)?;
    Ok(wishes.verdict())
}

/// Maps memory at a reserved address, writes, and reads it back.
fn usable(session: &Session, address: CUdeviceptr) -> Result<Option<String>> {
    let prop = properties(session, CU_MEM_HANDLE_TYPE_NONE, false);
    let unit = session.granularity(&prop, CU_MEM_ALLOC_GRANULARITY_MINIMUM)?;
    session.map(address, unit, &prop)?;
    let seed = u64::from(std::process::id());
    let data: Vec<u64> = (0..unit as u64 / 8).map(|i| super::mix(seed ^ i)).collect();
    session.write(address, &data)?;
    let mut back = vec![0; data.len()];
    session.read(&mut back, address)?;
    let differs = data.iter().zip(&back).position(|(a, b)| a != b);
    Ok(differs.map(|i| {
        format!(
            "word {i} at {address:#x}: wrote {:#x}, read {:#x}",
            data[i], back[i]
        )
    }))
}

fn fresh(probe: &Probe) -> Outcome {
    let mut all = Wishes::default();
    for process in 0..PROCESSES {
        let prefix = probe.out.join(format!("process-{process}"));
        let ran = crate::job::run(&mut probe.again("reserve")?, &prefix, probe.deadline)?;
        if ran.code != 0 {
            bail!(
                "process {process} ended with {}: {}",
                ran.code,
                ran.last_words()
            );
        }
        for line in text(&prefix.with_extension("out")).lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            let said = format!("process {process}: {rest}");
            match kind {
                "honoured" => all.honoured += 1,
                "moved" => all.moved.push(said),
                _ => all.refused.push(said),
            }
        }
        probe.figure("processes", process + 1);
        probe.figure("honoured", all.honoured);
        probe.figure("moved", all.moved.len());
        probe.figure("refused", all.refused.len());
    }
    Ok(all.verdict())
}

/// One of the ten.
pub(crate) fn part(probe: &Probe) -> Result<()> {
    let session = Session::open(probe.driver()?)?;
    for (bytes, at) in [
        (32 * MIB, 0),
        (2 * MIB, GIB),
        (64 * MIB, 8 * GIB),
        (64 * GIB, 512 * GIB),
    ] {
        let mut wishes = Wishes::default();
        wishes.ask(
            &session,
            &format!("{} MiB", bytes / MIB),
            bytes,
            ARENA.0 + at as u64,
        );
        match (wishes.moved.first(), wishes.refused.first()) {
            (Some(moved), _) => println!("moved {moved}"),
            (_, Some(refused)) => println!("refused {refused}"),
            _ => println!("honoured"),
        }
    }
    Ok(())
}
