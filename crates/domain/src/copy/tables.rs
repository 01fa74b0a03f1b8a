//! Every table that holds data, for the copy: those that others point to stand before these. What is applied of the
//! migrations the target has by itself; the counters are numbers, and not rows, where an engine keeps them elsewhere.

use crate::db::Value;

/// Before every number that is a key.
const NUMBER: Value<'static> = Value::Int(i64::MIN);
/// Before every text that is a key: none is empty.
const TEXT: Value<'static> = Value::Text("");

/// One table. Both statements have all of its columns, those of the primary key first.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// A key before every other.
    pub(super) before: &'static [Value<'static>],
    /// How many rows there are.
    pub(super) count: &'static str,
    /// The rows behind a key, in the order of the keys: the key's values, then how many rows at the most.
    pub(super) read: &'static str,
    /// Adds a row.
    pub(super) insert: &'static str,
}

impl Table {
    /// How many columns there are.
    pub(super) fn width(&self) -> usize {
        let columns = self.read.split(" FROM ").next().unwrap_or_default();
        columns.matches(',').count() + 1
    }
}

pub(super) const TABLES: &[Table] = &[
    Table {
        name: "users",
        before: &[NUMBER],
        count: "SELECT COUNT(*) FROM users",
        read: "SELECT id, uid, username, username_key, email, email_key, name, first_name, last_name, \
               password_hash, confirmed_at, disabled_at, operator, issuer, subject, label, location, image, \
               details, last_login_at, seen_at, created_at, updated_at FROM users WHERE id > $1 ORDER BY id \
               LIMIT $2",
        insert: "INSERT INTO users (id, uid, username, username_key, email, email_key, name, first_name, \
                 last_name, password_hash, confirmed_at, disabled_at, operator, issuer, subject, label, \
                 location, image, details, last_login_at, seen_at, created_at, updated_at) VALUES ($1, $2, $3, \
                 $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)",
    },
    Table {
        name: "organizations",
        before: &[NUMBER],
        count: "SELECT COUNT(*) FROM organizations",
        read: "SELECT id, uid, slug, name, name_key, public_name_key, description, urls, contacts, visibility, \
               joining, archived_at, plan, plan_attendees, image, background_image, created_by, created_at, \
               updated_at FROM organizations WHERE id > $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO organizations (id, uid, slug, name, name_key, public_name_key, description, urls, \
                 contacts, visibility, joining, archived_at, plan, plan_attendees, image, background_image, \
                 created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                 $13, $14, $15, $16, $17, $18, $19)",
    },
    Table {
        name: "memberships",
        before: &[NUMBER, NUMBER],
        count: "SELECT COUNT(organization_id) FROM memberships",
        read: "SELECT organization_id, user_id, role, state, joined_at FROM memberships WHERE (organization_id, \
               user_id) > ($1, $2) ORDER BY organization_id, user_id LIMIT $3",
        insert: "INSERT INTO memberships (organization_id, user_id, role, state, joined_at) VALUES ($1, $2, $3, \
                 $4, $5)",
    },
    Table {
        name: "member_counts",
        before: &[NUMBER, NUMBER],
        count: "SELECT COUNT(organization_id) FROM member_counts",
        read: "SELECT organization_id, stripe, members FROM member_counts WHERE (organization_id, stripe) > ($1, \
               $2) ORDER BY organization_id, stripe LIMIT $3",
        insert: "INSERT INTO member_counts (organization_id, stripe, members) VALUES ($1, $2, $3)",
    },
    Table {
        name: "listed_counts",
        before: &[TEXT, NUMBER],
        count: "SELECT COUNT(*) FROM listed_counts",
        read: "SELECT visibility, stripe, organizations FROM listed_counts WHERE (visibility, stripe) > ($1, $2) \
               ORDER BY visibility, stripe LIMIT $3",
        insert: "INSERT INTO listed_counts (visibility, stripe, organizations) VALUES ($1, $2, $3)",
    },
    Table {
        name: "sessions",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM sessions",
        read: "SELECT id, user_id, kind, scope, organization_id, from_api_key, created_at, expires_at FROM \
               sessions WHERE id > $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO sessions (id, user_id, kind, scope, organization_id, from_api_key, created_at, \
                 expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    },
    Table {
        name: "ended_tokens",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM ended_tokens",
        read: "SELECT hash, expires_at FROM ended_tokens WHERE hash > $1 ORDER BY hash LIMIT $2",
        insert: "INSERT INTO ended_tokens (hash, expires_at) VALUES ($1, $2)",
    },
    Table {
        name: "api_keys",
        before: &[NUMBER],
        count: "SELECT COUNT(*) FROM api_keys",
        read: "SELECT user_id, hash, ending, created_at FROM api_keys WHERE user_id > $1 ORDER BY user_id LIMIT \
               $2",
        insert: "INSERT INTO api_keys (user_id, hash, ending, created_at) VALUES ($1, $2, $3, $4)",
    },
    Table {
        name: "mailed_tokens",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM mailed_tokens",
        read: "SELECT hash, purpose, user_id, email, expires_at FROM mailed_tokens WHERE hash > $1 ORDER BY hash \
               LIMIT $2",
        insert: "INSERT INTO mailed_tokens (hash, purpose, user_id, email, expires_at) VALUES ($1, $2, $3, $4, \
                 $5)",
    },
    Table {
        name: "sign_in_failures",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM sign_in_failures",
        read: "SELECT key, failures, next_at FROM sign_in_failures WHERE key > $1 ORDER BY key LIMIT $2",
        insert: "INSERT INTO sign_in_failures (key, failures, next_at) VALUES ($1, $2, $3)",
    },
    Table {
        name: "sign_in_places",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM sign_in_places",
        read: "SELECT key, expires_at FROM sign_in_places WHERE key > $1 ORDER BY key LIMIT $2",
        insert: "INSERT INTO sign_in_places (key, expires_at) VALUES ($1, $2)",
    },
    Table {
        name: "limit_counts",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM limit_counts",
        read: "SELECT key, taken, ends_at FROM limit_counts WHERE key > $1 ORDER BY key LIMIT $2",
        insert: "INSERT INTO limit_counts (key, taken, ends_at) VALUES ($1, $2, $3)",
    },
    Table {
        name: "invitations",
        before: &[NUMBER],
        count: "SELECT COUNT(organization_id) FROM invitations",
        read: "SELECT id, organization_id, email, email_key, role, token_hash, invited_by, created_at, \
               expires_at, accepted_at FROM invitations WHERE id > $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO invitations (id, organization_id, email, email_key, role, token_hash, invited_by, \
                 created_at, expires_at, accepted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    },
    Table {
        name: "events",
        before: &[NUMBER],
        count: "SELECT COUNT(organization_id) FROM events",
        read: "SELECT id, organization_id, name, starts_at, summary, location, created_at FROM events WHERE id > \
               $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO events (id, organization_id, name, starts_at, summary, location, created_at) VALUES \
                 ($1, $2, $3, $4, $5, $6, $7)",
    },
    Table {
        name: "event_people",
        before: &[NUMBER, TEXT, NUMBER],
        count: "SELECT COUNT(organization_id) FROM event_people",
        read: "SELECT event_id, part, user_id, organization_id, added_at FROM event_people WHERE (event_id, \
               part, user_id) > ($1, $2, $3) ORDER BY event_id, part, user_id LIMIT $4",
        insert: "INSERT INTO event_people (event_id, part, user_id, organization_id, added_at) VALUES ($1, $2, \
                 $3, $4, $5)",
    },
    Table {
        name: "keys",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM keys",
        read: "SELECT id, purpose, created_at, value FROM keys WHERE id > $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO keys (id, purpose, created_at, value) VALUES ($1, $2, $3, $4)",
    },
    Table {
        name: "outbox",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM outbox",
        read: "SELECT id, letter, recipient, nonce, person, organization, expires_at, created_at, attempts, \
               next_at, last_error FROM outbox WHERE id > $1 ORDER BY id LIMIT $2",
        insert: "INSERT INTO outbox (id, letter, recipient, nonce, person, organization, expires_at, created_at, \
                 attempts, next_at, last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    },
    Table {
        name: "activity",
        before: &[TEXT],
        count: "SELECT COUNT(*) FROM activity",
        read: "SELECT id, at, actor_id, organization_id, user_id, action, detail FROM activity WHERE id > $1 \
               ORDER BY id LIMIT $2",
        insert: "INSERT INTO activity (id, at, actor_id, organization_id, user_id, action, detail) VALUES ($1, \
                 $2, $3, $4, $5, $6, $7)",
    },
];
