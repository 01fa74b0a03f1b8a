//! Pictures made by hand, a folder to keep them in, and calls of the routes.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use guildhall::media::{self, Media, PictureError};
use guildhall_domain::clock::Timestamp;
use http_body_util::BodyExt;
use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage, Rgba};
use tower::ServiceExt;

pub(super) const FORMATS: [ImageFormat; 4] =
    [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP];

/// After anything that a test writes.
pub(super) const LATER: Timestamp = Timestamp(i64::MAX);

/// A folder of one test, gone after it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("media-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn media(&self) -> Media {
        Media::open(&format!("dir:{}", self.0.join("media").display())).unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join("media").join(name)
    }

    pub(super) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.join("media")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes a file look as if it had been written at `at`.
    pub(super) fn date(&self, name: &str, at: Timestamp) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap());
        fs::File::options().write(true).open(self.path(name)).unwrap().set_modified(time).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) async fn accept(media: &Media, bytes: impl Into<Bytes>) -> Result<String, PictureError> {
    media.accept(bytes.into()).await.map(|picture| picture.name)
}

pub(super) async fn call(media: &Media, method: Method, path: &str, tag: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(tag) = tag {
        request = request.header("if-none-match", tag);
    }
    media::routes(media.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

pub(super) async fn body(response: Response) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}

pub(super) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

pub(super) async fn stored(media: &Media, name: &str) -> Bytes {
    let response = call(media, Method::GET, &format!("/media/{name}"), None).await;
    assert_eq!(response.status(), StatusCode::OK);
    body(response).await
}

pub(super) async fn picture(media: &Media, name: &str) -> DynamicImage {
    image::load_from_memory(&stored(media, name).await).unwrap()
}

pub(super) fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// Left half red, right half blue: even a JPEG cannot blur which is which.
pub(super) fn halves(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([255, 0, 0]) } else { Rgb([0, 0, 255]) })
        .into()
}

pub(super) fn is_red(image: &DynamicImage, x: u32, y: u32) -> bool {
    let Rgba([red, _, blue, _]) = image.get_pixel(x, y);
    red > blue
}

pub(super) fn blank(width: u32, height: u32) -> DynamicImage {
    DynamicImage::new_luma8(width, height)
}

pub(super) fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A chunk of a PNG with the CRC that belongs to it.
pub(super) fn png_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = kind.to_vec();
    checked.extend(data);
    let crc = !checked.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 * (crc & 1)))
    });
    [&u32::try_from(data.len()).unwrap().to_be_bytes()[..], &checked, &crc.to_be_bytes()].concat()
}

/// `png` with `chunk` before its pixels.
pub(super) fn with_png_chunk(png: &[u8], chunk: &[u8]) -> Vec<u8> {
    [&png[..33], chunk, &png[33..]].concat()
}

/// A chunk of a WebP, padded.
pub(super) fn riff_chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = [&kind[..], &u32::try_from(data.len()).unwrap().to_le_bytes(), data].concat();
    chunk.resize(chunk.len().next_multiple_of(2), 0);
    chunk
}

/// A WebP with the extended header: `flags` say what follows.
pub(super) fn extended_webp(flags: u8, (width, height): (u32, u32), chunks: &[Vec<u8>]) -> Vec<u8> {
    let size = |side: u32| (side - 1).to_le_bytes()[..3].to_vec();
    let header = riff_chunk(b"VP8X", &[vec![flags, 0, 0, 0], size(width), size(height)].concat());
    let content = [b"WEBP".to_vec(), header, chunks.concat()].concat();
    [&b"RIFF"[..], &u32::try_from(content.len()).unwrap().to_le_bytes(), &content].concat()
}

/// An EXIF block with an orientation and a place where somebody lives.
pub(super) fn exif(orientation: u16) -> Vec<u8> {
    let mut tiff = b"II\x2a\0\x08\0\0\0\x02\0".to_vec();
    tiff.extend([&[0x12, 0x01, 3, 0, 1, 0, 0, 0][..], &orientation.to_le_bytes(), &[0, 0]].concat());
    // The pointer to the block with the place, which has one entry: the name of its geodetic datum.
    tiff.extend([0x25, 0x88, 4, 0, 1, 0, 0, 0, 38, 0, 0, 0, 0, 0, 0, 0]);
    tiff.extend([1, 0, 0x12, 0, 2, 0, 12, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0]);
    tiff.extend(b"at-my-house\0");
    tiff
}

pub(super) fn with_exif(jpeg: &[u8], exif: &[u8]) -> Vec<u8> {
    let app1 = [b"Exif\0\0", exif].concat();
    let length = u16::try_from(app1.len() + 2).unwrap().to_be_bytes();
    [&jpeg[..2], &[0xFF, 0xE1], &length, &app1, &[0xFF, 0xFE, 0, 13], b"at-my-house", &jpeg[2..]].concat()
}
