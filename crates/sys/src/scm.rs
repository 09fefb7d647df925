//! Descriptors over UNIX sockets.
