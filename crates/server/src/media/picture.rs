//! From bytes somebody sent to bytes that are surely a picture.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
};

use super::{MAX_BYTES, MAX_SIDE, PictureError, container};

/// What a decoder may hold: the largest picture with 16 bits for each of four channels is 128 MiB.
const MAX_DECODED: u64 = 144 * 1024 * 1024;

/// What a decoder may hold beside the pixels while it reads a header: a colour profile unpacks to a thousand
/// times its size, and is dropped anyway.
const MAX_BESIDE: u64 = 8 * 1024 * 1024;

/// The quality of a JPEG as it is stored: hardly told from the original, at about its size.
const JPEG_QUALITY: u8 = 85;

/// A picture as it is stored: nothing is left of what was sent but the pixels.
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// `png`, `jpg` or `webp`.
    pub(super) extension: &'static str,
}

/// Decodes what `bytes` hold, turns it as its EXIF orientation says and encodes it anew with 8 bits a channel.
///
/// PNG and GIF (the first frame) become PNG, JPEG stays JPEG, WebP (the first frame) becomes lossless WebP.
/// The largest take a few seconds and up to 250 MiB: call it on a thread that may block, few at a time.
pub(super) fn encode(bytes: &[u8]) -> Result<Encoded, PictureError> {
    if bytes.len() > MAX_BYTES {
        return Err(PictureError::TooLarge);
    }
    let format = image::guess_format(bytes).map_err(|_| PictureError::NotAPicture)?;
    let end = container::end(format, bytes).ok_or(PictureError::NotAPicture)?;
    let image = decode(format, &bytes[..end]).map_err(refusal)?;
    let mut out = Vec::new();
    let extension = match format {
        ImageFormat::Jpeg => {
            // The format knows grey and colour; a decoder that finds more in it has found no JPEG of anybody's.
            let image = if image.color().has_color() { image.into_rgb8().into() } else { image };
            image
                .write_with_encoder(JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY))
                .map_err(refusal)?;
            "jpg"
        }
        ImageFormat::WebP => {
            image.write_with_encoder(WebPEncoder::new_lossless(&mut out)).map_err(refusal)?;
            "webp"
        }
        _ => {
            let encoder =
                PngEncoder::new_with_quality(&mut out, CompressionType::Default, FilterType::Adaptive);
            image.write_with_encoder(encoder).map_err(refusal)?;
            "png"
        }
    };
    Ok(Encoded { bytes: out, extension })
}

/// The header is read and judged first; memory for the pixels is only asked for once it is known to be bounded.
fn decode(format: ImageFormat, bytes: &[u8]) -> ImageResult<DynamicImage> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits(MAX_BESIDE));
    let mut decoder = reader.into_decoder()?;
    limits(MAX_DECODED).reserve(decoder.total_bytes())?;
    decoder.set_limits(limits(MAX_DECODED))?;
    // Orientation that cannot be read is none: the pixels are what counts.
    let orientation = decoder.orientation().ok();
    let mut image = eight_bits(DynamicImage::from_decoder(decoder)?);
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

fn limits(max_alloc: u64) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(max_alloc);
    limits
}

fn eight_bits(image: DynamicImage) -> DynamicImage {
    match image.color() {
        ColorType::L16 => image.into_luma8().into(),
        ColorType::La16 => image.into_luma_alpha8().into(),
        ColorType::Rgb16 => image.into_rgb8().into(),
        ColorType::Rgba16 => image.into_rgba8().into(),
        _ => image,
    }
}

fn refusal(error: ImageError) -> PictureError {
    match error {
        ImageError::Limits(_) => PictureError::Dimensions,
        _ => PictureError::NotAPicture,
    }
}
