//! The PTX scanner.
