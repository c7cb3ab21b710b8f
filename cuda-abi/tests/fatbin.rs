//! The fatbin parser on containers that nvcc 13.5 made of one source, and on damaged ones.
//!
//! `data/*.fatbin`: `nvcc --fatbin -arch=compute_75 -code=… -Xfatbin -compress-mode=none|speed|size`.
#![allow(missing_docs, reason = "a test")]

use cuda_abi::fatbin::{
    Compression, Entry, Fatbin, FatbinError, Image, Kind, container_len, containers, linked,
    measure,
};
use proptest::prelude::*;

const PLAIN: &[u8] = include_bytes!("data/ptx-plain.fatbin");
const LZ4: &[u8] = include_bytes!("data/ptx-lz4.fatbin");
const ZSTD: &[u8] = include_bytes!("data/elf-and-ptx-zstd.fatbin");

fn ptx(container: &[u8]) -> (Compression, Vec<u8>) {
    let fatbin = Fatbin::parse(container).expect("nvcc's own");
    let entry = fatbin.best_ptx(90).expect("there is PTX");
    assert_eq!(
        (entry.arch, entry.kind, entry.version),
        (75, Kind::PTX, (9, 5))
    );
    (
        entry.compression,
        entry.payload().expect("nvcc's own").into_owned(),
    )
}

#[test]
fn every_compression_gives_the_same_text() {
    let (plain, text) = ptx(PLAIN);
    assert_eq!(plain, Compression::None);
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains(".entry _Z3addPKfS0_Pfi(") && text.trim_end().ends_with('}'));
    let (kind, same) = ptx(LZ4);
    assert_eq!((kind, same), (Compression::Lz4, text.clone().into_bytes()));
    let (kind, same) = ptx(ZSTD);
    assert_eq!((kind, same), (Compression::Zstd, text.into_bytes()));
}

#[test]
fn cubins_are_elf_files() {
    let fatbin = Fatbin::parse(ZSTD).expect("nvcc's own");
    assert_eq!(fatbin.len, ZSTD.len());
    let elf: Vec<&Entry<'_>> = fatbin.of_kind(Kind::ELF).collect();
    assert_eq!(elf.len(), 1);
    assert_eq!(elf[0].arch, 75);
    let cubin = elf[0].payload().expect("nvcc's own");
    assert!(cubin.starts_with(b"\x7fELF"));
    // Its own headers tell the same length.
    let mut read = |at: u64, to: &mut [u8]| {
        let at = at as usize;
        cubin
            .get(at..at + to.len())
            .map(|from| to.copy_from_slice(from))
            .is_some()
    };
    let measured = measure(0, &mut read).expect("an ELF file");
    assert_eq!((measured.image, measured.len), (Image::Elf, cubin.len()));
}

#[test]
fn an_older_device_gets_no_newer_ptx() {
    let fatbin = Fatbin::parse(PLAIN).expect("nvcc's own");
    assert!(fatbin.best_ptx(70).is_none());
    assert!(fatbin.best_ptx(75).is_some());
}

