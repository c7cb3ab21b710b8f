//! From the kernel's list of mappings to what is saved of each, or a refusal.

use super::{Backing, KEPT_FLAGS, MappedFile, SavedMapping};
use crate::identity::FileIdentity;
use crate::maps::{self, Details, Mapping};
use crate::{Range, RawPath, Refusal};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// How pages that matter are found in a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// None is saved.
    None,
    /// Private: those in memory or swap.
    Touched,
    /// Private, of a file: those that are no longer the file's.
    Copied,
    /// Of a file that is gone: every page that can be read.
    All,
    /// Shared: those that the object has; all when some are in swap.
    Object {
        /// Nothing of it is in swap.
        in_core: bool,
    },
}

/// One mapping and how to find its pages.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) mapping: SavedMapping,
    pub(super) pages: Pages,
    /// The kernel counts pages in it.
    pub(super) resident: bool,
}

/// What a save will do. Valid until the program maps or unmaps something: plan
/// again once its threads are parked.
#[derive(Clone, Debug, Default)]
pub struct MemoryPlan {
    pub(super) files: Vec<MappedFile>,
    pub(super) objects: Vec<u64>,
    pub(super) mappings: Vec<Planned>,
}

impl MemoryPlan {
    /// Number of mappings.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
    }

    /// Bytes of address space.
    pub fn mapped(&self) -> u64 {
        self.mappings.iter().map(|p| p.mapping.range.len()).sum()
    }
}

/// Plans the saving of everything mapped in `ranges` but not in `exclude`.
///
/// # Errors
/// Every mapping that cannot be saved.
pub fn plan(ranges: &[Range], exclude: &[Range]) -> Result<MemoryPlan, Vec<Refusal>> {
    let mappings =
        maps::read_detailed(ranges).map_err(|e| vec![Refusal::of_proc("/proc/self/smaps", &e)])?;
    let mut planner = Planner::default();
    for (mapping, details) in &mappings {
        for piece in pieces(mapping, ranges, exclude) {
            planner.add(&piece, details);
        }
    }
    if planner.refused.is_empty() {
        Ok(planner.plan)
    } else {
        Err(planner.refused)
    }
}

/// The parts of a mapping that are in `ranges` and not in `exclude`.
fn pieces(mapping: &Mapping, ranges: &[Range], exclude: &[Range]) -> Vec<Mapping> {
    let mut parts: Vec<Range> = ranges
        .iter()
        .filter_map(|r| r.intersection(&mapping.range))
        .collect();
    for hole in exclude {
        parts = parts
            .into_iter()
            .flat_map(|p| {
                [
                    Range::new(p.start, p.end.min(hole.start)),
                    Range::new(p.start.max(hole.end), p.end),
                ]
            })
            .filter(|p| !p.is_empty())
            .collect();
    }
    parts.sort_unstable();
    parts.dedup();
    let piece = |range: Range| {
        let mut piece = mapping.clone();
        if mapping.inode != 0 {
            piece.offset += range.start - mapping.range.start;
        }
        piece.range = range;
        piece
    };
    parts.into_iter().map(piece).collect()
}

#[derive(Default)]
struct Planner {
    plan: MemoryPlan,
    refused: Vec<Refusal>,
    by_path: HashMap<RawPath, u32>,
    by_object: HashMap<(u32, u32, u64), u32>,
    /// Device and inode of the files that are open for writing.
    written: Option<HashSet<(u64, u64)>>,
}

impl Planner {
    fn add(&mut self, mapping: &Mapping, details: &Details) {
        if let Some((why, advice)) = unsupported(mapping, details) {
            return self.refuse(mapping, why, advice);
        }
        let anonymous = mapping.inode == 0 || is_private_zero(mapping);
        let backing = if anonymous {
            Some((Backing::Anonymous, Pages::Touched))
        } else if mapping.access.shared {
            self.shared(mapping, details)
        } else {
            self.private_file(mapping)
        };
        let Some((backing, pages)) = backing else {
            return;
        };
        let access = mapping.access;
        let protection = u8::from(access.read) * libc::PROT_READ as u8
            + u8::from(access.write) * libc::PROT_WRITE as u8
            + u8::from(access.exec) * libc::PROT_EXEC as u8;
        self.plan.mappings.push(Planned {
            mapping: SavedMapping {
                range: mapping.range,
                protection,
                backing,
                flags: KEPT_FLAGS
                    .into_iter()
                    .copied()
                    .filter(|flag| details.has(flag))
                    .collect(),
                name: anonymous_name(mapping),
            },
            pages,
            resident: details.rss + details.swap > 0,
        });
    }

    fn shared(&mut self, mapping: &Mapping, details: &Details) -> Option<(Backing, Pages)> {
        if is_shared_anonymous(&mapping.name) {
            let key = (mapping.device.0, mapping.device.1, mapping.inode);
            let objects = &mut self.plan.objects;
            let object = *self.by_object.entry(key).or_insert_with(|| {
                objects.push(0);
                objects.len() as u32 - 1
            });
            let length = &mut objects[object as usize];
            *length = (*length).max(mapping.offset + mapping.range.len());
            let backing = Backing::SharedAnonymous {
                object,
                offset: mapping.offset,
            };
            let in_core = details.swap == 0;
            return Some((backing, Pages::Object { in_core }));
        }
        if is_deleted(mapping) {
            self.refuse(
                mapping,
                "a shared mapping of a deleted file cannot be restored",
                "keep the file until the mapping is gone",
            );
            return None;
        }
        let file = self.file(mapping)?;
        let backing = Backing::SharedFile {
            file,
            offset: mapping.offset,
            may_write: details.has(b"mw"),
        };
        Some((backing, Pages::None))
    }

