//! Contract: network drivers, addresses, endpoints.
