//! One small synchronous netlink transport for rtnetlink and nf_tables.
