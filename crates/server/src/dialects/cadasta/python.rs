//! JSON values as the original, which was written in Python, shows them in its messages.

use serde_json::Value;

/// The name of the value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// The value as source text.
pub(super) fn repr(value: &Value) -> String {
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(repr).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{}: {}", quoted(key), repr(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

/// In single quotes, or in double ones where only single ones stand in it.
fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_look_as_python_writes_them() {
        for (value, type_is, shown) in [
            (json!(null), "NoneType", "None"),
            (json!(true), "bool", "True"),
            (json!(5), "int", "5"),
            (json!(1.5), "float", "1.5"),
            (json!("a"), "str", "'a'"),
            (json!("it's"), "str", "\"it's\""),
            (json!("it's \"so\"\n\u{1}\\"), "str", r#"'it\'s "so"\n\x01\\'"#),
            (json!([1, "b", [false]]), "list", "[1, 'b', [False]]"),
            (json!({"k": null, "l": {}}), "dict", "{'k': None, 'l': {}}"),
        ] {
            assert_eq!((type_name(&value), repr(&value).as_str()), (type_is, shown));
        }
    }
}
