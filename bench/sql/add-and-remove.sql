-- The two transactions in which the server adds a member and removes them again, without its sums of members, which meet where
-- two members share one; each client has a member of its own.
-- How a transaction begins and what it locks is put in: in that differ the two ways that are compared.
\set member :first + :client_id
\set turn :turn + 1
\set unique (:now + :turn) * 100 + :client_id
{begin}
SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = :session AND s.expires_at > :now AND u.disabled_at IS NULL;
{lock}
SELECT o.id, o.name, o.visibility, o.joining, o.archived_at, m.role, m.state
FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = :user
WHERE o.uid >= :least AND o.uid <= :greatest;
SELECT u.id, u.uid, u.username, u.email FROM users u WHERE u.id = :member;
SELECT role, state FROM memberships WHERE organization_id = :organization AND user_id = :member;
INSERT INTO memberships (organization_id, user_id, role, state, joined_at)
VALUES (:organization, :member, 'member', 'active', :now)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = 'member', state = 'active', joined_at = :now
WHERE memberships.state = 'pending';
INSERT INTO activity (id, at, actor_id, organization_id, user_id, action, detail)
VALUES (:unique, :now, :user, :organization, :member, 'membership.add', NULL);
SELECT u.id, u.uid, u.username, u.email, m.role, m.state, m.joined_at
FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.organization_id = :organization AND m.user_id = :member;
COMMIT;
\set turn :turn + 1
\set unique (:now + :turn) * 100 + :client_id
{begin}
SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = :session AND s.expires_at > :now AND u.disabled_at IS NULL;
SELECT u.id, u.uid, u.username, u.email FROM users u WHERE u.id = :member;
{lock}
SELECT o.id, o.name, o.visibility, o.joining, o.archived_at, m.role, m.state
FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = :user
WHERE o.uid >= :least AND o.uid <= :greatest;
SELECT role, state FROM memberships WHERE organization_id = :organization AND user_id = :member;
DELETE FROM memberships WHERE organization_id = :organization AND user_id = :member;
DELETE FROM invitations WHERE organization_id = :organization AND accepted_at IS NULL
AND email_key IN (SELECT email_key FROM users WHERE id = :member);
INSERT INTO activity (id, at, actor_id, organization_id, user_id, action, detail)
VALUES (:unique, :now, :user, :organization, :member, 'membership.remove', NULL);
COMMIT;
