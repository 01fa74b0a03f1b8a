//! Ten thousand organizations with names as people give them, in eighteen scripts: made, listed, sought, renamed.

use std::collections::HashMap;

use futures_util::future::join_all;
use guildhall_domain::memberships::{Joining, Visibility};
use guildhall_domain::organizations::{self, NewOrganization, Terms};
use guildhall_domain::text::{Name, fold};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::ALL;
use crate::harness::{House, get, patch, post};
use crate::place::is_postgres;

const COUNT: usize = 10_000;
/// As many go through HTTP; the others straight to the domain, which is quicker.
const BY_HTTP: usize = 1_500;

const WORDS: [[&str; 9]; 18] = [
    ["Société", "Łódź", "Ærø", "Straße", "Ñandú", "Český", "Øst", "Gıda", "Việt"],
    ["Союз", "Земля", "Житло", "Център", "Ћирилица", "Ўзбек", "Қала", "Ёлка", "Місто"],
    ["Ένωση", "Γη", "Αθήνα", "Σπίτι", "Κοινός", "Ψωμί", "Ύδρα", "Ώρα", "Φως"],
    ["جمعية", "الأرض", "بيت", "مدينة", "شرکت", "گروه", "پاک", "ٹرسٹ", "ئورۇن"],
    ["עמותה", "אדמה", "בית", "עיר", "שלום", "ירושלים", "חברה", "צדק", "קרן"],
    ["संगठन", "भूमि", "घर", "नगर", "हिन्दी", "कृषि", "विद्या", "श्री", "मराठी"],
    ["সমিতি", "ভূমি", "ঘর", "নগর", "বাংলা", "কৃষি", "বিদ্যা", "শ্রী", "ঢাকা"],
    ["சங்கம்", "நிலம்", "வீடு", "நகர்", "தமிழ்", "கல்வி", "ஸ்ரீ", "ஊர்", "காடு"],
    ["సంఘం", "భూమి", "ఇల్లు", "నగరం", "తెలుగు", "కృషి", "విద్య", "శ్రీ", "ఊరు"],
    ["สมาคม", "ที่ดิน", "บ้าน", "เมือง", "ไทย", "กรุงเทพ", "ป่า", "น้ำใส", "เกษตร"],
    ["협회", "토지", "집", "도시", "한국", "서울", "숲", "교육", "농업"],
    ["東京", "プロジェクト", "がっこう", "土地", "ねこ", "パン", "森", "ヴィラ", "株式会社"],
    ["协会", "土地们", "家园", "城市", "中文", "北京", "森林", "教育", "農業"],
    ["კავშირი", "მიწა", "სახლი", "ქალაქი", "თბილისი", "ტყე", "სკოლა", "პური", "წყალი"],
    ["Միություն", "Հող", "Տուն", "Քաղաք", "Երևան", "Անտառ", "Դպրոց", "Հաց", "Ջուր"],
    ["ማህበር", "መሬት", "ቤት", "ከተማ", "አማርኛ", "ደን", "ትምህርት", "ዳቦ", "ውሃ"],
    ["សមាគម", "ដី", "ផ្ទះ", "ក្រុង", "ខ្មែរ", "ព្រៃ", "សាលា", "នំ", "ទឹក"],
    ["အသင်း", "မြေ", "အိမ်", "မြို့", "မြန်မာ", "တော", "ကျောင်း", "မုန့်", "ရေ"],
];

const JOINS: [&str; 6] = [" ", " - ", "\u{3000}", ", ", " & ", " (“ "];

/// The name and the slug that it has to have: its words in small letters with a `-` between each two.
fn name(number: usize) -> (String, String) {
    let (words, place) = (&WORDS[number % WORDS.len()], number / WORDS.len());
    let words = [words[place % 9], words[place / 9 % 9], words[place / 81 % 9]];
    let slug = words.map(normal).join("-");
    (words.join(JOINS[number % JOINS.len()]), slug)
}

/// The word as a slug has it. A vowel of Thai and a ligature of Armenian are two characters there.
fn normal(word: &str) -> String {
    word.to_lowercase().replace('\u{e33}', "\u{e4d}\u{e32}").replace('\u{587}', "\u{565}\u{582}")
}

