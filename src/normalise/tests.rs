use proptest::prelude::*;

use super::*;

fn chain(steps: &[&str]) -> Normaliser {
    Normaliser::new(steps.iter().map(|step| step.parse().unwrap()).collect()).unwrap()
}

fn one(step: &str, value: &str) -> Result<String, NoForm> {
    chain(&[step]).apply(value)
}

fn all_equal(step: &str, expected: &str, spellings: &[&str]) {
    for spelling in spellings {
        assert_eq!(one(step, spelling).as_deref(), Ok(expected), "{step}: {spelling:?}");
    }
}

#[test]
fn unicode_traps_of_texts_come_out_as_one() {
    all_equal(
        "text",
        "josé núñez",
        &[
            "José Núñez",
            "Jose\u{301} Nu\u{301}n\u{303}ez",
            "  JOSÉ\u{a0}\u{3000}NÚÑEZ\t",
            "Jo\u{200b}sé Nú\u{ad}ñez",
            "\u{202e}José\u{202c} Núñez",
            "Ｊｏｓé Núñez",
        ],
    );
    // Folding, not lower-casing.
    all_equal("text", "strasse 12", &["Straße 12", "STRASSE １２", "straẞe ١٢", "Stra\u{17f}se \u{6f1}\u{6f2}"]);
    all_equal("text", "σασ", &["ΣΑΣ", "σας", "σασ"]);
    all_equal("text", "k", &["K", "\u{212a}", "\u{ff2b}"]);
    all_equal("text", "東京1丁目", &["東京１丁目", "東京1丁目"]);
    assert_ne!(one("text", "ı"), one("text", "i"), "a dotless i is another letter");
    assert_ne!(one("text", "Mei"), one("text", "Меi"), "Cyrillic letters only look alike");
    assert_eq!(one("text", "a\u{0}b"), Err(NoForm::Control));
    assert_eq!(one("text", " \u{200b}\u{202e} "), Err(NoForm::Empty));
    assert_eq!(one("text", ""), Err(NoForm::Empty));
    assert_eq!(one("text", &"a".repeat(MAX_NORMALISED_BYTES + 1)), Err(NoForm::TooLong));
    assert_eq!(one("text", &" a ".repeat(400)).map(|form| form.len()), Ok(799));
    assert_eq!(one("text", &" ".repeat(MAX_INPUT_BYTES + 1)), Err(NoForm::TooLong));
}

#[test]
fn addresses_are_folded_and_nothing_more() {
    all_equal(
        "email",
        "mei@example.org",
        &[
            "Mei@Example.ORG",
            " mei@example.org ",
            "mei＠example.org",
            "m\u{200b}ei@example.org",
            "mei@example.org.",
            "ｍei@example。org",
        ],
    );
    assert_ne!(one("email", "m.ei@gmail.com"), one("email", "mei@gmail.com"));
    assert_ne!(one("email", "mei+shop@example.org"), one("email", "mei@example.org"));
    for wrong in [
        "mei",
        "@example.org",
        "mei@",
        "a@b@c",
        "Mei <mei@example.org>",
        "mei@example.org, yu@example.org",
        "mei @example.org",
        "\"m ei\"@example.org",
        "mei@example..org",
        "mei@.",
        "mailto:mei@example.org",
    ] {
        assert_eq!(one("email", wrong), Err(NoForm::Email), "{wrong}");
    }
}

