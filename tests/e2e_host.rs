//! Programs without a GPU, end to end: natively, launched, checkpointed ten times,
//! and across ten restarts, with the same output.

mod common;

use common::guests::find;
use common::job::Bench;
use common::scenario::{launched, prove, reference};

/// One test for each guest, under its name.
macro_rules! proofs {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                prove(stringify!($name));
            }
        )*

        const PROVED: &[&str] = &[$(stringify!($name)),*];
    };
}

proofs!(
    threads_malloc,
    exceptions,
    rust_threads,
    numpy_threads,
    plain_pie,
    plain_no_pie,
    plain_static,
    plain_static_pie,
    blocking,
    signals,
    altstack,
    itimers,
    pipes,
    channels,
    files,
    descriptors,
    numbers,
    table,
    mmaps,
    attributes,
    identity,
    scheduling,
);

/// Guests that make processes run under launch; saving them is refused, see
/// `e2e_refusals.rs`.
const LAUNCHED: &[&str] = &["processes", "script", "subprocesses"];

fn only_launched(name: &str) {
    let mut bench = Bench::new(find(name));
    let native = reference(&mut bench);
    launched(&mut bench, &native.finished);
}

#[test]
fn processes() {
    only_launched("processes");
}

#[test]
fn script() {
    only_launched("script");
}

#[test]
fn subprocesses() {
    only_launched("subprocesses");
}

#[test]
fn every_guest_without_a_device_has_a_test() {
    let tested = |name| PROVED.contains(&name) || LAUNCHED.contains(&name) || name == "refused";
    for guest in common::guests::GUESTS {
        if guest.device == common::guests::Device::None {
            assert!(tested(guest.name), "{} has no test", guest.name);
        }
    }
}
