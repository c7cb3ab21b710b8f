//! Question 5, second half: are the addresses that kernels see the same in fresh
//! processes that load the same modules in the same order? gpuckpt cannot choose
//! them, and refuses a restart when one that may have been kept has changed.

use crate::driver::{Module, Session, Stream};
use crate::probe::{Outcome, Probe, Verdict, first_difference, text};
use crate::probes::reservations::PROCESSES;
use crate::steps::Step;
use anyhow::{Result, bail};
use std::ffi::CStr;

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new(
            "addresses",
            5,
            14,
            "are module variables and device functions at the same addresses in ten fresh processes?",
            fresh,
        )
        .time(15, 180),
    ]
}

const FIRST: &CStr = c"
.version 6.4
.target sm_50
.address_size 64
.visible .global .align 8 .u64 counter;
.visible .global .align 16 .b8 table[65536];
.visible .const .align 4 .b32 factors[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
.visible .func (.param .b32 result) plus(.param .b32 a)
{
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [a];
    add.s32 %r2, %r1, 1;
    st.param.b32 [result], %r2;
    ret;
}
.visible .entry where(.param .u64 out)
{
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [out];
    cvta.to.global.u64 %rd2, %rd1;
    mov.u64 %rd3, counter;
    cvta.global.u64 %rd4, %rd3;
    st.global.u64 [%rd2], %rd4;
    mov.u64 %rd5, plus;
    st.global.u64 [%rd2+8], %rd5;
    ret;
}
";

const SECOND: &CStr = c"
.version 6.4
.target sm_50
.address_size 64
.visible .global .align 4 .b32 flags[4096];
.visible .global .align 8 .f64 value = 0d3FF8000000000000;
.visible .entry nothing()
{
    ret;
}
";

/// Prints what kernels can see of a module.
fn show(session: &Session, module: Module, title: &str, names: &[&str]) -> Result<()> {
    for name in names {
        let (address, bytes) = session.global(module, name)?;
        println!("{title} {name} {address:#x} {bytes}");
    }
    Ok(())
}

/// One of the ten: all addresses, a line each.
pub(crate) fn part(probe: &Probe) -> Result<()> {
    let session = Session::open(probe.driver()?)?;
    let first = session.module(FIRST)?;
    show(&session, first, "first", &["counter", "table", "factors"])?;
    let out = session.alloc(16)?;
    let kernel = session.function(first, "where")?;
    session.launch(kernel, 1, 1, Stream::LEGACY, &mut [out])?;
    session.synchronize()?;
    let mut seen = [0_u64; 2];
    session.read(&mut seen, out)?;
    let (counter, _) = session.global(first, "counter")?;
    if seen[0] != counter {
        bail!(
            "a kernel sees its variable at {:#x}, the host is told {counter:#x}",
            seen[0]
        );
    }
    println!("first plus {:#x} function", seen[1]);
    let second = session.module(SECOND)?;
    show(&session, second, "second", &["flags", "value"])?;
    session.unload(first)?;
    let again = session.module(FIRST)?;
    show(&session, again, "again", &["counter", "table", "factors"])
}

fn fresh(probe: &Probe) -> Outcome {
    let mut first = String::new();
    for process in 0..PROCESSES {
        let prefix = probe.out.join(format!("process-{process}"));
        let ran = crate::job::run(&mut probe.again("load")?, &prefix, probe.deadline)?;
        let said = text(&prefix.with_extension("out"));
        if ran.code != 0 {
            bail!(
                "process {process} ended with {}: {}",
                ran.code,
                ran.last_words()
            );
        }
        if process == 0 {
            probe.figure("addresses", said.lines().count());
            for line in said.lines().filter(|line| line.starts_with("first ")) {
                let mut words = line.split(' ').skip(1);
                if let (Some(name), Some(address)) = (words.next(), words.next()) {
                    probe.figure(name, address);
                }
            }
            first = said;
        } else if let Some(differs) = first_difference(&first, &said) {
            let why = format!("process {process} against the first: {differs}");
            return Ok(Verdict::Wrong(why));
        }
        probe.figure("processes", process + 1);
    }
    Ok(Verdict::Supported)
}
