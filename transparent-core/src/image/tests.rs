//! Images written, damaged, interrupted and read.

use super::*;
use crate::testing::{Ended, child, in_child, kill_self, set_file_size_limit, small_tmpfs};
use proptest::prelude::*;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        out.extend(
            (seed ^ seed >> 32)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .to_le_bytes(),
        );
    }
    out.truncate(length);
    out
}

fn store(dir: &Path) -> Store {
    Store::open(dir, "job").unwrap()
}

/// A small image with sections of every shape.
fn write(store: &Store, seed: u64) -> PathBuf {
    let writer = store.create(Compression::Auto).unwrap();
    writer
        .put_bincode("job", SectionKind::JOB, 3, &(seed, "facts"))
        .unwrap();
    let mut data = writer
        .page_section("data", SectionKind(77), 1, Compression::Zstd(1))
        .unwrap();
    data.put(&noise(5000, seed)).unwrap();
    data.put(&vec![7; 1 << 20]).unwrap();
    data.put(&noise(60_000, seed + 1)).unwrap();
    data.finish().unwrap();
    let empty = writer
        .section("empty", SectionKind(78), 1, Compression::None)
        .unwrap();
    empty.finish().unwrap();
    writer.commit().unwrap()
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let folder = write(&store, 5);
    assert_eq!(folder, dir.path().join("job/ckpt-00000001"));
    let reader = ImageReader::open(&folder).unwrap();
    let job: (u64, String) = reader.get_bincode("job", SectionKind::JOB, 3).unwrap();
    assert_eq!(job, (5, "facts".into()));
    let mut all = Vec::new();
    let mut data = reader.section("data").unwrap();
    data.read_to_end(&mut all).unwrap();
    data.expect_end().unwrap();
    let expected = [noise(5000, 5), vec![7; 1 << 20], noise(60_000, 6)].concat();
    assert!(all == expected);
    let mut pieces = Vec::new();
    let mut data = reader.section("data").unwrap();
    for length in [1, 4999, 70_000, 1 << 19] {
        let mut piece = vec![0; length];
        data.get(&mut piece).unwrap();
        pieces.extend(piece);
    }
    assert!(data.expect_end().is_err());
    pieces.extend(data.get_all(1 << 30).unwrap());
    assert!(pieces == expected);
    assert!(reader.section("data").unwrap().get_all(100).is_err());
    let record = &reader.sections()[1];
    assert_eq!(record.raw_len, expected.len() as u64);
    assert!(record.file_len < record.raw_len, "nothing was compressed");
    let verified = reader.verify_all().unwrap();
    assert_eq!(
        (verified.sections, verified.file_bytes),
        (3, reader.file_bytes())
    );
    assert!(reader.writer().starts_with("gpuckpt "));
    assert!(reader.created().elapsed().unwrap().as_secs() < 600);
}

#[test]
fn folders_and_files_are_private_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&store(dir.path()), 1);
    let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(folder.parent().unwrap()), 0o700);
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600);
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(
        names,
        ["data.section", "empty.section", "job.section", "manifest"]
    );
    assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn sections_refuse_what_makes_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for name in ["", ".", "..", "a/b", ".hidden", "a\nb"] {
        assert!(matches!(
            Store::open(dir.path(), name),
            Err(ImageError::Name { .. })
        ));
    }
    assert!(Store::open(dir.path(), "my app [2]").is_ok());
    let writer = store.create(Compression::None).unwrap();
    for name in ["", "../x", "a/b", ".x", "ä"] {
        let begun = writer.section(name, SectionKind::JOB, 1, Compression::None);
        assert!(matches!(begun, Err(ImageError::Name { .. })));
    }
    let first = writer.section("a", SectionKind::JOB, 1, Compression::None);
    let second = writer.section("a", SectionKind::JOB, 1, Compression::None);
    assert!(matches!(second, Err(ImageError::Duplicate(_))));
    drop(first);
    assert!(
        writer.commit().is_err(),
        "a section was begun and not finished"
    );
    assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 0);
    let reader = ImageReader::open(&write(&store, 1)).unwrap();
    let wrong_kind = reader.section_of("job", SectionKind::FDS, 3).unwrap_err();
    assert_eq!(wrong_kind.section(), Some("job"));
    let newer = reader.section_of("job", SectionKind::JOB, 2);
    assert!(matches!(
        newer,
        Err(ImageError::Version {
            found: 3,
            known: 2,
            ..
        })
    ));
    let missing = reader.section("nothing");
    assert!(matches!(missing, Err(ImageError::NoSection { .. })));
    let other_type = reader.get_bincode::<Vec<u64>>("job", SectionKind::JOB, 3);
    assert!(matches!(other_type, Err(ImageError::Damaged { .. })));
}

