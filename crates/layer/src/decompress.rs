//! Compressed bytes to plain ones; the compression is found by looking.

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use stdx::{Context as _, Result};

/// What wraps a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    Plain,
    /// gzip, possibly of several members (pigz, igzip and stargz make them).
    Gzip,
    /// Zstandard, possibly of several frames.
    Zstd,
    /// xz, possibly of several streams.
    Xz,
    /// bzip2, possibly of several streams.
    Bzip2,
}

/// How much is read at once from below.
const INPUT: usize = 128 * 1024;
/// log2 of the biggest window that a zstd frame may ask for: what the `zstd` program accepts without `--long`.
const ZSTD_WINDOW: u32 = 27;
/// The most memory that an xz stream may ask for, in KiB: as much as zstd's window, which is twice what `xz -9` needs.
/// bzip2 cannot ask for more than 4 MiB.
const XZ_MEMORY: u32 = (128 + 1) << 10;

/// A reader of the plain bytes.
pub struct Decompressed<'a> {
    inner: Inner<'a>,
}

enum Inner<'a> {
    Plain(Input<'a>),
    Gzip(Box<MultiGzDecoder<Input<'a>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<'a>>>),
    Xz(Box<XzReader<Input<'a>>>),
    Bzip2(Box<MultiBzDecoder<Input<'a>>>),
}

type Input<'a> = BufReader<Box<dyn Read + Send + 'a>>;

/// Finds out what wraps `reader` and unwraps it.
pub fn decompress<'a>(mut reader: impl Read + Send + 'a) -> Result<Decompressed<'a>> {
    let mut magic = Vec::new();
    reader.by_ref().take(6).read_to_end(&mut magic).context(|| "read layer")?;
    let compression = detect(&magic);
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
        Compression::Xz => Inner::Xz(Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY))),
        Compression::Bzip2 => Inner::Bzip2(Box::new(MultiBzDecoder::new(input))),
    };
    Ok(Decompressed { inner })
}

fn detect(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // RFC 8878: a frame, or a skippable one in front of it.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Compression::Bzip2,
        _ => Compression::Plain,
    }
}

impl Decompressed<'_> {
    /// What was found.
    pub fn compression(&self) -> Compression {
        match self.inner {
            Inner::Plain(_) => Compression::Plain,
            Inner::Gzip(_) => Compression::Gzip,
            Inner::Zstd(_) => Compression::Zstd,
            Inner::Xz(_) => Compression::Xz,
            Inner::Bzip2(_) => Compression::Bzip2,
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
            Inner::Xz(inner) => inner.read(buffer),
            Inner::Bzip2(inner) => inner.read(buffer),
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

    /// "text " a thousand times, by `xz` (xz-utils) with its default dictionary of 8 MiB.
    const XZ: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\xe0\x13\x87\x00$]\
        \x00:\x19Kx\x10<\x19%\x91\xb6c\xb8\xaee\x8b\x7f(<\x01\x8e:GG\xebY\xba}2\xc0.\xd2\x02D\xc4|\
        \x00\x00\x92\xd5\xa5\xb2yg\x03\x95\x00\x01@\x88'\x00\x00\x00e\xb2~p\xb1\xc4g\xfb\x02\x00\
        \x00\x00\x00\x04YZ";
    /// Where the block's header is, where in it the dictionary's size, and where its checksum.
    const XZ_BLOCK: [usize; 3] = [12, 16, 20];

    /// [`XZ`] with another size of dictionary: 40 is 4 GiB, two less a half of it.
    fn xz(dictionary: u8) -> Vec<u8> {
        let [block, size, sum] = XZ_BLOCK;
        let mut bytes = XZ.to_vec();
        bytes[size] = dictionary;
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[block..sum]);
        bytes[sum..sum + 4].copy_from_slice(&crc.sum().to_le_bytes());
        bytes
    }

    fn bzip2(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn xz_and_bzip2_are_unwrapped() {
        let text = b"text ".repeat(1000);
        let (compression, out) = plain(XZ);
        assert_eq!((compression, out.unwrap()), (Compression::Xz, text.clone()));
        assert_eq!(plain(&[XZ, &[0; 8], XZ].concat()).1.unwrap(), text.repeat(2));
        let (compression, out) = plain(&bzip2(&text));
        assert_eq!((compression, out.unwrap()), (Compression::Bzip2, text.clone()));
        let streams = [bzip2(&text), bzip2(b""), bzip2(b"rest")].concat();
        assert_eq!(plain(&streams).1.unwrap(), [&text[..], b"rest"].concat());
    }

    #[test]
    fn damaged_xz_and_bzip2_are_errors() {
        for whole in [XZ.to_vec(), bzip2(&b"text ".repeat(1000))] {
            for cut in [7, whole.len() / 2, whole.len() - 1] {
                assert!(plain(&whole[..cut]).1.is_err(), "cut at {cut}");
            }
            for at in 6..whole.len() {
                let mut wrong = whole.clone();
                wrong[at] ^= 0x55;
                // Whatever it is, it must not be another text.
                if let Ok(out) = plain(&wrong).1 {
                    assert_eq!(out, b"text ".repeat(1000), "changed at {at}");
                }
            }
            assert!(plain(&[&whole[..], b"junk that is no stream"].concat()).1.is_err());
        }
    }

    #[test]
    fn xz_may_not_ask_for_more_memory_than_zstd() {
        assert_eq!(xz(XZ[XZ_BLOCK[1]]), XZ);
        assert_eq!(plain(&xz(30)).1.unwrap().len(), 5000);
        for too_much in [31, 36, 40] {
            assert!(plain(&xz(too_much)).1.is_err(), "{too_much}");
        }
    }
}
