//! Where commands write. Everything goes through here, so that a reader that went away ends a command quietly.

use crate::exit::Result;
use std::io::Write as _;

/// Writes to stdout.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line to stderr. There is nobody to tell when that fails.
pub(crate) fn complain(text: &str) {
    let line = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let _nobody_reads = std::io::stderr().lock().write_all(line.as_bytes());
}
