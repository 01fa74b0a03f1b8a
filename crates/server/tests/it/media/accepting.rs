//! What is a picture, what is none, and what is left of one.

use axum::http::Method;
use bytes::Bytes;
use guildhall::media::{MAX_BYTES, PictureError};
use guildhall_domain::clock::hex;
use image::{DynamicImage, GenericImageView, ImageFormat, Rgba, RgbaImage};
use sha2::{Digest, Sha256};

use super::fixtures::*;

#[tokio::test]
async fn each_type_is_taken_by_its_content_and_keeps_its_pixels() {
    let folder = Folder::new();
    let media = folder.media();
    for (format, extension, media_type) in [
        (ImageFormat::Png, "png", "image/png"),
        (ImageFormat::Jpeg, "jpg", "image/jpeg"),
        (ImageFormat::Gif, "png", "image/png"),
        (ImageFormat::WebP, "webp", "image/webp"),
    ] {
        let name = accept(&media, encoded(&halves(32, 16), format)).await.unwrap();
        let response = call(&media, Method::GET, &format!("/media/{name}"), None).await;
        assert_eq!(header(&response, "content-type"), media_type);
        let bytes = body(response).await;
        assert_eq!(name, format!("{}.{extension}", hex(&Sha256::digest(&bytes))));
        let image = image::load_from_memory(&bytes).unwrap();
        assert_eq!(image.dimensions(), (32, 16), "{format:?}");
        assert!(is_red(&image, 2, 8) && !is_red(&image, 29, 8), "{format:?}");
        if format != ImageFormat::Jpeg {
            assert_eq!(image.to_rgb8(), halves(32, 16).to_rgb8(), "{format:?}");
        }
    }
}

#[tokio::test]
async fn transparency_and_grey_are_kept() {
    let folder = Folder::new();
    let media = folder.media();
    let glass = DynamicImage::from(RgbaImage::from_pixel(3, 3, Rgba([9, 8, 7, 100])));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let name = accept(&media, encoded(&glass, format)).await.unwrap();
        assert_eq!(picture(&media, &name).await.to_rgba8(), glass.to_rgba8());
    }
    for format in FORMATS {
        let name = accept(&media, encoded(&blank(3, 3).to_rgb8().into(), format)).await.unwrap();
        assert_eq!(picture(&media, &name).await.to_luma8(), blank(3, 3).to_luma8());
    }
    let name = accept(&media, encoded(&blank(8, 8), ImageFormat::Jpeg)).await.unwrap();
    assert_eq!(picture(&media, &name).await.color(), image::ColorType::L8);
}

#[tokio::test]
async fn all_else_is_refused() {
    let folder = Folder::new();
    let media = folder.media();
    let others: [&[u8]; 14] = [
        b"",
        b"\0",
        b"hello",
        b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        b"<?xml version=\"1.0\"?><svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"%PDF-1.7\n",
        b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18\0\0\0\0\0",
        b"II\x2a\0\x08\0\0\0\0\0",
        b"\0\0\x01\0\x01\0\x01\x01\0\0\x01\0\x20\0",
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
        b"qoif\0\0\0\x01\0\0\0\x01\x03\0",
        b"P6 1 1 255 abc",
        b"RIFF\x04\0\0\0WAVE",
    ];
    for bytes in others {
        assert_eq!(accept(&media, bytes).await, Err(PictureError::NotAPicture), "{bytes:?}");
    }
    assert_eq!(folder.files(), [""; 0]);
}

#[tokio::test]
async fn a_file_that_is_cut_off_anywhere_is_refused() {
    let folder = Folder::new();
    let media = folder.media();
    for format in FORMATS {
        let whole = Bytes::from(encoded(&halves(40, 40), format));
        assert!(accept(&media, whole.clone()).await.is_ok());
        for length in 0..whole.len() {
            let outcome = accept(&media, whole.slice(..length)).await;
            assert_eq!(outcome, Err(PictureError::NotAPicture), "{format:?} cut to {length}");
        }
    }
}

