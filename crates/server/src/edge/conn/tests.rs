use super::*;
use crate::edge::pump::{self, Streams};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Answers by path; tells what became of its work.
struct Fake {
    news: mpsc::UnboundedSender<&'static str>,
}

/// Says so when it is dropped.
struct Dropped(mpsc::UnboundedSender<&'static str>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _gone = self.0.send("dropped");
    }
}

impl Service for Fake {
    fn call(self: Arc<Self>, request: Request<Incoming>) -> Boxed<Outcome> {
        Box::pin(async move {
            let respond = |text: &'static str| Outcome::Respond(Response::new(Body::from(text)));
            match request.uri().path() {
                "/now" => respond("now"),
                "/echo" => {
                    let bytes = request.into_body().collect().await.unwrap().to_bytes();
                    Outcome::Respond(Response::new(Body::Whole(Some(bytes))))
                }
                "/panic" => panic!("a test"),
                "/late-panic" => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    panic!("a test")
                }
                "/slow" => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let _gone = self.news.send("done");
                    respond("slow")
                }
                "/stream" => {
                    let guard = Dropped(self.news.clone());
                    let stream =
                        futures_util::stream::unfold((0, guard), |(n, guard)| async move {
                            if n > 0 {
                                pending::<()>().await;
                            }
                            Some((Ok(Bytes::from_static(b"first")), (n + 1, guard)))
                        });
                    Outcome::Respond(Response::new(Body::pieces(stream)))
                }
                "/raw" => {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    Outcome::TakeOver(TakeOver::new(move |raw| async move {
                        let (mut shim, theirs) = UnixStream::pair().unwrap();
                        shim.write_all(&body).await.unwrap();
                        raw.socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                        let streams = Streams {
                            history: Vec::new(),
                            shim: Some(theirs),
                            stdin: true,
                            detach: None,
                        };
                        let pumping = tokio::spawn(pump::run(raw, streams));
                        let mut seen = [0; 5];
                        shim.read_exact(&mut seen).await.unwrap();
                        shim.write_all(&seen).await.unwrap();
                        drop(shim);
                        pumping.await.unwrap();
                    }))
                }
                _ => Outcome::Respond(Response::builder().status(404).body(Body::empty()).unwrap()),
            }
        })
    }

    fn panicked(&self) -> Response<Body> {
        Response::builder()
            .status(StatusCode::INTERNAL_SERVER_ERROR)
            .body(Body::from("panicked"))
            .unwrap()
    }
}

struct Rig {
    client: UnixStream,
    news: mpsc::UnboundedReceiver<&'static str>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

fn rig() -> Rig {
    rig_with(Patience { head: Duration::from_millis(100), silence: Duration::from_secs(60) })
}

fn rig_with(patience: Patience) -> Rig {
    let (client, ours) = UnixStream::pair().unwrap();
    let (sender, news) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let service = Arc::new(Fake { news: sender });
    let serving =
        tokio::spawn(serve_with(Socket::Unix(ours), service, stopped, Arc::default(), patience));
    Rig { client, news, stop, serving }
}

impl Rig {
    async fn send(&mut self, text: &str) {
        self.client.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `end` was seen.
    async fn until(&mut self, end: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            let mut byte = [0; 1];
            while !String::from_utf8_lossy(&seen).contains(end) {
                assert_eq!(
                    self.client.read(&mut byte).await.unwrap(),
                    1,
                    "{:?}",
                    String::from_utf8_lossy(&seen)
                );
                seen.push(byte[0]);
            }
        };
        timeout(Duration::from_secs(5), reading).await.expect("in time");
        String::from_utf8(seen).unwrap()
    }

