//! What holds of every text that is to be an id, and of an id in each of its forms.

use properties::{check, check_texts, texts};

use super::*;

const PIECES: &[&str] =
    &["0", "1", "9", "-", "+", " ", "5007d396eb7abf319a00004", "ABCDEF", "9223372036854775807", "_"];

#[test]
fn ids() {
    check_texts("ids", include_str!("../../tests/corpus/ids.txt"), texts(PIECES), |text| {
        let plain = |number: &i64| *number >= 0 && number.to_string() == text;
        assert_eq!(number(text), text.parse::<i64>().ok().filter(plain));
        let is_short = text.chars().count() == 24 && text.chars().all(|c| c.is_ascii_hexdigit());
        let short = ShortId::parse(text);
        assert_eq!(short.is_some(), is_short);
        if let Some(short) = short {
            let (least, greatest) = short.bounds();
            let (low, high) = (text.to_lowercase() + &"0".repeat(8), text.to_lowercase() + &"f".repeat(8));
            assert_eq!((least, greatest), (low, high));
        }
    });
}

#[test]
fn ids_in_each_of_their_forms() {
    use properties::proptest::prelude::any;
    check("ids in five forms", (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<i64>()), |(one, other, id)| {
        let uid = Uid::stored(hex(&one));
        assert_eq!(uid.uuid().replace('-', ""), uid.as_str());
        let dashes: Vec<usize> = uid.uuid().match_indices('-').map(|(at, _)| at).collect();
        assert_eq!(dashes, [8, 13, 18, 23]);
        // Read back, the letters are the first 120 bits.
        let bits = uid.letters().bytes().fold(0_u128, |bits, letter| {
            let place =
                b"abcdefghijkmnpqrstuvwxyz23456789".iter().position(|known| *known == letter).unwrap();
            bits << 5 | u128::try_from(place).unwrap()
        });
        assert_eq!(bits, u128::from_be_bytes(one) >> 8);
        let (least, greatest) = ShortId::parse(&uid.short().to_uppercase()).unwrap().bounds();
        let is_found = |uid: &Uid| least.as_str() <= uid.as_str() && uid.as_str() <= greatest.as_str();
        assert!(is_found(&uid));
        assert_eq!(is_found(&Uid::stored(hex(&other))), one[..12] == other[..12]);
        assert_eq!(number(&id.to_string()), (id >= 0).then_some(id));
    });
}
