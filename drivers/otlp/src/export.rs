//! The thread that sends spans: it sleeps until there is one, waits a while for others, and posts them together.
//!
//! A collector that is away costs spans and one line in the log, never time of whoever made them.

use crate::settings::{Form, Settings};
use crate::span::Span;
use crate::{json, protobuf};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::Instant;
use stdx::{Context as _, Error, Result};

/// What is read of an answer at most: only its first line matters.
const ANSWER: usize = 4096;

/// Where finished spans go.
#[derive(Debug)]
pub(crate) struct Queue {
    spans: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Span(Box<Span>),
    End,
}

/// Sends what is left when it is dropped, and ends.
#[derive(Debug)]
pub struct Sender {
    spans: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Never waits: a span for which there is no room is counted, and dropped.
    pub(crate) fn push(&self, span: Span) {
        if self.spans.try_send(Message::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ended = self.spans.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

pub(crate) fn start(settings: Settings) -> Result<(Queue, Sender)> {
    let (spans, queue) = mpsc::sync_channel(settings.queue);
    let dropped = Arc::new(AtomicU64::new(0));
    let worker = Worker { settings, queue, dropped: Arc::clone(&dropped), failing: false };
    let thread = std::thread::Builder::new()
        .name("otlp".to_owned())
        .spawn(move || worker.run())
        .context(|| "start the thread that sends traces")?;
    let sender = Sender { spans: spans.clone(), thread: Some(thread) };
    Ok((Queue { spans, dropped }, sender))
}

struct Worker {
    settings: Settings,
    queue: Receiver<Message>,
    dropped: Arc<AtomicU64>,
    /// The last request failed, which was said.
    failing: bool,
}

impl Worker {
    fn run(mut self) {
        while let Ok(Message::Span(first)) = self.queue.recv() {
            let mut batch = vec![*first];
            let ended = self.fill(&mut batch);
            let sent = post(&self.settings, &batch);
            self.tell(sent, batch.len());
            if ended {
                return;
            }
        }
    }

    /// Waits for more; whether the end was told.
    fn fill(&self, batch: &mut Vec<Span>) -> bool {
        let until = Instant::now() + self.settings.delay;
        while batch.len() < self.settings.batch {
            let left = until.saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(left) {
                Ok(Message::Span(span)) => batch.push(*span),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
        false
    }

    /// Says once that a collector does not take spans, and once that it does again.
    fn tell(&mut self, sent: Result<()>, spans: usize) {
        match sent {
            Ok(()) if self.failing => {
                let dropped = self.dropped.swap(0, Ordering::Relaxed);
                tracing::info!(dropped, "traces are sent again");
                self.failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                self.dropped.fetch_add(spans as u64, Ordering::Relaxed);
                if !self.failing {
                    tracing::warn!("traces are not sent: {error}");
                }
                self.failing = true;
            }
        }
    }
}

/// One request on a connection of its own: there is one in some seconds at most.
fn post(settings: &Settings, spans: &[Span]) -> Result<()> {
    let (kind, body) = match settings.form {
        Form::Protobuf => ("application/x-protobuf", protobuf::request(&settings.resource, spans)),
        Form::Json => ("application/json", json::request(&settings.resource, spans)),
    };
    let mut request = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: gantryd\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n",
        settings.path,
        settings.host,
        body.len()
    )
    .into_bytes();
    for (key, value) in &settings.headers {
        write!(request, "{key}: {value}\r\n").context(|| "write a header")?;
    }
    request.extend(b"\r\n");
    request.extend(body);
    let text = || settings.address.text();
    let mut connection = settings.address.connect().context(text)?;
    connection.send(&request).context(text)?;
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < ANSWER {
        match connection.receive(&mut piece).context(text)? {
            0 => break,
            n => answer.extend(&piece[..n]),
        }
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).trim().to_owned();
    match line.split(' ').nth(1) {
        Some(code) if code.len() == 3 && code.starts_with('2') => Ok(()),
        _ => Err(Error::internal(format!("{} answered: {line}", text()))),
    }
}
