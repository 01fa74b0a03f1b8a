//! How a folder keeps pictures, and how they are served.

use std::fs;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::TryStreamExt;
use guildhall::media::{DEFAULT_NAME, Media, PictureError};
use guildhall_domain::clock::Timestamp;
use image::ImageFormat;

use super::fixtures::*;

#[tokio::test]
async fn the_same_picture_is_one_file() {
    let folder = Folder::new();
    let media = folder.media();
    let bytes = Bytes::from(encoded(&halves(8, 8), ImageFormat::Png));
    let (one, other) = tokio::join!(accept(&media, bytes.clone()), accept(&media, bytes));
    assert_eq!(one, other);
    assert_eq!(folder.files(), [one.unwrap()]);
}

#[tokio::test]
async fn a_store_that_fails_is_told_from_a_bad_picture_and_keeps_nothing() {
    let folder = Folder::new();
    let media = folder.media();
    let bytes = Bytes::from(encoded(&halves(8, 8), ImageFormat::Png));
    let path = folder.path("");
    fs::remove_dir(&path).unwrap();
    fs::write(path.to_str().unwrap().trim_end_matches('/'), "in the way").unwrap();
    assert_eq!(accept(&media, bytes.clone()).await, Err(PictureError::Store));
    let name = format!("{}.png", "0".repeat(64));
    let response = call(&media, Method::GET, &format!("/media/{name}"), None).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&response, "retry-after"), "5");
    assert_eq!(body(response).await, r#"{"error":"Service unavailable"}"#);
    assert!(media.check(&name).await.is_err());
    assert!(media.remove(&name, LATER).await.is_err());
    assert_eq!(
        call(&media, Method::GET, &format!("/media/{DEFAULT_NAME}"), None).await.status(),
        StatusCode::OK
    );

    fs::remove_file(path.to_str().unwrap().trim_end_matches('/')).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(folder.files(), [""; 0]);
    let name = accept(&media, bytes).await.unwrap();
    assert_eq!(folder.files(), [name]);
}