/// Any use of a damaged image must fail; returns the error and never panics.
fn fault(folder: &Path) -> Option<ImageError> {
    ImageReader::open(folder)
        .and_then(|reader| reader.verify_all())
        .err()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    files
}

fn section_of(file: &Path) -> String {
    file.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_flipped_bit_anywhere_is_found_in_the_right_section() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&store(dir.path()), 9);
    assert!(fault(&folder).is_none());
    for file in files(&folder) {
        let good = fs::read(&file).unwrap();
        // The header, or a small file as a whole; the table; the pad before each
        // chunk; and places all over.
        let headers = 0..good.len().min(160);
        let table = good.len().saturating_sub(64)..good.len();
        let middle = (0..good.len()).step_by(good.len() / 41 + 1);
        let pads = (4096..good.len()).step_by(4096).flat_map(|at| [at - 1, at]);
        let pads = pads.filter(|&at| at > 8192 || good[at] == 0).take(8);
        for at in headers.chain(pads).chain(table).chain(middle) {
            let Some(&byte) = good.get(at) else { continue };
            let mut bad = good.clone();
            bad[at] = byte ^ 1 << (at % 8);
            fs::write(&file, &bad).unwrap();
            let error = fault(&folder).unwrap_or_else(|| panic!("{file:?} byte {at}"));
            assert_eq!(
                error.section(),
                Some(section_of(&file).as_str()),
                "{at}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains(folder.to_str().unwrap()), "{text}");
        }
        fs::write(&file, &good).unwrap();
    }
    assert!(fault(&folder).is_none());
}

#[test]
fn truncation_growth_and_wrong_files_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&store(dir.path()), 2);
    for file in files(&folder) {
        let good = fs::read(&file).unwrap();
        for length in [0, 1, 7, 63, 64, good.len() / 2, good.len() - 1] {
            fs::write(&file, &good[..length.min(good.len() - 1)]).unwrap();
            let error = fault(&folder).unwrap();
            assert_eq!(error.section(), Some(section_of(&file).as_str()), "{error}");
        }
        fs::write(&file, [good.as_slice(), b"\0"].concat()).unwrap();
        assert!(fault(&folder).is_some(), "{file:?} with one byte more");
        fs::remove_file(&file).unwrap();
        let error = fault(&folder).unwrap();
        assert_eq!(error.section(), Some(section_of(&file).as_str()), "{error}");
        fs::create_dir(&file).unwrap();
        assert!(fault(&folder).is_some(), "{file:?} as a folder");
        fs::remove_dir(&file).unwrap();
        crate::testing::make_fifo(&file);
        assert!(fault(&folder).is_some(), "{file:?} as a named pipe");
        fs::remove_file(&file).unwrap();
        fs::write(&file, &good).unwrap();
    }
    fs::write(folder.join("extra.section"), b"").unwrap();
    assert!(
        fault(&folder)
            .unwrap()
            .to_string()
            .contains("extra.section")
    );
    fs::remove_file(folder.join("extra.section")).unwrap();
    assert!(fault(&folder).is_none());
}

#[test]
fn a_section_of_another_image_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let (one, two) = (write(&store, 3), write(&store, 3));
    for name in ["data.section", "job.section", "empty.section"] {
        let good = fs::read(one.join(name)).unwrap();
        fs::copy(two.join(name), one.join(name)).unwrap();
        let error = fault(&one).unwrap();
        assert!(error.to_string().contains("another image"), "{error}");
        fs::write(one.join(name), good).unwrap();
    }
    assert!(fault(&one).is_none());
}

/// Writes a manifest field, with a right checksum after it.
fn forge(folder: &Path, at: usize, bytes: &[u8]) {
    let path = folder.join("manifest");
    let mut manifest = fs::read(&path).unwrap();
    manifest[at..at + bytes.len()].copy_from_slice(bytes);
    manifest[16..24].fill(0);
    let sum = xxhash_rust::xxh3::xxh3_64(&manifest);
    manifest[16..24].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, manifest).unwrap();
}

