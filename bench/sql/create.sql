-- The transaction in which the server makes an organization, with the rows that it writes: another name and other ids each time.
\set turn :turn + 1
\set unique (:now + :turn) * 100 + :client_id
BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE;
SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.id = :session AND s.expires_at > :now AND u.disabled_at IS NULL;
SELECT 1 FROM memberships WHERE user_id = :user AND role <> 'member' AND state IN ('active', 'inactive') LIMIT 1;
SELECT nextval(to_regclass('numbers_of_' || CAST(:counter AS TEXT))) AS id \gset
INSERT INTO organizations (id, uid, slug, name, name_key, public_name_key, description, urls, contacts, visibility,
                           joining, archived_at, plan, plan_attendees, image, background_image, created_by,
                           created_at, updated_at)
VALUES (:id, :unique, :unique, :unique, :unique, NULL, NULL, :list, :list, :visibility,
        :joining, NULL, :plan, :attendees, NULL, NULL, :user, :now, :now)
ON CONFLICT (slug) DO NOTHING;
INSERT INTO memberships (organization_id, user_id, role, state, joined_at) VALUES (:id, :user, :role, 'active', :now)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = :role, state = 'active', joined_at = :now
WHERE memberships.state = 'pending';
INSERT INTO activity (id, at, actor_id, organization_id, user_id, action, detail)
VALUES (:unique, :now, :user, :id, :user, :action, NULL);
COMMIT;
