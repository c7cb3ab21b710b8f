//! Images: damage in any file is found by `verify` and refused by `restart` with the
//! section's name; permissions; one image restarts any number of times; `--keep`.

mod common;

use common::Random;
use common::guests::find;
use common::job::{Bench, FAILURE};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A saved and ended job, its image, and what an undisturbed run gives.
fn saved(guest: &str) -> (Bench, PathBuf, common::job::Finished) {
    let mut bench = Bench::new(find(guest));
    let expected = bench.native();
    bench.launch();
    assert!(
        bench.wait_ready() && bench.wait_for_progress(0),
        "no progress"
    );
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let image = bench.images_of_job().pop().expect("an image");
    (bench, image, expected)
}

fn files(image: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(image)
        .expect("the image")
        .flatten()
        .map(|e| e.path())
        .collect();
    files.sort();
    files
}

/// The name that an error must give for a damaged file.
fn section_of(file: &Path) -> String {
    let name = file
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    name.strip_suffix(".section").unwrap_or(&name).to_owned()
}

fn assert_found(bench: &Bench, image: &str, file: &Path, damage: &str) {
    let section = section_of(file);
    let verify = bench.ask(&["verify", image]);
    assert_eq!(verify.code, 1, "{damage} in {section}: verify: {verify:#?}");
    assert!(
        verify.err.contains(&section),
        "{damage} in {section}: not named: {verify:#?}"
    );
    let restart = bench.ask(&["restart", image]);
    assert_eq!(
        restart.code, FAILURE,
        "{damage} in {section}: restart: {restart:#?}"
    );
    assert!(
        restart.err.contains(&section),
        "{damage} in {section}: not named: {restart:#?}"
    );
    assert_eq!(restart.out, "", "{damage} in {section}: the program ran");
}

/// Every file of an image: bits flipped at the beginning, the end and random
/// places, truncated, emptied, grown, removed.
#[test]
fn damage_in_any_file_is_found_and_named() {
    let mut random = Random::new("damage");
    let (mut bench, image, expected) = saved("driver_ptx");
    let path = image.to_str().expect("a path").to_owned();
    bench
        .ask(&["verify", &path])
        .expect_success("the whole image");
    for file in files(&image) {
        let whole = fs::read(&file).expect("a file of the image");
        let len = whole.len();
        let flips = [
            0,
            len - 1,
            len / 2,
            random.below(len as u64) as usize,
            random.below(len as u64) as usize,
        ];
        for at in flips {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << random.below(8);
            fs::write(&file, &bytes).expect("a damaged file");
            assert_found(
                &bench,
                &path,
                &file,
                &format!("a flipped bit at {at} of {len}"),
            );
        }
        let cut = random.below(len as u64) as usize;
        for (damage, bytes) in [
            ("truncation", whole[..cut].to_vec()),
            ("the last byte lost", whole[..len - 1].to_vec()),
            ("an empty file", Vec::new()),
            ("a byte too many", [&whole[..], b"x"].concat()),
        ] {
            fs::write(&file, bytes).expect("a damaged file");
            assert_found(&bench, &path, &file, damage);
        }
        fs::remove_file(&file).expect("a file removed");
        let verify = bench.ask(&["verify", &path]);
        assert_ne!(verify.code, 0, "{} is missing: {verify:#?}", file.display());
        assert_eq!(
            bench.ask(&["restart", &path]).code,
            FAILURE,
            "{} is missing",
            file.display()
        );
        fs::write(&file, whole).expect("the file as it was");
    }
    bench.restart_from(&path);
    assert_eq!(
        bench.finish(),
        expected,
        "the repaired image, against native"
    );
}

/// A whole image of a format that this release does not know is refused as such.
#[test]
fn a_version_of_the_future_is_refused() {
    let (bench, image, _) = saved("plain_pie");
    let path = image.to_str().expect("a path").to_owned();
    // docs/image-format.md: version at 8, checksum of the whole with itself zero at 16.
    let manifest = image.join("manifest");
    let mut bytes = fs::read(&manifest).expect("the manifest");
    bytes[8..12].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    bytes[16..24].fill(0);
    let checksum = xxhash_rust::xxh3::xxh3_64(&bytes);
    bytes[16..24].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&manifest, bytes).expect("a manifest of the future");
    assert_found(&bench, &path, &manifest, "another version");
    for command in [["restart", &path], ["verify", &path]] {
        let answer = bench.ask(&command);
        assert!(answer.err.contains("version"), "{answer:#?}");
    }
}

