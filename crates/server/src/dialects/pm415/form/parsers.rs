//! What holds of every form and every list of people.

use properties::proptest::{self, prelude::*};
use properties::{check, texts};

use super::*;

#[test]
fn forms() {
    let key = prop_oneof!["[a-c](\\[[0-9]{0,2}\\])?", texts(&["a", "[", "]", "[]", "[0]", "usersId"]),];
    check("forms of pm415", proptest::collection::vec((key, "[0-9]{0,3}"), 0..8), |pairs| {
        let keys = nest(pairs.clone());
        let values = |value: &Value| match value {
            Value::Array(values) => values.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
            Value::String(text) => vec![text.clone()],
            other => panic!("{other}"),
        };
        let name_of = |key: &str| {
            let (name, place) =
                key.strip_suffix(']').and_then(|key| key.split_once('[')).unwrap_or((key, "x"));
            if place.bytes().all(|byte| byte.is_ascii_digit()) { name.to_owned() } else { key.to_owned() }
        };
        assert_eq!(
            keys.values().map(|value| values(value).len()).sum::<usize>(),
            pairs.len(),
            "none is lost"
        );
        for (name, value) in &keys {
            let sent: Vec<&(String, String)> =
                pairs.iter().filter(|(key, _)| name_of(key) == *name).collect();
            assert_eq!(values(value), sent.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
            let is_list = sent.len() > 1 || sent[0].0 != *name;
            assert_eq!(value.is_array(), is_list, "{name}");
        }
    });
}

#[test]
fn people() {
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(|number| Value::from(number.to_string())),
        texts(&["1", "-", "0", "18446744073709551616"]).prop_map(Value::from),
        proptest::sample::select(&["null", "true", "[]", "{}", "1.5", "1e300"][..])
            .prop_map(|json| serde_json::from_str(json).unwrap()),
    ];
    check("people by number", proptest::collection::vec(number, 0..130), |values| {
        let is_numeric = |value: &Value| match value {
            Value::Number(_) => true,
            Value::String(text) => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        };
        let read = users(&Value::from(values.clone()));
        let is_good = (1..=USERS_MAX).contains(&values.len()) && values.iter().all(is_numeric);
        assert_eq!(read.is_ok(), is_good);
        let Ok(read) = read else { return };
        assert!(read.windows(2).all(|pair| pair[0] < pair[1]), "each once");
        for value in &values {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let id = text.parse::<i64>().ok().filter(|id| id.to_string() == text);
            let is_there = id.is_some_and(|id| read.contains(&UserId(id)));
            assert!(is_there || read.contains(&UserId(0)), "{text} is nobody at least");
        }
    });
}
