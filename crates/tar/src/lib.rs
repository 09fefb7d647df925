//! Archive bytes to entries and back.
