//! The schema of a fresh database, and how its statements find their rows.

use guildhall_domain::db::{Db, Settings, Target};
use guildhall_domain::text::DESCRIPTION_KEY_MAX;
use rusqlite::Connection;

use crate::harness::Folder;
use crate::sources::{Statement, files, statements};

/// The database as the domain makes it, opened besides it.
fn fresh(test: impl FnOnce(&Connection)) {
    let folder = Folder::new();
    let file = folder.0.join("guildhall.db");
    let db = Db::sqlite(&file, Settings::default()).unwrap();
    test(&Connection::open(&file).unwrap());
    drop(db);
}

fn strings(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn tables(connection: &Connection) -> Vec<String> {
    strings(
        connection,
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )
}

/// The columns of each index that holds every row, and whether it is unique.
fn indexes(connection: &Connection, table: &str) -> Vec<(Vec<String>, bool)> {
    let sql = format!("SELECT name || ' ' || \"unique\" FROM pragma_index_list('{table}') WHERE partial = 0");
    let named = strings(connection, &sql);
    let columns = |index: &str| {
        strings(connection, &format!("SELECT name FROM pragma_index_info('{index}') ORDER BY seqno"))
    };
    named
        .iter()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(index, unique)| (columns(index), unique == "1"))
        .collect()
}

/// Foreign keys that do nothing when what they point to goes, or that have no index to find theirs by.
fn loose_references(connection: &Connection) -> Vec<String> {
    let mut findings = Vec::new();
    for table in tables(connection) {
        let keys = strings(
            connection,
            &format!(
                "SELECT DISTINCT id FROM (SELECT CAST(id AS TEXT) AS id FROM pragma_foreign_key_list('{table}'))"
            ),
        );
        for key in keys {
            let of = |column: &str| {
                let sql = format!(
                    "SELECT {column} FROM pragma_foreign_key_list('{table}') WHERE id = {key} ORDER BY seq"
                );
                strings(connection, &sql)
            };
            let columns = of("\"from\"");
            if !["CASCADE", "SET NULL"].contains(&of("on_delete")[0].as_str()) {
                findings.push(format!("{table} ({}): no action on deletion", columns.join(", ")));
            }
            if !indexes(connection, &table).iter().any(|(index, _)| index.starts_with(&columns)) {
                findings.push(format!("{table} ({}): no index", columns.join(", ")));
            }
        }
    }
    findings
}

/// Numbers that are neither ids nor instants nor flags.
const QUANTITIES: [&str; 8] =
    ["value", "plan_attendees", "failures", "taken", "attempts", "stripe", "members", "organizations"];
/// Texts of which only some mean something.
const CHOICES: [&str; 8] = ["visibility", "joining", "role", "state", "kind", "scope", "purpose", "part"];

/// Columns of a type that the engines do not share, and flags and choices that may hold anything.
fn loose_columns(connection: &Connection) -> Vec<String> {
    let mut findings = Vec::new();
    for table in tables(connection) {
        let create =
            &strings(connection, &format!("SELECT sql FROM sqlite_schema WHERE name = '{table}'"))[0];
        for column in
            strings(connection, &format!("SELECT name || ' ' || type FROM pragma_table_info('{table}')"))
        {
            let (name, kind) = column.split_once(' ').unwrap();
            if !["TEXT", "BIGINT"].contains(&kind) {
                findings.push(format!("{table}.{name}: {kind}"));
            }
            let is_flag = kind == "BIGINT"
                && !QUANTITIES.contains(&name)
                && !["id", "at"].contains(&name)
                && !["_id", "_at", "_by"].iter().any(|ending| name.ends_with(ending));
            if is_flag && !create.contains(&format!("CHECK ({name} IN (0, 1))")) {
                findings.push(format!("{table}.{name}: a flag without a check"));
            }
            // Three values and more stand with OR, every one of them as this column's: for an IN of them SQLite makes a table.
            let is_checked =
                create.split("CHECK (").skip(1).filter_map(|check| check.lines().next()).any(|check| {
                    let two = check.starts_with(&format!("{name} IN ('")) && check.matches('\'').count() == 4;
                    two || check.split(" OR ").all(|value| value.starts_with(&format!("{name} = '")))
                });
            if CHOICES.contains(&name) && !is_checked {
                findings.push(format!("{table}.{name}: a choice without a check"));
            }
        }
    }
    findings
}

