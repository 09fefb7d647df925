//! OCI runtime library: namespaces, root file system, init, exec.