#[test]
fn every_field_of_the_manifest_matters_even_under_a_right_checksum() {
    let dir = tempfile::tempdir().unwrap();
    let folder = write(&store(dir.path()), 4);
    let good = fs::read(folder.join("manifest")).unwrap();
    let writer_len = usize::from(good[24 + 8 + 16]);
    let section = 24 + 8 + 17 + writer_len;
    let fields: [(usize, usize, &str); 18] = [
        (0, 8, "magic"),
        (8, 4, "format version"),
        (12, 4, "length"),
        (24, 2, "tag of the image record"),
        (26, 2, "version of the image record"),
        (28, 4, "length of the image record"),
        (32, 8, "image id"),
        (section, 2, "tag"),
        (section + 2, 2, "record version"),
        (section + 4, 4, "record length"),
        (section + 8, 4, "kind"),
        (section + 12, 4, "version"),
        (section + 16, 4, "alignment"),
        (section + 20, 4, "reserved"),
        (section + 24, 8, "chunks"),
        (section + 32, 8, "raw length"),
        (section + 40, 8, "file length"),
        (section + 48, 8, "checksum"),
    ];
    for (at, length, name) in fields {
        for pattern in [0x00, 0x01, 0x7f, 0xff_u8] {
            let value = vec![pattern; length];
            if good[at..at + length] == value {
                continue;
            }
            forge(&folder, at, &value);
            assert!(
                fault(&folder).is_some(),
                "{name} as {pattern:#x} was accepted"
            );
            fs::write(folder.join("manifest"), &good).unwrap();
        }
    }
    forge(&folder, 8, &2_u32.to_le_bytes());
    let error = ImageReader::open(&folder).unwrap_err();
    assert!(
        matches!(
            error,
            ImageError::Version {
                found: 2,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_newest_valid_image_is_found_and_old_ones_are_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert!(store.newest_valid().unwrap().0.is_none());
    assert_eq!(Store::names(dir.path()).unwrap(), Vec::<String>::new());
    let images: Vec<PathBuf> = (0..5).map(|seed| write(&store, seed)).collect();
    fs::write(images[4].join("manifest"), b"rubbish").unwrap();
    fs::write(store.folder().join("job.json"), b"{}").unwrap();
    let (found, passed_over) = store.newest_valid().unwrap();
    assert_eq!(found.unwrap().folder(), images[3]);
    assert_eq!(passed_over.len(), 1);
    let list = store.list().unwrap();
    assert_eq!(
        list.iter().map(|i| i.number).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    assert!(list[4].state.is_err());
    assert!(list[3].state.as_ref().unwrap().1 > 60_000);
    let held = ImageReader::open(&images[0]).unwrap();
    assert_eq!(
        store.prune(2).unwrap(),
        [images[1].clone(), images[0].clone()]
    );
    assert!(
        held.verify_all().is_ok(),
        "an open image outlives its pruning"
    );
    assert_eq!(store.list().unwrap().len(), 3);
    assert_eq!(
        store.prune(0).unwrap(),
        [images[2].clone()],
        "the last one stays"
    );
    assert_eq!(Store::names(dir.path()).unwrap(), ["job"]);
    assert_eq!(write(&store, 6), store.folder().join("ckpt-00000006"));
}

/// Calls `step` and kills the process after the phase with this number.
fn write_until(store: &Store, phase: u32) {
    let at = |n| {
        if n == phase {
            kill_self();
        }
    };
    let writer = store.create(Compression::None).unwrap();
    at(0);
    let mut data = writer
        .page_section("data", SectionKind(77), 1, Compression::None)
        .unwrap();
    at(1);
    data.put(&noise(3 << 20, 8)).unwrap();
    at(2);
    data.finish().unwrap();
    at(3);
    writer
        .put_bincode("job", SectionKind::JOB, 1, &1_u8)
        .unwrap();
    at(4);
    writer.write_manifest().unwrap();
    at(5);
    writer.rename_folder().unwrap();
    at(6);
}

#[test]
fn a_kill_at_any_phase_leaves_the_previous_image_newest_and_valid() {
    for phase in 0..=6 {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let first = write(&store, 1);
        assert_eq!(
            child(|| write_until(&store, phase)),
            Ended::Killed(libc::SIGKILL)
        );
        let committed = phase == 6;
        let (newest, passed_over) = store.newest_valid().unwrap();
        let newest = newest.unwrap();
        assert!(passed_over.is_empty());
        assert_eq!(newest.folder() == first, !committed, "phase {phase}");
        newest.verify_all().unwrap();
        let entries = fs::read_dir(store.folder()).unwrap().count();
        assert_eq!(entries, 2, "the killed writer left its folder");
        let next = write(&store, 2);
        let entries = fs::read_dir(store.folder()).unwrap().count();
        assert_eq!(entries, if committed { 3 } else { 2 }, "phase {phase}");
        assert!(ImageReader::open(&next).is_ok());
    }
}

#[test]
fn a_living_writers_folder_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let living = store.create(Compression::None).unwrap();
    let second = store.create(Compression::None).unwrap();
    let folder = living.folder().to_path_buf();
    assert!(folder.is_dir() && second.folder().is_dir());
    in_child(|| {
        let _third = store.create(Compression::None).unwrap();
        assert!(folder.is_dir(), "another process removed it");
    });
    drop(second);
    let one = living.commit().unwrap();
    assert!(one.ends_with("ckpt-00000001"));
    assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 1);
}

#[test]
fn two_writers_at_once_both_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let one = store.create(Compression::None).unwrap();
    let two = store.create(Compression::None).unwrap();
    let (two, one) = (two.commit().unwrap(), one.commit().unwrap());
    assert!(two.ends_with("ckpt-00000001") && one.ends_with("ckpt-00000002"));
}

#[test]
fn a_file_size_limit_fails_the_image_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    write(&store, 1);
    in_child(|| {
        set_file_size_limit(2 << 20);
        let writer = store.create(Compression::None).unwrap();
        let mut data = writer
            .section("data", SectionKind(77), 1, Compression::None)
            .unwrap();
        let error = data.put(&noise(4 << 20, 1)).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EFBIG));
        let text = error.to_string();
        assert!(
            text.contains("data.section") && text.contains("ulimit -f"),
            "{text}"
        );
        assert!(
            data.finish().is_err(),
            "a failed section cannot be finished"
        );
        drop(writer);
    });
    assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 1);
    assert!(store.newest_valid().unwrap().0.is_some());
}