#[test]
fn numbers_come_out_as_e164() {
    all_equal(
        "phone:HK",
        "+85223456789",
        &[
            "2345 6789",
            "+852 2345-6789",
            "(852) 2345 6789",
            "００１852 2345 6789",
            "٢٣٤٥٦٧٨٩",
            "２３４５６７８９",
            "+852\u{a0}2345\u{2011}6789",
            "tel:+852-2345-6789",
            "23456789 x12",
            "2345\u{200b}6789",
        ],
    );
    all_equal(
        "phone:GB",
        "+442079460958",
        &[
            "020 7946 0958",
            "+44 20 7946 0958",
            "+44 (0)20 7946 0958",
            "+44 020 7946 0958",
            "0044 20 7946 0958",
            "＋44 （0）20 7946 0958",
            "020 7946 0958 ext. 22",
        ],
    );
    all_equal("phone:DE", "+493691145045", &["(03691) 145045", "+49(0)3691 145045", "03691/145045"]);
    all_equal("phone:JP", "+81312345678", &["03-1234-5678", "０３ー１２３４ー５６７８", "+81-3-1234-5678"]);
    all_equal("phone", "+85223456789", &["+852 2345 6789"]);
    // No number of E.164, but somebody's all the same.
    all_equal("phone:DE", "dialled:DE:0028677427", &["(00286) 77427", "00286-77427", "٠٠286 77427", "dialled:DE:0028677427"]);
    all_equal("phone:VN", "dialled:+8400083277", &["+84-00-083277", "+84 (00) 083277"]);
    assert!(one("phone:HK", "dialled:DE:0028677427").is_err());
    assert_eq!(one("phone", "2345 6789"), Err(NoForm::Phone));
    for wrong in [
        "",
        "+",
        "call me",
        "1",
        "2345 6789 or 2345 6780",
        "+852 2345 6789 extra",
        "12345678901234567890123",
        "2345+6789",
        "2345 6789 x",
        "2345 6789 x123456789",
    ] {
        assert!(one("phone:HK", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn digits_of_every_script_are_one_and_letters_are_refused() {
    all_equal(
        "digits",
        "12345678",
        &["1234-5678", "１２３４ ５６７８", "١٢٣٤/٥٦٧٨", "۱۲۳۴۵۶۷۸", "1\u{200d}2345678", "(1234) 56.78"],
    );
    for wrong in ["A1234567", "1234567X", "12³", "一二三", "---"] {
        assert_eq!(one("digits", wrong), Err(NoForm::Digits), "{wrong}");
    }
}

#[test]
fn dates_are_read_where_there_is_one_way_to_read_them() {
    all_equal(
        "date",
        "2000-02-08",
        &[
            "2000-02-08",
            "2000-2-8",
            "2000/02/08",
            "2000.2.8",
            "20000208",
            "8.2.2000",
            "08.02.2000",
            "2000年2月8日",
            "２０００年２月８日",
            "٢٠٠٠-٠٢-٠٨",
            "2000-02-08T23:59:59+09:00",
            " 2000-02-08 ",
        ],
    );
    for wrong in [
        "08/02/2000",
        "02-08-2000",
        "00-02-08",
        "2000-02-30",
        "2000-13-01",
        "2000-02",
        "8 Feb 2000",
        "2000-02-08-01",
        "200000208",
        "2000--08",
        "令和2年2月8日",
    ] {
        assert_eq!(one("date", wrong), Err(NoForm::Date), "{wrong}");
    }
}

#[test]
fn chains_do_their_steps_in_order() {
    let id = chain(&["nfkc", "casefold", "strip:-. ", "prefix:8"]);
    assert_eq!(id.apply("Ａ-12.345 678X").as_deref(), Ok("a1234567"));
    assert_eq!(id.id(), "nfkc/1,casefold/1,strip/1:3:-. ,prefix/1:8");
    assert_eq!(chain(&["text", "suffix:4"]).apply("Nakamura").as_deref(), Ok("mura"));
    assert_eq!(chain(&["digits", "suffix:4"]).apply("１２３４-５６７８").as_deref(), Ok("5678"));
    assert_eq!(chain(&["strip:abc"]).apply("abcabc"), Err(NoForm::Empty));
    for (wrong, why) in [
        ("lower", ParseStepError::Unknown),
        ("text:x", ParseStepError::Unknown),
        ("phone:hk", ParseStepError::Region),
        ("phone:ZZ", ParseStepError::Region),
        ("prefix", ParseStepError::Count),
        ("prefix:0", ParseStepError::Count),
        ("suffix:65", ParseStepError::Count),
        ("strip:", ParseStepError::Strip),
    ] {
        assert_eq!(wrong.parse::<Step>(), Err(why), "{wrong}");
    }
    assert_eq!(Normaliser::new(vec![]).unwrap_err(), ParseStepError::Length);
    assert_eq!(Normaliser::new(vec![Step::Nfc; MAX_STEPS + 1]).unwrap_err(), ParseStepError::Length);
}

#[test]
fn chains_that_differ_have_different_ids() {
    let ids = [
        chain(&["text"]),
        chain(&["phone"]),
        chain(&["phone:HK"]),
        chain(&["phone:JP"]),
        chain(&["strip:a", "strip:b"]),
        chain(&["strip:a,strip/1:1:b"]),
        chain(&["text", "prefix:1"]),
        chain(&["prefix:1", "text"]),
    ];
    let distinct: std::collections::HashSet<&str> = ids.iter().map(Normaliser::id).collect();
    assert_eq!(distinct.len(), ids.len());
}

const NAMED: [&str; 6] = ["text", "email", "phone", "phone:HK", "digits", "date"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_second_pass_changes_nothing(value in "\\PC{0,24}", which in 0..NAMED.len()) {
        let step = chain(&[NAMED[which]]);
        if let Ok(once) = step.apply(&value) {
            prop_assert_eq!(step.apply(&once), Ok(once.clone()), "{}", NAMED[which]);
        }
    }

    /// Numbers as they are dialled, and near them: no panic, and stable.
    #[test]
    fn numbers_are_stable(value in "(\\+|00|0)?[0-9() .-]{0,20}(x[0-9]{1,4})?", region in prop::sample::select(vec!["phone", "phone:HK", "phone:US", "phone:DE", "phone:BR", "phone:IT", "phone:AR", "phone:MX"])) {
        let step = chain(&[region]);
        if let Ok(once) = step.apply(&value) {
            prop_assert_eq!(step.apply(&once), Ok(once.clone()), "{} {}", region, value);
        }
    }

    /// Composed or not, upper case, wide, with what is not seen in it: one text.
    #[test]
    fn spellings_of_one_text_are_one(value in "[a-zà-ÿα-ωа-я0-9 ]{1,12}", at in 0..12_usize, hidden in prop::sample::select(vec!['\u{200b}', '\u{200f}', '\u{202e}', '\u{feff}', '\u{ad}', '\u{2060}', '\u{fe0f}'])) {
        use unicode_normalization::UnicodeNormalization;
        let expected = one("text", &value);
        let wide: String = value.chars().map(|c| if c.is_ascii_alphanumeric() { char::from_u32(u32::from(c) + 0xFEE0).unwrap() } else { c }).collect();
        let mut with_hidden: Vec<char> = value.chars().collect();
        with_hidden.insert(at.min(with_hidden.len()), hidden);
        for spelling in [value.nfd().collect(), value.to_uppercase(), wide, with_hidden.into_iter().collect::<String>(), format!(" {}\u{3000}", value.replace(' ', "\u{a0}\t"))] {
            prop_assert_eq!(one("text", &spelling), expected.clone(), "{:?}", spelling);
        }
    }

    #[test]
    fn digits_of_every_script_and_any_separators_are_one(value in "[0-9]{1,18}", zero in prop::sample::select(vec!['٠', '۰', '०', '０', '𝟎']), every in 1..5_usize) {
        let other: String = value.chars().map(|c| char::from_u32(u32::from(zero) + c.to_digit(10).unwrap()).unwrap()).collect();
        let mut separated = String::new();
        for (at, c) in value.chars().enumerate() {
            if at % every == 0 {
                separated.push_str(" - ");
            }
            separated.push(c);
        }
        prop_assert_eq!(one("digits", &other), Ok(value.clone()));
        prop_assert_eq!(one("digits", &separated), Ok(value.clone()));
    }
}