/// A damaged newest image is passed over for the one before, aloud.
#[test]
fn restart_takes_the_newest_valid_image() {
    let (mut bench, first, expected) = saved("plain_pie");
    bench.restart();
    assert!(bench.wait_ready());
    assert!(bench.checkpoint_kill(), "the guest ended too soon");
    let second = bench.images_of_job().pop().expect("an image");
    assert_ne!(first, second);
    fs::write(second.join("manifest"), b"damaged").expect("a damaged manifest");
    bench.restart();
    let finished = bench.finish();
    assert_eq!(
        (finished.code, &finished.out),
        (0, &expected.out),
        "{finished:#?}"
    );
    assert!(finished.err.contains("passed over"), "{finished:#?}");
}

/// Images hold memory: nobody else may read them.
#[test]
fn images_are_private() {
    let (bench, image, _) = saved("plain_pie");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o7777;
    assert_eq!(mode(&image), 0o700, "{}", image.display());
    assert_eq!(
        mode(&bench.images.join(bench.name())),
        0o700,
        "the job's folder"
    );
    for file in files(&image) {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

/// Three restarts of one image: each ends as the first run would have.
#[test]
fn one_image_restarts_any_number_of_times() {
    for guest in ["driver_ptx", "threads_malloc"] {
        let (mut bench, image, expected) = saved(guest);
        let image = image.to_str().expect("a path").to_owned();
        for round in 0..3 {
            bench.restart_from(&image);
            assert_eq!(bench.finish(), expected, "{guest}, restart {round}");
        }
    }
}

/// `--keep N` leaves the N newest.
#[test]
fn keep_removes_old_images() {
    let mut bench = Bench::new(find("plain_pie"));
    bench.options = vec!["--keep".into(), "2".into()];
    let expected = bench.native();
    bench.launch();
    assert!(bench.wait_ready());
    let mut last = String::new();
    for _ in 0..4 {
        let answer = bench.checkpoint(&[]).expect_success("a checkpoint");
        last = answer.json()["image"].as_str().expect("a path").to_owned();
    }
    let images = bench.images_of_job();
    assert_eq!(images.len(), 2, "{images:?}");
    assert_eq!(images[1], Path::new(&last));
    assert_eq!(bench.finish(), expected);
}

/// What is said of single mappings and allocations adds up to the sections that hold
/// them, and to the sizes of the whole.
fn assert_sizes_agree(inspect: &serde_json::Value) {
    let sum = |list: &serde_json::Value, key: &str| -> u64 {
        let items = list.as_array().expect("a list");
        assert!(!items.is_empty(), "{inspect:#}");
        items
            .iter()
            .map(|item| item[key].as_u64().expect("a size"))
            .sum()
    };
    let sections = inspect["sections"].as_array().expect("sections");
    let section = |name: &str| {
        let found = sections.iter().find(|section| section["name"] == name);
        found.expect("the section")["bytes"].as_u64()
    };
    let mappings = &inspect["mappings"];
    let saved = sum(mappings, "bytes_saved");
    assert_eq!(Some(saved), section("memory-data"));
    assert_eq!(Some(saved), inspect["sizes"]["host"].as_u64());
    assert_eq!(
        sum(mappings, "bytes"),
        sum(mappings, "end") - sum(mappings, "start")
    );
    assert_eq!(
        Some(sum(mappings, "bytes")),
        inspect["sizes"]["host_mapped"].as_u64()
    );
    let device = sum(&inspect["device"]["allocations"], "len");
    assert_eq!(Some(device), section("device-data"));
    assert_eq!(Some(device), inspect["sizes"]["device"].as_u64());
}

/// `inspect` and `can-restore` answer for people and for programs.
#[test]
fn inspect_and_can_restore() {
    let (bench, image, _) = saved("driver_ptx");
    let path = image.to_str().expect("a path").to_owned();
    let inspect = bench
        .ask(&["inspect", "--json", &path])
        .expect_success("inspect --json")
        .json();
    assert!(inspect.is_object(), "{inspect:#}");
    assert_sizes_agree(&inspect);
    let text = bench.ask(&["inspect", &path]).expect_success("inspect").out;
    for word in ["thread", "mapping", "descriptor"] {
        assert!(
            text.to_lowercase().contains(word),
            "inspect says nothing of {word}s:\n{text}"
        );
    }
    bench
        .ask(&["can-restore", &path])
        .expect_success("can-restore");
    let verify = bench
        .ask(&["verify", "--json", &path])
        .expect_success("verify --json")
        .json();
    assert_eq!(verify["valid"], true, "{verify:#}");
}
