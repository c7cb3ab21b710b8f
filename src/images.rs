//! From what a person writes, NAME or a path, to an image's folder.
