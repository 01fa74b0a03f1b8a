//! Where a picture's file ends, by the structure of its container.
//!
//! Decoders are lenient: some fill the part of a file that never arrived with grey, and none looks at what
//! follows the end. So the end is found first: a file that is cut off is refused, and what was appended is
//! not even shown to the decoder. Each walk looks at a byte once and allocates nothing.

use image::ImageFormat;

/// The length of the picture at the start of `bytes`, or nothing where its end is not there.
pub(super) fn end(format: ImageFormat, bytes: &[u8]) -> Option<usize> {
    match format {
        ImageFormat::Png => png(bytes),
        ImageFormat::Jpeg => jpeg(bytes),
        ImageFormat::Gif => gif(bytes),
        ImageFormat::WebP => webp(bytes),
        _ => None,
    }
    .filter(|end| *end <= bytes.len())
}

/// Chunks (length, type, data, CRC) up to `IEND`.
fn png(bytes: &[u8]) -> Option<usize> {
    let mut at = 8_usize;
    loop {
        let kind = at.checked_add(4)?;
        let next =
            at.checked_add(12)?.checked_add(usize::try_from(u32::from_be_bytes(four(bytes, at)?)).ok()?)?;
        if &four(bytes, kind)? == b"IEND" {
            return Some(next);
        }
        at = next;
    }
}

/// Segments up to the end-of-image marker. Between segments there is compressed data, in which `FF 00` is a
/// byte and `FF D0` to `FF D7` are restart marks; what else a decoder skips there is skipped here too.
fn jpeg(bytes: &[u8]) -> Option<usize> {
    let mut at = 2_usize;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xFF)? + 1;
        match *bytes.get(at)? {
            0xFF => {}
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            0xD9 => return Some(at + 1),
            _ => {
                let length = u16::from_be_bytes([*bytes.get(at + 1)?, *bytes.get(at + 2)?]);
                at += 1 + usize::from(length.max(2));
            }
        }
    }
}

/// Extensions and frames up to the trailer; frames are stepped over, not decoded.
fn gif(bytes: &[u8]) -> Option<usize> {
    let mut at = 13 + colours(*bytes.get(10)?);
    loop {
        match *bytes.get(at)? {
            0x21 => at = after_blocks(bytes, at + 2)?,
            0x2C => at = after_blocks(bytes, at + 11 + colours(*bytes.get(at + 9)?))?,
            0x3B => return Some(at + 1),
            _ => return None,
        }
    }
}

/// The size of the colour table that `flags` announce.
fn colours(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Where a GIF's row of blocks that starts at `at` is over: behind its empty one.
fn after_blocks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

/// What the RIFF header says.
fn webp(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(four(bytes, 4)?)).ok()?.checked_add(8)
}

fn four(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}
