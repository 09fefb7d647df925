//! Registry client: authentication, resolution, fetching.
