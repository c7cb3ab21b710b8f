//! How figures look to people.

/// A number of bytes.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number of milliseconds.
pub(crate) fn milliseconds(count: f64) -> String {
    if count >= 1000.0 {
        format!("{:.2} s", count / 1000.0)
    } else if count >= 10.0 {
        format!("{count:.0} ms")
    } else {
        format!("{count:.1} ms")
    }
}

/// `1 thread`, `2 threads`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Rows in columns, each as wide as its widest cell; the last one is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let pad = widths[column] - cell.chars().count();
            line.push_str(cell);
            line.push_str(&" ".repeat(pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let cases: [(u64, &str); 7] = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (4 << 30, "4.0 GiB"),
            (u64::MAX, "16384.0 PiB"),
        ];
        for (count, shown) in cases {
            assert_eq!(bytes(count), shown);
        }
        assert_eq!(milliseconds(3.21), "3.2 ms");
        assert_eq!(milliseconds(250.4), "250 ms");
        assert_eq!(milliseconds(1234.0), "1.23 s");
        assert_eq!(count(1, "thread"), "1 thread");
        assert_eq!(count(0, "thread"), "0 threads");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "1"], ["long", "2"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(table(&rows), "a     1\nlong  2\n");
        assert_eq!(table(&[]), "");
    }
}
