//! DNS messages, and what the embedded resolver answers, as values. Neither sockets nor a clock.
#![forbid(unsafe_code)]
