//! Medians, and figures with as many digits as mean something.

/// The median; NaN of nothing.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len(), sorted.len() % 2) {
        (0, _) => f64::NAN,
        (_, 1) => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// Four significant digits.
#[must_use]
pub fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

/// 10^9 bytes a second.
#[must_use]
pub fn gb_s(bytes: f64, seconds: f64) -> f64 {
    short(bytes / seconds / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert!(median(&[]).is_nan());
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn four_digits_are_kept() {
        assert_eq!(short(12345.6), 12350.0);
        assert_eq!(short(0.012_345_6), 0.012_35);
        assert_eq!(short(0.0), 0.0);
        assert_eq!(gb_s(5e9, 2.0), 2.5);
    }
}
