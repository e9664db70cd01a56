//! Is a text a person's name? In Latin, Vietnamese, Chinese, Japanese, Korean and Arabic writing.
//!
//! One text can rarely be judged: `Madison` is a person, a town and a chair. So the answer is graded, and a path is judged by the shares of
//! its values ([`super::proposal`]).

use super::lists::{
    ARABIC, CHINESE, CHINESE_TWO, COMPANIES, FAMILY, GIVEN, HAN_COMPANIES, HAN_PLACE_ENDS, JAPANESE, KOREAN, PARTICLES, PLACES,
    TITLES, VIETNAMESE,
};
use super::text::{is_arabic, is_han, is_hangul, is_kana};

/// Longest name that is looked at, in bytes.
const MAX_NAME: usize = 120;

/// How a text is a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Person {
    /// It is written as names are: two to five words that each begin with a capital letter, or the like.
    pub(super) shape: bool,
    /// A frequent given or family name stands where one does.
    pub(super) known: bool,
    /// It names a firm.
    pub(super) company: bool,
}

/// Looks at a text as a person's name.
pub(super) fn look(text: &str) -> Person {
    let nobody = Person::default();
    if text.len() > MAX_NAME || text.chars().any(|c| c.is_numeric() || "@/\\_:;=+<>|{}[]\"!?*#%".contains(c) || c.is_control()) {
        return nobody;
    }
    if is_company(text) {
        return Person { company: true, ..nobody };
    }
    let letters = |of: fn(char) -> bool| text.chars().all(|c| of(c) || matches!(c, ' ' | '・' | '·'));
    if letters(|c| is_han(c) || is_kana(c)) {
        return east_asian(text);
    }
    if letters(is_hangul) {
        let length = text.chars().filter(|c| *c != ' ').count();
        let known = (2..=4).contains(&length) && text.chars().next().is_some_and(|first| KOREAN.contains(first));
        return Person { shape: known, known, company: false };
    }
    if letters(is_arabic) {
        return arabic(text);
    }
    latin(text)
}

fn is_company(text: &str) -> bool {
    let word = |word: &str| {
        let word: String = word.chars().filter(|c| *c != '.' && *c != ',').flat_map(char::to_lowercase).collect();
        COMPANIES.contains(word.as_str())
    };
    HAN_COMPANIES.iter().any(|mark| text.contains(mark)) || text.contains(" and ") || text.split_whitespace().any(word)
}

fn east_asian(text: &str) -> Person {
    let nobody = Person::default();
    let parts: Vec<&str> = text.split([' ', '・', '·']).filter(|part| !part.is_empty()).collect();
    let length = |part: &str| part.chars().count();
    match parts.as_slice() {
        [family, given] => {
            let shape = (1..=6).contains(&length(family)) && (1..=6).contains(&length(given));
            let known = shape && (JAPANESE.contains(family) || is_chinese_family(family));
            Person { shape, known, company: false }
        }
        [whole] => {
            let count = length(whole);
            if whole.chars().last().is_some_and(|last| HAN_PLACE_ENDS.contains(last))
                || !whole.chars().all(|c| is_han(c) || is_kana(c))
            {
                return nobody;
            }
            let japanese =
                (3..=6).contains(&count) && JAPANESE.iter().any(|family| length(family) > 1 && whole.starts_with(family));
            let two = count <= 4 && count > 2 && CHINESE_TWO.iter().any(|family| whole.starts_with(family));
            let chinese = two
                || (2..=3).contains(&count)
                    && whole.chars().all(is_han)
                    && whole.chars().next().is_some_and(|first| CHINESE.contains(first));
            let family_alone = JAPANESE.contains(whole);
            Person { shape: japanese || chinese, known: japanese || chinese || family_alone, company: false }
        }
        _ => nobody,
    }
}

fn is_chinese_family(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|first| CHINESE.contains(first)) && chars.next().is_none() || CHINESE_TWO.contains(&text)
}

fn arabic(text: &str) -> Person {
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty() && !TITLES.contains(word)).collect();
    let known = words.iter().any(|word| ARABIC.contains(word) || word.starts_with("عبد"));
    let titled = text.split(' ').count() > words.len();
    let shape = (2..=6).contains(&words.len())
        && words.iter().all(|word| word.chars().count() <= 12)
        && !words.iter().any(|word| PLACES.contains(word));
    Person { shape, known: shape && (known || titled) || words.len() == 1 && known, company: false }
}