#[tokio::test]
async fn the_collector_takes_the_old_and_leaves_the_young() {
    let folder = Folder::new();
    let media = folder.media();
    let bytes = Bytes::from(encoded(&halves(8, 8), ImageFormat::Png));
    let old = accept(&media, bytes.clone()).await.unwrap();
    let young = accept(&media, encoded(&halves(9, 9), ImageFormat::Png)).await.unwrap();
    fs::write(folder.path("notes.txt"), "not ours").unwrap();
    let (then, between) = (Timestamp(1_000_000), Timestamp(2_000_000));
    folder.date(&old, then);
    folder.date("notes.txt", then);

    assert_eq!(media.list(between).try_collect::<Vec<_>>().await.unwrap(), [old.as_str()]);
    assert_eq!(media.list(then).try_collect::<Vec<_>>().await.unwrap(), [""; 0], "not before itself");
    assert!(!media.remove(&young, between).await.unwrap());
    assert!(!media.remove("notes.txt", between).await.unwrap());
    assert!(!media.remove("../notes.txt", between).await.unwrap());

    // Sent again after the collector had listed it: it is young, and stays.
    assert_eq!(accept(&media, bytes).await.as_ref(), Ok(&old));
    assert!(!media.remove(&old, between).await.unwrap());
    folder.date(&old, then);
    assert!(media.remove(&old, between).await.unwrap());
    assert!(!media.remove(&old, between).await.unwrap(), "it is gone");
    let mut left = [young, "notes.txt".to_owned()];
    left.sort();
    assert_eq!(folder.files(), left);
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed() {
    let folder = Folder::new();
    let media = folder.media();
    let name = accept(&media, encoded(&halves(8, 8), ImageFormat::Png)).await.unwrap();
    let (old, young) = (format!("{name}#1"), format!("{name}#2"));
    for file in [&old, &young, "notes#1"] {
        fs::write(folder.path(file), "half").unwrap();
    }
    for file in [&old, &name, "notes#1"] {
        folder.date(file, Timestamp(1_000_000));
    }
    assert_eq!(media.remove_leftovers(Timestamp(2_000_000)).await.unwrap(), 1);
    let mut left = [name, young, "notes#1".to_owned()];
    left.sort();
    assert_eq!(folder.files(), left);
}

#[tokio::test]
async fn a_file_that_changed_or_went_is_found_out() {
    let folder = Folder::new();
    let media = folder.media();
    let name = accept(&media, encoded(&halves(8, 8), ImageFormat::Png)).await.unwrap();
    assert!(media.check(&name).await.unwrap());
    assert!(media.check(DEFAULT_NAME).await.unwrap());
    fs::write(folder.path(&name), "something else").unwrap();
    assert!(!media.check(&name).await.unwrap());
    fs::remove_file(folder.path(&name)).unwrap();
    assert!(!media.check(&name).await.unwrap());
    assert!(!media.check("notes.txt").await.unwrap());
}

#[tokio::test]
async fn pictures_are_served_for_ever_to_everybody_and_as_nothing_else() {
    let folder = Folder::new();
    let media = folder.media();
    let sent = accept(&media, encoded(&halves(8, 8), ImageFormat::WebP)).await.unwrap();
    for name in [sent.as_str(), DEFAULT_NAME] {
        let path = format!("/media/{name}");
        let etag = format!("\"{}\"", &name[..64]);
        let fixed = [
            ("etag", etag.as_str()),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("cache-control", "public, max-age=31536000, immutable"),
        ];
        let length = stored(&media, name).await.len().to_string();
        for (method, tag, status) in [
            (Method::GET, None, 200),
            (Method::GET, Some("\"other\""), 200),
            (Method::GET, Some(etag.as_str()), 304),
            (Method::HEAD, None, 200),
            (Method::HEAD, Some("*"), 304),
        ] {
            let response = call(&media, method.clone(), &path, tag).await;
            assert_eq!(response.status(), status, "{method} {tag:?}");
            for (header_name, value) in fixed {
                assert_eq!(header(&response, header_name), value);
            }
            assert_eq!(header(&response, "content-length"), length);
            let empty = method == Method::HEAD || status == 304;
            assert_eq!(body(response).await.is_empty(), empty, "{method} {tag:?}");
        }
    }
}

#[tokio::test]
async fn all_other_paths_and_methods_are_answered_in_one_shape() {
    let folder = Folder::new();
    let media = folder.media();
    fs::write(folder.0.join("secret"), "secret").unwrap();
    let hash = "a".repeat(64);
    for name in [
        format!("{hash}.png"),
        format!("{hash}.gif"),
        format!("{hash}.png.webp"),
        format!("{hash}.PNG"),
        format!("{}.png", "A".repeat(64)),
        format!("{}.png", "a".repeat(63)),
        format!("{}.png", "é".repeat(32)),
        format!("{hash}.png%231"),
        hash.clone(),
        "..%2Fsecret".to_owned(),
        "%2e%2e%2fsecret".to_owned(),
        "%00".to_owned(),
        "%FF".to_owned(),
    ] {
        let path = format!("/media/{}", name.replace('é', "%C3%A9"));
        // A client that says it knows what is not there is told that it is not.
        for tag in [None, Some("*")] {
            let response = call(&media, Method::GET, &path, tag).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header(&response, "content-type"), "application/json");
            assert_eq!(header(&response, "cache-control"), "no-store");
            assert_eq!(body(response).await, r#"{"error":"Not found"}"#);
        }
    }
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let response = call(&media, method, &format!("/media/{DEFAULT_NAME}"), None).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&response, "allow"), "GET,HEAD");
        assert_eq!(body(response).await, r#"{"error":"Method not allowed"}"#);
    }
}

#[test]
fn urls_are_absolute() {
    let folder = Folder::new();
    let media = folder.media();
    assert_eq!(media.url("https://a.example", Some("x.png")), "https://a.example/media/x.png");
    assert_eq!(media.url("https://a.example/b/", None), format!("https://a.example/b/media/{DEFAULT_NAME}"));
}

#[test]
fn a_place_that_is_none_is_refused_in_one_line() {
    let folder = Folder::new();
    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let file = format!("dir:{}", file.display());
    for url in ["", "dir:", "media", "s3://", "s3:///prefix", "ftp://host/x", &file, &format!("{file}/below")]
    {
        let error = Media::open(url).unwrap_err();
        assert!(!error.is_empty() && !error.contains('\n'), "{url}: {error}");
    }
    assert!(Media::open("s3://bucket/some/prefix").is_ok(), "a bucket is not asked at the start");
}

#[cfg(unix)]
#[test]
fn the_folder_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.media();
    assert_eq!(fs::metadata(folder.path("")).unwrap().permissions().mode() & 0o777, 0o700);
}
