//! The avatar.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use super::{DEFAULT_AVATAR, Stormz, message};
use crate::harness::{Call, get, put};

fn picture(format: ImageFormat, width: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    RgbImage::new(width, 2).write_to(&mut Cursor::new(&mut bytes), format).unwrap();
    bytes
}

impl Stormz {
    fn set(&self, parts: &[(&str, Option<&str>, &[u8])]) -> Call {
        put(&format!("{}/avatar", self.path())).multipart(parts)
    }

    async fn avatar(&self) -> String {
        let answer = self.house.send(get(&self.path()).bearer(&self.house.token("owner"))).await;
        answer.value()["avatar_url"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn those_in_charge_set_and_remove_it() {
    let stormz = Stormz::new();
    for name in ["owner", "admin", "inactive-admin"] {
        let token = stormz.house.token(name);
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
            let picture = picture(format, 3);
            let parts: [(&str, Option<&str>, &[u8]); 2] =
                [("other", None, b"x"), ("avatar", Some("a.txt"), &picture)];
            stormz.house.send(stormz.set(&parts).bearer(&token)).await.is_empty(204);
            let url = stormz.avatar().await;
            assert_ne!(url, DEFAULT_AVATAR);
            let served = stormz.house.send(get(url.strip_prefix("http://guildhall.test").unwrap())).await;
            assert_eq!(served.status, 200);
        }
        stormz.house.send(stormz.set(&[("other", None, b"x")]).bearer(&token)).await.is_empty(204);
        assert_eq!(stormz.avatar().await, DEFAULT_AVATAR, "without the part it is removed");
        stormz.house.send(stormz.set(&[]).bearer(&token)).await.is_empty(204);
    }
    let served = stormz.house.send(get(DEFAULT_AVATAR.strip_prefix("http://guildhall.test").unwrap())).await;
    assert_eq!((served.status.as_u16(), served.header("content-type")), (200, "image/png"));
}

#[tokio::test]
async fn who_may_not_is_told_before_anything_is_read() {
    let stormz = Stormz::new();
    let refused = [
        ("nobody", 401, "Requires authentication"),
        ("stranger", 404, "Not Found"),
        ("pending", 404, "Not Found"),
        ("suspended", 404, "Not Found"),
        ("member", 403, "Forbidden"),
        ("inactive", 403, "Forbidden"),
        ("reader", 403, "Forbidden"),
    ];
    let picture = picture(ImageFormat::Png, 3);
    let large = vec![0; 6 * 1024 * 1024];
    for content in [&picture[..], b"", &large] {
        stormz.refuses(&refused, || stormz.set(&[("avatar", Some("a.png"), content)])).await;
    }
    stormz.refuses(&refused, || stormz.set(&[])).await;
    stormz.refuses(&refused, || put(&format!("{}/avatar", stormz.path())).body("text/plain", b"x")).await;
    stormz.house.archive("stormz", true);
    let archived = [("owner", 403, "Organization is archived"), ("member", 403, "Forbidden")];
    stormz.refuses(&archived, || stormz.set(&[])).await;
    assert_eq!(stormz.avatar().await, DEFAULT_AVATAR);
}

#[tokio::test]
async fn what_is_no_picture_changes_nothing() {
    let stormz = Stormz::new();
    let token = stormz.house.token("owner");
    let good = picture(ImageFormat::Png, 3);
    stormz.house.send(stormz.set(&[("avatar", Some("a.png"), &good)]).bearer(&token)).await.is_empty(204);
    let before = stormz.avatar().await;
    let no_picture = "avatar must be a complete PNG, JPEG, GIF or WebP picture";
    let wide = picture(ImageFormat::Png, 4_097);
    let (most, more, most_of_all) =
        (vec![0; 5 * 1024 * 1024], vec![0; 5 * 1024 * 1024 + 1], vec![0; 6 * 1024 * 1024]);
    for (content, status, text) in [
        (&b""[..], 422, no_picture),
        (b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", 422, no_picture),
        (&good[..good.len() / 2], 422, no_picture),
        (&wide, 422, "avatar must be at most 4096 pixels wide and high"),
        (&most, 422, no_picture),
        (&more, 413, "avatar is larger than 5 MiB"),
        (&most_of_all, 413, "Request body too large"),
    ] {
        let call = stormz.set(&[("avatar", Some("a.png"), content)]).bearer(&token);
        stormz.house.send(call).await.is(status, message(text));
    }
    let avatar = || put(&format!("{}/avatar/", stormz.path())).bearer(&token);
    for media in ["image/png", "application/json", "multipart/mixed; boundary=edge", "x", ""] {
        stormz.house.send(avatar().body(media, &good)).await.is(415, message("Unsupported content type"));
    }
    stormz.house.send(avatar()).await.is(415, message("Unsupported content type"));
    let broken = message("Problems parsing multipart/form-data");
    stormz.house.send(avatar().body("multipart/form-data", b"--edge--\r\n")).await.is(400, broken.clone());
    let head = "--edge\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n";
    for body in
        ["", "x", "--edge", head, &format!("{head}cut of"), "--edge\r\nno header\r\n\r\nx\r\n--edge--\r\n"]
    {
        let call = avatar().body("multipart/form-data; boundary=edge", body.as_bytes());
        stormz.house.send(call).await.is(400, broken.clone());
    }
    assert_eq!(stormz.avatar().await, before);
}
