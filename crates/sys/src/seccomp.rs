//! Installing seccomp programs.
