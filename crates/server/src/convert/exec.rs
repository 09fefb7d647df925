//! Exec sessions.

use api::{ExecCreateBody, ExecInspect, ExecProcess};
use engine::{ExecConfig, ExecView, Resize};
use stdx::{Error, Result};

/// What is asked for.
pub(crate) fn create(body: ExecCreateBody) -> Result<ExecConfig> {
    let cmd = body.cmd.unwrap_or_default();
    if cmd.is_empty() {
        return Err(Error::invalid("No exec command specified"));
    }
    let env = body.env.unwrap_or_default();
    if cmd.iter().chain(&env).chain([&body.user, &body.working_dir]).any(|text| text.contains('\0'))
    {
        return Err(Error::invalid("invalid argument: a text contains a NUL character"));
    }
    crate::edge::detach::DetachKeys::parse(&body.detach_keys).map_err(|_| {
        Error::invalid(format!("Invalid escape keys ({}) provided", body.detach_keys))
    })?;
    Ok(ExecConfig {
        cmd,
        env,
        user: body.user,
        working_dir: body.working_dir,
        privileged: body.privileged,
        tty: body.tty,
        attach_stdin: body.attach_stdin,
        attach_stdout: body.attach_stdout,
        attach_stderr: body.attach_stderr,
        detach_keys: body.detach_keys,
        console_size: body.console_size.map(|size| resize(size.0)).transpose()?,
    })
}

/// A terminal's size from rows and columns.
pub(crate) fn resize([rows, columns]: [u64; 2]) -> Result<Resize> {
    let fit = |n: u64| {
        u16::try_from(n).map_err(|_| Error::invalid(format!("invalid resize height or width: {n}")))
    };
    Ok(Resize { rows: fit(rows)?, columns: fit(columns)? })
}

/// An exec session as inspected.
pub(crate) fn inspect(view: ExecView) -> ExecInspect {
    let config = view.config;
    let mut cmd = config.cmd.into_iter();
    ExecInspect {
        id: view.id,
        running: view.running,
        exit_code: view.exit_code.map(i64::from),
        process_config: ExecProcess {
            tty: config.tty,
            entrypoint: cmd.next().unwrap_or_default(),
            arguments: cmd.collect(),
            privileged: config.privileged,
            user: config.user,
        },
        open_stdin: config.attach_stdin,
        open_stderr: config.attach_stderr,
        open_stdout: config.attach_stdout,
        can_remove: !view.running && view.exit_code.is_some(),
        container_id: view.container_id,
        detach_keys: String::new(),
        pid: i64::from(view.pid),
    }
}
