//! Reads the repository's own sources, for tests of what no compiler holds: words, literals, and the SQL that the domain's
//! macros make of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A piece of Rust. Comments are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

impl Token {
    pub(crate) fn is(&self, word: &str) -> bool {
        match self {
            Self::Word(own) => own == word,
            Self::Mark(own) => word.len() == 1 && word.starts_with(*own),
            Self::Text(_) => false,
        }
    }
}

/// A file of the repository.
pub(crate) struct Source {
    /// From the repository's root.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Of a Rust file, without its unit tests: each piece with its line.
    pub(crate) tokens: Vec<(Token, usize)>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut tokens = if path.ends_with(".rs") { tokens(text) } else { Vec::new() };
        let begins = ["#", "[", "cfg", "(", "test", ")", "]"];
        let is_tests = |at: &[(Token, usize)]| {
            at.iter().zip(begins).all(|((token, _), word)| token.is(word))
                && at[begins.len()..].iter().take(5).any(|(token, _)| token.is("mod"))
        };
        while let Some(begin) = tokens.windows(12).position(is_tests) {
            let behind = begin + begins.len();
            let body = tokens[behind..].iter().position(|(token, _)| token.is("{") || token.is(";"));
            let body = behind + body.expect("a module has a body or none");
            let end = if tokens[body].0.is(";") {
                body + 1
            } else {
                end_of_group(tokens.iter().map(|(token, _)| token), body)
            };
            tokens.drain(begin..end);
        }
        Self { path: path.into(), text: text.into(), tokens }
    }

    /// Whether these words and marks stand one behind the other there.
    pub(crate) fn has(&self, at: usize, words: &[&str]) -> bool {
        words
            .iter()
            .enumerate()
            .all(|(offset, word)| self.tokens.get(at + offset).is_some_and(|(token, _)| token.is(word)))
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every file below `folder` whose name ends so, by path.
pub(crate) fn files(folder: &str, endings: &[&str]) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let from_root = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push(Source::new(&from_root, &std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The pieces of a Rust file.
fn tokens(text: &str) -> Vec<(Token, usize)> {
    let (mut found, mut rest, mut line) = (Vec::new(), text, 1);
    while let Some(first) = rest.chars().next() {
        let (token, length) = if rest.starts_with("//") {
            (None, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("/*") {
            (None, rest.find("*/").map_or(rest.len(), |end| end + 2))
        } else if let Some((text, length)) = raw_text(rest) {
            (Some(Token::Text(text)), length)
        } else if first == '"' {
            let (text, length) = quoted_text(rest);
            (Some(Token::Text(text)), length)
        } else if first == '\'' {
            (None, character(rest))
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Some(Token::Word(rest[..end].into())), end)
        } else {
            ((!first.is_whitespace()).then_some(Token::Mark(first)), first.len_utf8())
        };
        found.extend(token.map(|token| (token, line)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

/// `r"…"` or `r#"…"#`: what stands in it, and how long it is in all.
fn raw_text(rest: &str) -> Option<(String, usize)> {
    let marks = rest.strip_prefix('r')?.bytes().take_while(|byte| *byte == b'#').count();
    let begin = 1 + marks + 1;
    if rest.as_bytes().get(1 + marks) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(marks));
    let end = rest[begin..].find(&close)?;
    Some((rest[begin..begin + end].into(), begin + end + close.len()))
}

/// `"…"`: what it means, and how long it is in all.
fn quoted_text(rest: &str) -> (String, usize) {
    let (mut text, mut chars) = (String::new(), rest.char_indices().skip(1).peekable());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, at + 1),
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('\n') => while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(other) => text.push(other),
                None => {}
            },
            _ => text.push(c),
        }
    }
    (text, rest.len())
}

/// The length of a character literal, or of the `'` before a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => rest[at + 1..].find('\'').map_or(1, |end| at + 1 + end + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

/// A statement that stands in the sources.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// `file:line`.
    pub(crate) place: String,
    /// In one line.
    pub(crate) sql: String,
}

/// A macro that makes a literal: the names of its arguments, and what it makes.
struct Macro {
    arguments: Vec<String>,
    body: Vec<Token>,
}

/// Whether a statement or the beginning of one is among what this macro is made of, itself or by others.
fn makes_sql(name: &str, macros: &BTreeMap<String, Macro>) -> bool {
    macros.get(name).is_some_and(|own| {
        own.body.iter().any(|token| match token {
            Token::Text(text) => is_sql(text),
            Token::Word(other) => other != name && makes_sql(other, macros),
            Token::Mark(_) => false,
        })
    })
}

/// The arguments of a macro, by name.
type Arguments = BTreeMap<String, String>;

/// Whether a text is a statement or the beginning of one.
pub(crate) fn is_sql(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let what = words.next();
    match verb {
        "SELECT" | "INSERT" | "UPDATE" | "REPLACE" | "WITH" | "MERGE" | "TRUNCATE" => what.is_some(),
        "DELETE" => what == Some("FROM"),
        "CREATE" | "DROP" | "ALTER" | "LOCK" => {
            matches!(what, Some("TABLE" | "INDEX" | "UNIQUE" | "SEQUENCE"))
        }
        _ => false,
    }
}

/// Every statement in these sources, macros written out.
///
/// # Panics
/// Where one cannot be: a statement that nobody looks at is not found to be wrong.
pub(crate) fn statements(sources: &[Source]) -> Vec<Statement> {
    let mut all = BTreeMap::new();
    for (name, one) in sources.iter().flat_map(macros) {
        assert!(all.insert(name.clone(), one).is_none(), "two macros are called {name}!");
    }
    let macros = all;
    let mut found = Vec::new();
    for source in sources {
        let tokens: Vec<Token> = source.tokens.iter().map(|(token, _)| token.clone()).collect();
        let mut at = 0;
        while at < tokens.len() {
            if tokens[at].is("macro_rules") {
                at = end_of_group(&tokens, at + 3);
                continue;
            }
            match literal(&tokens, at, &macros, &Arguments::new()) {
                Some((text, next)) => {
                    if is_sql(&text) {
                        let sql = text.split_whitespace().collect::<Vec<_>>().join(" ");
                        found.push(Statement {
                            place: format!("{}:{}", source.path, source.tokens[at].1),
                            sql,
                        });
                    }
                    at = next;
                }
                None => {
                    if let (Token::Word(name), Some(mark)) = (&tokens[at], tokens.get(at + 1)) {
                        let begins = matches!(tokens.get(at + 3), Some(Token::Text(text)) if is_sql(text));
                        let is_sql = name == "concat" && begins || makes_sql(name, &macros);
                        let line = source.tokens[at].1;
                        assert!(!(mark.is("!") && is_sql), "{}:{line}: what does {name}! make?", source.path);
                    }
                    at += 1;
                }
            }
        }
    }
    found
}

/// `macro_rules! name { ($argument:literal, …) => { body }; }`, each.
fn macros(source: &Source) -> Vec<(String, Macro)> {
    let mut found = Vec::new();
    let tokens: Vec<Token> = source.tokens.iter().map(|(token, _)| token.clone()).collect();
    for at in 0..tokens.len() {
        if !source.has(at, &["macro_rules", "!"]) {
            continue;
        }
        let Token::Word(name) = &tokens[at + 2] else { continue };
        let after_arguments = end_of_group(&tokens, at + 4);
        let arguments = tokens[at + 4..after_arguments].windows(2).filter_map(|pair| match pair {
            [Token::Mark('$'), Token::Word(argument)] => Some(argument.clone()),
            _ => None,
        });
        let arguments = arguments.collect();
        let body = after_arguments + 2..end_of_group(&tokens, after_arguments + 2);
        let end = tokens[body.end..].iter().find(|token| !token.is(";"));
        assert!(end.is_some_and(|token| token.is("}")), "{name}! has more than one form");
        let body = tokens[body.start + 1..body.end - 1].to_vec();
        found.push((name.clone(), Macro { arguments, body }));
    }
    found
}

/// Behind the bracket that closes the one at `open`.
fn end_of_group<'t>(tokens: impl IntoIterator<Item = &'t Token>, open: usize) -> usize {
    let (mut depth, mut end) = (0, 0);
    for (at, token) in tokens.into_iter().enumerate() {
        end = at + 1;
        if at < open {
            continue;
        }
        if let Token::Mark(mark) = token {
            depth += i64::from("([{".contains(*mark)) - i64::from(")]}".contains(*mark));
            if depth == 0 {
                return at + 1;
            }
        }
    }
    end
}

/// The literal that begins at `at`, if one does, and what comes behind it.
fn literal(
    tokens: &[Token],
    at: usize,
    macros: &BTreeMap<String, Macro>,
    arguments: &Arguments,
) -> Option<(String, usize)> {
    match (tokens.get(at)?, tokens.get(at + 1)) {
        (Token::Text(text), _) => Some((text.clone(), at + 1)),
        (Token::Mark('$'), Some(Token::Word(name))) => Some((arguments.get(name)?.clone(), at + 2)),
        (Token::Word(_), Some(Token::Mark(':'))) => {
            // A path before a macro's name says nothing here.
            (tokens.get(at + 2)?.is(":")).then_some(())?;
            literal(tokens, at + 3, macros, arguments)
        }
        (Token::Word(name), Some(Token::Mark('!'))) => {
            let end = end_of_group(tokens, at + 2);
            let inner = tokens.get(at + 3..end - 1)?;
            let parts = parts(inner, macros, arguments)?;
            if name == "concat" {
                return Some((parts.concat(), end));
            }
            let own = macros.get(name)?;
            let arguments = own.arguments.iter().cloned().zip(parts).collect();
            let (text, _) = literal(&own.body, 0, macros, &arguments)?;
            Some((text, end))
        }
        _ => None,
    }
}

/// Literals with commas between them, and nothing else.
fn parts(tokens: &[Token], macros: &BTreeMap<String, Macro>, arguments: &Arguments) -> Option<Vec<String>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at].is(",") {
            at += 1;
            continue;
        }
        let (text, next) = literal(tokens, at, macros, arguments)?;
        parts.push(text);
        at = next;
    }
    Some(parts)
}

