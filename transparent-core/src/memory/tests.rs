//! Memory saved, unmapped, restored, and held against what it was.

use super::pages::Scanner;
use super::*;
use crate::image::{Compression, ImageReader, Store};
use crate::maps;
use crate::sys;
use crate::testing::{bytes, in_child, map};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANON: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
const SHARED: i32 = libc::MAP_SHARED | libc::MAP_ANONYMOUS;

/// A piece of the window for one test.
fn window(test: u64) -> Range {
    let start = 0x1700_0000_0000 + test * 0x10_0000_0000;
    Range::new(start, start + 0x10_0000_0000)
}

/// Pages `from..to` of a window.
fn pages(window: Range, from: u64, to: u64) -> Range {
    Range::new(window.start + from * PAGE, window.start + to * PAGE)
}

fn pattern(range: Range, seed: u8) {
    for (i, byte) in bytes(range).iter_mut().enumerate() {
        *byte = (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed;
    }
}

/// The mappings of a window, neighbours that the kernel may or may not merge joined.
fn lines(window: Range) -> Vec<(maps::Mapping, Vec<[u8; 2]>)> {
    let mut out: Vec<(maps::Mapping, Vec<[u8; 2]>)> = Vec::new();
    for (mut mapping, details) in maps::read_detailed(&[window]).unwrap() {
        let kept = |f: &&[u8; 2]| details.has(f) && **f != *b"ac";
        let flags: Vec<[u8; 2]> = KEPT_FLAGS.into_iter().filter(kept).copied().collect();
        if mapping.name.0.starts_with(b"/dev/zero") {
            mapping.inode = 1;
        }
        if let Some((last, last_flags)) = out.last_mut() {
            let follows = last.range.end == mapping.range.start
                && *last_flags == flags
                && (last.access, last.inode, &last.name)
                    == (mapping.access, mapping.inode, &mapping.name)
                && (mapping.inode == 0 || last.offset + last.range.len() == mapping.offset);
            if follows {
                last.range.end = mapping.range.end;
                continue;
            }
        }
        out.push((mapping, flags));
    }
    out
}

fn save(dir: &Path, ranges: &[Range], exclude: &[Range]) -> (ImageReader, Stats) {
    let plan = plan(ranges, exclude).unwrap();
    let store = Store::open(dir, "memory").unwrap();
    let writer = store.create(Compression::Auto).unwrap();
    let mut last = (0, 0);
    let (stats, each) = plan
        .save(&writer, &mut |done, total| last = (done, total))
        .unwrap();
    assert_eq!(last.0, stats.bytes);
    let reader = ImageReader::open(&writer.commit().unwrap()).unwrap();
    accounted(&reader, &stats, &each);
    (reader, stats)
}

/// What is said of each mapping is what the sections hold.
fn accounted(reader: &ImageReader, stats: &Stats, each: &[MappingBytes]) {
    let data = reader.sections().iter().find(|s| s.name == DATA_SECTION);
    assert_eq!(data.unwrap().raw_len, stats.saved);
    assert_eq!(each.iter().map(|one| one.saved).sum::<u64>(), stats.saved);
    let index = index(reader);
    assert_eq!(each.len(), index.mappings.len());
    for (one, mapping) in each.iter().zip(&index.mappings) {
        assert_eq!(one.range, mapping.range);
        let inside = index
            .extents
            .iter()
            .filter_map(|extent| extent.intersection(&mapping.range));
        assert_eq!(one.saved, inside.map(|part| part.len()).sum::<u64>());
    }
}

fn same(now: &[(maps::Mapping, Vec<[u8; 2]>)], before: &[(maps::Mapping, Vec<[u8; 2]>)]) {
    let text = |(mapping, flags): &(maps::Mapping, Vec<[u8; 2]>)| {
        format!(
            "{mapping} {}",
            String::from_utf8_lossy(flags.as_flattened())
        )
    };
    for (now, before) in now.iter().zip(before) {
        assert!(now == before, "now {}\nwas {}", text(now), text(before));
    }
    assert_eq!(now.len(), before.len());
}

/// Saves a window, empties it, restores it; the kernel's view must be the same.
fn round_trip(window: Range) -> (ImageReader, Stats) {
    let dir = tempfile::tempdir().unwrap();
    let before = lines(window);
    let (reader, stats) = save(dir.path(), &[window], &[]);
    same(&lines(window), &before);
    sys::memory::unmap(window).unwrap();
    restore(&reader, &mut |_, _| {}).unwrap();
    same(&lines(window), &before);
    (reader, stats)
}

fn index(reader: &ImageReader) -> MemoryIndex {
    reader
        .get_bincode(INDEX_SECTION, crate::image::SectionKind::MEMORY, VERSION)
        .unwrap()
}

#[test]
fn anonymous_memory_comes_back_with_access_and_without_zero_pages() {
    let w = window(0);
    map(pages(w, 0, 100), RW, ANON, -1, 0);
    pattern(pages(w, 0, 10), 1);
    bytes(pages(w, 10, 50)).fill(0);
    pattern(pages(w, 50, 51), 2);
    // Read-only, no access with contents, executable, a gap, and a reservation.
    map(pages(w, 100, 110), RW, ANON, -1, 0);
    pattern(pages(w, 100, 104), 3);
    sys::memory::protect(pages(w, 100, 102), libc::PROT_READ).unwrap();
    sys::memory::protect(pages(w, 102, 103), libc::PROT_NONE).unwrap();
    sys::memory::protect(pages(w, 103, 105), libc::PROT_READ | libc::PROT_EXEC).unwrap();
    map(pages(w, 120, 140), libc::PROT_NONE, ANON, -1, 0);
    let before = bytes(pages(w, 0, 100)).to_vec();
    let (reader, stats) = round_trip(w);
    assert!(bytes(pages(w, 0, 100)) == before);
    assert!(
        !lines(w)
            .iter()
            .any(|(m, _)| m.range.start == pages(w, 110, 111).start)
    );
    sys::memory::protect(pages(w, 102, 103), RW).unwrap();
    let mut expected = vec![0; (4 * PAGE) as usize];
    for (i, byte) in expected.iter_mut().enumerate() {
        *byte = (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ 3;
    }
    assert!(bytes(pages(w, 100, 104)) == expected);
    let saved: u64 = index(&reader).extents.iter().map(Range::len).sum();
    assert_eq!(saved, 15 * PAGE);
    assert_eq!(stats.bytes, 55 * PAGE);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn advice_that_changes_meaning_comes_back() {
    let w = window(1);
    let advice = [
        libc::MADV_DONTFORK,
        libc::MADV_WIPEONFORK,
        libc::MADV_DONTDUMP,
        libc::MADV_MERGEABLE,
        libc::MADV_HUGEPAGE,
        libc::MADV_NOHUGEPAGE,
        libc::MADV_SEQUENTIAL,
        libc::MADV_RANDOM,
    ];
    for (i, &advice) in advice.iter().enumerate() {
        let range = pages(w, i as u64 * 8, i as u64 * 8 + 4);
        map(range, RW, ANON, -1, 0);
        pattern(range, i as u8);
        let _ = sys::memory::advise(range, advice);
    }
    let locked = pages(w, 100, 104);
    map(locked, RW, ANON, -1, 0);
    pattern(locked, 9);
    sys::memory::lock_on_fault(locked).unwrap();
    map(pages(w, 110, 114), RW, ANON | libc::MAP_NORESERVE, -1, 0);
    map(pages(w, 120, 130), RW, ANON | libc::MAP_GROWSDOWN, -1, 0);
    pattern(pages(w, 129, 130), 5);
    let named = pages(w, 200, 204);
    map(named, RW, ANON, -1, 0);
    let _ = sys::memory::name(named, "a name");
    let flags: Vec<[u8; 2]> = lines(w).into_iter().flat_map(|(_, f)| f).collect();
    for needed in [b"dc", b"wf", b"dd", b"lo", b"gd", b"nr"] {
        assert!(
            flags.contains(needed),
            "{}",
            String::from_utf8_lossy(needed)
        );
    }
    round_trip(w);
    assert_eq!(bytes(locked)[1], 31 ^ 9);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn guard_pages_inside_a_mapping_come_back() {
    let w = window(2);
    map(pages(w, 0, 20), RW, ANON, -1, 0);
    pattern(pages(w, 0, 20), 4);
    if !sys::memory::has_guard_pages() {
        // Nothing to save on this kernel, and nothing must be invented.
        let (reader, _) = round_trip(w);
        assert_eq!(index(&reader).guards, []);
        return;
    }
    sys::memory::advise(pages(w, 3, 5), sys::memory::MADV_GUARD_INSTALL).unwrap();
    let (reader, _) = round_trip(w);
    assert_eq!(index(&reader).guards, [pages(w, 3, 5)]);
    let mut page = vec![0; PAGE as usize];
    let read = |page: &mut [u8], at| sys::memory::copy_ranges(&[pages(w, at, at + 1)], page);
    assert_eq!(read(&mut page, 2).unwrap(), PAGE as usize);
    assert!(read(&mut page, 3).is_err() && read(&mut page, 4).is_err());
    assert_eq!(read(&mut page, 5).unwrap(), PAGE as usize);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn a_sparse_terabyte_costs_what_was_touched() {
    let w = Range::new(0x1b00_0000_0000, 0x1c00_0000_0000);
    map(w, RW, ANON | libc::MAP_NORESERVE, -1, 0);
    let touched: Vec<Range> = (0..50)
        .map(|i| pages(w, i * 5_000_000, i * 5_000_000 + 3))
        .collect();
    for (i, &range) in touched.iter().enumerate() {
        pattern(range, i as u8 + 1);
    }
    let begin = std::time::Instant::now();
    let (reader, stats) = round_trip(w);
    assert_eq!(index(&reader).extents, touched);
    assert_eq!(stats.bytes, 150 * PAGE);
    assert_eq!(stats.mapped, w.len());
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
    for (i, &range) in touched.iter().enumerate() {
        assert_eq!(bytes(range)[1], 31 ^ (i as u8 + 1));
    }
    sys::memory::unmap(w).unwrap();
}

fn file(dir: &Path, name: &str, pages: u64) -> fs::File {
    let path = dir.join(name);
    let mut file = fs::File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let content: Vec<u8> = (0..pages * PAGE).map(|i| (i / 7) as u8 | 1).collect();
    file.write_all(&content).unwrap();
    file
}

fn read_only(dir: &Path, name: &str, pages: u64) -> fs::File {
    drop(file(dir, name, pages));
    fs::File::open(dir.join(name)).unwrap()
}

#[test]
fn a_file_that_the_job_writes_is_saved_whole() {
    let w = window(15);
    let dir = tempfile::tempdir().unwrap();
    let mut f = file(dir.path(), "written.bin", 3);
    map(
        pages(w, 0, 3),
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        f.as_raw_fd(),
        0,
    );
    let before = bytes(pages(w, 0, 3)).to_vec();
    let (reader, _) = save(dir.path(), &[w], &[]);
    sys::memory::unmap(w).unwrap();
    f.write_all(b"and goes on").unwrap();
    restore(&reader, &mut |_, _| {}).unwrap();
    assert!(bytes(pages(w, 0, 3)) == before);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn of_a_private_file_mapping_only_copied_pages_are_saved() {
    let w = window(3);
    let dir = tempfile::tempdir().unwrap();
    let f = read_only(dir.path(), "library.so", 30);
    let fd = f.as_raw_fd();
    map(
        pages(w, 0, 10),
        libc::PROT_READ | libc::PROT_EXEC,
        libc::MAP_PRIVATE,
        fd,
        0,
    );
    map(pages(w, 10, 30), RW, libc::MAP_PRIVATE, fd, 10 * PAGE);
    pattern(pages(w, 12, 14), 1);
    bytes(pages(w, 20, 21)).fill(0);
    pattern(pages(w, 25, 26), 2);
    // As ld.so leaves RELRO.
    sys::memory::protect(pages(w, 10, 14), libc::PROT_READ).unwrap();
    let _ = bytes(pages(w, 0, 10))
        .iter()
        .map(|&b| u64::from(b))
        .sum::<u64>();
    let before = bytes(pages(w, 0, 30)).to_vec();
    let (reader, stats) = round_trip(w);
    assert!(bytes(pages(w, 0, 30)) == before);
    assert_eq!(stats.bytes, 4 * PAGE, "a page of zeros over a file counts");
    assert_eq!(index(&reader).files.len(), 1);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn a_mapped_file_that_changed_is_refused_by_name() {
    let w = window(4);
    let dir = tempfile::tempdir().unwrap();
    let f = read_only(dir.path(), "data.bin", 4);
    map(
        pages(w, 0, 4),
        libc::PROT_READ,
        libc::MAP_PRIVATE,
        f.as_raw_fd(),
        0,
    );
    let (reader, _) = save(dir.path(), &[w], &[]);
    sys::memory::unmap(w).unwrap();
    assert_eq!(check(&reader).unwrap(), []);
    let path = dir.path().join("data.bin");
    let refused = |what: &str| {
        let refusals = check(&reader).unwrap();
        assert_eq!(refusals.len(), 1);
        let text = refusals[0].to_string();
        assert!(text.contains("data.bin") && text.contains(what), "{text}");
        let error = restore(&reader, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("data.bin"));
        assert_eq!(lines(w), [], "nothing may be mapped by a refused restore");
    };
    fs::write(&path, vec![1; 4 * PAGE as usize]).unwrap();
    refused("modified");
    fs::write(&path, b"short").unwrap();
    refused("size");
    fs::remove_file(&path).unwrap();
    refused("opened");
}

#[test]
fn a_deleted_file_comes_back_as_anonymous_memory() {
    let w = window(5);
    let dir = tempfile::tempdir().unwrap();
    let f = file(dir.path(), "gone.so", 3);
    // One page more than the file has: it cannot be read, and is left out.
    map(pages(w, 0, 4), RW, libc::MAP_PRIVATE, f.as_raw_fd(), 0);
    pattern(pages(w, 1, 2), 6);
    fs::remove_file(dir.path().join("gone.so")).unwrap();
    let before = bytes(pages(w, 0, 3)).to_vec();
    let (reader, _) = save(dir.path(), &[w], &[]);
    sys::memory::unmap(w).unwrap();
    restore(&reader, &mut |_, _| {}).unwrap();
    assert!(bytes(pages(w, 0, 3)) == before);
    let lines = lines(w);
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].0.inode, lines[0].0.range), (0, pages(w, 0, 4)));
    sys::memory::unmap(w).unwrap();
}

#[test]
fn shared_anonymous_memory_stays_one_object() {
    let w = window(6);
    map(pages(w, 0, 20), RW, SHARED, -1, 0);
    pattern(pages(w, 0, 5), 7);
    pattern(pages(w, 9, 10), 8);
    // In the object, but no longer in the page tables.
    sys::memory::advise(pages(w, 0, 20), libc::MADV_DONTNEED).unwrap();
    sys::memory::protect(pages(w, 4, 6), libc::PROT_READ).unwrap();
    // The first ten pages a second time, elsewhere, and a hole in the first place.
    map(pages(w, 50, 60), libc::PROT_NONE, ANON, -1, 0);
    sys::memory::duplicate(w.start, pages(w, 50, 60)).unwrap();
    sys::memory::unmap(pages(w, 7, 8)).unwrap();
    let before = bytes(pages(w, 0, 7)).to_vec();
    let (reader, stats) = round_trip(w);
    assert!(bytes(pages(w, 0, 7)) == before);
    assert!(stats.bytes <= 20 * PAGE, "{}", stats.bytes);
    assert_eq!(index(&reader).objects, [20 * PAGE]);
    bytes(pages(w, 0, 1))[5] = 99;
    assert_eq!(bytes(pages(w, 50, 51))[5], 99, "no longer the same memory");
    bytes(pages(w, 59, 60))[6] = 98;
    assert_eq!(bytes(pages(w, 9, 10))[6], 98);
    in_child(|| bytes(pages(w, 1, 2))[7] = 97);
    assert_eq!(
        bytes(pages(w, 1, 2))[7],
        97,
        "no longer shared with children"
    );
    sys::memory::unmap(w).unwrap();
}

#[test]
fn a_shared_file_is_mapped_again_and_not_saved() {
    let w = window(7);
    let dir = tempfile::tempdir().unwrap();
    let f = file(dir.path(), "shared.bin", 4);
    map(pages(w, 0, 4), RW, libc::MAP_SHARED, f.as_raw_fd(), 0);
    pattern(pages(w, 1, 2), 3);
    let (_, stats) = round_trip(w);
    assert_eq!(stats.bytes, 0);
    bytes(pages(w, 3, 4))[0] = 55;
    let content = fs::read(dir.path().join("shared.bin")).unwrap();
    assert_eq!(content[3 * PAGE as usize], 55);
    assert_eq!(content[PAGE as usize + 1], 31 ^ 3);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn what_cannot_be_saved_is_refused_by_name() {
    let w = window(8);
    let dir = tempfile::tempdir().unwrap();
    let refused = |what: &str, why: &str| {
        let refusals = plan(&[w], &[]).unwrap_err();
        assert_eq!(refusals.len(), 1, "{refusals:?}");
        let text = refusals[0].to_string();
        assert!(text.contains(what) && text.contains(why), "{text}");
        assert!(text.contains(&format!("{:#x}", w.start)), "{text}");
        sys::memory::unmap(w).unwrap();
        assert!(plan(&[w], &[]).unwrap().mappings() == 0);
    };
    let f = file(dir.path(), "deleted.bin", 1);
    map(pages(w, 0, 1), RW, libc::MAP_SHARED, f.as_raw_fd(), 0);
    fs::remove_file(dir.path().join("deleted.bin")).unwrap();
    refused("deleted.bin", "deleted file");
    let memfd = crate::testing::memfd("thing", PAGE);
    map(pages(w, 0, 1), RW, libc::MAP_SHARED, memfd.as_raw_fd(), 0);
    refused("/memfd:thing", "memfd");
    crate::testing::system_v(pages(w, 0, 1));
    refused("/SYSV", "System V");
}

#[test]
fn excluded_ranges_are_left_alone() {
    let w = window(9);
    map(pages(w, 0, 30), RW, ANON, -1, 0);
    pattern(pages(w, 0, 30), 1);
    let dir = tempfile::tempdir().unwrap();
    let (reader, stats) = save(dir.path(), &[w], &[pages(w, 10, 12), pages(w, 29, 40)]);
    assert_eq!(stats.bytes, 27 * PAGE);
    sys::memory::unmap(w).unwrap();
    map(pages(w, 10, 12), RW, ANON, -1, 0);
    bytes(pages(w, 10, 12)).fill(42);
    restore(&reader, &mut |_, _| {}).unwrap();
    assert!(bytes(pages(w, 10, 12)).iter().all(|&b| b == 42));
    assert_eq!(bytes(pages(w, 12, 13))[0], (12 * 16) ^ 1);
    // Nothing is ever mapped over.
    let error = restore(&reader, &mut |_, _| {}).unwrap_err();
    assert!(
        error.to_string().contains(&format!("{:#x}", w.start)),
        "{error}"
    );
    assert!(matches!(error, MemoryError::Map { source, .. }
        if source.raw_os_error() == Some(libc::EEXIST)));
    sys::memory::unmap(w).unwrap();
}

#[test]
fn a_full_disk_leaves_memory_and_images_as_they_were() {
    let w = window(10);
    map(pages(w, 0, 1000), RW, ANON, -1, 0);
    for page in 0..1000 {
        pattern(pages(w, page, page + 1), page as u8 ^ (page >> 3) as u8);
    }
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), &[w], &[]);
    let before = bytes(pages(w, 0, 1000)).to_vec();
    in_child(|| {
        crate::testing::set_file_size_limit(1 << 20);
        let plan = plan(&[w], &[]).unwrap();
        let store = Store::open(dir.path(), "memory").unwrap();
        let writer = store.create(Compression::None).unwrap();
        let error = plan.save(&writer, &mut |_, _| {}).unwrap_err();
        assert!(error.to_string().contains("memory-data"), "{error}");
        drop(writer);
        assert!(bytes(pages(w, 0, 1000)) == before);
        assert_eq!(store.list().unwrap().len(), 1);
        assert_eq!(fs::read_dir(store.folder()).unwrap().count(), 1);
    });
    sys::memory::unmap(w).unwrap();
}

#[test]
fn an_older_kernels_pagemap_finds_the_same_pages() {
    let w = window(11);
    let dir = tempfile::tempdir().unwrap();
    let f = read_only(dir.path(), "lib", 64);
    map(pages(w, 0, 64), RW, libc::MAP_PRIVATE, f.as_raw_fd(), 0);
    map(pages(w, 100, 40_000), RW, ANON, -1, 0);
    map(pages(w, 50_000, 90_000), libc::PROT_NONE, ANON, -1, 0);
    for page in [0, 3, 4, 63, 100, 101, 5000, 5002, 39_999] {
        pattern(pages(w, page, page + 1), 1);
    }
    // Only read: the zero page, and the file's own pages.
    let _ = bytes(pages(w, 7, 8))[0] + bytes(pages(w, 600, 601))[0];
    let plan = plan(&[w], &[]).unwrap();
    let (mut new, mut old) = (Scanner::new().unwrap(), Scanner::reading().unwrap());
    let mut runs = Vec::new();
    for planned in &plan.mappings {
        let found = new.scan(planned).unwrap();
        let by_reading = old.scan(planned).unwrap();
        // The zero page shows as present there; it is dropped when it is read.
        let mut without_zero = by_reading.runs.clone();
        without_zero.retain(|r| *r != pages(w, 600, 601));
        assert_eq!(found.runs, without_zero);
        runs.extend(found.runs);
    }
    assert_eq!(runs.first(), Some(&pages(w, 0, 1)));
    assert_eq!(runs.last(), Some(&pages(w, 39_999, 40_000)));
    assert_eq!(runs.len(), 7);
    sys::memory::unmap(w).unwrap();
}

#[test]
fn every_second_page_is_found_once() {
    let w = window(14);
    map(pages(w, 0, 8192), RW, ANON, -1, 0);
    let touched: Vec<Range> = (0..4096).map(|i| pages(w, 2 * i, 2 * i + 1)).collect();
    for &page in &touched {
        bytes(page)[0] = 1;
    }
    let plan = plan(&[w], &[]).unwrap();
    let found = Scanner::new().unwrap().scan(&plan.mappings[0]).unwrap();
    assert!(found.runs == touched, "{} runs", found.runs.len());
    sys::memory::unmap(w).unwrap();
}

#[test]
fn a_forged_index_is_refused_without_a_mapping() {
    let w = window(12);
    map(pages(w, 0, 4), RW, ANON, -1, 0);
    pattern(pages(w, 0, 4), 1);
    let dir = tempfile::tempdir().unwrap();
    let (reader, _) = save(dir.path(), &[w], &[]);
    let good = index(&reader);
    sys::memory::unmap(w).unwrap();
    let forge = |change: &dyn Fn(&mut MemoryIndex)| {
        let mut index = good.clone();
        change(&mut index);
        let store = Store::open(dir.path(), "forged").unwrap();
        let writer = store.create(Compression::None).unwrap();
        let kind = crate::image::SectionKind::MEMORY;
        writer
            .put_bincode(INDEX_SECTION, kind, VERSION, &index)
            .unwrap();
        let kind = crate::image::SectionKind::MEMORY_DATA;
        writer
            .put_bytes(DATA_SECTION, kind, VERSION, &[0; 100])
            .unwrap();
        let reader = ImageReader::open(&writer.commit().unwrap()).unwrap();
        let error = restore(&reader, &mut |_, _| {}).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("section memory"), "{text}");
    };
    let changes: [&dyn Fn(&mut MemoryIndex); 8] = [
        &|i| i.page_size = 16384,
        &|i| i.mappings[0].range.end += 1,
        &|i| i.mappings[0].range = Range::new(8, 4),
        &|i| i.mappings.push(i.mappings[0].clone()),
        &|i| i.extents[0].end += PAGE,
        &|i| i.extents[0].start -= PAGE,
        &|i| i.mappings[0].backing = Backing::PrivateFile { file: 3, offset: 0 },
        &|i| {
            i.mappings[0].backing = Backing::SharedAnonymous {
                object: 0,
                offset: 0,
            }
        },
    ];
    for change in changes {
        forge(change);
        assert_eq!(lines(w), []);
    }
    // The data is shorter than the index says.
    forge(&|_| {});
    sys::memory::unmap(w).unwrap();
}

#[derive(Clone, Debug)]
struct Piece {
    gap: u64,
    length: u64,
    protection: i32,
    kind: u8,
    touched: Vec<(prop::sample::Index, u8)>,
}

fn piece() -> impl Strategy<Value = Piece> {
    (
        0_u64..3,
        1_u64..40,
        0_i32..8,
        0_u8..4,
        proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..4), 0..8),
    )
        .prop_map(|(gap, length, protection, kind, touched)| Piece {
            gap,
            length,
            protection,
            kind,
            touched,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_layout_comes_back(layout in proptest::collection::vec(piece(), 1..25)) {
        let w = window(13);
        let dir = tempfile::tempdir().unwrap();
        let f = read_only(dir.path(), "lib", 40);
        let mut at = 0;
        let mut ranges = Vec::new();
        for piece in &layout {
            at += piece.gap;
            let range = pages(w, at, at + piece.length);
            at += piece.length;
            match piece.kind {
                0 | 1 => map(range, RW, ANON, -1, 0),
                2 => map(range, RW, libc::MAP_PRIVATE, f.as_raw_fd(), 0),
                _ => map(range, RW, SHARED, -1, 0),
            }
            for (page, value) in &piece.touched {
                let page = page.index(piece.length as usize) as u64;
                let start = range.start + page * PAGE;
                bytes(Range::new(start, start + PAGE)).fill(*value);
            }
            sys::memory::protect(range, piece.protection).unwrap();
            ranges.push(range);
        }
        let read = || {
            let mut all = Vec::new();
            for (range, piece) in ranges.iter().zip(&layout) {
                sys::memory::protect(*range, libc::PROT_READ).unwrap();
                all.push(bytes(*range).to_vec());
                sys::memory::protect(*range, piece.protection).unwrap();
            }
            all
        };
        let before = read();
        round_trip(w);
        prop_assert!(read() == before);
        sys::memory::unmap(w).unwrap();
    }
}
