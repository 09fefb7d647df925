use super::*;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// A client, a shim, and the pump between them.
struct Rig {
    client: UnixStream,
    shim: UnixStream,
    pump: tokio::task::JoinHandle<End>,
}

fn rig(early: &'static [u8], history: &[u8], stdin: bool, detach: Option<&str>) -> Rig {
    let (client, ours) = UnixStream::pair().unwrap();
    let (shim, theirs) = UnixStream::pair().unwrap();
    let raw = Raw { socket: Arc::new(Socket::Unix(ours)), early: Bytes::from_static(early) };
    let detach = detach.map(|keys| DetachKeys::parse(keys).unwrap());
    let streams = Streams { history: history.to_vec(), shim: Some(theirs), stdin, detach };
    let socket = Arc::clone(&raw.socket);
    let pump = tokio::spawn(async move {
        let end = run(raw, streams).await;
        socket.shutdown(Shutdown::Both);
        end
    });
    Rig { client, shim, pump }
}

async fn read(stream: &mut UnixStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    timeout(Duration::from_secs(5), stream.read_exact(&mut got)).await.expect("in time").unwrap();
    assert_eq!(got, wanted);
}

async fn ends(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("in time").unwrap();
    assert_eq!(rest, b"");
}

async fn end(rig: Rig) -> End {
    timeout(Duration::from_secs(5), rig.pump).await.expect("in time").unwrap()
}

#[tokio::test]
async fn bytes_go_both_ways_and_early_ones_first() {
    let mut rig = rig(b"early ", b"history ", true, None);
    rig.client.write_all(b"late").await.unwrap();
    read(&mut rig.shim, b"early late").await;
    rig.shim.write_all(b"out").await.unwrap();
    read(&mut rig.client, b"history out").await;
}

#[tokio::test]
async fn the_end_of_input_is_passed_on_and_output_continues() {
    let mut rig = rig(b"", b"", true, None);
    rig.client.write_all(b"x").await.unwrap();
    rig.client.shutdown().await.unwrap();
    read(&mut rig.shim, b"x").await;
    ends(&mut rig.shim).await;
    rig.shim.write_all(b"after").await.unwrap();
    read(&mut rig.client, b"after").await;
    rig.shim.shutdown().await.unwrap();
    ends(&mut rig.client).await;
    assert_eq!(end(rig).await, End::Output);
}

#[tokio::test]
async fn the_end_of_output_closes_the_client_at_once() {
    let mut rig = rig(b"", b"", true, None);
    rig.shim.write_all(b"last words").await.unwrap();
    rig.shim.shutdown().await.unwrap();
    read(&mut rig.client, b"last words").await;
    ends(&mut rig.client).await;
    let gone = timeout(Duration::from_secs(5), async {
        while rig.client.write_all(b"x").await.is_ok() {}
    })
    .await;
    assert!(gone.is_ok(), "both directions are closed");
    assert_eq!(end(rig).await, End::Output);
}

#[tokio::test]
async fn a_hang_up_is_no_end_of_input() {
    // The shim must see its connection vanish, not half of it: it would close the container's input.
    let rig = rig(b"", b"", true, None);
    drop(rig.client);
    assert_eq!(timeout(Duration::from_secs(5), rig.pump).await.unwrap().unwrap(), End::Client);
    let shim = Socket::Unix(rig.shim);
    shim.read_closed().await;
    assert!(shim.is_hung_up());
}

#[tokio::test]
async fn a_client_that_gave_no_input_and_hangs_up_later_is_noticed() {
    let mut rig = rig(b"", b"", true, None);
    rig.client.shutdown().await.unwrap();
    ends(&mut rig.shim).await;
    drop(rig.client);
    assert_eq!(timeout(Duration::from_secs(5), rig.pump).await.unwrap().unwrap(), End::Client);
}

#[tokio::test]
async fn detach_keys_let_go() {
    let mut rig = rig(b"", b"", true, Some(""));
    rig.client.write_all(b"ls\x10\x11rest").await.unwrap();
    read(&mut rig.shim, b"ls").await;
    assert_eq!(timeout(Duration::from_secs(5), rig.pump).await.unwrap().unwrap(), End::Detached);
    let shim = Socket::Unix(rig.shim);
    shim.read_closed().await;
    assert!(shim.is_hung_up());
}

#[tokio::test]
async fn held_back_keys_arrive_with_the_end_of_input() {
    let mut rig = rig(b"", b"", true, Some(""));
    rig.client.write_all(b"a\x10").await.unwrap();
    rig.client.shutdown().await.unwrap();
    read(&mut rig.shim, b"a\x10").await;
    ends(&mut rig.shim).await;
}

#[tokio::test]
async fn unwanted_input_is_dropped_and_its_end_closes_nothing() {
    let mut rig = rig(b"early", b"", false, None);
    rig.client.write_all(b"noise").await.unwrap();
    rig.client.shutdown().await.unwrap();
    let mut buffer = [0; 8];
    assert!(
        timeout(Duration::from_millis(100), rig.shim.read(&mut buffer)).await.is_err(),
        "nothing arrives"
    );
    rig.shim.write_all(b"out").await.unwrap();
    read(&mut rig.client, b"out").await;
}

#[tokio::test]
async fn a_slow_client_holds_the_container_and_loses_nothing() {
    let mut rig = rig(b"", b"", false, None);
    let total = 8 << 20;
    let writer = tokio::spawn(async move {
        let block = vec![7; 1 << 16];
        for _ in 0..total / block.len() {
            rig.shim.write_all(&block).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!writer.is_finished(), "the writer waits for the reader");
    let mut seen = 0;
    let mut buffer = vec![0; 1 << 16];
    while seen < total {
        seen +=
            timeout(Duration::from_secs(5), rig.client.read(&mut buffer)).await.unwrap().unwrap();
    }
    writer.await.unwrap();
    ends(&mut rig.client).await;
}
