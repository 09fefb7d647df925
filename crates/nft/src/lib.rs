//! Desired firewall rules as values, and the netlink batches that apply them.
