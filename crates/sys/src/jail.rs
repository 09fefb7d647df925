//! Threads that may touch one directory and nothing else (Landlock and seccomp).
