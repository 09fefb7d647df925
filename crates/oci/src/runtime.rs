//! The OCI runtime configuration, `config.json` (runtime-spec 1.2).
