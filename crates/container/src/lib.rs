//! One container's life: state machine, driver task, configuration to OCI specification.