#[test]
fn a_full_disk_fails_the_image_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    in_child(|| {
        // Where nobody may mount, a limit on file sizes stands in for the disk.
        let (errno, advice) = if small_tmpfs(dir.path(), 2 << 20) {
            (libc::ENOSPC, "free space")
        } else {
            set_file_size_limit(2 << 20);
            (libc::EFBIG, "ulimit -f")
        };
        let store = store(dir.path());
        let writer = store.create(Compression::None).unwrap();
        let put = || {
            let mut data = writer.section("data", SectionKind(77), 1, Compression::None)?;
            data.put(&noise(4 << 20, 1))?;
            data.finish()
        };
        let error = put().unwrap_err();
        assert_eq!(error.errno(), Some(errno));
        assert!(error.to_string().contains(advice), "{error}");
        drop(writer);
        assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 0);
        let small = store.create(Compression::None).unwrap();
        small
            .put_bytes("job", SectionKind::JOB, 1, b"fits")
            .unwrap();
        small.commit().unwrap();
    });
}

#[test]
fn compression_pays_or_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let size = |compression, bytes: &[u8]| {
        let writer = store.create(compression).unwrap();
        let mut data = writer
            .section("data", SectionKind(77), 1, compression)
            .unwrap();
        data.write_all(bytes).unwrap();
        data.finish().unwrap();
        let folder = writer.commit().unwrap();
        let reader = ImageReader::open(&folder).unwrap();
        assert!(reader.section("data").unwrap().get_all(1 << 30).unwrap() == bytes);
        reader.file_bytes()
    };
    let random = noise(2 << 20, 1);
    let text = b"all work and no play ".repeat(100_000);
    for compression in [Compression::Auto, Compression::Zstd(3)] {
        assert!(size(compression, &random) >= random.len() as u64);
        assert!(size(compression, &text) < text.len() as u64 / 20);
    }
    assert!(size(Compression::None, &text) > text.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_damage_is_found_and_never_panics(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let writer = store.create(Compression::Auto).unwrap();
        let mut data = writer.page_section("data", SectionKind(9), 1, Compression::Auto).unwrap();
        data.put(&noise(300_000, 3)).unwrap();
        data.finish().unwrap();
        writer.put_bytes("job", SectionKind::JOB, 1, &b"facts ".repeat(50)).unwrap();
        let folder = writer.commit().unwrap();
        let files = files(&folder);
        let before: Vec<Vec<u8>> = files.iter().map(|f| fs::read(f).unwrap()).collect();
        let mut after = before.clone();
        for (file, at, change) in edits {
            let bytes = &mut after[file.index(files.len())];
            let at = at.index(bytes.len());
            bytes[at] ^= change;
        }
        if let Some(cut) = cut {
            let bytes = &mut after[cut.index(files.len())];
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        prop_assume!(after != before);
        for (file, bytes) in files.iter().zip(&after) {
            fs::write(file, bytes).unwrap();
        }
        prop_assert!(fault(&folder).is_some());
        let _ = store.newest_valid().unwrap();
        let _ = store.list().unwrap();
    }

    #[test]
    fn any_bytes_as_manifest_or_table_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        sealed in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if sealed && bytes.len() >= 24 {
            bytes[..8].copy_from_slice(b"GPUCKPT\n");
            bytes[8..12].copy_from_slice(&1_u32.to_le_bytes());
            let length = bytes.len() as u32;
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            bytes[16..24].fill(0);
            let sum = xxhash_rust::xxh3::xxh3_64(&bytes);
            bytes[16..24].copy_from_slice(&sum.to_le_bytes());
        }
        let _ = layout::Manifest::decode(&bytes);
        let record = SectionRecord {
            name: "x".into(), kind: SectionKind(1), version: 1, alignment: 4096,
            chunks: bytes.len() as u64 / 32, raw_len: 5, file_len: 64, checksum: 0,
        };
        let _ = layout::decode_table(&record, &bytes);
    }
}
