//! HTTP edge: routes, versions, conversion, streams.
