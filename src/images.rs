//! From what a person writes, a job's NAME or an image's path, to an image; and the
//! image's summary, the one section that tells people and programs what is in it.

use crate::failure::{Code, Failure, Result};
use lower_half::facts::{JOB, JOB_VERSION, JobFacts, SUMMARY};
use serde_json::Value;
use std::path::{Path, PathBuf};
use transparent_core::fds;
use transparent_core::image::{ImageError, ImageReader, SectionKind, Store};

/// The longest summary that is read.
const SUMMARY_LIMIT: u64 = 64 << 20;

/// The image that a command line means.
pub(crate) struct Found {
    pub(crate) image: ImageReader,
    /// Newer images of the same job that are damaged, and how.
    pub(crate) passed_over: Vec<ImageError>,
}

/// The newest valid image of a job, or the one at a path; without either, that of
/// the only job in `dir`.
pub(crate) fn find(selector: Option<&str>, dir: &Path) -> Result<Found> {
    match selector.map(|text| (text, folder(text, dir))) {
        Some((_, Some(path))) => {
            let image = ImageReader::open(&path).map_err(|error| unreadable(&error))?;
            Ok(Found {
                image,
                passed_over: Vec::new(),
            })
        }
        Some((name, None)) => newest(name, dir),
        None => newest(&only(dir)?, dir),
    }
}

/// The path that `text` is, if it is one and not a name.
fn folder(text: &str, dir: &Path) -> Option<PathBuf> {
    let path = Path::new(text);
    let is_name = !text.contains('/') && (dir.join(text).is_dir() || !path.is_dir());
    if is_name {
        None
    } else {
        std::path::absolute(path).ok()
    }
}

fn newest(name: &str, dir: &Path) -> Result<Found> {
    let what = format!("no image of `{name}`");
    let store =
        Store::open(dir, name).map_err(|error| Failure::new(Code::NoImage, what.clone(), error))?;
    let (image, passed_over) = store.newest_valid().map_err(|error| unreadable(&error))?;
    match (image, passed_over.first()) {
        (Some(image), _) => Ok(Found { image, passed_over }),
        (None, None) => Err(Failure::new(
            Code::NoImage,
            what,
            format!("there is none in {}", store.folder().display()),
        )
        .advise("`gpuckpt checkpoint` makes one; --dir DIR or GPUCKPT_DIR say where images are")),
        (None, Some(_)) => Err(Failure {
            code: Code::ImageDamaged,
            what: format!("no valid image of `{name}`"),
            why: passed_over.iter().map(ToString::to_string).collect(),
            advice: String::new(),
        }),
    }
}

/// The only job that has images in `dir`.
fn only(dir: &Path) -> Result<String> {
    let mut names = Store::names(dir).map_err(|error| unreadable(&error))?;
    match (names.pop(), names.is_empty()) {
        (None, _) => {
            let why = format!("there is none in {}", dir.display());
            Err(Failure::new(Code::NoImage, "no image", why).advise(
                "`gpuckpt checkpoint` makes one; --dir DIR or GPUCKPT_DIR say where images are",
            ))
        }
        (Some(name), true) => Ok(name),
        (Some(name), false) => {
            names.push(name);
            let (code, advice) = (Code::SeveralImages, "give the name of one".to_string());
            let what = format!(
                "which job? {} have images in {}",
                names.len(),
                dir.display()
            );
            Err(Failure {
                code,
                what,
                why: names,
                advice,
            })
        }
    }
}

/// An image that cannot be used, as a failure of the command line.
pub(crate) fn unreadable(error: &ImageError) -> Failure {
    let code = match error {
        ImageError::NotAnImage { .. } => Code::NoImage,
        _ => Code::ImageDamaged,
    };
    Failure::new(code, "cannot use the image", error)
}

/// The image's summary; `null` when it has none.
pub(crate) fn summary(image: &ImageReader) -> Result<Value> {
    if !image.has(SUMMARY) {
        return Ok(Value::Null);
    }
    let bytes = image
        .section(SUMMARY)
        .and_then(|mut section| section.get_all(SUMMARY_LIMIT));
    let bytes = bytes.map_err(|error| unreadable(&error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("cannot read the summary of {}", image.folder().display());
        Failure::new(Code::ImageDamaged, what, error)
    })
}

/// What the image says of the job and of the machine that it was made on.
pub(crate) fn facts(image: &ImageReader) -> Result<JobFacts> {
    let facts = image.get_bincode(JOB, SectionKind::JOB, JOB_VERSION);
    facts.map_err(|error| unreadable(&error))
}

/// The first number above all descriptors of the application in an image.
pub(crate) fn above_descriptors(image: &ImageReader) -> Result<Option<i32>> {
    let table: fds::FdTable = image
        .get_bincode_of(fds::SECTION, SectionKind::FDS, fds::VERSION)
        .map_err(|error| unreadable(&error))?;
    let highest = table.descriptors.iter().map(|d| d.number).max();
    Ok(highest.map(|number| number.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;
    use transparent_core::image::Compression;

    fn make(dir: &Path, name: &str) -> PathBuf {
        let store = Store::open(dir, name).unwrap();
        let writer = store.create(Compression::None).unwrap();
        writer.commit().unwrap();
        let (image, _) = store.newest_valid().unwrap();
        image.unwrap().folder().to_path_buf()
    }

    fn code(found: Result<Found>) -> Code {
        found.err().unwrap().code
    }

    #[test]
    fn by_name_by_path_and_alone() {
        let dir = TempDir::new().unwrap();
        assert_eq!(code(find(None, dir.path())), Code::NoImage);
        assert_eq!(code(find(Some("a"), dir.path())), Code::NoImage);
        let first = make(dir.path(), "a");
        let second = make(dir.path(), "a");
        assert_ne!(first, second);
        for selector in [None, Some("a"), second.to_str()] {
            assert_eq!(find(selector, dir.path()).unwrap().image.folder(), second);
        }
        let found = find(first.to_str(), dir.path()).unwrap();
        assert_eq!(found.image.folder(), first);
        make(dir.path(), "b");
        assert_eq!(code(find(None, dir.path())), Code::SeveralImages);
    }

    #[test]
    fn a_damaged_newest_image_is_passed_over_and_told() {
        let dir = TempDir::new().unwrap();
        let (first, second) = (make(dir.path(), "a"), make(dir.path(), "a"));
        fs::write(second.join("manifest"), "").unwrap();
        let found = find(Some("a"), dir.path()).unwrap();
        assert_eq!(found.image.folder(), first);
        assert_eq!(found.passed_over.len(), 1);
        fs::write(first.join("manifest"), "").unwrap();
        assert_eq!(code(find(Some("a"), dir.path())), Code::ImageDamaged);
        assert_eq!(code(find(second.to_str(), dir.path())), Code::ImageDamaged);
    }

    #[test]
    fn a_path_without_image_is_no_image() {
        let dir = TempDir::new().unwrap();
        assert_eq!(code(find(Some("./gone"), dir.path())), Code::NoImage);
    }
}
