//! What an image says is not believed: whatever bytes its sections hold, with checksums that
//! are right, they are decoded or refused; nothing panics, and memory is taken in proportion to
//! the bytes. (The formats of manifest and chunk tables, and of the device log, have such tests
//! where they are.)

mod common;
#[path = "../interposer/src/heap.rs"]
mod heap;

use common::Random;
use common::guests::find;
use common::job::Bench;
use lower_half::facts::JobFacts;
use transparent_core::attributes::Attributes;
use transparent_core::codec;
use transparent_core::fds::FdTable;
use transparent_core::image::{Compression, ImageReader, SectionRecord, Store};
use transparent_core::memory::MemoryIndex;
use transparent_core::scheduling::Scheduling;
use upper_half::UpperState;

/// Decodes the section, and does with its value what is done before anything is restored.
fn decode(section: &str, bytes: &[u8]) {
    match section {
        "job" => drop(
            codec::decode::<JobFacts>(bytes).map(|facts| facts.machine.lacking(&facts.machine)),
        ),
        "upper" => drop(codec::decode::<UpperState>(bytes).map(|state| {
            let _ = state.check_machine();
            (state.vpid(), state.program().len())
        })),
        "fds" => drop(codec::decode::<FdTable>(bytes)),
        "attributes" => drop(codec::decode::<Attributes>(bytes)),
        "memory" => drop(codec::decode::<MemoryIndex>(bytes)),
        "scheduling" => drop(codec::decode::<Vec<(i32, Scheduling)>>(bytes)),
        "summary" => drop(serde_json::from_slice::<serde_json::Value>(bytes)),
        _ => panic!("no decoder is known for section {section}: add it here"),
    }
}

/// Sections whose contents are bytes of memory, or have their tests elsewhere.
const OTHERS: [&str; 4] = ["memory-data", "device-log", "device-memory", "device-data"];

/// A real image's small sections, by name.
fn sections() -> Vec<(SectionRecord, Vec<u8>)> {
    let mut bench = Bench::new(find("driver_ptx"));
    bench.launch();
    assert!(bench.wait_ready() && bench.wait_for_progress(0));
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let image = ImageReader::open(&bench.images_of_job()[0]).expect("an image");
    let small = image
        .sections()
        .iter()
        .filter(|s| !OTHERS.contains(&s.name.as_str()));
    small
        .map(|section| {
            let mut reader = image.section(&section.name).expect("a section");
            (
                section.clone(),
                reader.get_all(64 << 20).expect("its contents"),
            )
        })
        .collect()
}

/// A length, as an encoding has it.
fn hostile(random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => [&[251][..], &u16::MAX.to_le_bytes()].concat(),
        1 => [
            &[252][..],
            &(u32::MAX - random.below(9) as u32).to_le_bytes(),
        ]
        .concat(),
        2 => [
            &[253][..],
            &(1_u64 << (30 + random.below(34))).to_le_bytes(),
        ]
        .concat(),
        _ => [&[253][..], &u64::MAX.to_le_bytes()].concat(),
    }
}

fn damaged(whole: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..=random.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(5) {
            0 => bytes[at] = random.below(256) as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..=at, hostile(random))),
            _ => {
                let extra: Vec<u8> = (0..random.below(20))
                    .map(|_| random.below(256) as u8)
                    .collect();
                drop(bytes.splice(at..at, extra));
            }
        }
    }
    bytes
}

/// Memory for so many bytes: what lists may reserve for the lengths that they announce, a
/// mebibyte each, and what a value may take for each byte of its encoding.
fn bound(len: usize) -> usize {
    (8 << 20) + 400 * len
}

#[test]
fn sections_are_not_believed() {
    let mut random = Random::new("hostile");
    let sections = sections();
    let names: Vec<&str> = sections.iter().map(|(s, _)| s.name.as_str()).collect();
    assert!(names.len() >= 7, "{names:?}");
    let cases = if common::long() { 200_000 } else { 4000 };
    for (record, whole) in &sections {
        let name = &record.name;
        for _ in 0..cases {
            let bytes = damaged(whole, &mut random);
            let ((), taken) = heap::most(|| decode(name, &bytes));
            assert!(
                taken <= bound(bytes.len()),
                "{name}: {taken} bytes of memory for {bytes:?}"
            );
        }
        for _ in 0..cases {
            let noise: Vec<u8> = (0..random.below(200))
                .map(|_| random.below(256) as u8)
                .collect();
            let ((), taken) = heap::most(|| decode(name, &noise));
            assert!(
                taken <= bound(noise.len()),
                "{name}: {taken} bytes of memory for {noise:?}"
            );
        }
    }
}

/// Whole images with such sections, and right checksums: the commands that only look give an
/// answer, and end as programs do.
#[test]
fn commands_that_look_survive_hostile_images() {
    let mut random = Random::new("hostile commands");
    let sections = sections();
    let bench = Bench::new(find("driver_ptx"));
    for round in 0..24 {
        let victim = round % sections.len();
        let store = Store::open(&bench.images, "hostile").expect("a store");
        let writer = store.create(Compression::Auto).expect("an image");
        for (index, (record, whole)) in sections.iter().enumerate() {
            let bytes = if index == victim {
                damaged(whole, &mut random)
            } else {
                whole.clone()
            };
            writer
                .put_bytes(&record.name, record.kind, record.version, &bytes)
                .expect("a section");
        }
        let image = writer.commit().expect("the image");
        let image = image.to_str().expect("a path");
        for command in [
            &["inspect"][..],
            &["inspect", "--json"],
            &["can-restore"],
            &["verify"],
        ] {
            let answer = bench.ask(&[command, &[image]].concat());
            assert!(
                [0, 1, 125].contains(&answer.code) && !answer.err.contains("panicked"),
                "{command:?} of an image with a hostile section {}: {answer:#?}",
                sections[victim].0.name
            );
        }
    }
}
