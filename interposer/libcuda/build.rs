//! Writes the stubs (`stubs.s`) and the list that `cuGetProcAddress` searches (`procs.rs`) from
//! the API table.
//!
//! A stub spills its arguments to 8-byte slots and goes through the gate:
//!
//! ```text
//!   higher   return address         <- rsp at entry (rsp = 8 mod 16)
//!            padding, if needed     so that rsp = 0 mod 16 at the call
//!            slot n-1
//!            …
//!   lower    slot 0                 <- rsi
//! ```
//! Slots 0 to 5 come from rdi, rsi, rdx, rcx, r8, r9, the others from the caller's stack.

#[path = "../table/abi.rs"]
#[allow(dead_code, reason = "the gate's address alone is needed here")]
mod abi;
#[path = "../table/format.rs"]
#[allow(dead_code, reason = "each user of the parser needs a part of it")]
mod format;

use std::fmt::Write;

fn main() {
    println!("cargo::rerun-if-changed=../table");
    println!("cargo::rerun-if-changed=build.rs");
    let text = std::fs::read_to_string("../table/driver.table").expect("driver.table");
    let table = format::parse(&text).unwrap_or_else(|e| panic!("driver.table: {e}"));
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR").expect("OUT_DIR"));
    std::fs::write(out.join("stubs.s"), stubs(&table)).expect("stubs.s");
    std::fs::write(out.join("procs.rs"), procs(&table)).expect("procs.rs");
}

/// Assembly (AT&T syntax) of every stub, and the table of their addresses by call id.
fn stubs(table: &format::Table) -> String {
    let mut s = String::from(".text\n");
    for row in &table.rows {
        let _ = write!(
            s,
            ".p2align 4\n.globl {0}\n.type {0},@function\n{0}:\n.cfi_startproc\nendbr64\n",
            row.symbol
        );
        if row.handler == "upper" {
            let target = row.symbol.trim_end_matches("_ptsz");
            let per_thread = if row.per_thread { "_ptsz" } else { "" };
            let _ = writeln!(s, "jmp gpuckpt_upper_{target}{per_thread}");
        } else {
            body(&mut s, row);
        }
        let _ = write!(s, ".cfi_endproc\n.size {0}, .-{0}\n", row.symbol);
    }
    s.push_str(".section .data.rel.ro.gpuckpt_stubs,\"aw\",@progbits\n.p2align 3\n.globl gpuckpt_stubs\n.hidden gpuckpt_stubs\ngpuckpt_stubs:\n");
    // A local alias, so that the loader relocates by base address instead of looking the name up,
    // where another library's symbol of the same name could win.
    for row in &table.rows {
        let _ = writeln!(
            s,
            ".set .Lstub_{0}, {1}\n.quad .Lstub_{0}",
            row.id, row.symbol
        );
    }
    s.push_str(".text\n");
    s
}

fn body(s: &mut String, row: &format::Row) {
    const REGISTERS: [&str; 6] = ["%rdi", "%rsi", "%rdx", "%rcx", "%r8", "%r9"];
    let count = row.args.as_ref().map_or(0, Vec::len);
    let frame = (count * 8) | 8;
    let _ = write!(s, "subq ${frame}, %rsp\n.cfi_adjust_cfa_offset {frame}\n");
    for slot in 0..count {
        match REGISTERS.get(slot) {
            Some(register) => {
                let _ = writeln!(s, "movq {register}, {}(%rsp)", slot * 8);
            }
            None => {
                let _ = writeln!(s, "movq {}(%rsp), %rax", frame + 8 + (slot - 6) * 8);
                let _ = writeln!(s, "movq %rax, {}(%rsp)", slot * 8);
            }
        }
    }
    if ["stream::host_func", "stream::add_callback"].contains(&row.handler.as_str()) {
        s.push_str("call gpuckpt_upper_start_callbacks\n");
    }
    if row.base == "cuInit" {
        s.push_str("call gpuckpt_upper_tell_environment\n");
    }
    let _ = write!(
        s,
        "movl ${}, %edi\nmovq %rsp, %rsi\nmovabsq ${:#x}, %rax\ncall *%rax\naddq ${frame}, %rsp\n.cfi_adjust_cfa_offset -{frame}\nret\n",
        row.id,
        abi::GATE
    );
}

/// The variants of every base name, sorted by name and version.
fn procs(table: &format::Table) -> String {
    let mut rows: Vec<_> = table.rows.iter().collect();
    rows.sort_by(|a, b| (&a.base, a.version, &a.symbol).cmp(&(&b.base, b.version, &b.symbol)));
    let mut code = format!(
        "/// Number of stubs.\npub const STUBS: usize = {};\n/// Variants by base name, then by version.\npub static PROCS: &[Proc] = &[\n",
        rows.len()
    );
    for row in rows {
        let local = row.class == "local";
        let _ = writeln!(
            code,
            "Proc {{ base: {:?}, version: {}, per_thread: {}, id: {}, local: {local} }},",
            row.base, row.version, row.per_thread, row.id
        );
    }
    code.push_str("];\n");
    code
}