fn latin(text: &str) -> Person {
    let nobody = Person::default();
    let bare = |word: &str| word.trim_matches([',', '.', '(', ')', '\'', '’']).replace('.', "");
    let mut words: Vec<String> = Vec::new();
    let mut titled = false;
    for word in text.split_whitespace() {
        let word = bare(word);
        let lower = word.to_lowercase();
        if TITLES.contains(lower.as_str()) {
            titled = true;
        } else if !word.is_empty() {
            words.push(word);
        }
    }
    let is_place = words.first().is_some_and(|first| PLACES.contains(first.to_lowercase().as_str()));
    if words.is_empty() || words.len() > 6 || is_place && !titled || !words.iter().all(|word| is_name_word(word)) {
        return nobody;
    }
    let known_word = |word: &str| {
        let lower = word.to_lowercase();
        lower.split('-').any(|part| GIVEN.contains(part) || FAMILY.contains(part))
    };
    let at_an_end = [words.first(), words.last()].into_iter().flatten();
    let vietnamese = words.len() > 1 && at_an_end.clone().any(|word| VIETNAMESE.contains(word.to_lowercase().as_str()));
    let known = vietnamese || at_an_end.clone().any(|word| known_word(word));
    // A particle is no name, and initials alone are none.
    let real = words.iter().filter(|word| !PARTICLES.contains(word.to_lowercase().as_str())).count();
    let whole = words.iter().any(|word| word.chars().count() > 1);
    let shape = whole && ((2..=5).contains(&real) || titled && real == 1);
    Person { shape, known: known || titled && shape, company: false }
}

/// A word with a capital letter at its beginning and small ones behind it (`McKenzie`, `O'Neill`, `Hans-Peter`), an initial, or a particle.
fn is_name_word(word: &str) -> bool {
    if PARTICLES.contains(word) {
        return true;
    }
    let part = |part: &str| {
        let mut chars = part.chars();
        let begins = chars.next().is_some_and(char::is_uppercase);
        let capitals = part.chars().filter(|c| c.is_uppercase()).count();
        begins
            && part.chars().count() <= 20
            && part.chars().all(|c| c.is_alphabetic() || matches!(c, '\'' | '’' | '\u{300}'..='\u{36f}'))
            && capitals <= 2
    };
    word.split('-').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_are_known() {
        for name in [
            "Natalie Pope",
            "John Harding",
            "Dr. Michael O'Neill",
            "Hans-Peter von Weizsäcker",
            "Herr Paolo Hande MBA.",
            "J. R. Smith",
            "Mei Tanaka",
            "Quang Mai",
            "Nguyễn Văn An",
            "Quý cô Vân Trần",
            "钟涛",
            "姚桂荣",
            "欧阳娜娜",
            "鈴木 直樹",
            "佐々木健",
            "김민준",
            "منتصر آل قصير",
            "الأستاذ صلاح الدّين الدباغ",
            "عبدالله محمد",
        ] {
            let person = look(name);
            assert!(person.shape && person.known, "{name}: {person:?}");
        }
        for alone in ["Sarah", "Müller", "محمد", "鈴木"] {
            let person = look(alone);
            assert!(person.known && !person.shape, "{alone}: {person:?}");
        }
    }

    #[test]
    fn other_texts_are_not() {
        for text in [
            "",
            "Lake Brandon",
            "Bad Freienwalde",
            "Thành phố Đà Nẵng",
            "潜江市",
            "目黒区",
            "desk lamp",
            "BLUE DESK LAMP",
            "Model X 200",
            "a@b",
            "iPhone15",
            "SKU-12",
            "The quick brown fox jumps over the lazy dog",
            "pending",
            "مدينة الرياض",
        ] {
            let person = look(text);
            assert!(!person.known, "{text}: {person:?}");
        }
        for company in [
            "Carter and Sons",
            "Griffith LLC",
            "Herrmann KG",
            "有限会社加藤食品",
            "飞利信信息有限公司",
            "Nguyễn Công ty TNHH",
            "آل رفيع Ltd",
        ] {
            assert_eq!(look(company), Person { company: true, ..Person::default() }, "{company}");
        }
    }
}
