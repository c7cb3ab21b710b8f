//! The coverage page says what the table says.

use interposer::table::{Class, ROWS, coverage_page};

#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api-coverage.md");
    if std::env::var_os("GPUCKPT_BLESS").is_some() {
        std::fs::write(path, coverage_page()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        page == coverage_page(),
        "run GPUCKPT_BLESS=1 cargo test -p interposer --test coverage"
    );
}

#[test]
fn every_symbol_of_the_api_has_one_row() {
    let symbols = include_str!("../table/symbols-13.5.txt");
    assert_eq!(symbols.split_whitespace().count(), 686);
    for symbol in symbols.split_whitespace() {
        assert_eq!(
            ROWS.iter().filter(|row| row.symbol == symbol).count(),
            1,
            "{symbol}"
        );
    }
}

/// A per-thread variant is the same call with another meaning of stream 0.
#[test]
fn per_thread_variants_are_served_as_their_legacy_ones() {
    for row in ROWS
        .iter()
        .filter(|row| row.per_thread && row.class != Class::Local)
    {
        let legacy = row
            .symbol
            .trim_end_matches("_ptsz")
            .trim_end_matches("_ptds");
        let legacy = ROWS
            .iter()
            .find(|row| row.symbol == legacy)
            .unwrap_or_else(|| panic!("{legacy}"));
        assert_eq!(row.class, legacy.class, "{}", row.symbol);
        let kinds =
            |row: &interposer::table::Row| row.args.iter().map(|arg| arg.kind).collect::<Vec<_>>();
        assert_eq!(kinds(row), kinds(legacy), "{}", row.symbol);
        assert_eq!(row.base, legacy.base);
    }
}
