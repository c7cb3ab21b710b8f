//! Variables that the driver reads when it is initialised, `CUDA_VISIBLE_DEVICES` above all.
//!
//! The driver lives in the lower half, whose environment is that of the command that started
//! the job; the application may have changed its own since. Its stub of `cuInit` says where its
//! environment is, and what differs there from what the job began with is made the driver's,
//! and kept for its next lives: variables that the application left alone are those of the
//! restarting command.
#![allow(
    unsafe_code,
    reason = "reads the application's environment, changes the lower half's"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// What the names of such variables begin with.
const PREFIXES: [&[u8]; 2] = [b"CUDA_", b"NVIDIA_"];

/// Names and values; none where the application has removed a variable.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is kept from life to life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// What the job began with, as the application still has it where it changed nothing;
    /// not known until it is asked for in the first life.
    began: Option<Variables>,
    /// What the application has changed.
    changes: Changes,
}

impl Known {
    /// Takes over what differs in the application's variables from those that the job began
    /// with; returns it.
    fn take(&mut self, application: &Variables, own: impl FnOnce() -> Variables) -> Changes {
        let found = changes(application, self.began.get_or_insert_with(own));
        self.changes.extend(found.clone());
        found
    }
}

fn is_ours(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes over what the application has changed. `environ` is its array of variables.
///
/// # Safety
/// `environ` is null, or an array of C strings that ends with a null.
pub(crate) unsafe fn take(session: &Session, environ: *const *const c_char) {
    if session.initialized.load(Ordering::Acquire) {
        return;
    }
    // SAFETY: by this function's own contract.
    let application = unsafe { variables(environ) };
    // With the lock held, so that no fork meets the environment while it is read or
    // changed: the child would have the standard library's lock of it for ever.
    let mut known = session.environment();
    apply(&known.take(&application, own));
}

/// What a checkpoint keeps.
pub(crate) fn save(session: &Session) -> Known {
    let mut known = session.environment();
    known.began.get_or_insert_with(own);
    known.clone()
}

/// Makes the changes of an earlier life again.
pub(crate) fn restore(session: &Session, saved: Known) {
    let mut known = session.environment();
    apply(&saved.changes);
    *known = saved;
}

/// # Safety
/// As [`take`].
unsafe fn variables(environ: *const *const c_char) -> Variables {
    let mut found = Variables::new();
    let mut at = environ;
    while !at.is_null() {
        // SAFETY: the array has not ended yet.
        let entry = unsafe { at.read() };
        if entry.is_null() {
            break;
        }
        // SAFETY: an entry is a C string.
        let entry = unsafe { CStr::from_ptr(entry) }.to_bytes();
        let mut parts = entry.splitn(2, |&byte| byte == b'=');
        if let (Some(name), Some(value)) = (parts.next(), parts.next())
            && is_ours(name)
        {
            // As getenv: the first of a name counts.
            found.entry(name.to_vec()).or_insert_with(|| value.to_vec());
        }
        at = at.wrapping_add(1);
    }
    found
}

/// The lower half's own.
fn own() -> Variables {
    std::env::vars_os()
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .filter(|(name, _)| is_ours(name))
        .collect()
}

fn changes(application: &Variables, own: &Variables) -> Changes {
    let set = application
        .iter()
        .filter(|(name, value)| own.get(*name) != Some(*value))
        .map(|(name, value)| (name.clone(), Some(value.clone())));
    let removed = own
        .keys()
        .filter(|name| !application.contains_key(*name))
        .map(|name| (name.clone(), None));
    set.chain(removed).collect()
}

fn apply(changes: &Changes) {
    // From an image anything may come; what cannot be a variable has no effect.
    let good = |(name, value): &(&Vec<u8>, &Option<Vec<u8>>)| {
        let zero = |bytes: &[u8]| bytes.contains(&0);
        is_ours(name) && !name.contains(&b'=') && !zero(name) && !value.as_deref().is_some_and(zero)
    };
    for (name, value) in changes.iter().filter(good) {
        let name = OsStr::from_bytes(name);
        // SAFETY: the lower half's own code reads variables through the standard library, and
        // the driver, which reads them by getenv, is not initialised yet.
        unsafe {
            match value {
                Some(value) => std::env::set_var(name, OsString::from_vec(value.clone())),
                None => std::env::remove_var(name),
            }
        }
    }
}

/// Something to save.
#[cfg(test)]
pub(crate) fn sample() -> Known {
    Known {
        began: Some([(b"CUDA_Y".to_vec(), b"1".to_vec())].into()),
        changes: [(b"CUDA_X".to_vec(), None)].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&str, &str)]) -> Variables {
        list.iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn only_variables_of_the_driver_are_read() {
        let entries = [
            c"HOME=/",
            c"CUDA_VISIBLE_DEVICES=1",
            c"CUDA_VISIBLE_DEVICES=2",
            c"NVIDIA_TF32_OVERRIDE=",
            c"CUDA_A=b=c",
            c"NOTCUDA_X=1",
            c"CUDA_WITHOUT_VALUE",
        ];
        let mut array: Vec<*const c_char> = entries.iter().map(|entry| entry.as_ptr()).collect();
        array.push(std::ptr::null());
        // SAFETY: an array of C strings that ends with a null.
        let found = unsafe { variables(array.as_ptr()) };
        let expected = [
            ("CUDA_VISIBLE_DEVICES", "1"),
            ("NVIDIA_TF32_OVERRIDE", ""),
            ("CUDA_A", "b=c"),
        ];
        assert_eq!(found, map(&expected));
        // SAFETY: null is allowed.
        assert_eq!(unsafe { variables(std::ptr::null()) }, map(&[]));
    }

    /// The driver of a program that is saved before it uses one, and brought back with other
    /// variables, sees those, but where the program has changed something.
    #[test]
    fn what_a_program_left_alone_is_the_restarting_commands() {
        let began = map(&[("CUDA_VISIBLE_DEVICES", "0"), ("CUDA_B", "2")]);
        let mut known = Known {
            began: Some(began.clone()),
            changes: Changes::new(),
        };
        let restarting = || map(&[("CUDA_VISIBLE_DEVICES", "3")]);
        assert_eq!(known.take(&began, restarting), Changes::new());
        let changed = map(&[("CUDA_VISIBLE_DEVICES", "1"), ("CUDA_B", "2")]);
        let expected: Changes = [(b"CUDA_VISIBLE_DEVICES".to_vec(), Some(b"1".to_vec()))].into();
        assert_eq!(known.take(&changed, restarting), expected);
        assert_eq!(known.changes, expected);
    }

    #[test]
    fn what_differs_is_a_change() {
        let own = map(&[("CUDA_A", "1"), ("CUDA_B", "2"), ("CUDA_C", "3")]);
        let application = map(&[("CUDA_A", "1"), ("CUDA_B", "9"), ("CUDA_D", "4")]);
        let expected: Changes = [
            (b"CUDA_B".to_vec(), Some(b"9".to_vec())),
            (b"CUDA_C".to_vec(), None),
            (b"CUDA_D".to_vec(), Some(b"4".to_vec())),
        ]
        .into();
        assert_eq!(changes(&application, &own), expected);
        assert_eq!(changes(&own, &own), Changes::new());
    }
}
