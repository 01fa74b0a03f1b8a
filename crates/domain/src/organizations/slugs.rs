//! Which slug a new organization gets.

use crate::db::Tx;
use crate::error::Result;
use crate::text::Slug;

pub(super) fn is_slug_taken(tx: &Tx<'_>, slug: &Slug) -> Result<bool> {
    Ok(slug.is_reserved()
        || tx.exists("SELECT 1 FROM organizations WHERE slug = $1", &[slug.as_str().into()])?)
}

/// The slug with a free number behind it: the first, where fewer than nine share it; where thousands do, it is found by
/// doubling and halving instead of by counting, and may pass over one that was given back.
pub(super) fn free_slug(tx: &Tx<'_>, base: &Slug) -> Result<Slug> {
    for number in 1..=8 {
        let slug = base.numbered(number);
        if !is_slug_taken(tx, &slug)? {
            return Ok(slug);
        }
    }
    let (mut taken, mut free) = (8, 16);
    while is_slug_taken(tx, &base.numbered(free))? {
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken + (free - taken) / 2;
        if is_slug_taken(tx, &base.numbered(middle))? { taken = middle } else { free = middle }
    }
    Ok(base.numbered(free))
}
