//! The image of a checkpoint: one folder that holds a manifest and one file for
//! each section.
//!
//! ```text
//! DIR/NAME/
//!   ckpt-00000001/            a committed image, mode 0700
//!     manifest                what there is, and the checksums of it; mode 0600
//!     fds.section             one file a section
//!     memory.section
//!     memory-data.section
//!   .tmp-2-4711/              image 2, being written by process 4711
//! ```
//!
//! A section file, drawn to the byte in `layout`:
//!
//! ```text
//! | header, 64 bytes | pad | chunk 0 | pad | chunk 1 | … | chunk table, 32 bytes each |
//! ```
//!
//! Every byte is covered: chunks by XXH3 in the chunk table, pads must be zero,
//! header and table by the section's checksum in the manifest, the manifest by its
//! own. `docs/image-format.md` is the specification.
//!
//! [`Store`] finds, creates, lists and prunes images; [`ImageWriter`] writes one;
//! [`ImageReader`] reads one, from bytes that it does not trust: it never panics,
//! and takes no more memory than the files' sizes justify.

mod error;
mod layout;
mod reader;
mod section_reader;
mod section_writer;
mod store;
mod writer;

pub use error::{Fault, ImageError};
pub use layout::{Codec, FORMAT_VERSION, MAX_CHUNK, SectionKind, SectionRecord};
pub use reader::{ImageReader, Verified};
pub use section_reader::SectionReader;
pub use section_writer::{Compression, SectionWriter};
pub use store::{ImageInfo, Store};
pub use writer::ImageWriter;

#[cfg(test)]
mod tests;
