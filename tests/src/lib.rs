//! User stories through the real programs.