    async fn rest(&mut self) -> String {
        let mut seen = String::new();
        timeout(Duration::from_secs(5), self.client.read_to_string(&mut seen))
            .await
            .expect("in time")
            .unwrap();
        seen
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let mut rig = rig();
    rig.send("GET /now HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.until("\r\n\r\nnow").await;
    // Longer than a head may take: idle is not late.
    tokio::time::sleep(Duration::from_millis(250)).await;
    rig.send("POST /echo HTTP/1.1\r\nHost: d\r\nContent-Length: 2\r\n\r\nhiGET /now HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.until("\r\n\r\nhi").await;
    rig.until("\r\n\r\nnow").await;
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let mut rig = rig();
    rig.send("GET /now HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.until("\r\n\r\nnow").await;
    rig.send("GET /now HT").await;
    rig.rest().await;
    timeout(Duration::from_secs(5), rig.serving).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_head_byte_by_byte_is_not_waited_for() {
    let mut rig = rig_with(PATIENCE);
    let begun = Instant::now();
    while rig.client.write_all(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = begun.elapsed();
    assert!((10..=12).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn only_who_never_asked_anything_may_not_be_silent() {
    let begun = Instant::now();
    let mut silent = rig_with(PATIENCE);
    silent.client.read_to_end(&mut Vec::new()).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 300);

    let mut idle = rig_with(PATIENCE);
    for _ in 0..3 {
        idle.send("GET /now HTTP/1.1\r\nHost: d\r\n\r\n").await;
        let mut answer = vec![0; 200];
        while !answer.ends_with(b"now") {
            let n = idle.client.read(&mut answer).await.unwrap();
            assert_ne!(n, 0);
            answer.truncate(n);
        }
        tokio::time::sleep(Duration::from_hours(10)).await;
    }
}

#[tokio::test]
async fn panics_are_answers() {
    let mut rig = rig();
    for path in ["/panic", "/late-panic", "/panic"] {
        rig.send(&format!("GET {path} HTTP/1.1\r\nHost: d\r\n\r\n")).await;
        assert!(rig.until("panicked").await.starts_with("HTTP/1.1 500 "));
    }
}

#[tokio::test]
async fn a_connection_is_taken_over_with_what_was_read_too_early() {
    let mut rig = rig();
    // The body belongs to the request; what follows it belongs to the stream.
    rig.send("POST /raw HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}abcde").await;
    assert_eq!(rig.rest().await, "HTTP/1.1 200 OK\r\n\r\n{}abcde");
    timeout(Duration::from_secs(5), rig.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_chunked_body_before_a_take_over_is_read_to_its_end() {
    let mut rig = rig();
    rig.send(
        "POST /raw HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nab",
    )
    .await;
    rig.until("\r\n\r\n{}").await;
    rig.send("cde").await;
    assert_eq!(rig.rest().await, "abcde");
}

#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let mut rig = rig();
    rig.send("GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.client.shutdown().await.unwrap();
    assert!(rig.rest().await.ends_with("slow"));
}

#[tokio::test]
async fn work_that_began_is_finished_although_its_client_left() {
    let mut rig = rig();
    rig.send("GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(rig.client);
    timeout(Duration::from_millis(150), rig.serving)
        .await
        .expect("the connection ends at once")
        .unwrap();
    assert_eq!(timeout(Duration::from_secs(5), rig.news.recv()).await.unwrap(), Some("done"));
}

#[tokio::test]
async fn a_stream_ends_with_its_client_and_with_the_server() {
    let mut rig = rig();
    rig.send("GET /stream HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.until("first").await;
    drop(rig.client);
    assert_eq!(timeout(Duration::from_secs(5), rig.news.recv()).await.unwrap(), Some("dropped"));

    let mut rig = self::rig();
    rig.send("GET /stream HTTP/1.1\r\nHost: d\r\n\r\n").await;
    rig.until("first").await;
    rig.stop.send(true).unwrap();
    timeout(Duration::from_secs(1), rig.serving).await.expect("at once").unwrap();
}

#[tokio::test]
async fn stopping_ends_idle_connections_and_waits_for_busy_ones() {
    let idle = rig();
    let mut busy = rig();
    busy.send("GET /slow HTTP/1.1\r\nHost: d\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    idle.stop.send(true).unwrap();
    busy.stop.send(true).unwrap();
    timeout(Duration::from_secs(1), idle.serving).await.expect("at once").unwrap();
    assert!(busy.rest().await.ends_with("slow"));
}

#[tokio::test]
async fn garbage_is_refused() {
    for garbage in
        ["\x16\x03\x01\x02\x00\x01\x00", "GET\r\n\r\n", "GET / HTTP/1.1\r\nA b: c\r\n\r\n"]
    {
        let mut rig = rig();
        rig.send(garbage).await;
        let answer = rig.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    let mut rig = rig();
    let _maybe_closed = rig
        .client
        .write_all(format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(2_000_000)).as_bytes())
        .await;
    let mut answer = Vec::new();
    let _maybe_reset = timeout(Duration::from_secs(5), rig.client.read_to_end(&mut answer))
        .await
        .expect("in time");
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn quotes_in_request_lines_are_taken_as_go_takes_them() {
    let mut rig = rig();
    let body = "x".repeat(9000);
    let head = format!(
        "POST /echo?filters={{\"a\":[\"<b>\"]}} HTTP/1.1\r\nHost: \"d\"\r\nContent-Length: {}",
        body.len()
    );
    rig.send(&format!("{head}\r\n\r\n{body}")).await;
    rig.until(&body).await;
}
