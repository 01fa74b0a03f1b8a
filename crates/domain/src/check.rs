//! Whether the data keeps the rules: what `guildhall check` asks of a database.

use crate::authz::Actor;
use crate::db::{Db, Row, Tx};
use crate::error::{Error, Result};
use crate::memberships::in_charge;
use crate::text::{Slug, fold};

/// What is wrong, a line for people each; nothing where all is well.
///
/// # Errors
/// For all but the system; where the database cannot be read at all.
pub fn findings(db: &Db, actor: &Actor) -> Result<Vec<String>> {
    actor.require_system()?;
    let mut findings = db.integrity()?;
    match db.read(rules) {
        Ok(broken) => findings.extend(broken),
        // The damage that is told already may keep the rest from being read.
        Err(Error::Internal(_)) if !findings.is_empty() => {}
        Err(error) => return Err(error),
    }
    Ok(findings)
}

fn rules(tx: &Tx<'_>) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let told = |row: &Row<'_>| row.text();
    findings.extend(
        tx.rows(
            concat!(
                "SELECT o.slug FROM organizations o WHERE NOT EXISTS (
                     SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id
                     WHERE m.organization_id = o.id AND u.disabled_at IS NULL AND ",
                in_charge!("m"),
                ") ORDER BY o.slug"
            ),
            &[],
            told,
        )?
        .into_iter()
        .map(|slug| {
            format!("organization {slug}: nobody is in charge (add an owner with `guildhall member add`)")
        }),
    );
    findings.extend(
        tx.rows(
            "SELECT u.email FROM users u JOIN users other ON other.username_key = u.email_key
             WHERE other.id <> u.id ORDER BY u.id",
            &[],
            told,
        )?
        .into_iter()
        .map(|email| format!("user {email}: the address is another account's username")),
    );
    findings.extend(counters(tx)?);
    findings.extend(sums(tx)?);
    findings.extend(organizations(tx)?);
    Ok(findings)
}

/// A number that was given must not be given again.
fn counters(tx: &Tx<'_>) -> Result<Vec<String>> {
    let greatest = [
        ("users", "SELECT COALESCE(MAX(id), 0) FROM users"),
        ("organizations", "SELECT COALESCE(MAX(id), 0) FROM organizations"),
        ("invitations", "SELECT COALESCE(MAX(id), 0) FROM invitations"),
        ("events", "SELECT COALESCE(MAX(id), 0) FROM events"),
    ];
    let mut findings = Vec::new();
    for (name, sql) in greatest {
        let given = tx.last_number(name)?.unwrap_or(-1);
        if tx.row(sql, &[], |row| row.int())?.unwrap_or(0) > given {
            findings.push(format!("counter {name}: behind the numbers that were given"));
        }
    }
    Ok(findings)
}

/// What is kept in sums must be what there is: lists tell how long they are by it.
fn sums(tx: &Tx<'_>) -> Result<Vec<String>> {
    let members = "SELECT o.slug FROM organizations o
         WHERE 1 + COALESCE((SELECT CAST(SUM(c.members) AS BIGINT) FROM member_counts c WHERE c.organization_id = o.id), 0)
               <> (SELECT COUNT(*) FROM memberships m
                   WHERE m.organization_id = o.id AND m.state IN ('active', 'inactive'))
         ORDER BY o.slug";
    // That they are not private is said for the index of listed ones, which holds no others.
    let listed = [
        (
            "public",
            "SELECT COUNT(*) FROM organizations WHERE visibility = 'public' AND visibility <> 'private' AND archived_at IS NULL",
            "SELECT COALESCE(CAST(SUM(organizations) AS BIGINT), 0) FROM listed_counts WHERE visibility = 'public'",
        ),
        (
            "internal",
            "SELECT COUNT(*) FROM organizations WHERE visibility = 'internal' AND visibility <> 'private' AND archived_at IS NULL",
            "SELECT COALESCE(CAST(SUM(organizations) AS BIGINT), 0) FROM listed_counts WHERE visibility = 'internal'",
        ),
    ];
    let wrong = tx.rows(members, &[], |row| row.text())?;
    let mut findings: Vec<String> = wrong
        .into_iter()
        .map(|slug| format!("organization {slug}: the sums of its members are not how many there are"))
        .collect();
    for (visibility, count, sum) in listed {
        let number = |sql| tx.row(sql, &[], |row| row.int());
        if number(count)? != number(sum)? {
            findings.push(format!("the sums of {visibility} organizations are not how many there are"));
        }
    }
    Ok(findings)
}

/// What is stored twice must agree, and a slug must be one.
fn organizations(tx: &Tx<'_>) -> Result<Vec<String>> {
    let rows = tx.rows(
        "SELECT slug, name, name_key, public_name_key, visibility FROM organizations ORDER BY id",
        &[],
        |row| {
            let (slug, name, key) = (row.text()?, row.text()?, row.text()?);
            let (public_key, visibility) = (row.opt_text()?, row.text()?);
            let public_is_right = (visibility == "public").then_some(&key) == public_key.as_ref();
            let mut wrong = Vec::new();
            if Slug::parse(&slug).is_none() {
                wrong.push(format!("organization {slug}: the slug has not the form of one"));
            }
            if fold(&name) != key || !public_is_right {
                wrong.push(format!("organization {slug}: the stored forms of its name disagree"));
            }
            Ok(wrong)
        },
    )?;
    Ok(rows.into_iter().flatten().collect())
}
