//! Files that are one compressed stream: gzip, xz, bzip2, Zstandard, each by its library. What is given
//! is the unpacked stream, all its parts one after the other, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use xz4rust::{XzDecoder, XzError, XzNextBlockResult};

use super::ArchiveKind;

/// Largest dictionary or window, in bytes: what `xz -9` uses. More memory is not given to any file.
const WINDOW: u64 = 64 * 1024 * 1024;
/// Bytes of input held.
const INPUT: usize = 64 * 1024;
/// Longest name kept, in bytes.
const NAME: usize = 1024;

/// The unpacked stream of `input`, and the name it had where the format keeps one.
pub fn open<'a>(
    kind: ArchiveKind,
    input: impl Read + 'a,
) -> io::Result<(Option<String>, Box<dyn Read + 'a>)> {
    let input = BufReader::with_capacity(INPUT, input);
    Ok(match kind {
        ArchiveKind::Gzip => {
            let content = GzDecoder::new(input);
            let name = content.header().and_then(|header| header.filename());
            let name = name
                .map(|name| String::from_utf8_lossy(name.get(..NAME).unwrap_or(name)).into_owned());
            (name, Box::new(Gzip(Some(content))))
        }
        ArchiveKind::Bzip2 => (None, Box::new(MultiBzDecoder::new(input))),
        ArchiveKind::Xz => (None, Box::new(Xz::new(input))),
        ArchiveKind::Zstd => (None, Box::new(Zstd(Frame::Between(input)))),
        ArchiveKind::Zip | ArchiveKind::Cabinet | ArchiveKind::Tar | ArchiveKind::SevenZip => {
            return Err(io::ErrorKind::Unsupported.into());
        }
    })
}

/// The members of a gzip file, one after the other. What follows the last one and begins none is not of it, as for
/// gzip itself: tapes and copies pad files.
struct Gzip<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buf)?;
            if read > 0 || buf.is_empty() {
                return Ok(read);
            }
            let Some(member) = self.0.take() else {
                break;
            };
            let mut input = member.into_inner();
            if input.fill_buf()?.starts_with(b"\x1F") {
                self.0 = Some(GzDecoder::new(input));
            }
        }
        Ok(0)
    }
}

/// The unpacked content of a member that a zip archive packed with xz or Zstandard.
pub fn xz<'a>(input: impl Read + 'a) -> impl Read + 'a {
    Xz::new(BufReader::with_capacity(INPUT, input))
}

/// As [`xz`], of Zstandard.
pub fn zstd<'a>(input: impl Read + 'a) -> impl Read + 'a {
    Zstd(Frame::Between(BufReader::with_capacity(INPUT, input)))
}

/// The streams of an xz file, one after the other.
struct Xz<R> {
    input: R,
    decoder: Box<XzDecoder<'static>>,
    ended: bool,
}

impl<R: BufRead> Xz<R> {
    fn new(input: R) -> Xz<R> {
        Xz {
            input,
            decoder: XzDecoder::in_heap_with_alloc_dict_size(0, WINDOW as usize),
            ended: false,
        }
    }

    /// Passes the padding between two streams; true when another one follows.
    fn next_stream(&mut self) -> io::Result<bool> {
        loop {
            let held = self.input.fill_buf()?;
            let zeros = held.iter().take_while(|byte| **byte == 0).count();
            let (more, end) = (zeros < held.len(), held.is_empty());
            self.input.consume(zeros);
            if more || end {
                return Ok(more);
            }
        }
    }
}

impl<R: BufRead> Read for Xz<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            let held = self.input.fill_buf()?;
            if held.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let (taken, given, end) = match self.decoder.decode(held, buf) {
                Ok(XzNextBlockResult::NeedMoreData(taken, given)) => (taken, given, false),
                Ok(XzNextBlockResult::EndOfStream(taken, given)) => (taken, given, true),
                Err(XzError::DictionaryTooLarge(_)) => return Err(too_large()),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            self.input.consume(taken);
            if end {
                self.decoder.reset();
                self.ended = !self.next_stream()?;
            }
            if given > 0 {
                return Ok(given);
            }
        }
        Ok(0)
    }
}

/// The frames of a Zstandard file, one after the other.
struct Zstd<R: Read>(Frame<R>);

enum Frame<R: Read> {
    Between(R),
    Open(Box<(FrameDecoder, R)>),
    End,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(&mut self.0, Frame::End) {
                Frame::End => return Ok(0),
                Frame::Between(mut input) => {
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    self.0 = open_frame(input)?;
                }
                Frame::Open(mut frame) => {
                    let (decoder, input) = &mut *frame;
                    while decoder.can_collect() == 0 && !decoder.is_finished() {
                        decoder
                            .decode_blocks(&mut *input, BlockDecodingStrategy::UptoBlocks(1))
                            .map_err(damaged)?;
                    }
                    let read = decoder.read(buf)?;
                    self.0 = match read {
                        0 => Frame::Between(frame.1),
                        _ => Frame::Open(frame),
                    };
                    if read > 0 {
                        return Ok(read);
                    }
                }
            }
        }
    }
}

fn open_frame<R: BufRead>(mut input: R) -> io::Result<Frame<R>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(WINDOW);
    match decoder.init(&mut input) {
        Ok(()) => Ok(Frame::Open(Box::new((decoder, input)))),
        Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
            length,
            ..
        })) => {
            let length = u64::from(length);
            let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink())?;
            match skipped == length {
                true => Ok(Frame::Between(input)),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Err(FrameDecoderError::WindowSizeTooBig { .. }) => Err(too_large()),
        Err(error) => Err(damaged(error)),
    }
}

fn damaged(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// It wants more memory than is given to any file.
fn too_large() -> io::Error {
    io::Error::from(io::ErrorKind::OutOfMemory)
}