#[tokio::test]
async fn a_file_with_any_byte_damaged_is_a_picture_or_is_refused() {
    let folder = Folder::new();
    let media = folder.media();
    for format in FORMATS {
        let whole = encoded(&halves(20, 20), format);
        for at in 0..whole.len() {
            for damage in [0x01, 0x80, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at] ^= damage;
                if let Err(error) = accept(&media, bytes).await {
                    assert!(
                        matches!(error, PictureError::NotAPicture | PictureError::Dimensions),
                        "{format:?} at {at}: {error:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn nothing_but_pixels_is_left() {
    let folder = Folder::new();
    let media = folder.media();
    let png = encoded(&halves(8, 8), ImageFormat::Png);
    let text = png_chunk(b"tEXt", b"Comment\0at-my-house");
    let gif = encoded(&halves(8, 8), ImageFormat::Gif);
    let comment = [&b"\x21\xfe\x0b"[..], b"at-my-house", b"\0"].concat();
    let webp = encoded(&halves(8, 8), ImageFormat::WebP);
    let pixels = webp[12..].to_vec();
    for bytes in [
        with_exif(&encoded(&halves(8, 8), ImageFormat::Jpeg), &exif(1)),
        with_png_chunk(&png, &text),
        with_png_chunk(&png, &png_chunk(b"eXIf", &exif(1))),
        [&png[..], b"<script>at-my-house</script>"].concat(),
        [&gif[..gif.len() - 1], &comment, b"\x3b"].concat(),
        extended_webp(0x08, (8, 8), &[pixels, riff_chunk(b"EXIF", &exif(1))]),
        [&webp[..], b"at-my-house"].concat(),
    ] {
        assert!(contains(&bytes, b"at-my-house"));
        let name = accept(&media, bytes).await.unwrap();
        assert!(!contains(&stored(&media, &name).await, b"at-my-house"), "{name}");
    }
}

#[tokio::test]
async fn the_orientation_is_applied() {
    let folder = Folder::new();
    let media = folder.media();
    let jpeg = encoded(&halves(32, 16), ImageFormat::Jpeg);
    let png = encoded(&halves(32, 16), ImageFormat::Png);
    let webp = encoded(&halves(32, 16), ImageFormat::WebP);
    let turned = |orientation: u16| {
        [
            with_exif(&jpeg, &exif(orientation)),
            with_png_chunk(&png, &png_chunk(b"eXIf", &exif(orientation))),
            extended_webp(0x08, (32, 16), &[webp[12..].to_vec(), riff_chunk(b"EXIF", &exif(orientation))]),
        ]
    };
    // The orientation, the size it gives, and whether the red half is at the start or the end.
    for (orientation, size, red_first) in
        [(1, (32, 16), true), (3, (32, 16), false), (6, (16, 32), true), (8, (16, 32), false)]
    {
        for bytes in turned(orientation) {
            let name = accept(&media, bytes).await.unwrap();
            let image = picture(&media, &name).await;
            assert_eq!(image.dimensions(), size, "{orientation} {name}");
            assert_eq!(is_red(&image, 2, 2), red_first, "{orientation} {name}");
            assert_eq!(is_red(&image, size.0 - 3, size.1 - 3), !red_first, "{orientation} {name}");
        }
    }
    for bytes in turned(9) {
        let name = accept(&media, bytes).await.unwrap();
        assert_eq!(picture(&media, &name).await.dimensions(), (32, 16), "a value that is none");
    }
}

#[tokio::test]
async fn four_thousand_ninety_six_pixels_are_enough() {
    let folder = Folder::new();
    let media = folder.media();
    for format in FORMATS {
        for (width, height) in [(4096, 1), (1, 4096)] {
            let name = accept(&media, encoded(&halves(width, height), format)).await.unwrap();
            assert_eq!(picture(&media, &name).await.dimensions(), (width, height));
        }
        for (width, height) in [(4097, 1), (1, 4097)] {
            let outcome = accept(&media, encoded(&halves(width, height), format)).await;
            assert_eq!(outcome, Err(PictureError::Dimensions), "{format:?} {width} × {height}");
        }
    }
}

#[tokio::test]
async fn the_largest_picture_with_the_deepest_colours_is_taken() {
    let folder = Folder::new();
    let media = folder.media();
    let name =
        accept(&media, encoded(&DynamicImage::new_rgba16(4096, 4096), ImageFormat::Png)).await.unwrap();
    let image = picture(&media, &name).await;
    assert_eq!((image.dimensions(), image.color()), ((4096, 4096), image::ColorType::Rgba8));
}

#[tokio::test]
async fn five_mebibytes_are_enough() {
    let folder = Folder::new();
    let media = folder.media();
    let png = encoded(&halves(8, 8), ImageFormat::Png);
    let full = |size: usize| with_png_chunk(&png, &png_chunk(b"prVt", &vec![0; size - png.len() - 12]));
    assert!(accept(&media, full(MAX_BYTES)).await.is_ok());
    assert_eq!(accept(&media, full(MAX_BYTES + 1)).await, Err(PictureError::TooLarge));
}

#[tokio::test]
async fn bombs_are_refused_by_what_they_announce() {
    let folder = Folder::new();
    let media = folder.media();
    let side = 30_000_u16.to_be_bytes();
    let mut png = encoded(&blank(1, 1), ImageFormat::Png);
    let header = [&[0, 0], &side[..], &[0, 0], &side, &[8, 6, 0, 0, 0]].concat();
    png.splice(8..33, png_chunk(b"IHDR", &header));
    let mut jpeg = encoded(&blank(8, 8), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
    jpeg.splice(frame + 5..frame + 9, [side, side].concat());
    let mut gif = encoded(&halves(1, 1), ImageFormat::Gif);
    gif.splice(6..10, [0xFF; 4]);
    let webp = extended_webp(0, (16_384, 16_384), &[riff_chunk(b"VP8L", &[0x2F, 0xFF, 0xFF, 0xFF, 0x0F, 0])]);
    for (bytes, format) in [(png, "PNG"), (jpeg, "JPEG"), (gif, "GIF"), (webp, "WebP")] {
        assert_eq!(accept(&media, bytes).await, Err(PictureError::Dimensions), "{format}");
    }
}

#[tokio::test]
async fn a_bomb_behind_a_small_header_is_refused() {
    let folder = Folder::new();
    let media = folder.media();
    // A frame far larger than the screen it is drawn on.
    let mut gif = encoded(&halves(1, 1), ImageFormat::Gif);
    let frame = gif.windows(10).position(|part| part[0] == 0x2C && part[5..9] == [1, 0, 1, 0]).unwrap();
    gif.splice(frame + 5..frame + 9, [0xFF; 4]);
    assert_eq!(accept(&media, gif).await, Err(PictureError::Dimensions));
    // Pixels of another size than the canvas has.
    let pixels = riff_chunk(b"VP8L", &[0x2F, 0xFF, 0xFF, 0xFF, 0x0F, 0]);
    assert_eq!(
        accept(&media, extended_webp(0, (8, 8), std::slice::from_ref(&pixels))).await,
        Err(PictureError::NotAPicture)
    );
    // As many pixels as the format can say, which read as none at all.
    let content = [&b"WEBP"[..], &pixels].concat();
    let bare = [&b"RIFF"[..], &u32::try_from(content.len()).unwrap().to_le_bytes(), &content].concat();
    assert_eq!(accept(&media, bare).await, Err(PictureError::NotAPicture));
    // All the pixels announced that may be, and none there.
    let mut png = encoded(&blank(1, 1), ImageFormat::Png);
    png.splice(8..33, png_chunk(b"IHDR", &[0, 0, 16, 0, 0, 0, 16, 0, 8, 6, 0, 0, 0]));
    assert_eq!(accept(&media, png).await, Err(PictureError::NotAPicture));
}

#[tokio::test]
async fn later_frames_are_not_looked_at() {
    let folder = Folder::new();
    let media = folder.media();
    let first = encoded(&halves(8, 8), ImageFormat::Gif);
    let still = accept(&media, first.clone()).await.unwrap();
    // Ten thousand frames of 65,535 × 65,535 pixels, none of which could be decoded.
    let frame = b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x08\x02\xff\xff\0".repeat(10_000);
    let moving = [&first[..first.len() - 1], &frame, b"\x3b"].concat();
    assert_eq!(accept(&media, moving).await, Ok(still));

    let webp = encoded(&halves(8, 8), ImageFormat::WebP);
    let still = accept(&media, webp.clone()).await.unwrap();
    let place = [0, 0, 0, 0, 0, 0, 7, 0, 0, 7, 0, 0, 100, 0, 0, 2];
    let frame = riff_chunk(b"ANMF", &[&place, &webp[12..]].concat());
    let broken = riff_chunk(b"ANMF", &[&place[..], &riff_chunk(b"VP8L", &[0x2F, 0, 0, 0, 0, 0])].concat());
    let moving = extended_webp(0x02, (8, 8), &[riff_chunk(b"ANIM", &[0; 6]), frame, broken]);
    let name = accept(&media, moving).await.unwrap();
    assert_eq!(picture(&media, &name).await.to_rgb8(), picture(&media, &still).await.to_rgb8());
}
