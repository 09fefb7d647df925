use super::*;
use crate::relay::{Relayed, Reply};
use proptest::prelude::*;

/// A query as clients send it.
fn query(name: &str, kind: u16, size: Option<u16>) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, u8::from(size.is_some())];
    bytes.extend(name::encode(name).unwrap());
    bytes.extend(kind.to_be_bytes());
    bytes.extend(CLASS_IN.to_be_bytes());
    if let Some(size) = size {
        bytes.extend([0, 0, 41]);
        bytes.extend(size.to_be_bytes());
        bytes.extend([0; 6]);
    }
    bytes
}

fn addresses(count: u8) -> Vec<IpAddr> {
    (0..count).map(|n| IpAddr::from([10, 0, 0, n])).collect()
}

#[test]
fn an_answer_byte_by_byte() {
    let query = Query::parse(&query("db", TYPE_A, None)).unwrap();
    let answer = query.addresses(&addresses(1), Transport::Udp);
    let expected = [
        &[0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
        b"\x02db\0\0\x01\0\x01",
        &[0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 10, 0, 0, 0],
    ]
    .concat();
    assert_eq!(answer, expected);
}

#[test]
fn edns_is_answered_with_edns() {
    let query = Query::parse(&query("db", TYPE_PTR, Some(4096))).unwrap();
    assert_eq!(query.limit(Transport::Udp), 4096);
    let answer = query.pointer("web.net", Transport::Udp).unwrap();
    assert_eq!(answer[11], 1);
    assert_eq!(answer[answer.len() - 11..], [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    assert!(answer.windows(9).any(|w| w == b"\x03web\x03net\0"));
    assert_eq!(query.pointer(&"n".repeat(64), Transport::Udp), None);
    // A size below what everyone takes is nobody's wish.
    let small = Query::parse(&super::tests::query("db", TYPE_A, Some(100))).unwrap();
    assert_eq!(small.limit(Transport::Udp), 512);
}

#[test]
fn what_does_not_fit_is_left_out_and_said_so() {
    for (size, fit) in [(None, 30), (Some(1232), 75), (Some(600), 35)] {
        let query = Query::parse(&query("db", TYPE_A, size)).unwrap();
        let answer = query.addresses(&addresses(200), Transport::Udp);
        assert!(answer.len() <= query.limit(Transport::Udp));
        assert_eq!(
            (answer[2] & 2, u16::from_be_bytes([answer[6], answer[7]])),
            (2, fit),
            "{size:?}"
        );
        let whole = query.addresses(&addresses(200), Transport::Tcp);
        assert_eq!((whole[2] & 2, whole[7]), (0, 200));
    }
}

#[test]
fn what_is_no_query() {
    let good = query("db", TYPE_A, Some(512));
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        Query::parse(&bytes).map(|_| ())
    };
    assert_eq!(with(0, 9), Ok(()));
    assert_eq!(with(2, 0x81), Err(Malformed::Ignore));
    assert_eq!(with(2, 0x29), Err(Malformed::Fail(Rcode::NotImp)));
    assert_eq!(with(5, 2), Err(Malformed::Fail(Rcode::FormErr)));
    assert_eq!(with(5, 0), Err(Malformed::Fail(Rcode::FormErr)));
    assert_eq!(with(11, 2), Err(Malformed::Fail(Rcode::FormErr)));
    assert_eq!(with(7, 1), Err(Malformed::Fail(Rcode::FormErr)));
    // A question that points to itself.
    assert_eq!(with(12, 0xc0), Err(Malformed::Fail(Rcode::FormErr)));
    assert_eq!(Query::parse(&good[..11]), Err(Malformed::Ignore));
    assert_eq!(
        failure(&good, Rcode::FormErr).unwrap(),
        [0x12, 0x34, 0x81, 0x01, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(failure(&good[..11], Rcode::FormErr), None);
}

#[test]
fn only_the_answer_to_the_question_is_taken() {
    let asked = query("Example.com", TYPE_A, None);
    let relayed = Relayed::new(&asked, 0xbeef);
    assert_eq!(relayed.bytes()[..2], [0xbe, 0xef]);
    let mut good = relayed.bytes().to_vec();
    good[2] |= 0x80;
    assert_eq!(relayed.judge(&good), Reply::Answer);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        relayed.judge(&bytes)
    };
    assert_eq!(with(0, 0), Reply::Foreign);
    assert_eq!(with(1, 0), Reply::Foreign);
    assert_eq!(with(2, 0x01), Reply::Foreign);
    assert_eq!(with(13, b'e'), Reply::Answer);
    assert_eq!(with(13, b'f'), Reply::Foreign);
    assert_eq!(with(good.len() - 3, 28), Reply::Foreign);
    assert_eq!(with(3, 2), Reply::Failure);
    assert_eq!(with(3, 3), Reply::Answer);
    assert_eq!(with(5, 0), Reply::Foreign);
    assert_eq!(relayed.judge(&[&good[..3], &[0x85, 0, 0], &[0; 6]].concat()), Reply::Failure);
    let mut long = [&good[..], &[1; 600]].concat();
    relayed.for_client(&mut long, 512);
    assert_eq!((&long[..2], long[2] & 2, long.len()), (&[0x12, 0x34][..], 2, good.len()));
    relayed.for_client(&mut good, 512);
    assert_eq!(good[..2], [0x12, 0x34]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever comes, there is an end, and no answer is longer than allowed.
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..600), other in prop::collection::vec(any::<u8>(), 0..700)) {
        check(&bytes, &other);
    }

    /// The same for what is almost a query.
    #[test]
    fn nor_are_broken_queries(
        changes in prop::collection::vec((0usize..64, any::<u8>()), 0..6),
        cut in 0usize..80,
        edns in prop::option::of(any::<u16>()),
    ) {
        let mut bytes = query("web.Some-Network.example", TYPE_A, edns);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        bytes.truncate(bytes.len().min(cut.max(12)));
        let other = bytes.clone();
        check(&bytes, &other);
    }
}

fn check(bytes: &[u8], other: &[u8]) {
    let _failed = failure(bytes, Rcode::FormErr);
    let Ok(query) = Query::parse(bytes) else { return };
    let limit = query.limit(Transport::Udp);
    let answer = query.addresses(&addresses(255), Transport::Udp);
    assert!(answer.len() <= limit);
    // It is an answer to the question that was asked, in everybody's eyes.
    let relayed = Relayed::new(bytes, query.id);
    assert_eq!(relayed.judge(&answer), Reply::Answer);
    if let Some(pointer) = query.pointer("a.b", Transport::Udp) {
        assert!(pointer.len() <= limit);
    }
    let _judged = relayed.judge(other);
    let mut reply = other.to_vec();
    if reply.len() >= HEADER {
        relayed.for_client(&mut reply, 512);
        assert!(reply.len() <= 512);
    }
}

#[test]
fn a_question_alone_is_the_same_question_without_what_was_said_beside() {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1];
    bytes.extend(b"\x01A\x01b\0\0\x1c\0\x01");
    // EDNS with the size 4096 and an option that carries a secret.
    bytes.extend(b"\0\0\x29\x10\0\0\0\0\0\0\x0a\xfd\xe9\0\x06secret");
    let query = Query::parse(&bytes).unwrap();
    let alone = query.alone();
    assert!(!alone.windows(6).any(|part| part == b"secret"));
    assert_eq!(Query::parse(&alone).unwrap(), query);
    assert_eq!(query.udp_size, Some(4096));
}
