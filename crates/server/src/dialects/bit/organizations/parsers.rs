//! What holds of every form of an organization.

use properties::proptest::{self, prelude::*, sample::Index};
use properties::{check, texts};

use super::*;

fn read(boundary: &str, body: Vec<u8>) -> Option<Form> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(read_parts(body.into(), boundary.into()))
}

#[test]
fn forms() {
    let names = proptest::sample::select(&["name", "name", "image", "background_image", "other"][..]);
    let content =
        prop_oneof![texts(&["David Org", "\r\n", "--"]).prop_map(String::into_bytes), any::<Vec<u8>>()];
    let parts = proptest::collection::vec((names, content), 0..4);
    check("forms of organizations", (parts, any::<Index>()), |(parts, place)| {
        let mut body = Vec::new();
        for (name, content) in &parts {
            let head = format!("--edge-of-it\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
            body.extend_from_slice(&[head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend_from_slice(b"--edge-of-it--\r\n");
        let of = |wanted: &str| {
            let all: Vec<&[u8]> =
                parts.iter().filter(|(name, _)| *name == wanted).map(|(_, content)| &content[..]).collect();
            all
        };
        let name = of("name")
            .first()
            .map(|name| std::str::from_utf8(name).ok().and_then(|name| Name::parse(name).ok()));
        let once = ["name", "image", "background_image"].iter().all(|name| of(name).len() < 2);
        let is_good = once && of("other").is_empty() && !matches!(name, Some(None));
        let form = read("edge-of-it", body.clone());
        assert_eq!(form.is_some(), is_good);
        if let Some(form) = form {
            assert_eq!(form.name, name.flatten());
            assert_eq!(form.image.as_deref(), of("image").first().copied());
            assert_eq!(form.background_image.as_deref(), of("background_image").first().copied());
        }
        let part = body[..place.index(body.len() - "--\r\n".len())].to_vec();
        assert!(read("edge-of-it", part).is_none(), "cut off");
    });
}
