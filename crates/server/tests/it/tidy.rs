//! What the sources keep to that no compiler holds. Each rule is a function from a file to what is wrong with it, and is
//! shown to find something.

use crate::sources::{Source, Statement, Token, files, is_sql, root, statements};

const DIALECTS: [&str; 5] = ["bit", "buildog", "cadasta", "pm415", "stormz"];

/// Fails unless each finding is allowed, and each allowance is still needed: such a list only shrinks.
#[track_caller]
fn expect_only(findings: &[String], allowed: &[(&str, &str)]) {
    let is_allowed = |finding: &&String| allowed.iter().any(|(part, _)| finding.contains(part));
    let wrong: Vec<_> = findings.iter().filter(|finding| !is_allowed(finding)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unused: Vec<_> =
        allowed.iter().filter(|(part, _)| !findings.iter().any(|finding| finding.contains(part))).collect();
    assert!(unused.is_empty(), "no longer needed: {unused:#?}");
}

fn all(sources: &[Source], rule: fn(&Source) -> Vec<String>) -> Vec<String> {
    sources.iter().flat_map(rule).collect()
}

/// What `rule` finds in a file of that path and text.
#[track_caller]
fn expect_finding(rule: fn(&Source) -> Vec<String>, path: &str, text: &str) {
    assert_eq!(rule(&Source::new(path, text)).len(), 1, "{path}: {text}");
}

fn domain() -> Vec<Source> {
    files("crates/domain/src", &[".rs"])
}

fn server() -> Vec<Source> {
    files("crates/server/src", &[".rs"])
}

/// Every one of these words in the file.
fn words(source: &Source, refused: &[&str]) -> Vec<String> {
    let hits = source.tokens.iter().filter(|(token, _)| refused.iter().any(|word| token.is(word)));
    hits.map(|(token, line)| format!("{}:{line}: {token:?}", source.path)).collect()
}

fn knows_the_outside(source: &Source) -> Vec<String> {
    const OUTSIDE: [&str; 11] = [
        "axum",
        "hyper",
        "http",
        "serde",
        "serde_json",
        "tokio",
        "Serialize",
        "Deserialize",
        "async",
        "await",
        "reqwest",
    ];
    words(source, &OUTSIDE)
}

#[test]
fn the_domain_knows_no_http_no_json_and_no_async() {
    expect_only(&all(&domain(), knows_the_outside), &[]);
    expect_finding(knows_the_outside, "crates/domain/src/x.rs", "#[derive(Debug, Serialize)] struct X;");
    expect_finding(knows_the_outside, "crates/domain/src/x.rs", "use axum::Router;");
}

fn uses_another_dialect(source: &Source) -> Vec<String> {
    let Some(file) = source.path.strip_prefix("crates/server/src/dialects/") else { return Vec::new() };
    let own = file.split(['/', '.']).next().unwrap_or_default();
    let path_to = |at: usize| {
        let Token::Word(word) = &source.tokens[at].0 else { return None };
        let is_other = DIALECTS.contains(&word.as_str()) && word != own;
        let in_path = source.has(at + 1, &[":", ":"]) || at > 0 && source.has(at - 1, &[":"]);
        (is_other && in_path).then(|| format!("{}:{}: {word}", source.path, source.tokens[at].1))
    };
    (0..source.tokens.len()).filter_map(path_to).collect()
}

#[test]
fn no_dialect_uses_another() {
    expect_only(&all(&server(), uses_another_dialect), &[]);
    let path = "crates/server/src/dialects/bit/users.rs";
    expect_finding(uses_another_dialect, path, "use crate::dialects::cadasta;");
    expect_finding(uses_another_dialect, path, "fn f() { super::super::stormz::member() }");
    assert!(uses_another_dialect(&Source::new(path, "use crate::dialects::bit::x;")).is_empty());
}

fn holds_sql(source: &Source) -> Vec<String> {
    let is_statement = |(token, line): &(Token, usize)| match token {
        Token::Text(text) if is_sql(text) => Some(format!("{}:{line}: {text}", source.path)),
        _ => None,
    };
    source.tokens.iter().filter_map(is_statement).collect()
}

#[test]
fn sql_stands_in_the_domain_alone() {
    expect_only(&all(&server(), holds_sql), &[]);
    expect_finding(holds_sql, "crates/server/src/app.rs", "db.run(\"DELETE FROM users\")");
    let manifest = std::fs::read_to_string(root().join("crates/server/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    assert!(!dependencies.contains("rusqlite") && !dependencies.contains("postgres"));
}

/// SQL that is put together at run time.
fn builds_sql(source: &Source) -> Vec<String> {
    let builders = ["format", "write", "writeln", "format_args"];
    let found = (0..source.tokens.len()).filter(|at| {
        builders.iter().any(|builder| source.has(*at, &[builder, "!", "("]))
            && source.tokens[at + 3..]
                .iter()
                .take(3)
                .any(|(token, _)| matches!(token, Token::Text(text) if is_sql(text)))
    });
    found.map(|at| format!("{}:{}", source.path, source.tokens[at].1)).collect()
}

#[test]
fn statements_are_literals() {
    expect_only(&all(&domain(), builds_sql), &[]);
    expect_finding(builds_sql, "x.rs", "let sql = format!(\"SELECT {column} FROM users\");");
    expect_finding(builds_sql, "x.rs", "write!(sql, \"DELETE FROM {table}\")");
}

/// What one of the two engines does not know, or means otherwise.
fn is_not_portable(place: &str, sql: &str) -> Vec<String> {
    const REFUSED: [&str; 30] = [
        "AUTOINCREMENT",
        "BLOB",
        "BOOLEAN",
        "BOOL",
        "REAL",
        "DATETIME",
        "TIMESTAMP",
        "CURRENT_TIMESTAMP",
        "CURRENT_DATE",
        "CURRENT_TIME",
        "NOW",
        "RANDOM",
        "STRFTIME",
        "UNIXEPOCH",
        "JULIANDAY",
        "ROWID",
        "LAST_INSERT_ROWID",
        "NOCASE",
        "GLOB",
        "IFNULL",
        "IIF",
        "GROUP_CONCAT",
        "REPLACE",
        "IGNORE",
        "ILIKE",
        "SERIAL",
        "INTEGER",
        "WITHOUT",
        "STRICT",
        "UUID",
    ];
    let upper = strip_quoted(sql).to_uppercase();
    let words: Vec<&str> =
        upper.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    let mut findings: Vec<String> =
        words.iter().filter(|word| REFUSED.contains(word)).map(|word| format!("{place}: {word}")).collect();
    if words.windows(2).any(|pair| pair == ["INSERT", "OR"]) {
        findings.push(format!("{place}: INSERT OR"));
    }
    if upper.contains('?') {
        findings.push(format!("{place}: a placeholder that is no $1"));
    }
    if upper.contains("SUM(") && !upper.contains("CAST(SUM(") {
        findings.push(format!("{place}: a sum has another type on each engine"));
    }
    findings
}

/// `sql` without what stands between quotes, and without comments.
fn strip_quoted(sql: &str) -> String {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let sql = lines.collect::<Vec<_>>().join("\n");
    sql.split('\'').step_by(2).collect::<Vec<_>>().join("''")
}

#[test]
fn sql_means_the_same_on_both_engines() {
    let mut findings = Vec::new();
    let statements = statements(&domain());
    assert!(statements.len() > 100, "only {} statements were found", statements.len());
    for Statement { place, sql } in statements {
        findings.extend(is_not_portable(&place, &sql));
    }
    for migration in files("migrations", &[".sql"]) {
        // What PostgreSQL is not told, see db/postgres/schema.rs.
        findings.extend(is_not_portable(&migration.path, &migration.text.replace(" WITHOUT ROWID;", ";")));
    }
    expect_only(&findings, &[]);
    for bad in [
        "INSERT OR IGNORE INTO t (a) VALUES ($1)",
        "SELECT a FROM t WHERE b = ?1",
        "SELECT random()",
        "SELECT strftime('%s')",
        "SELECT SUM(a) FROM t",
        "CREATE TABLE t (id BIGINT PRIMARY KEY AUTOINCREMENT)",
        "CREATE TABLE t (flag BOOLEAN)",
        "CREATE TABLE t (at BIGINT DEFAULT CURRENT_TIMESTAMP)",
    ] {
        assert!(!is_not_portable("", bad).is_empty(), "{bad}");
    }
    assert!(is_not_portable("", "SELECT a FROM t WHERE b = 'random?' -- rowid").is_empty());
}

/// Whether a statement reaches into an organization without naming it.
fn names_no_organization(sql: &str) -> bool {
    let tables = ["memberships", "invitations", "events", "event_people"];
    let text = strip_quoted(sql);
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let touches = words.iter().any(|word| tables.contains(word));
    touches && !words.contains(&"organization_id")
}

#[test]
fn what_is_in_an_organization_is_reached_through_it() {
    let found: Vec<String> = statements(&domain())
        .iter()
        .filter(|statement| names_no_organization(&statement.sql))
        .map(|statement| format!("{}: {}", statement.place, statement.sql))
        .collect();
    expect_only(
        &found,
        &[
            (
                "SELECT 1 FROM memberships WHERE user_id = $1",
                "asks about the caller alone, whichever the organization",
            ),
            ("SELECT COUNT(*) FROM memberships WHERE user_id = $1", "counts the caller's own"),
            (
                "UPDATE memberships SET state = 'active' WHERE user_id = $1",
                "who is seen is seen in all of theirs",
            ),
            (
                "UPDATE invitations SET accepted_at = $2 WHERE token_hash = $1",
                "the token's hash is what names it",
            ),
            (
                "UPDATE invitations SET expires_at = $1 WHERE accepted_at IS NULL",
                "a renewal of the keys ends all",
            ),
            ("SELECT COALESCE(MAX(id), 0) FROM invitations", "the check of the counters looks at all"),
            ("SELECT COALESCE(MAX(id), 0) FROM events", "the check of the counters looks at all"),
        ],
    );
    assert!(names_no_organization("DELETE FROM events WHERE id = $1"));
    assert!(!names_no_organization("DELETE FROM events WHERE organization_id = $1 AND id = $2"));
}

/// Whether a list that is cut off is not in a total order, which only an id makes.
fn is_cut_without_order(sql: &str) -> bool {
    let Some((before, _)) = sql.rsplit_once(" LIMIT ") else { return false };
    if before.starts_with("SELECT 1 ") {
        return false;
    }
    let keys = before.rsplit_once("ORDER BY ").map(|(_, keys)| keys);
    let last = keys.and_then(|keys| keys.split(',').next_back()).unwrap_or_default();
    let last = last.trim().trim_end_matches(" DESC").rsplit('.').next().unwrap_or_default();
    last != "id" && !last.ends_with("_id")
}

#[test]
fn what_is_cut_off_is_in_a_total_order() {
    let cut = statements(&domain()).into_iter().filter(|statement| is_cut_without_order(&statement.sql));
    let found: Vec<String> = cut.map(|statement| format!("{}: {}", statement.place, statement.sql)).collect();
    expect_only(
        &found,
        &[("crates/domain/src/copy/tables.rs:", "in the order of the primary key, whatever it is called")],
    );
    assert!(is_cut_without_order("SELECT a FROM t LIMIT 5"));
    assert!(is_cut_without_order("SELECT a FROM t ORDER BY name LIMIT 5"));
    assert!(!is_cut_without_order("SELECT a FROM t ORDER BY t.name, t.id LIMIT 5"));
}

fn acts_as_the_system(source: &Source) -> Vec<String> {
    let found = (0..source.tokens.len()).filter(|at| source.has(*at, &["Actor", ":", ":", "system"]));
    found.map(|at| format!("{}:{}", source.path, source.tokens[at].1)).collect()
}

#[test]
fn only_the_operator_and_the_programs_own_work_act_as_the_system() {
    let mut found = all(&server(), acts_as_the_system);
    found.extend(all(&domain(), acts_as_the_system));
    let allowed = [
        ("crates/server/src/auth.rs:", "makes the account of a trusted issuer's user on first use"),
        ("crates/server/src/commands", "the operator's commands"),
        ("crates/server/src/workers", "sends mail, sweeps, removes pictures"),
        ("crates/server/src/keyring.rs:", "the server's own keys"),
        ("crates/server/src/tokens.rs:", "the server's own keys"),
        ("crates/domain/src/organizations.rs:", "answers what the caller has just changed or made"),
        ("crates/domain/src/db/parsers.rs:", "a test in a file of its own"),
    ];
    expect_only(&found, &allowed);
    expect_finding(acts_as_the_system, "x.rs", "memberships::put(&db, &Actor::system(), key)");
}

/// Public operations on the database that do not say who asks.
fn asks_nobody(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        if !source.has(at, &["pub", "fn"]) {
            continue;
        }
        let (Token::Word(name), line) = &source.tokens[at + 2] else { continue };
        let parameters: Vec<&Token> = source.tokens[at + 3..]
            .iter()
            .map(|(token, _)| token)
            .take_while(|token| !token.is("{"))
            .collect();
        let has = |word| parameters.iter().any(|token| token.is(word));
        let takes_db = parameters.windows(2).any(|pair| pair[0].is("&") && pair[1].is("Db"));
        if takes_db && !has("Actor") {
            found.push(format!("{}:{line}: {name}", source.path));
        }
    }
    found
}

#[test]
fn every_operation_asks_who_acts() {
    let credential = "finds out who acts: a credential or a mailed token is what is shown";
    let before = "comes before anybody is signed in";
    let allowed = [
        (": by_session", credential),
        (": by_key", credential),
        (": by_api_key", credential),
        (": by_issued_token", credential),
        (": look_at_token", credential),
        (": confirm_address", credential),
        (": reset_password", credential),
        ("invitations.rs:", "look_at: who has the token may know what it is"),
        (": uses_picture", "who knows a picture's name may see it"),
        (": ask_for_reset", before),
        (": look", before),
        (": admit", before),
        (": register", before),
        (": sign_in", before),
        (": accept_by_password", before),
        (": verify_again", before),
    ];
    expect_only(&all(&domain(), asks_nobody), &allowed);
    expect_finding(asks_nobody, "x.rs", "pub fn drop_all(db: &Db, at: &At) -> Result<()> { todo }");
    assert!(asks_nobody(&Source::new("x.rs", "pub fn f(db: &Db, actor: &Actor) {}")).is_empty());
}

fn reads_the_machine(source: &Source) -> Vec<String> {
    if source.path == "crates/domain/src/clock.rs" {
        return Vec::new();
    }
    words(source, &["SystemTime", "getrandom", "OsRng", "thread_rng"])
}

#[test]
fn time_and_randomness_come_from_the_clock() {
    let mut found = all(&domain(), reads_the_machine);
    found.extend(all(&server(), reads_the_machine));
    expect_only(
        &found,
        &[("crates/server/src/media/store.rs:", "the type in which the file system tells times")],
    );
    expect_finding(reads_the_machine, "crates/domain/src/users.rs", "let now = SystemTime::now();");
}

fn is_unfinished(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
    let lines = source.text.lines().enumerate();
    let hits = lines
        .filter(|(_, line)| line.split(|c: char| !c.is_alphanumeric()).any(|word| marks.contains(&word)));
    hits.map(|(line, _)| format!("{}:{}", source.path, line + 1)).collect()
}

fn is_long(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    if lines > 600 { vec![format!("{}: {lines} lines", source.path)] } else { Vec::new() }
}

#[test]
fn files_are_short_and_finished() {
    expect_only(&all(&files("crates", &[".rs"]), is_long), &[]);
    expect_finding(is_long, "x.rs", &"\n".repeat(601));
    let mut everything = files("crates", &[".rs", ".html", ".css", ".toml", ".mjs"]);
    everything.extend(files("migrations", &[".sql"]));
    expect_only(&all(&everything, is_unfinished), &[]);
    expect_finding(is_unfinished, "x.rs", concat!("// TO", "DO: later"));
}
