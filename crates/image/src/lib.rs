//! The image model: pull, load, unpack, inspect.
