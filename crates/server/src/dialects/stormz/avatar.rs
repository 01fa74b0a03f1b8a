//! The avatar of an organization: the picture that bit calls its image.

use std::convert::Infallible;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use guildhall_domain::authz::Permission;
use guildhall_domain::organizations::{self, Changes, Patch, Terms};

use super::{Error, Stormz, at, require};
use crate::app::App;
use crate::auth::SignedIn;
use crate::http::{self, Params, read_body};
use crate::media::{MAX_BYTES, PictureError};

/// Room for what stands around the picture in the body: boundaries, headers of parts, other small parts.
const AROUND_IT: usize = 64 * 1024;

pub(super) async fn put(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Stormz>,
    params: Params,
    request: Request,
) -> Result<Response, Error> {
    let at = at(&params);
    // Before anything is read: who may not do this makes nobody hold a picture in memory, or decode it.
    require(&app, actor.clone(), at.clone(), Permission::Update).await?;
    let image = match read_avatar(request).await? {
        None => Patch::Clear,
        Some(picture) => {
            app.admit_picture(&actor).await?;
            Patch::Set(app.media.accept(picture).await?.name)
        }
    };
    let changes = Changes { image, ..Changes::default() };
    app.write(move |db| organizations::update(db, &actor, &at, changes, Terms::default())).await?;
    Ok(http::empty(StatusCode::NO_CONTENT))
}

/// The part `avatar` of the form; nothing where it has none.
async fn read_avatar(request: Request) -> Result<Option<Bytes>, Error> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = multer::parse_boundary(content_type.unwrap_or_default())?;
    let body = read_body(request, MAX_BYTES + AROUND_IT).await?;
    let whole = futures_util::stream::once(std::future::ready(Ok::<_, Infallible>(body)));
    let mut form = multer::Multipart::new(whole, boundary);
    let mut avatar = None;
    // To its end, so that half a form is never taken for one without the part.
    while let Some(part) = form.next_field().await? {
        if part.name() == Some("avatar") {
            avatar = Some(part.bytes().await?);
        }
    }
    Ok(avatar)
}

impl From<multer::Error> for Error {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::NoMultipart | multer::Error::DecodeContentType(_) => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type")
            }
            _ => Self::new(StatusCode::BAD_REQUEST, "Problems parsing multipart/form-data"),
        }
    }
}

impl From<PictureError> for Error {
    fn from(error: PictureError) -> Self {
        match error {
            PictureError::NotAPicture => {
                Self::invalid("avatar must be a complete PNG, JPEG, GIF or WebP picture")
            }
            PictureError::Dimensions => Self::invalid("avatar must be at most 4096 pixels wide and high"),
            PictureError::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "avatar is larger than 5 MiB"),
            PictureError::Busy | PictureError::Store => {
                guildhall_domain::Error::Unavailable(error.to_string()).into()
            }
        }
    }
}

#[cfg(test)]
mod parsers;
