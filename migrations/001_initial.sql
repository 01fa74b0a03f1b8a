-- One text for both engines. Instants are microseconds since 1970, flags 0 or 1, secrets SHA-256 in hex.
-- CHECKs name three values and more with OR: for such an IN SQLite makes a table at each insert.
-- WITHOUT ROWID: SQLite keeps the rows in the primary key itself, one look-up away. PostgreSQL is not told of it.

-- The last number given of each kind. Numbers are never given twice.
CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO counters (name, value) VALUES ('users', 0), ('organizations', 0), ('invitations', 0), ('events', 0);

CREATE TABLE users (
    id BIGINT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    username TEXT,
    username_key TEXT UNIQUE,
    email TEXT,
    email_key TEXT UNIQUE,
    -- What the person is called: one name, or a first and a last one.
    name TEXT,
    first_name TEXT,
    last_name TEXT,
    password_hash TEXT,
    -- When the address was confirmed, or a trusted issuer vouched for the account.
    confirmed_at BIGINT,
    disabled_at BIGINT,
    operator BIGINT NOT NULL CHECK (operator IN (0, 1)),
    -- Of an account that a trusted issuer brought: who vouches, and under what subject.
    issuer TEXT,
    subject TEXT,
    -- What bit asks for and shows: a label without power, and what the person told.
    label TEXT,
    location TEXT,
    image TEXT,
    details TEXT,
    last_login_at BIGINT,
    -- When the person last used a credential, to a day; at least a day ago where an operator made a membership inactive.
    seen_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);

CREATE TABLE organizations (
    id BIGINT NOT NULL PRIMARY KEY,
    uid TEXT NOT NULL UNIQUE,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    -- The name_key of a public organization: unique among them.
    public_name_key TEXT,
    -- What lists are sorted by: as much of the description as an index of both engines holds.
    description_key TEXT GENERATED ALWAYS AS (substr(coalesce(description, ''), 1, 200)) STORED,
    visibility TEXT NOT NULL CHECK (visibility = 'public' OR visibility = 'internal' OR visibility = 'private'),
    joining TEXT NOT NULL CHECK (joining IN ('open', 'invite')),
    archived_at BIGINT,
    plan TEXT NOT NULL,
    plan_attendees BIGINT NOT NULL,
    image TEXT,
    background_image TEXT,
    created_by BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    -- What may be long stands last: what is before it is read without it.
    description TEXT,
    urls TEXT NOT NULL,
    contacts TEXT NOT NULL
);
CREATE UNIQUE INDEX organizations_public_name ON organizations (public_name_key) WHERE public_name_key IS NOT NULL;
CREATE INDEX organizations_created_by ON organizations (created_by);
CREATE INDEX organizations_by_name ON organizations (name_key, id);
-- Of what others than the members see, for lists; of most organizations nothing.
CREATE INDEX organizations_listed ON organizations (visibility, name_key, id)
    WHERE visibility <> 'private' AND archived_at IS NULL;
CREATE INDEX organizations_by_description ON organizations (visibility, description_key, id)
    WHERE visibility <> 'private' AND archived_at IS NULL;
CREATE INDEX organizations_image ON organizations (image) WHERE image IS NOT NULL;
CREATE INDEX organizations_background ON organizations (background_image) WHERE background_image IS NOT NULL;

CREATE TABLE memberships (
    organization_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role = 'owner' OR role = 'admin' OR role = 'member'),
    state TEXT NOT NULL CHECK (state = 'active' OR state = 'inactive' OR state = 'pending' OR state = 'suspended'),
    joined_at BIGINT NOT NULL,
    PRIMARY KEY (organization_id, user_id)
) WITHOUT ROWID;
-- The state stands last in both so that one's own organizations are counted, and members passed over, in the index alone.
CREATE INDEX memberships_by_user ON memberships (user_id, joined_at, organization_id, state);
CREATE INDEX memberships_by_joining ON memberships (organization_id, joined_at, user_id, state);
CREATE INDEX memberships_in_charge ON memberships (organization_id, joined_at, user_id) WHERE role <> 'member';
CREATE INDEX memberships_inactive ON memberships (user_id) WHERE state = 'inactive';
-- Without the state: for an IN that an index could serve SQLite makes a table.
CREATE INDEX memberships_leading ON memberships (user_id) WHERE role <> 'member';

-- Active and inactive members beyond the one that an organization begins with, in sums by the person's number, so that
-- nobody has to count them. Whatever puts or takes a membership changes them: an account that were deleted would have to leave
-- everywhere first.
CREATE TABLE member_counts (
    organization_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    stripe BIGINT NOT NULL,
    members BIGINT NOT NULL,
    PRIMARY KEY (organization_id, stripe)
) WITHOUT ROWID;

