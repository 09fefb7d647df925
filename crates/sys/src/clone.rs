//! clone3 with namespaces, a pidfd and, where the kernel can, a cgroup.
