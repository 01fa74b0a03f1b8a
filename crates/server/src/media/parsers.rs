//! What holds of every file that may be a picture, and of every name that may be one's.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use properties::proptest::sample::Index;
use properties::proptest::{self, prelude::*};
use properties::{check, check_texts, texts};

use super::*;

const FORMATS: [ImageFormat; 4] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];

/// A small picture in one of the formats.
fn a_picture() -> impl Strategy<Value = (ImageFormat, Vec<u8>)> {
    let shape = (1..20_u32, 1..20_u32, any::<[u8; 3]>());
    (proptest::sample::select(&FORMATS[..]), shape).prop_map(|(format, (width, height, seed))| {
        let pixel = |x: u32, y: u32| {
            let bytes = u32::from_be_bytes([0, seed[0], seed[1], seed[2]]).wrapping_mul(x * 31 + y * 17 + 1);
            let [_, r, g, b] = bytes.to_be_bytes();
            Rgb([r, g, b])
        };
        let picture = DynamicImage::from(RgbImage::from_fn(width, height, pixel));
        let mut bytes = Vec::new();
        picture.write_to(&mut Cursor::new(&mut bytes), format).unwrap();
        (format, bytes)
    })
}

#[test]
fn pictures() {
    let parts = (a_picture(), any::<Vec<u8>>(), any::<Index>());
    check("pictures", parts, |((format, bytes), behind, place)| {
        let encoded = picture::encode(&bytes).map(|encoded| encoded.bytes);
        assert!(encoded.is_ok(), "{format:?}");
        let with_more = [&bytes[..], &behind].concat();
        assert_eq!(container::end(format, &with_more), Some(bytes.len()), "{format:?}");
        assert_eq!(
            picture::encode(&with_more).map(|encoded| encoded.bytes),
            encoded,
            "what is behind is nothing"
        );
        let part = &bytes[..place.index(bytes.len())];
        assert_eq!(container::end(format, part), None, "{format:?} cut off at {}", part.len());
        assert!(picture::encode(part).is_err());
    });
}

#[test]
fn broken_pictures() {
    let changes = proptest::collection::vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..6);
    check("broken pictures", (a_picture(), changes), |((format, mut bytes), changes)| {
        for (place, byte, change) in changes {
            // Half of them in the header.
            let at = if byte % 2 == 0 { place.index(bytes.len()) } else { place.index(bytes.len().min(40)) };
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        for format in FORMATS.into_iter().chain([format]) {
            assert!(container::end(format, &bytes).is_none_or(|end| end <= bytes.len()));
        }
        let Ok(encoded) = picture::encode(&bytes) else { return };
        // What was taken is a picture, and stays one.
        let again = picture::encode(&encoded.bytes).map(|again| again.extension);
        assert_eq!(again, Ok(encoded.extension));
        let size = image::load_from_memory(&encoded.bytes).unwrap();
        assert!(size.width() <= MAX_SIDE && size.height() <= MAX_SIDE);
    });
}

#[test]
fn headers_of_pictures() {
    let begins: [&'static [u8]; 6] = [
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
        b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        b"GIF89a",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"RIFF\x10\0\0\0WEBPVP8X",
        b"",
    ];
    check(
        "headers of pictures",
        (proptest::sample::select(begins.to_vec()), any::<Vec<u8>>()),
        |(begin, bytes)| {
            let bytes = [begin, &bytes].concat();
            for format in FORMATS {
                assert!(container::end(format, &bytes).is_none_or(|end| end <= bytes.len()));
            }
            if let Ok(encoded) = picture::encode(&bytes) {
                assert!(image::load_from_memory(&encoded.bytes).is_ok());
            }
        },
    );
}

#[test]
fn names_of_pictures() {
    const PIECES: &[&str] = &["0123456789abcdef", ".png", ".jpg", ".webp", ".gif", "/", "..", "A", "%2e"];
    check_texts("names of pictures", "", texts(PIECES), |name| {
        let Some(media_type) = media_type(name) else { return };
        assert!(media_type.starts_with("image/") && name.len() <= 69 && name.is_ascii());
        assert!(!name.contains(['/', '\\', '%']) && name.matches('.').count() == 1);
    });
    check("names of pictures from their hash", any::<[u8; 32]>(), |hash| {
        let name = hex(&hash);
        assert!(["png", "jpg", "webp"].iter().all(|end| media_type(&format!("{name}.{end}")).is_some()));
        for wrong in
            [name.clone(), format!("{name}.gif"), format!("{}.png", &name[1..]), format!("{name}.png.png")]
        {
            assert_eq!(media_type(&wrong), None, "{wrong}");
        }
    });
}

#[test]
fn entity_tags() {
    let etag = format!("\"{}\"", "0".repeat(64));
    let parts = (proptest::collection::vec("(W/)?\"[!#-+.-~]{0,8}\"", 0..4), any::<Index>(), any::<bool>());
    check("entity tags", parts, |(mut tags, place, is_weak)| {
        let headers = |tags: &[String]| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_str(&tags.join(", ")).unwrap());
            headers
        };
        assert!(!knows(&headers(&tags), &etag));
        let ours = if is_weak { format!("W/{etag}") } else { etag.clone() };
        tags.insert(place.index(tags.len() + 1), ours);
        assert!(knows(&headers(&tags), &etag));
    });
}
