//! The shapes that the tables of this crate are written in.
//!
//! The tests give the same names other meanings and include the tables again, so that every
//! constant, size and offset is compared with an independent source.

/// An enumeration of the driver API as a plain integer type and constants of it.
macro_rules! enumeration {
    ($(#[$doc:meta])* $name:ident: $int:ty as $tag:ident { $($constant:ident = $value:expr,)* }) => {
        $(#[$doc])*
        pub type $name = $int;
        $(pub const $constant: $name = $value;)*
    };
}

/// Constants that the header defines by macro.
macro_rules! definitions {
    ($($constant:ident: $int:ty = $value:expr,)*) => {
        $(pub const $constant: $int = $value;)*
    };
}

/// A structure of the driver API; the field names are the header's. `in` names the unnamed
/// union that a field is a member of.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident as $tag:ident { $($field:ident $(in $union:ident)?: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name { $(pub $field: $ty,)* }
    };
}

/// The result codes of one API, with their names and texts.
macro_rules! codes {
    ($ty:ident { $($constant:ident = $value:expr, $text:expr;)* }) => {
        $(pub const $constant: $ty = $ty($value);)*

        /// Code, name and text of every known result, in ascending order of code.
        pub static TABLE: &[(u32, &core::ffi::CStr, &core::ffi::CStr)] = &[
            $(($value, crate::macros::c_str(concat!(stringify!($constant), "\0")),
               crate::macros::c_str(concat!($text, "\0")))),*
        ];

        impl $ty {
            fn entry(self) -> Option<&'static (u32, &'static core::ffi::CStr, &'static core::ffi::CStr)> {
                TABLE.binary_search_by_key(&self.0, |entry| entry.0).ok().and_then(|i| TABLE.get(i))
            }

            /// The constant's name, or `None` for a code this crate does not know.
            #[must_use]
            pub fn name_c(self) -> Option<&'static core::ffi::CStr> {
                self.entry().map(|entry| entry.1)
            }

            /// The API's own text for the code.
            #[must_use]
            pub fn text_c(self) -> Option<&'static core::ffi::CStr> {
                self.entry().map(|entry| entry.2)
            }

            /// The constant's name; unknown codes give a fixed word.
            #[must_use]
            pub fn name(self) -> &'static str {
                self.name_c().and_then(|s| s.to_str().ok()).unwrap_or("unrecognized error code")
            }

            /// The API's own text; unknown codes give a fixed word.
            #[must_use]
            pub fn text(self) -> &'static str {
                self.text_c().and_then(|s| s.to_str().ok()).unwrap_or("unrecognized error code")
            }

            /// `Ok` for success (zero), else the code itself.
            ///
            /// # Errors
            /// Every code but zero.
            pub const fn ok(self) -> Result<(), Self> {
                if self.0 == 0 { Ok(()) } else { Err(self) }
            }

            /// Whether the code is success.
            #[must_use]
            pub const fn is_ok(self) -> bool {
                self.0 == 0
            }
        }

        impl core::fmt::Debug for $ty {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}({})", self.name(), self.0)
            }
        }

        impl core::fmt::Display for $ty {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{} ({}): {}", self.name(), self.0, self.text())
            }
        }

        impl core::error::Error for $ty {}
    };
}

/// A C string from a literal that ends in NUL; a mistake fails the build.
pub(crate) const fn c_str(s: &'static str) -> &'static core::ffi::CStr {
    match core::ffi::CStr::from_bytes_with_nul(s.as_bytes()) {
        Ok(c) => c,
        Err(_) => panic!("a text of the table holds a NUL"),
    }
}
