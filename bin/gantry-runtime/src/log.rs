//! Telling the caller what went wrong, in the ways that callers of runc read.

use std::io::Write as _;

use crate::args::Global;

/// Says it on standard error and, when there is one, in the log file that containerd, conmon and our own shim read.
pub(crate) fn failure(global: &Global, text: &str) {
    eprintln!("gantry-runtime: {text}");
    write(global, "error", text);
}

/// Says in the log, or on standard error without one, what went wrong and does not matter for what was asked.
pub(crate) fn warning(global: &Global, text: &str) {
    if global.log.is_none() {
        eprintln!("gantry-runtime: {text}");
    }
    write(global, "warning", text);
}

/// Says in the log what is being done, with `--debug`.
pub(crate) fn debug(global: &Global, text: &str) {
    if global.debug {
        write(global, "debug", text);
    }
}

fn write(global: &Global, level: &str, text: &str) {
    let Some(path) = &global.log else { return };
    let time = stdx::time::Timestamp::now();
    let line = if global.log_json {
        serde_json::json!({ "level": level, "msg": text, "time": time.to_string() }).to_string()
    } else {
        format!("time={:?} level={level} msg={text:?}", time.to_string())
    };
    // The text is on standard error already; there is nobody else to tell that the log cannot be written.
    let _told = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "{line}"));
}
