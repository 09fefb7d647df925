//! Progress streams (`pull`, `load`): lines, or on a terminal one line per layer that is drawn again.

use crate::exit::{Failure, Result};
use api::{JsonMessage, Progress};
use client::JsonLines;
use std::io::Write;
use types::ByteSize;

/// Where progress is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// It is a terminal.
    pub terminal: bool,
    /// Its width in characters.
    pub width: usize,
}

/// Shows every message of the stream; an error that it reports is the result.
pub(crate) async fn show(
    lines: &mut JsonLines,
    out: &mut impl Write,
    screen: Screen,
) -> Result<()> {
    let mut renderer = Renderer::new(screen);
    while let Some(message) = lines.next::<JsonMessage>().await? {
        let text = renderer.render(&message)?;
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

/// Reads the stream to its end for its error alone.
pub(crate) async fn hide(lines: &mut JsonLines) -> Result<()> {
    while let Some(message) = lines.next::<JsonMessage>().await? {
        failure(&message)?;
    }
    Ok(())
}

fn failure(message: &JsonMessage) -> Result<()> {
    let text = match &message.error_detail {
        Some(detail) if !detail.message.is_empty() => &detail.message,
        _ => &message.error,
    };
    if text.is_empty() { Ok(()) } else { Err(Failure::new(text.clone())) }
}

/// Messages → what to write.
#[derive(Debug)]
pub(crate) struct Renderer {
    screen: Screen,
    /// What has a line of its own, from the top.
    ids: Vec<String>,
}

impl Renderer {
    /// A renderer with nothing on its screen.
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, ids: Vec::new() }
    }

    /// What to write for a message.
    pub(crate) fn render(&mut self, message: &JsonMessage) -> Result<String> {
        failure(message)?;
        let progress = message.progress_detail.unwrap_or_default();
        let bar = bar(progress, self.screen);
        let mut out = String::new();
        let owns_line = !message.id.is_empty() && message.progress_detail.is_some();
        if !self.screen.terminal {
            // Without a cursor to move, a bar would be a new line for every few kilobytes.
            if !bar.is_empty() {
                return Ok(out);
            }
            self.line(message, "", &mut out);
            return Ok(out);
        }
        let mut up = 0;
        if owns_line {
            let line = match self.ids.iter().position(|id| *id == message.id) {
                Some(line) => line,
                None => {
                    self.ids.push(message.id.clone());
                    out.push('\n');
                    self.ids.len() - 1
                }
            };
            up = self.ids.len() - line;
            out.push_str(&format!("\x1b[{up}A"));
            out.push_str("\x1b[2K\r");
        } else {
            // A plain line belongs below everything that is drawn, which is finished with it.
            self.ids.clear();
        }
        self.line(message, &bar, &mut out);
        if up > 0 {
            out.truncate(out.trim_end_matches('\n').len());
            out.push_str(&format!("\r\x1b[{up}B"));
        }
        Ok(out)
    }

    fn line(&self, message: &JsonMessage, bar: &str, out: &mut String) {
        if !message.stream.is_empty() {
            out.push_str(&message.stream);
            return;
        }
        if !message.id.is_empty() {
            out.push_str(&message.id);
            out.push_str(": ");
        }
        out.push_str(&message.status);
        if !bar.is_empty() {
            out.push(' ');
            out.push_str(bar);
        }
        out.push('\n');
    }
}

/// `[====>    ]  1.2MB/4.3MB`, as far as there is room and anything is known.
fn bar(progress: Progress, screen: Screen) -> String {
    if progress.current <= 0 && progress.total <= 0 {
        return String::new();
    }
    let size = |n: i64| ByteSize(u64::try_from(n).unwrap_or(0)).decimal(4);
    let current = size(progress.current);
    if progress.total <= 0 {
        return format!("{current:>8}");
    }
    const BAR: i64 = 50;
    const WIDE: usize = 110;
    let mut out = String::new();
    if screen.width > WIDE || !screen.terminal {
        let done = (progress.current.saturating_mul(BAR) / progress.total).clamp(0, BAR);
        let spaces = usize::try_from(BAR - done).unwrap_or(0);
        let done = usize::try_from(done).unwrap_or(0);
        out.push_str(&format!("[{}>{}] ", "=".repeat(done), " ".repeat(spaces)));
    }
    if progress.current <= progress.total {
        out.push_str(&format!("{current:>8}/{}", size(progress.total)));
    } else {
        out.push_str(&format!("{current:>8}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, progress: Option<(i64, i64)>) -> JsonMessage {
        JsonMessage {
            id: id.into(),
            status: status.into(),
            progress_detail: progress.map(|(current, total)| Progress { current, total }),
            ..JsonMessage::default()
        }
    }

    #[test]
    fn without_a_terminal_bars_are_left_out() {
        let mut renderer = Renderer::new(Screen { terminal: false, width: 80 });
        let mut show = |m: JsonMessage| renderer.render(&m).unwrap();
        assert_eq!(
            show(message("latest", "Pulling from library/busybox", None)),
            "latest: Pulling from library/busybox\n"
        );
        assert_eq!(
            show(message("abc", "Pulling fs layer", Some((0, 0)))),
            "abc: Pulling fs layer\n"
        );
        assert_eq!(show(message("abc", "Downloading", Some((1, 20)))), "");
        assert_eq!(show(message("", "Status: done", None)), "Status: done\n");
        assert_eq!(
            show(JsonMessage { stream: "Loaded\n".into(), ..JsonMessage::default() }),
            "Loaded\n"
        );
    }

    #[test]
    fn on_a_terminal_every_layer_keeps_its_line() {
        let mut renderer = Renderer::new(Screen { terminal: true, width: 120 });
        let mut show = |m: JsonMessage| renderer.render(&m).unwrap();
        assert_eq!(
            show(message("a", "Pulling fs layer", Some((0, 0)))),
            "\n\x1b[1A\x1b[2K\ra: Pulling fs layer\r\x1b[1B"
        );
        assert_eq!(
            show(message("b", "Waiting", Some((0, 0)))),
            "\n\x1b[1A\x1b[2K\rb: Waiting\r\x1b[1B"
        );
        let half = format!("[{}>{}] ", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            show(message("a", "Downloading", Some((1000, 2000)))),
            format!("\x1b[2A\x1b[2K\ra: Downloading {half}     1kB/2kB\r\x1b[2B")
        );
        assert_eq!(show(message("", "Digest: x", None)), "Digest: x\n");
    }

    #[test]
    fn an_error_ends_it() {
        let mut renderer = Renderer::new(Screen { terminal: false, width: 80 });
        assert_eq!(
            renderer.render(&JsonMessage::failure("no space")).unwrap_err().message,
            "no space"
        );
    }
}