#[test]
fn statements_are_read_as_the_compiler_reads_them() {
    let text = r##"
        // "SELECT nothing" in a comment
        macro_rules! columns { () => { "a, \"b\"" }; }
        macro_rules! of { ($where:literal) => { concat!("SELECT ", columns!(), " FROM t WHERE ", $where) }; }
        macro_rules! by { ($key:literal, $way:literal) => { concat!("SELECT ", $key, " FROM t ORDER BY ", $key, $way) }; }
        fn f<'a>(x: &'a str) -> char {
            run("UPDATE t SET a = 'x' \
                 WHERE b = $1", other::of!("c = $1"), r#"DELETE FROM t"#, "no SELECT ", '"', '\'');
            concat!("SELECT ", user::columns!(), " FROM u"); by!("a", " DESC")
        }
        #[cfg(test)]
        mod parsers;
        #[cfg(test)]
        pub(crate) mod tests { fn g() { "SELECT in a test" } }
        fn h() { "SELECT behind the tests" }
    "##;
    let found = statements(&[Source::new("x.rs", text)]);
    let found: Vec<&str> = found.iter().map(|statement| statement.sql.as_str()).collect();
    assert_eq!(
        found,
        [
            "UPDATE t SET a = 'x' WHERE b = $1",
            "SELECT a, \"b\" FROM t WHERE c = $1",
            "DELETE FROM t",
            "SELECT a, \"b\" FROM u",
            "SELECT a FROM t ORDER BY a DESC",
            "SELECT behind the tests",
        ]
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let told = |text: &str| {
        let read = std::panic::catch_unwind(|| statements(&[Source::new("x.rs", text)]));
        *read.unwrap_err().downcast::<String>().unwrap()
    };
    let of = r#"macro_rules! of { ($where:literal) => { concat!("SELECT a FROM t WHERE ", $where) }; }"#;
    assert_eq!(told(&format!("{of}\nfn f() {{ run(of!(WHERE)) }}")), "x.rs:2: what does of! make?");
    let nested = r#"macro_rules! all { ($where:literal) => { concat!(begin!(), $where) }; }"#;
    let begin = r#"macro_rules! begin { () => { "SELECT a FROM t WHERE " }; }"#;
    assert_eq!(
        told(&format!("{nested} {begin}\nfn f() {{ run(all!(WHERE)) }}")),
        "x.rs:2: what does all! make?"
    );
    assert_eq!(told(r#"concat!("SELECT a FROM t WHERE ", unknown!())"#), "x.rs:1: what does concat! make?");
    assert_eq!(told(&format!("{of} {of}")), "two macros are called of!");
    let two = r#"macro_rules! of { () => { "SELECT a" }; (b) => { "SELECT b" }; }"#;
    assert_eq!(told(two), "of! has more than one form");
}