    fn private_file(&mut self, mapping: &Mapping) -> Option<(Backing, Pages)> {
        // What the job itself may change, or nobody will find again, is saved whole.
        let gone = || mapping.name.as_path().symlink_metadata().is_err();
        if is_deleted(mapping) || self.is_written(mapping) || gone() {
            return Some((Backing::Anonymous, Pages::All));
        }
        let file = self.file(mapping)?;
        let backing = Backing::PrivateFile {
            file,
            offset: mapping.offset,
        };
        Some((backing, Pages::Copied))
    }

    /// True when a descriptor of this process may write to the mapped file.
    fn is_written(&mut self, mapping: &Mapping) -> bool {
        use std::os::unix::fs::MetadataExt;
        let written = self.written.get_or_insert_with(crate::fds::written_files);
        !written.is_empty()
            && std::fs::metadata(mapping.name.as_path())
                .is_ok_and(|meta| written.contains(&(meta.dev(), meta.ino())))
    }

    fn file(&mut self, mapping: &Mapping) -> Option<u32> {
        if let Some(&file) = self.by_path.get(&mapping.name) {
            return Some(file);
        }
        match FileIdentity::of_path(mapping.name.as_path()) {
            Ok(identity) => {
                let file = self.plan.files.len() as u32;
                self.plan.files.push(MappedFile {
                    path: mapping.name.clone(),
                    identity,
                });
                self.by_path.insert(mapping.name.clone(), file);
                Some(file)
            }
            Err(e) => {
                let why = format!("the mapped file cannot be opened: {e}");
                self.refuse(mapping, &why, "make it readable, or do not map it");
                None
            }
        }
    }

    fn refuse(&mut self, mapping: &Mapping, why: &str, advice: &str) {
        let Range { start, end } = mapping.range;
        let object = format!("mapping {start:#x}-{end:#x} ({})", mapping.name);
        self.refused.push(Refusal::new(object, why, advice));
    }
}

/// Why a mapping of this kind cannot be saved, whatever it holds.
fn unsupported(mapping: &Mapping, details: &Details) -> Option<(&'static str, &'static str)> {
    let name = mapping.name.0.as_slice();
    let end = "end its use before the checkpoint";
    if details.has(b"ht") {
        return Some((
            "huge pages of hugetlbfs are not supported",
            "use transparent huge pages",
        ));
    }
    if [b"um", b"uw", b"ui"].iter().any(|f| details.has(f)) {
        return Some(("memory under userfaultfd cannot be saved", end));
    }
    if details.has(b"ss") {
        return Some((
            "a shadow stack cannot be saved",
            "run it without shadow stacks",
        ));
    }
    if details.protection_key != 0 {
        return Some(("memory with a protection key is not supported", end));
    }
    let harmless = is_shared_anonymous(&mapping.name) || is_private_zero(mapping);
    if name.starts_with(b"/dev/") && !harmless && !is_shm_file(name) {
        return Some(("a mapping of a device cannot be saved", end));
    }
    if details.has(b"io") || details.has(b"pf") {
        return Some(("a mapping of device memory cannot be saved", end));
    }
    if name.starts_with(b"/SYSV") && mapping.access.shared {
        return Some((
            "System V shared memory is not supported",
            "use POSIX shared memory or mmap",
        ));
    }
    if name.starts_with(b"/memfd:") && mapping.access.shared {
        return Some((
            "a shared mapping of a memfd is not supported",
            "use a file or MAP_ANONYMOUS",
        ));
    }
    if name.starts_with(b"/secretmem") {
        return Some(("secret memory cannot be saved", end));
    }
    let special = mapping.inode == 0 && mapping.name.0.starts_with(b"[");
    let ordinary = name == b"[heap]" || name.starts_with(b"[stack") || name.starts_with(b"[anon");
    if special && !ordinary {
        return Some(("the kernel owns this mapping", end));
    }
    (mapping.inode != 0 && !name.starts_with(b"/") && !is_shared_anonymous(&mapping.name))
        .then_some(("a mapping of an object without a path cannot be saved", end))
}

/// Shared anonymous memory is a file of the kernel's own on a hidden tmpfs.
fn is_shared_anonymous(name: &RawPath) -> bool {
    name.0 == b"/dev/zero (deleted)" || name.0.starts_with(b"[anon_shmem:")
}

/// A private mapping of `/dev/zero` is anonymous memory.
fn is_private_zero(mapping: &Mapping) -> bool {
    !mapping.access.shared && mapping.name.0 == b"/dev/zero"
}

fn is_shm_file(name: &[u8]) -> bool {
    name.starts_with(b"/dev/shm/") || name.starts_with(b"/dev/hugepages/")
}

/// True when the path no longer leads to the file that is mapped.
fn is_deleted(mapping: &Mapping) -> bool {
    use std::os::unix::fs::MetadataExt;
    let path: &Path = mapping.name.as_path();
    match std::fs::metadata(path) {
        Err(_) => mapping.name.0.ends_with(b" (deleted)"),
        Ok(meta) => {
            // A stacked file system may show one device here and another there;
            // then the inodes say nothing.
            let dev = meta.dev();
            let device = (libc::major(dev), libc::minor(dev));
            device == mapping.device && meta.ino() != mapping.inode
        }
    }
}

/// The name in `[anon:NAME]` and `[anon_shmem:NAME]`.
fn anonymous_name(mapping: &Mapping) -> Option<String> {
    let name = std::str::from_utf8(&mapping.name.0).ok()?;
    let name = name
        .strip_prefix("[anon:")
        .or_else(|| name.strip_prefix("[anon_shmem:"))?;
    Some(name.strip_suffix(']')?.to_owned())
}
