//! Reads `driver.table`: the one place that knows its syntax. Shared by the build scripts of the
//! dispatcher and of the stub library, and by tests; it must depend on nothing but std.

/// One row of the table.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Call id: the row's number.
    pub(crate) id: u32,
    /// Exported symbol.
    pub(crate) symbol: String,
    /// Name under which `cuGetProcAddress` knows it.
    pub(crate) base: String,
    /// CUDA version of this variant.
    pub(crate) version: u32,
    /// Stream 0 is the calling thread's default stream.
    pub(crate) per_thread: bool,
    /// Class, without `@ctx`.
    pub(crate) class: String,
    /// The class had `@ctx`.
    pub(crate) on_context: bool,
    /// `generic`, `upper`, a dispatcher function, or the key of a reason.
    pub(crate) handler: String,
    /// Arguments; `None` when the row does not say.
    pub(crate) args: Option<Vec<Arg>>,
}

/// One argument.
#[derive(Debug, Clone)]
pub(crate) struct Arg {
    /// Its name in the documentation.
    pub(crate) name: String,
    /// Its type as in the table, without `#`.
    pub(crate) ty: String,
    /// Part of the key of the state that the call sets.
    pub(crate) key: bool,
}

/// The whole table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Rows in the order of their ids.
    pub(crate) rows: Vec<Row>,
    /// Reasons for refusals: key and text.
    pub(crate) reasons: Vec<(String, String)>,
}

const CLASSES: [&str; 7] = [
    "query", "work", "create", "destroy", "state", "local", "refused",
];

/// Parses the table; an error names the line.
pub(crate) fn parse(text: &str) -> Result<Table, String> {
    let mut table = Table::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(rest) = line.strip_prefix("reason ") {
            let (key, why) = rest
                .split_once(' ')
                .ok_or(format!("line {}: a reason without text", number + 1))?;
            table.reasons.push((key.into(), why.into()));
            continue;
        }
        let row = row(line).map_err(|e| format!("line {}: {e}: {line}", number + 1))?;
        if row.id as usize != table.rows.len() {
            return Err(format!(
                "line {}: id {} where {} was expected",
                number + 1,
                row.id,
                table.rows.len()
            ));
        }
        table.rows.push(row);
    }
    for row in &table.rows {
        if row.class == "refused" && !table.reasons.iter().any(|(key, _)| *key == row.handler) {
            return Err(format!(
                "{}: no reason is called {}",
                row.symbol, row.handler
            ));
        }
        if row.class != "refused" && row.args.is_none() {
            return Err(format!(
                "{}: supported, but its arguments are not stated",
                row.symbol
            ));
        }
    }
    Ok(table)
}

fn row(line: &str) -> Result<Row, String> {
    let mut words = line.split_whitespace();
    let mut next = |what: &str| words.next().map(str::to_owned).ok_or(format!("no {what}"));
    let id = next("id")?.parse().map_err(|_| "the id is no number")?;
    let symbol = next("symbol")?;
    let base = next("base name")?;
    let version = next("version")?
        .parse()
        .map_err(|_| "the version is no number")?;
    let per_thread = match next("stream")?.as_str() {
        "legacy" => false,
        "per-thread" => true,
        other => return Err(format!("{other} is neither legacy nor per-thread")),
    };
    let class = next("class")?;
    let handler = next("handler")?;
    let (class, on_context) = match class.strip_suffix("@ctx") {
        Some(class) => (class.to_owned(), true),
        None => (class, false),
    };
    if !CLASSES.contains(&class.as_str()) {
        return Err(format!("{class} is no class"));
    }
    let words: Vec<&str> = words.collect();
    let args = if words == ["?"] {
        None
    } else {
        Some(
            words
                .iter()
                .map(|word| arg(word))
                .collect::<Result<_, _>>()?,
        )
    };
    Ok(Row {
        id,
        symbol,
        base,
        version,
        per_thread,
        class,
        on_context,
        handler,
        args,
    })
}

fn arg(word: &str) -> Result<Arg, String> {
    let (name, ty) = word.split_once(':').ok_or(format!("{word} has no type"))?;
    let (key, ty) = match ty.strip_prefix('#') {
        Some(ty) => (true, ty),
        None => (false, ty),
    };
    Ok(Arg {
        name: name.into(),
        ty: ty.into(),
        key,
    })
}
