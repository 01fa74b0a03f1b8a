//! What holds of every form with a picture in it.

use properties::check;
use properties::proptest::{self, prelude::*, sample::Index};

use super::*;

/// What is read of the body, on a runtime of its own.
fn read(boundary: &str, body: Vec<u8>) -> Result<Option<Bytes>, Error> {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let request = Request::builder().header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(read_avatar(request))
}

/// The parts as a browser writes them, each with a name and a content.
fn written(boundary: &str, parts: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

#[test]
fn multipart() {
    let name = proptest::sample::select(&["avatar", "Avatar", "other", "name"][..]).prop_map(str::to_owned);
    let content = prop_oneof![any::<Vec<u8>>(), Just(b"\r\n--edge".to_vec()), Just(b"--".to_vec())];
    let parts = proptest::collection::vec((name, content), 1..4);
    check("multipart", ("[A-Za-z0-9'_-]{8,70}", parts, any::<Index>()), |(boundary, parts, place)| {
        let body = written(&boundary, &parts);
        let last = parts.iter().rfind(|(name, _)| name == "avatar").map(|(_, content)| content.clone());
        let read_whole = read(&boundary, body.clone()).unwrap_or_else(|_| panic!("a whole form is read"));
        assert_eq!(read_whole.map(|content| content.to_vec()), last);
        // What stands behind its end is nothing; a form without its end is none.
        assert!(read(&boundary, [&body[..], b"behind"].concat()).is_ok());
        let part = &body[..place.index(body.len() - "--\r\n".len())];
        assert!(read(&boundary, part.to_vec()).is_err(), "cut off at {}", part.len());
    });
    let bytes = (any::<Vec<u8>>(), any::<Vec<u8>>());
    check("broken multipart", bytes, |(head, content)| {
        let body = [b"--edge\r\n", &head[..], b"\r\n\r\n", &content, b"\r\n--edge--"].concat();
        let _ = read("edge", body);
    });
}
