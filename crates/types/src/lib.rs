//! Names that are parsed once and valid forever: digests, image references, container ids, platforms.
