//! Compressed bytes to plain ones; the compression is found by looking.

use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use stdx::{Context as _, Error, Result};

/// What wraps a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    Plain,
    /// gzip, possibly of several members (pigz, igzip and stargz make them).
    Gzip,
    /// Zstandard, possibly of several frames.
    Zstd,
}

/// How much is read at once from below.
const INPUT: usize = 128 * 1024;
/// log2 of the biggest window that a zstd frame may ask for: what the `zstd` program accepts without `--long`.
const ZSTD_WINDOW: u32 = 27;

/// A reader of the plain bytes.
pub struct Decompressed<'a> {
    inner: Inner<'a>,
}

enum Inner<'a> {
    Plain(Input<'a>),
    Gzip(Box<MultiGzDecoder<Input<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<'a>>>),
}

type Input<'a> = BufReader<Box<dyn Read + Send + 'a>>;

/// Finds out what wraps `reader` and unwraps it. `NotImplemented` names xz and bzip2.
pub fn decompress<'a>(mut reader: impl Read + Send + 'a) -> Result<Decompressed<'a>> {
    let mut magic = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut magic).context(|| "read layer")?;
    let compression = detect(&magic)?;
    let whole: Box<dyn Read + Send + 'a> = Box::new(Cursor::new(magic).chain(reader));
    let input = BufReader::with_capacity(INPUT, whole);
    let inner = match compression {
        Compression::Plain => Inner::Plain(input),
        Compression::Gzip => Inner::Gzip(Box::new(MultiGzDecoder::new(input))),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)
                .context(|| "start the zstd decoder")?;
            decoder.window_log_max(ZSTD_WINDOW).context(|| "bound the zstd decoder")?;
            Inner::Zstd(Box::new(decoder))
        }
    };
    Ok(Decompressed { inner })
}

fn detect(magic: &[u8]) -> Result<Compression> {
    Ok(match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // RFC 8878: a frame, or a skippable one in front of it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            return Err(Error::not_implemented("xz-compressed archives"));
        }
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => {
            return Err(Error::not_implemented("bzip2-compressed archives"));
        }
        _ => Compression::Plain,
    })
}

impl Decompressed<'_> {
    /// What was found.
    pub fn compression(&self) -> Compression {
        match self.inner {
            Inner::Plain(_) => Compression::Plain,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
        }
    }
}

impl Read for Decompressed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.inner {
            Inner::Plain(inner) => {
                // Big reads would pass by what is buffered otherwise.
                let available = inner.fill_buf()?;
                let n = available.len().min(buffer.len());
                buffer[..n].copy_from_slice(&available[..n]);
                inner.consume(n);
                Ok(n)
            }
            Inner::Gzip(inner) => inner.read(buffer),
            Inner::Zstd(inner) => inner.read(buffer),
        }
    }
}

impl std::fmt::Debug for Decompressed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressed").field("compression", &self.compression()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> (Compression, io::Result<Vec<u8>>) {
        let mut reader = decompress(bytes).unwrap();
        let compression = reader.compression();
        let mut out = Vec::new();
        (compression, reader.read_to_end(&mut out).map(|_| out))
    }

    #[test]
    fn finds_and_unwraps() {
        let text = b"text ".repeat(100_000);
        assert_eq!(plain(&text).1.unwrap(), text);
        let (compression, out) = plain(&gzip(&text));
        assert_eq!((compression, out.unwrap()), (Compression::Gzip, text.clone()));
        let members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        assert_eq!(plain(&members).1.unwrap(), text);
        let frames = [
            zstd::encode_all(&text[..1000], 1).unwrap(),
            zstd::encode_all(&text[1000..], 1).unwrap(),
        ]
        .concat();
        let (compression, out) = plain(&frames);
        assert_eq!((compression, out.unwrap()), (Compression::Zstd, text));
        assert_eq!(plain(b"").1.unwrap(), b"");
        assert_eq!(plain(b"\x1f").1.unwrap(), b"\x1f");
    }

    #[test]
    fn damage_is_an_error() {
        let whole = gzip(&b"text ".repeat(1000));
        assert!(plain(&whole[..whole.len() - 1]).1.is_err());
        let mut wrong = whole.clone();
        let crc = wrong.len() - 5;
        wrong[crc] ^= 1;
        assert!(plain(&wrong).1.is_err());
        assert!(plain(&[&whole[..], b"junk that is no member"].concat()).1.is_err());
        let frame = zstd::encode_all(&b"text ".repeat(1000)[..], 1).unwrap();
        assert!(plain(&frame[..frame.len() - 1]).1.is_err());
    }

    #[test]
    fn what_is_not_supported_is_named() {
        assert_eq!(
            decompress(&b"\xfd7zXZ\0rest"[..]).unwrap_err().to_string(),
            "xz-compressed archives"
        );
        assert_eq!(
            decompress(&b"BZh91AY"[..]).unwrap_err().to_string(),
            "bzip2-compressed archives"
        );
    }
}
