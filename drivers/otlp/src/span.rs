//! One span: what it is and when it was.

use stdx::time::Timestamp;

/// A trace's name.
pub(crate) type TraceId = [u8; 16];
/// A span's name within its trace.
pub(crate) type SpanId = [u8; 8];

/// The protocol's number for a span that failed.
pub(crate) const STATUS_ERROR: u64 = 2;

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Truth(bool),
}

/// Whose side of a call it is; the numbers are the protocol's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal = 1,
    Server = 2,
}

/// A span of one trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Span {
    pub(crate) context: Context,
    /// `None`: the trace begins with it.
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) attributes: Vec<(String, Value)>,
    /// Why it failed, if it did.
    pub(crate) error: Option<String>,
}

/// Nanoseconds since 1970, as the protocol has them.
pub(crate) fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.unix_nanos()).unwrap_or_default()
}

/// What a span's children need of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// It is sent.
    pub(crate) sampled: bool,
}

impl Context {
    /// A caller's, as `traceparent` has it: `00-TRACE-SPAN-FLAGS` (W3C Trace Context, 3.2). What is wrong is no caller.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version = parts.next().filter(|v| v.len() == 2 && is_hex(v) && *v != "ff")?;
        let trace: TraceId = bytes(parts.next()?)?;
        let span: SpanId = bytes(parts.next()?)?;
        let [flags] = bytes::<1>(parts.next()?)?;
        // Later versions may have more parts; the first has none.
        if version == "00" && parts.next().is_some() || trace == [0; 16] || span == [0; 8] {
            return None;
        }
        Some(Self { trace, span, sampled: flags & 1 == 1 })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    (text.len() == 2 * N && is_hex(text)).then_some(())?;
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_span_is_read_or_ignored() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let found = Context::parse(good).unwrap();
        assert_eq!((found.trace[0], found.span[7], found.sampled), (0x0a, 0x31, true));
        assert!(!Context::parse(&good.replace("-01", "-00")).unwrap().sampled);
        assert!(Context::parse(&good.replace("00-0a", "01-0a").replace("-01", "-01-x")).is_some());
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-äaf7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(Context::parse(bad), None, "{bad}");
        }
    }
}
