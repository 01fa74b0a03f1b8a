//! What holds of every text that is to be the moment of an event.

use properties::{check, check_texts, texts};

use super::*;

#[test]
fn dates() {
    const PIECES: &[&str] = &[
        "2020-02-10T22:27:00+0000",
        "2020-02-10",
        "T",
        "22:27:",
        "60",
        "+0000",
        "-08:30",
        "Z",
        ".5",
        "9999",
        "0000",
    ];
    check_texts("dates", include_str!("../../../../tests/corpus/dates.txt"), texts(PIECES), |text| {
        let Some(at) = read_date(text) else { return };
        assert!(text.is_ascii() && (20..=25).contains(&text.len()) && at.0 % 1_000_000 == 0);
        assert_eq!(read_date(&date(at)), Some(at));
        let in_utc =
            ["Z", "+0000", "-0000", "+00:00", "-00:00"].iter().find_map(|offset| text.strip_suffix(offset));
        if let Some(local) = in_utc {
            assert_eq!(date(at), format!("{local}+0000"), "it is the moment that was written");
        }
    });
    let parts = (-62_135_596_800_i64..253_402_300_800, -23..=23_i64, 0..60_i64);
    check("dates from their parts", parts, |(seconds, hours, minutes)| {
        let at = Timestamp(seconds * 1_000_000);
        assert_eq!(read_date(&date(at)), Some(at));
        let offset = hours.signum() * (hours.abs() * 60 + minutes) * 60;
        let local = date(Timestamp((seconds + offset) * 1_000_000));
        if !(-62_135_596_800..253_402_300_800).contains(&(seconds + offset)) {
            return;
        }
        let (sign, hours, minutes) =
            (if offset < 0 { '-' } else { '+' }, offset.abs() / 3600, offset.abs() / 60 % 60);
        for colon in ["", ":"] {
            let text = local.replace("+0000", &format!("{sign}{hours:02}{colon}{minutes:02}"));
            assert_eq!(read_date(&text), Some(at), "{text}");
        }
    });
}