-- Organizations that others than their members see in lists, in sums by the organization's number.
CREATE TABLE listed_counts (
    visibility TEXT NOT NULL CHECK (visibility IN ('public', 'internal')),
    stripe BIGINT NOT NULL,
    organizations BIGINT NOT NULL,
    PRIMARY KEY (visibility, stripe)
) WITHOUT ROWID;

-- A sign-in. The id is the sid claim of a token, or the hash of a session key.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL CHECK (kind IN ('token', 'key')),
    scope TEXT NOT NULL CHECK (scope IN ('read', 'write')),
    -- The organization that the token was made for.
    organization_id BIGINT REFERENCES organizations (id) ON DELETE SET NULL,
    -- 1 where it was derived from an API key, and ends with it.
    from_api_key BIGINT NOT NULL CHECK (from_api_key IN (0, 1)),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_organization ON sessions (organization_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

-- Tokens of trusted issuers that were logged out here before their time was over.
CREATE TABLE ended_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX ended_tokens_by_expiry ON ended_tokens (expires_at);

-- An account has one API key.
CREATE TABLE api_keys (
    user_id BIGINT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash TEXT NOT NULL UNIQUE,
    ending TEXT NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

-- What a mailed link carries, good once and for one purpose.
CREATE TABLE mailed_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose = 'verify' OR purpose = 'change-address' OR purpose = 'reset-password'),
    user_id BIGINT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX mailed_tokens_by_user ON mailed_tokens (user_id, purpose);
CREATE INDEX mailed_tokens_by_expiry ON mailed_tokens (expires_at);

-- Failures in a row to sign in to an account from an address; the key is a hash of both.
CREATE TABLE sign_in_failures (
    key TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    next_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (next_at);

-- From where an account signed in of late; the key is a hash of both.
CREATE TABLE sign_in_places (
    key TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX sign_in_places_by_expiry ON sign_in_places (expires_at);

-- How often something was done that has a limit; the key is a hash of what and for whom.
CREATE TABLE limit_counts (
    key TEXT NOT NULL PRIMARY KEY,
    taken BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX limit_counts_by_end ON limit_counts (ends_at);

CREATE TABLE invitations (
    id BIGINT NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role = 'owner' OR role = 'admin' OR role = 'member'),
    token_hash TEXT NOT NULL UNIQUE,
    invited_by BIGINT REFERENCES users (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    accepted_at BIGINT,
    -- One live invitation per address and organization: a new one takes the place of the old.
    UNIQUE (organization_id, email_key)
);
CREATE INDEX invitations_by_inviter ON invitations (invited_by);

CREATE TABLE events (
    id BIGINT NOT NULL PRIMARY KEY,
    organization_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    starts_at BIGINT NOT NULL,
    summary TEXT,
    location TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (organization_id, id)
);

-- A presenter and an attendee is a member of the event's own organization, and of no other.
CREATE TABLE event_people (
    organization_id BIGINT NOT NULL,
    event_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    part TEXT NOT NULL CHECK (part IN ('presenter', 'attendee')),
    added_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, part, user_id),
    FOREIGN KEY (organization_id, event_id) REFERENCES events (organization_id, id) ON DELETE CASCADE,
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships (organization_id, user_id) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX event_people_by_event ON event_people (organization_id, event_id, part, added_at, user_id);
CREATE INDEX event_people_by_member ON event_people (organization_id, user_id);

-- The keys that every node has alike. The value is sealed with a secret outside the database, where there is one.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL CHECK (purpose IN ('signing', 'mail')),
    created_at BIGINT NOT NULL,
    value TEXT NOT NULL
);
CREATE INDEX keys_by_age ON keys (purpose, created_at, id);

-- Letters to send. The link's token is made again from the nonce when the letter is written: it stands nowhere here.
CREATE TABLE outbox (
    id TEXT NOT NULL PRIMARY KEY,
    letter TEXT NOT NULL,
    recipient TEXT NOT NULL,
    nonce TEXT,
    person TEXT,
    organization TEXT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    last_error TEXT
) WITHOUT ROWID;
CREATE INDEX outbox_by_time ON outbox (next_at, id);

-- What happened: a row per change, written with it, kept when what it speaks of is gone (hence no references).
CREATE TABLE activity (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor_id BIGINT,
    organization_id BIGINT,
    user_id BIGINT,
    action TEXT NOT NULL,
    detail TEXT
) WITHOUT ROWID;
CREATE INDEX activity_by_organization ON activity (organization_id, id);