#[test]
fn images_at_bare_pointers_are_measured() {
    let mut memory = vec![0xee; 100_000];
    let place = |memory: &mut Vec<u8>, at: usize, bytes: &[u8]| {
        memory[at..at + bytes.len()].copy_from_slice(bytes);
    };
    place(&mut memory, 0, PLAIN);
    place(&mut memory, 50_000, b".version 9.0\n.target sm_75\n\0");
    place(&mut memory, 60_000, &0x4662_43b1_u32.to_le_bytes());
    place(&mut memory, 60_008, &4096_u64.to_le_bytes());
    let mut read = |at: u64, to: &mut [u8]| {
        let at = at as usize;
        memory
            .get(at..at + to.len())
            .map(|from| to.copy_from_slice(from))
            .is_some()
    };
    let container = measure(0, &mut read).expect("a container");
    assert_eq!(
        (container.image, container.len),
        (Image::Container, PLAIN.len())
    );
    let text = measure(50_000, &mut read).expect("text");
    assert_eq!((text.image, text.len), (Image::Text, 28));
    let wrapper = measure(60_000, &mut read).expect("a wrapper");
    assert_eq!(
        wrapper.image,
        Image::Wrapper {
            container: 4096,
            list: 0
        }
    );
    // A wrapper of linked objects: the container, then two of a list.
    place(&mut memory, 70_000, &[0xb1, 0x43, 0x62, 0x46, 2, 0, 0, 0]);
    for (at, pointer) in [
        (70_008, 0u64),
        (70_016, 80_000),
        (80_000, 20_000),
        (80_008, 30_000),
    ] {
        place(&mut memory, at, &pointer.to_le_bytes());
    }
    place(&mut memory, 80_016, &0u64.to_le_bytes());
    place(&mut memory, 20_000, PLAIN);
    place(&mut memory, 30_000, PLAIN);
    let mut read = |at: u64, to: &mut [u8]| {
        let at = at as usize;
        let from = memory.get(at..at + to.len());
        from.map(|from| to.copy_from_slice(from)).is_some()
    };
    let wrapper = measure(70_000, &mut read).expect("a wrapper");
    let (container, list) = (0, 80_000);
    assert_eq!(wrapper.image, Image::Wrapper { container, list });
    let len = PLAIN.len();
    let found = linked(container, list, &mut read).expect("three containers");
    assert_eq!(found, [(0, len), (20_000, len), (30_000, len)]);
    assert_eq!(linked(0, 0, &mut read), Some(vec![(0, len)]));
    assert_eq!(linked(0, 99_996, &mut read), None, "a list past the end");
    assert_eq!(
        linked(0, 50_000, &mut read),
        None,
        "a list of something else"
    );
    let mut together = PLAIN.to_vec();
    together.resize(len.next_multiple_of(8), 0);
    together.extend(PLAIN);
    let containers = containers(&together).expect("two containers");
    assert_eq!(containers.len(), 2);
    assert_eq!(containers[1].entries.len(), containers[0].entries.len());
    // A file's bytes may have others behind them.
    together.extend([0; 5]);
    assert_eq!(
        cuda_abi::fatbin::containers(&together).map(|all| all.len()),
        Ok(2)
    );
    assert_eq!(measure(90_000, &mut read), None, "text without an end");
    assert_eq!(measure(99_999, &mut read), None, "past the end");
}

#[test]
fn damage_is_named() {
    assert_eq!(
        Fatbin::parse(b"").err().map(|e| e.to_string()).as_deref(),
        Some("fatbin truncated: container header at offset 0 does not fit into 0 bytes")
    );
    assert!(matches!(
        Fatbin::parse(&[7; 64]),
        Err(FatbinError::Magic(0x0707_0707))
    ));
    let mut other = PLAIN.to_vec();
    other[4] = 2;
    assert!(matches!(
        Fatbin::parse(&other),
        Err(FatbinError::Version(2))
    ));
    assert!(matches!(
        Fatbin::parse(&PLAIN[..PLAIN.len() - 1]),
        Err(FatbinError::Truncated { .. })
    ));
    let mut lying = LZ4.to_vec();
    lying[16 + 56..16 + 64].copy_from_slice(&(1_u64 << 40).to_le_bytes());
    let fatbin = Fatbin::parse(&lying).expect("the headers fit");
    assert_eq!(
        fatbin.entries[0].payload(),
        Err(FatbinError::TooLarge(1 << 40))
    );
    lying[16 + 56..16 + 64].copy_from_slice(&(1_u64 << 29).to_le_bytes());
    let fatbin = Fatbin::parse(&lying).expect("the headers fit");
    assert!(matches!(
        fatbin.entries[0].payload(),
        Err(FatbinError::Payload { codec: "LZ4", .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Whatever is changed, parsing and decompressing end with a value or an error.
    #[test]
    fn mutations_never_panic(which in 0_usize..3,
                             changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..8),
                             cut in prop::option::of(any::<prop::sample::Index>())) {
        let mut bytes = [PLAIN, LZ4, ZSTD][which].to_vec();
        for (at, value, in_headers) in changes {
            let len = if in_headers { 96 } else { bytes.len() };
            let at = at.index(len);
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = container_len(&bytes);
        if let Ok(fatbin) = Fatbin::parse(&bytes) {
            for entry in &fatbin.entries {
                if let Ok(payload) = entry.payload() {
                    prop_assert!(payload.len() as u64 <= entry.size);
                }
            }
        }
        let mut read = |at: u64, to: &mut [u8]| {
            let end = (at as usize).saturating_add(to.len());
            bytes.get(at as usize..end).map(|from| to.copy_from_slice(from)).is_some()
        };
        let _ = measure(0, &mut read);
    }
}
