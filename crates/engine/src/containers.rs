//! Use cases about containers, one file each.

pub mod attach;
pub mod create;
mod lifecycle;
pub(crate) mod links;
pub mod logs;
pub mod stats;
mod top;
pub mod view;
pub mod wait;

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    /// Even if it runs.
    pub force: bool,
    /// With its anonymous volumes.
    pub volumes: bool,
    /// Remove a legacy link instead of a container.
    pub link: bool,
}

/// A terminal's new size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl From<Resize> for task::protocol::TerminalSize {
    fn from(size: Resize) -> Self {
        Self { rows: size.rows, columns: size.columns }
    }
}