fn without_primary_key(connection: &Connection) -> Vec<String> {
    let has_none = |table: &String| {
        strings(connection, &format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0")).is_empty()
    };
    tables(connection).into_iter().filter(has_none).collect()
}

fn generated(connection: &Connection) -> Vec<String> {
    let of = |table: String| {
        let sql = format!("SELECT '{table}.' || name FROM pragma_table_xinfo('{table}') WHERE hidden > 0");
        strings(connection, &sql)
    };
    tables(connection).into_iter().flat_map(of).collect()
}

#[test]
fn the_schema_keeps_its_promises() {
    fresh(|connection| {
        assert!(tables(connection).len() >= 15, "{:?}", tables(connection));
        assert_eq!(loose_references(connection), [""; 0]);
        assert_eq!(loose_columns(connection), [""; 0]);
        assert_eq!(without_primary_key(connection), [""; 0]);
        // What follows from other columns stands in no list of columns above, and is not copied.
        assert_eq!(generated(connection), ["organizations.description_key"]);
        let create = &strings(connection, "SELECT sql FROM sqlite_schema WHERE name = 'organizations'")[0];
        assert!(create.contains(&format!("(substr(coalesce(description, ''), 1, {DESCRIPTION_KEY_MAX}))")));
    });
}

#[test]
fn a_loose_schema_is_found_out() {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch(
            "CREATE TABLE parents (id BIGINT NOT NULL PRIMARY KEY);
             CREATE TABLE children (
                 parent_id BIGINT REFERENCES parents (id), other_id BIGINT REFERENCES parents (id) ON DELETE CASCADE,
                 done BIGINT NOT NULL, born DATETIME, role TEXT NOT NULL
             );
             CREATE INDEX children_by_other ON children (other_id) WHERE done = 1;",
        )
        .unwrap();
    let mut references = loose_references(&connection);
    references.sort_unstable();
    assert_eq!(
        references,
        [
            "children (other_id): no index",
            "children (parent_id): no action on deletion",
            "children (parent_id): no index"
        ]
    );
    assert_eq!(
        loose_columns(&connection),
        [
            "children.done: a flag without a check",
            "children.born: DATETIME",
            "children.role: a choice without a check"
        ]
    );
    assert_eq!(without_primary_key(&connection), ["children"]);
}

#[test]
fn what_is_unique_is_so_in_the_database() {
    fresh(|connection| {
        for (table, columns) in [
            ("memberships", &["organization_id", "user_id"][..]),
            ("organizations", &["slug"]),
            ("organizations", &["uid"]),
            ("users", &["uid"]),
            ("users", &["email_key"]),
            ("users", &["username_key"]),
            ("users", &["issuer", "subject"]),
            ("sessions", &["id"]),
            ("api_keys", &["user_id"]),
            ("api_keys", &["hash"]),
            ("mailed_tokens", &["hash"]),
            ("invitations", &["token_hash"]),
            ("invitations", &["organization_id", "email_key"]),
            ("ended_tokens", &["hash"]),
        ] {
            let unique = indexes(connection, table).into_iter().filter(|(_, unique)| *unique);
            assert!(unique.map(|(own, _)| own).any(|own| own == columns), "{table} {columns:?}");
        }
        // Of most organizations the name is not public: they cost this index nothing.
        let sql = "SELECT sql FROM sqlite_schema WHERE name = 'organizations_public_name'";
        assert_eq!(
            strings(connection, sql),
            ["CREATE UNIQUE INDEX organizations_public_name ON organizations (public_name_key) \
              WHERE public_name_key IS NOT NULL"]
        );
    });
}

/// What the engine does to run a statement that costs more than it finds: looks at every row, or sorts.
fn costs(connection: &Connection, sql: &str) -> Vec<String> {
    let plan = format!("EXPLAIN QUERY PLAN {sql}");
    let mut statement = connection.prepare(&plan).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let mut rows = statement.raw_query();
    let (mut costs, mut made) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next().unwrap() {
        let detail: String = row.get(3).unwrap();
        // A part that was found by an index and cut off may be walked through whole.
        made.extend(detail.strip_prefix("CO-ROUTINE ").map(str::to_owned));
        let scanned = detail.strip_prefix("SCAN ").filter(|what| !made.iter().any(|part| part == what));
        if scanned.is_some_and(|what| what != "CONSTANT ROW") || detail.contains("TEMP B-TREE") {
            costs.push(detail);
        }
    }
    costs
}

#[test]
fn statements_find_their_rows_by_an_index() {
    let slow = [
        ("crates/domain/src/check.rs", "`guildhall check` looks at everything"),
        ("crates/domain/src/copy.rs", "`guildhall copy` too"),
        ("crates/domain/src/copy/tables.rs", "`guildhall copy` too"),
        (
            "UPDATE invitations SET expires_at = $1 WHERE accepted_at IS NULL",
            "a renewal of the keys ends every link",
        ),
        ("DELETE FROM outbox WHERE nonce IS NOT NULL", "the queue of letters is short"),
        ("SELECT COUNT(*) FROM outbox", "the queue of letters is short, and only the metrics ask"),
        (
            "FROM organizations o LEFT JOIN memberships m ON m.organization_id = o.id AND m.user_id = $1 WHERE o.visibility = 'public' OR",
            "a list that is sought, or sorted by two keys, looks at all that it may hold",
        ),
        (
            "AND (o.visibility = 'private' OR o.archived_at IS NOT NULL) AND m.user_id = $4 AND (o.",
            "of those that somebody belongs to, their keys are sorted",
        ),
        (
            "ORDER BY CASE m.role WHEN 'owner'",
            "who is in charge of one organization: few, found by a partial index",
        ),
    ];
    fresh(|connection| {
        let statements = statements(&files("crates/domain/src", &[".rs"]));
        let mut found = Vec::new();
        for statement in statements.iter().filter(|s| !s.place.contains("/db/")) {
            let costs = costs(connection, &statement.sql);
            if !costs.is_empty() {
                found.push(format!("{}: {}: {costs:?}", statement.place, statement.sql));
            }
        }
        let wrong: Vec<_> =
            found.iter().filter(|line| !slow.iter().any(|(part, _)| line.contains(part))).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let unused: Vec<_> =
            slow.iter().filter(|(part, _)| !found.iter().any(|line| line.contains(part))).collect();
        assert!(unused.is_empty(), "no longer needed: {unused:#?}");
        assert!(!costs(connection, "SELECT id FROM users WHERE name = $1").is_empty());
        assert!(
            !costs(connection, "SELECT id FROM organizations WHERE visibility = $1 ORDER BY updated_at")
                .is_empty()
        );
    });
}

/// What PostgreSQL has against statements, prepared on a database as the domain makes it.
fn refused_by_postgres(cluster: &testpg::Cluster, name: &str, statements: &[Statement]) -> Vec<String> {
    let mut refused = Vec::new();
    // A program takes no argument of more than 128 KiB.
    for some in statements.chunks(50) {
        let mut script = String::from("CREATE TEMP TABLE refused (what TEXT);");
        for Statement { place, sql } in some {
            let place = format!("{place}: {sql}").replace('\n', " ");
            script.push_str(&format!(
                "DO $do$ BEGIN EXECUTE $prepare$PREPARE tried AS {sql}$prepare$; DEALLOCATE tried;
                 EXCEPTION WHEN OTHERS THEN INSERT INTO refused VALUES (SQLERRM || $place$ {place}$place$); END $do$;"
            ));
        }
        script.push_str("SELECT what FROM refused");
        refused.extend(cluster.psql(name, &script).lines().map(str::to_owned));
    }
    refused
}

#[test]
fn statements_are_understood_by_both_engines() {
    let Some(cluster) = testpg::shared() else { return };
    let database = cluster.database();
    let target = Target::parse(database.url()).unwrap();
    drop(Db::postgres(&target, 1, Settings::default()).unwrap());
    let mut statements = statements(&files("crates/domain/src", &[".rs"]));
    // What belongs to one engine is known to that one alone.
    statements.retain(|statement| !statement.place.contains("/db/") && !statement.place.contains("/db.rs"));
    assert!(statements.len() > 100, "only {} statements were found", statements.len());
    assert_eq!(refused_by_postgres(cluster, database.name(), &statements), [""; 0]);
    let unknown = Statement { place: "x.rs:1".into(), sql: "SELECT id FROM users WHERE rowid = $1".into() };
    assert_eq!(refused_by_postgres(cluster, database.name(), &[unknown]).len(), 1);
}
