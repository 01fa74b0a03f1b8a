-- What the server asks for a member's GET of one organization: whose credential it is, then the organization as they see it.
SELECT s.user_id, s.scope, s.organization_id, s.expires_at, s.from_api_key, u.confirmed_at, u.seen_at
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = :session AND s.kind = :kind AND u.disabled_at IS NULL;
SELECT o.id, o.name, o.visibility, o.joining, o.archived_at, m.role, m.state, o.uid, o.slug, o.description, o.urls,
       o.contacts, o.plan, o.plan_attendees, o.image, o.background_image, o.created_at, o.updated_at
FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = :user
WHERE o.uid >= :least AND o.uid <= :greatest;
