//! Turns `table/driver.table` into the dispatcher's static rows (`$OUT_DIR/rows.rs`) and fails the
//! build where a symbol of CUDA 13.5 has no row.

#[path = "table/format.rs"]
#[allow(dead_code, reason = "each user of the parser needs a part of it")]
mod format;

use std::fmt::Write;

fn main() {
    println!("cargo::rerun-if-changed=table");
    println!("cargo::rerun-if-changed=build.rs");
    let text = std::fs::read_to_string("table/driver.table").expect("table/driver.table");
    let table = format::parse(&text).unwrap_or_else(|e| panic!("table/driver.table: {e}"));
    let symbols =
        std::fs::read_to_string("table/symbols-13.5.txt").expect("table/symbols-13.5.txt");
    for symbol in symbols.split_whitespace() {
        assert!(
            table.rows.iter().any(|row| row.symbol == symbol),
            "table/driver.table: no row for {symbol}"
        );
    }
    let out = std::path::Path::new(&std::env::var("OUT_DIR").expect("OUT_DIR")).join("rows.rs");
    std::fs::write(out, rows(&table)).expect("rows.rs");
}

fn rows(table: &format::Table) -> String {
    let mut code =
        String::from("/// Every row, at the index of its id.\npub static ROWS: &[Row] = &[\n");
    for row in &table.rows {
        let class = capital(&row.class);
        let handler = match (row.class.as_str(), row.handler.as_str()) {
            ("refused", key) => {
                let (_, why) = table
                    .reasons
                    .iter()
                    .find(|(k, _)| k == key)
                    .expect("checked by the parser");
                format!("Handler::Refused({why:?})")
            }
            (_, "generic") => "Handler::Generic".into(),
            (_, "upper") => "Handler::Upper".into(),
            (_, function) => format!("Handler::Own(crate::dispatch::{function})"),
        };
        let args: Vec<String> = row
            .args
            .iter()
            .flatten()
            .map(|a| {
                format!(
                    "Arg {{ name: {:?}, kind: {}, key: {} }}",
                    a.name,
                    kind(&a.ty),
                    a.key
                )
            })
            .collect();
        let _ = writeln!(
            code,
            "Row {{ id: {}, symbol: {:?}, base: {:?}, version: {}, per_thread: {}, class: Class::{class}, on_context: {}, handler: {handler}, args: &[{}] }},",
            row.id,
            row.symbol,
            row.base,
            row.version,
            row.per_thread,
            row.on_context,
            args.join(", ")
        );
    }
    code.push_str("];\n/// Call ids by symbol.\n#[allow(non_upper_case_globals, dead_code, missing_docs, reason = \"named as the symbols are\")]\npub mod ids {\n");
    for row in &table.rows {
        let _ = writeln!(code, "pub const {}: u32 = {};", row.symbol, row.id);
    }
    code.push_str("}\n");
    code
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// The Rust expression of an argument's kind.
fn kind(ty: &str) -> String {
    let handle = |name: &str| match name {
        "ctx" => Some("Context"),
        "module" => Some("Module"),
        "function" => Some("Function"),
        "library" => Some("Library"),
        "kernel" => Some("Kernel"),
        "stream" => Some("Stream"),
        "event" => Some("Event"),
        _ => None,
    };
    if let Some(kind) = handle(ty) {
        return format!("ArgKind::Handle(Kind::{kind})");
    }
    if ty == "<cstr" {
        return "ArgKind::CString".into();
    }
    if let Some(n) = ty.strip_prefix("<bytes") {
        return format!("ArgKind::Bytes({n})");
    }
    if let Some(kind) = ty.strip_prefix('>').and_then(handle) {
        return format!("ArgKind::HandleOut(Kind::{kind})");
    }
    if ty.starts_with(['<', '>']) {
        "ArgKind::Pointer".into()
    } else {
        "ArgKind::Value".into()
    }
}