async fn make(house: &House, number: usize, token: &str) -> (String, String) {
    let (name, slug) = name(number);
    if number < BY_HTTP {
        let answer = house.send(post(ALL).token(token).json(json!({"name": name}))).await;
        let value = answer.value();
        assert_eq!(
            (answer.status.as_u16(), &value["name"], &value["slug"]),
            (201, &json!(name), &json!(slug))
        );
        return (slug, name);
    }
    let actor = actor(house, token).await;
    let new = NewOrganization {
        visibility: Visibility::Public,
        joining: Joining::Invite,
        ..NewOrganization::named(Name::parse(&name).unwrap())
    };
    let made =
        house.app.write(move |db| organizations::create(db, &actor, new, Terms::default())).await.unwrap();
    assert_eq!((made.slug.as_str(), made.name.as_str()), (slug.as_str(), name.as_str()));
    (slug, name)
}

async fn actor(house: &House, token: &str) -> guildhall_domain::authz::Actor {
    let mut headers = axum::http::HeaderMap::new();
    headers.insert("authorization", format!("Token {token}").parse().unwrap());
    guildhall::auth::identify(&house.app, &axum::http::Method::GET, &headers).await.unwrap().unwrap()
}

async fn listed(house: &House, query: &str) -> Vec<(String, String)> {
    let answer = house.send(get(&format!("{ALL}{query}"))).await;
    assert_eq!(answer.status, 200, "{query}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer.value().as_array().unwrap().iter().map(|one| (text(&one["slug"]), text(&one["name"]))).collect()
}

#[tokio::test]
async fn ten_thousand_names_in_many_scripts() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    let mut all: HashMap<String, String> = HashMap::new();
    // Where each is a commit of its own, a tenth of them.
    let count = if is_postgres() { COUNT / 10 } else { COUNT };
    let together = if is_postgres() { 1 } else { 500 };
    for start in (0..count).step_by(together) {
        // Side by side, so that they are written together.
        all.extend(join_all((start..start + together).map(|number| make(&house, number, &token))).await);
    }
    assert_eq!(all.len(), count, "no two have one slug");

    let list = listed(&house, "").await;
    assert!(list.is_sorted_by_key(|(_, name)| fold(name)));
    assert_eq!(list.into_iter().collect::<HashMap<_, _>>(), all);

    for words in WORDS {
        let word = fold(words[2]);
        let mut found =
            listed(&house, &format!("?search={}", utf8_percent_encode(&word, NON_ALPHANUMERIC))).await;
        let holds = |(_, name): &(&String, &String)| fold(name).contains(&word);
        let mut wanted: Vec<_> =
            all.iter().filter(holds).map(|(slug, name)| (slug.clone(), name.clone())).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert!(wanted.len() >= count / 100 && found == wanted, "{word}");
    }

    for number in (0..count).step_by(37) {
        let (_, slug) = name(number);
        let path = format!("{ALL}{}/", utf8_percent_encode(&slug, NON_ALPHANUMERIC));
        let renamed = format!("{} «{number}» 🏡", name(number + 1).0);
        let answer = house.send(patch(&path).token(&token).json(json!({"name": renamed}))).await;
        assert_eq!(answer.status, 200, "{path}");
        let value = house.send(get(&path)).await.value();
        assert_eq!((&value["slug"], &value["name"]), (&json!(slug), &json!(renamed)));
    }
}

#[tokio::test]
async fn names_that_give_one_slug_are_numbered_and_long_ones_cut() {
    let house = House::new();
    house.user("ana");
    let token = house.token("ana");
    for (name, slug) in [
        ("Grüne Erde", "grüne-erde"),
        ("Grüne-Erde", "grüne-erde-1"),
        ("GRÜNE ERDE!", "grüne-erde-2"),
        ("Gru\u{308}ne_Erde", "grüne_erde"),
        ("new.", "new-1"),
        ("Users", "users-1"),
        ("😀", "organization"),
        ("<b>=1+1</b>", "b11b"),
        (&"長い".repeat(100), &"長い".repeat(25)),
        (&format!("{}!", "長い".repeat(99)), &format!("{}-1", "長い".repeat(24))),
    ] {
        let answer = house.send(post(ALL).token(&token).json(json!({"name": name}))).await;
        if name == "new." {
            answer.is(400, json!({"name": ["Organization name cannot be “Add” or “New”."]}));
        } else {
            assert_eq!(answer.value()["slug"], slug, "{name}");
        }
    }
}
