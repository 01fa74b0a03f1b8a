//! Organizations: fetching one, and making, changing and deleting one. What is sent of one is a form with pictures.

use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use guildhall_domain::authz::{Actor, Permission, State as Standing};
use guildhall_domain::db::Db;
use guildhall_domain::error::Denied;
use guildhall_domain::memberships::{self, At, Cursor, Joining, Listed, Member, Visibility};
use guildhall_domain::organizations::{self, Changes, NewOrganization, Patch, Terms};
use guildhall_domain::text::Name;
use multer::Multipart;
use serde::Serialize;

use super::people::{self, Piece};
use super::{Bit, Error, at, made, message, username};
use crate::app::App;
use crate::auth::SignedIn;
use crate::http::{self, PIECE, Params};
use crate::media::PictureError;

/// The most bytes of a form: two pictures of 5 MiB, and room for what stands around them.
const FORM_MAX: usize = 11 * 1024 * 1024;

/// When to come back where a picture could not be taken in for no fault of its own.
const PICTURE_AGAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Serialize)]
struct Profile {
    name: String,
    image: String,
    background_image: String,
}

/// The lists that an answer ends with, in the document's order: of whom, and in what state where one is asked for.
const LISTS: &[(&str, (Listed, Option<Standing>))] = &[
    ("owners", (Listed::Owners, None)),
    ("active_users", (Listed::Shown, Some(Standing::Active))),
    ("inactive_users", (Listed::Shown, Some(Standing::Inactive))),
];

pub(super) async fn fetch(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let at = at(&params);
    let (caller, place) = (actor.clone(), at.clone());
    let organization = app.read(move |db| organizations::get(db, &caller, &place)).await?.organization;
    let url = |name: Option<&str>| app.media.url(&app.public_url, name);
    let profile = Profile {
        image: url(organization.image.as_deref()),
        background_image: url(organization.background_image.as_deref()),
        name: organization.name,
    };
    let read = move |db: &Db, wanted, after: Option<Cursor>| members(db, (&actor, &at), wanted, after);
    Ok(people::answer(&app, &profile, LISTS, read).await?)
}

/// A piece of a list of members; to one who may not know who they are the list is empty.
fn members(
    db: &Db,
    (actor, at): (&Actor, &At),
    (listed, state): (Listed, Option<Standing>),
    after: Option<Cursor>,
) -> guildhall_domain::Result<Piece<Cursor>> {
    let most = i64::try_from(PIECE).unwrap_or(i64::MAX);
    let piece = memberships::Piece { listed, after: after.unwrap_or(Cursor::START), most };
    let name = |member: &Member| {
        let is_wanted = state.is_none_or(|state| member.state == state);
        is_wanted.then(|| username(&member.user))
    };
    match memberships::list(db, actor, at, piece) {
        Ok(members) => Ok(Piece::of(&members, Member::cursor, name)),
        Err(guildhall_domain::Error::Denied(Denied::Role)) => Ok(Piece::none()),
        Err(error) => Err(error),
    }
}

pub(super) async fn create(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    request: Request,
) -> Result<Response, Error> {
    const WHAT: &str = "create a organization";
    let caller = actor.clone();
    app.read(move |db| organizations::may_create(db, &caller, Terms::default())).await?;
    let Form { name: Some(name), image: Some(image), background_image: Some(background_image) } =
        read_form(request, WHAT).await?
    else {
        return Err(Error::incorrect(WHAT));
    };
    let new = NewOrganization {
        visibility: Visibility::Internal,
        joining: Joining::Open,
        image: Some(keep(&app, &actor, image, WHAT).await?),
        background_image: Some(keep(&app, &actor, background_image, WHAT).await?),
        ..NewOrganization::named(name)
    };
    let organization = app.write(move |db| organizations::create(db, &actor, new, Terms::default())).await?;
    Ok(made("Organization successfully created", &format!("/organizations/{}", organization.id.0)))
}

pub(super) async fn update(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
    request: Request,
) -> Result<Response, Error> {
    const WHAT: &str = "update a organization";
    let at = at(&params);
    let (caller, place) = (actor.clone(), at.clone());
    app.read(move |db| memberships::may(db, &caller, &place, Permission::Update)).await?;
    let form = read_form(request, WHAT).await?;
    if form.name.is_none() && form.image.is_none() && form.background_image.is_none() {
        return Err(Error::incorrect(WHAT));
    }
    let changes = Changes {
        name: form.name,
        image: keep_sent(&app, &actor, form.image, WHAT).await?,
        background_image: keep_sent(&app, &actor, form.background_image, WHAT).await?,
        ..Changes::default()
    };
    app.write(move |db| organizations::update(db, &actor, &at, changes, Terms::default())).await?;
    Ok(message(StatusCode::ACCEPTED, "Organization successfully updated"))
}

pub(super) async fn delete(
    State(app): State<App>,
    SignedIn { actor, .. }: SignedIn<Bit>,
    params: Params,
) -> Result<Response, Error> {
    let at = at(&params);
    app.write(move |db| organizations::delete(db, &actor, &at)).await?;
    Ok(message(StatusCode::OK, "Organization successfully deleted"))
}

/// What was sent of an organization, each part where it was.
struct Form {
    name: Option<Name>,
    image: Option<Bytes>,
    background_image: Option<Bytes>,
}

/// The form of a call that does `what`.
async fn read_form(request: Request, what: &str) -> Result<Form, Error> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(|content_type| multer::parse_boundary(content_type).ok());
    let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
        return Err(Error::incorrect(what));
    };
    let body = http::read_body(request, FORM_MAX).await?;
    read_parts(body, boundary).await.ok_or_else(|| Error::incorrect(what))
}

/// The parts of the body; nothing where one is not known, comes twice, or does not do.
async fn read_parts(body: Bytes, boundary: String) -> Option<Form> {
    let mut parts = Multipart::new(futures_util::stream::once(ready(Ok::<_, Infallible>(body))), boundary);
    let (mut name, mut image, mut background_image) = (None, None, None);
    while let Some(part) = parts.next_field().await.ok()? {
        let place = match part.name()? {
            "name" => &mut name,
            "image" => &mut image,
            "background_image" => &mut background_image,
            _ => return None,
        };
        if place.replace(part.bytes().await.ok()?).is_some() {
            return None;
        }
    }
    let name = match name {
        Some(name) => Some(Name::parse(std::str::from_utf8(&name).ok()?).ok()?),
        None => None,
    };
    Some(Form { name, image, background_image })
}

/// Takes a picture in; answers the name under which it is kept. One that no organization comes to show is removed in time.
async fn keep(app: &App, actor: &Actor, picture: Bytes, what: &str) -> Result<String, Error> {
    app.admit_picture(actor).await?;
    match app.media.accept(picture).await {
        Ok(picture) => Ok(picture.name),
        Err(PictureError::NotAPicture | PictureError::TooLarge | PictureError::Dimensions) => {
            Err(Error::incorrect(what))
        }
        Err(PictureError::Busy | PictureError::Store) => Err(Error::busy(PICTURE_AGAIN)),
    }
}

async fn keep_sent(
    app: &App,
    actor: &Actor,
    picture: Option<Bytes>,
    what: &str,
) -> Result<Patch<String>, Error> {
    match picture {
        Some(picture) => keep(app, actor, picture, what).await.map(Patch::Set),
        None => Ok(Patch::Keep),
    }
}

#[cfg(test)]
mod parsers;
