//! OCI and Docker image documents: descriptors, manifests, indexes, configurations.
