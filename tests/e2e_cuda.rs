//! CUDA programs, end to end, on the mock device: natively (the program over the
//! mock driver), launched, checkpointed ten times, and across ten restarts in which
//! the driver's heap and handles moved, kernels in flight included.

mod common;

use common::guests::find;
use common::job::Bench;
use common::scenario::{launched, prove, prove_in, prove_on_mock, reference};

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
    vector,
    matmul,
    reduce,
    streams,
    pinned,
    symbols,
    list,
    threads,
    stencil,
    algorithms,
    simulations,
    classes,
    cooperative,
    integers,
    printing,
    managed,
    ordered,
    separate,
    driver_ptx,
    driver_linked,
);

/// With slow kernels many launches are queued at any moment: a checkpoint has to
/// drain them, and finds work in flight every time.
#[test]
fn vector_with_kernels_in_flight() {
    prove_on_mock("vector", 1000, "slow-kernels=300");
}

/// The same with several streams that wait for each other.
#[test]
fn streams_with_kernels_in_flight() {
    prove_on_mock("streams", 300, "slow-kernels=2000");
}

/// Callbacks are pending behind slow kernels.
#[test]
fn callbacks_with_kernels_in_flight() {
    prove_on_mock("pinned", 400, "slow-kernels=1000");
}

/// Copies from and to pinned memory are under way.
#[test]
fn copies_in_flight() {
    prove_on_mock("pinned", 200, "slow-copies=3000");
}

/// A program that sets CUDA_VISIBLE_DEVICES itself: its driver sees it, also in later lives,
/// whatever the variable is where the job is launched and restarted.
#[test]
fn a_program_that_chooses_its_device() {
    let variables = [
        ("GPUCKPT_MOCK", "devices=3"),
        ("CUDA_VISIBLE_DEVICES", "2,0"),
        ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
    ];
    prove_in("visible", 100_000, &variables);
}

/// Children of a program whose other threads are amid calls. Saving it meanwhile is refused.
#[test]
fn children_born_beside_calls() {
    let mut bench = Bench::new(find("forks"));
    let native = reference(&mut bench);
    for _ in 0..5 {
        launched(&mut bench, &native.finished);
    }
}

#[test]
fn every_guest_with_a_device_has_a_test() {
    for guest in common::guests::GUESTS {
        if guest.device != common::guests::Device::None {
            let tested = PROVED.contains(&guest.name)
                || ["driver_endless", "visible", "forks"].contains(&guest.name);
            assert!(tested, "{} has no test", guest.name);
        }
    }
}
