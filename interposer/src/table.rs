//! The API table as the dispatcher sees it: static rows generated from `table/driver.table`.

use crate::handles::Kind;

/// What a call means for a checkpoint; see the head of `driver.table`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks; nothing is recorded.
    Query,
    /// Device work, drained before a checkpoint.
    Work,
    /// Makes an object.
    Create,
    /// Ends an object.
    Destroy,
    /// Changes the state of an object.
    State,
    /// Answered without the driver.
    Local,
    /// Not supported, by name.
    Refused,
}

/// Who serves a call.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// The argument types say it all.
    Generic,
    /// The stub library itself; the call does not come here.
    Upper,
    /// Nobody, for this reason.
    Refused(&'static str),
    /// A function of [`crate::dispatch`].
    Own(fn(&crate::dispatch::Call) -> u32),
}

/// How an argument is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgKind {
    /// As it is.
    Value,
    /// As it is: a pointer to memory of the application.
    Pointer,
    /// A C string that the driver reads.
    CString,
    /// So many bytes that the driver reads.
    Bytes(usize),
    /// A handle: virtual in, real out.
    Handle(Kind),
    /// Where the driver puts a handle: real in, virtual out.
    HandleOut(Kind),
}

/// One argument.
#[derive(Debug)]
pub struct Arg {
    /// Its documented name.
    pub name: &'static str,
    /// How it is passed on.
    pub kind: ArgKind,
    /// Part of the key of the state that the call sets.
    pub key: bool,
}

/// One symbol of the driver API.
pub struct Row {
    /// Call id.
    pub id: u32,
    /// Exported symbol.
    pub symbol: &'static str,
    /// Name without version and stream suffix.
    pub base: &'static str,
    /// CUDA version of this variant.
    pub version: u32,
    /// Stream 0 is the calling thread's default stream.
    pub per_thread: bool,
    /// What it means for a checkpoint.
    pub class: Class,
    /// It acts on the calling thread's current context.
    pub on_context: bool,
    /// Who serves it.
    pub(crate) handler: Handler,
    /// Its arguments.
    pub args: &'static [Arg],
}

include!(concat!(env!("OUT_DIR"), "/rows.rs"));

/// The row of a call id.
pub fn row(id: u32) -> Option<&'static Row> {
    ROWS.get(id as usize)
}

/// The coverage page, `docs/api-coverage.md`: what becomes of every symbol.
pub fn coverage_page() -> String {
    use std::fmt::Write;
    let class = |class: Class| ROWS.iter().filter(|row| row.class == class).count();
    let refused = class(Class::Refused);
    let mut page = format!(
        "# Coverage of the CUDA driver API\n\n\
         Generated from `interposer/table/driver.table` by `GPUCKPT_BLESS=1 cargo test -p interposer --test coverage`.\n\n\
         {} symbols: {} supported, {refused} refused by name with `CUDA_ERROR_NOT_SUPPORTED`. \
         `cuGetProcAddress` finds all that the real driver has.\n\n\
         | class | symbols | at a checkpoint and a restart |\n|---|---|---|\n",
        ROWS.len(),
        ROWS.len() - refused,
    );
    for (kind, meaning) in [
        (Class::Query, "asked of the driver; nothing is recorded"),
        (
            Class::Work,
            "drained before a checkpoint; nothing is recorded",
        ),
        (
            Class::Create,
            "made again; the application keeps its handle or address",
        ),
        (Class::Destroy, "the object's records are gone with it"),
        (Class::State, "the last value is set again"),
        (Class::Local, "answered without the driver"),
        (Class::Refused, "refused at the call, for the reason below"),
    ] {
        let _ = writeln!(
            page,
            "| {} | {} | {meaning} |",
            format!("{kind:?}").to_lowercase(),
            class(kind)
        );
    }
    page.push_str("\n## Supported\n\n| function | class | symbols |\n|---|---|---|\n");
    for (base, rows) in by_base(|row| row.class != Class::Refused) {
        let symbols: Vec<_> = rows.iter().map(|row| format!("`{}`", row.symbol)).collect();
        let class = format!("{:?}", rows[0].class).to_lowercase();
        let _ = writeln!(page, "| {base} | {class} | {} |", symbols.join(" "));
    }
    page.push_str("\n## Refused\n");
    let mut reasons: Vec<&str> = ROWS
        .iter()
        .filter_map(|row| match row.handler {
            Handler::Refused(why) => Some(why),
            _ => None,
        })
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let _ = write!(page, "\n**{reason}**: ");
        let rows = ROWS
            .iter()
            .filter(|row| matches!(row.handler, Handler::Refused(why) if why == reason));
        let symbols: Vec<_> = rows.map(|row| format!("`{}`", row.symbol)).collect();
        let _ = writeln!(page, "{}", symbols.join(" "));
    }
    page
}

/// Rows that fit, by base name.
fn by_base(
    fits: impl Fn(&Row) -> bool,
) -> std::collections::BTreeMap<&'static str, Vec<&'static Row>> {
    let mut bases: std::collections::BTreeMap<&'static str, Vec<&'static Row>> =
        std::collections::BTreeMap::new();
    for row in ROWS.iter().filter(|row| fits(row)) {
        bases.entry(row.base).or_default().push(row);
    }
    bases
}
