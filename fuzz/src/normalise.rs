//! The spellings of a value: whatever it is, each normaliser answers soon, and with one spelling.

use std::time::{Duration, Instant};

use sudare::normalise::{MAX_NORMALISED_BYTES, NoForm, Normaliser};
use unicode_normalization::UnicodeNormalization;

use super::LONGEST;

/// Of these a second pass changes nothing.
const STABLE: &[&str] = &[
    "text", "email", "phone", "phone:HK", "phone:US", "phone:DE", "phone:BR", "phone:IT", "phone:AR", "phone:MX", "digits",
    "date", "casefold", "nfc", "nfkc", "trim", "collapse",
];
/// Of these it does not matter whether a text is composed.
const FOLDING: &[&str] = &["text", "email"];
/// Far more than any of them takes, also on a busy machine.
const SOON: Duration = Duration::from_secs(5);

/// Input: a line with the steps of a chain, then the value.
pub fn normalise(input: &[u8]) {
    let Some((steps, value)) =
        std::str::from_utf8(input).ok().filter(|text| text.len() <= LONGEST).and_then(|text| text.split_once('\n'))
    else {
        return;
    };
    for step in STABLE {
        let chain = chain(step).unwrap();
        if let Ok(once) = apply(&chain, value) {
            assert_eq!(apply(&chain, &once), Ok(once), "{step}: a second pass changes something");
        }
    }
    for step in FOLDING {
        let chain = chain(step).unwrap();
        let spellings = [value.nfc().collect::<String>(), value.nfd().collect()].map(|value| apply(&chain, &value));
        // Composed it may be short enough, and decomposed too long.
        if !spellings.contains(&Err(NoForm::TooLong)) {
            assert_eq!(spellings[0], spellings[1], "{step}: composed and decomposed differ");
        }
    }
    if let Some(chain) = chain(steps) {
        assert_eq!(apply(&chain, value), apply(&chain, value));
        assert!(chain.id().contains('/'));
    }
}

fn chain(steps: &str) -> Option<Normaliser> {
    let steps = steps.split('|').map(str::parse).collect::<Result<_, _>>().ok()?;
    Normaliser::new(steps).ok()
}

fn apply(chain: &Normaliser, value: &str) -> Result<String, NoForm> {
    let timed = || {
        let start = Instant::now();
        (chain.apply(value), start.elapsed())
    };
    let (done, mut took) = timed();
    if took > SOON {
        // The first number reads the numbering plans, once a process.
        took = timed().1;
    }
    assert!(took < SOON, "{chain} takes {took:?}");
    match &done {
        Ok(form) => {
            assert!((1..=MAX_NORMALISED_BYTES).contains(&form.len()), "{chain}: a form of {} bytes", form.len());
            assert!(!form.chars().any(|c| c.is_control() && !c.is_whitespace()), "{chain}: a control character is left");
        }
        Err(why) => assert!(!why.to_string().is_empty()),
    }
    done
}
