//! A stand-in for the token vault: tokens counted upwards, each in the format of its field, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use sudare::vault::{Format, Known, Scope, Wish};
use zeroize::Zeroizing;

#[derive(Default)]
pub struct Vault {
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    of_token: HashMap<(Scope, String), Vec<u8>>,
    of_value: HashMap<(Scope, Vec<u8>), String>,
    count: u64,
}

impl Vault {
    /// What tokens stand for.
    pub fn known(&self, asked: &[(Scope, String)]) -> Vec<Known> {
        let rows = self.rows();
        let known = |key: &(Scope, String)| rows.of_token.get(key).map(|json| Known::Value(Zeroizing::new(json.clone())));
        asked.iter().map(|key| known(key).unwrap_or(Known::Not)).collect()
    }

    /// The JSON text that a token stands for.
    pub fn value(&self, scope: &Scope, token: &str) -> Option<Vec<u8>> {
        self.rows().of_token.get(&(scope.clone(), token.to_owned())).cloned()
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    pub fn make(&self, wishes: &[Wish]) -> Vec<String> {
        wishes.iter().map(|wish| self.rows().make(wish)).collect()
    }
}

impl Rows {
    fn make(&mut self, wish: &Wish) -> String {
        let (scope, value) = (wish.kind.scope.clone(), (wish.kind.scope.clone(), wish.json.clone()));
        if let Some(token) = self.of_value.get(&value).filter(|_| wish.kind.consistent) {
            return token.clone();
        }
        assert!(wish.kind.format.check(&wish.text).is_ok(), "a wish for what the format has no token for");
        let token = loop {
            self.count += 1;
            let token = draw(wish.kind.format, &wish.text, self.count);
            if token != wish.text && !self.of_token.contains_key(&(scope.clone(), token.clone())) {
                break token;
            }
        };
        self.of_token.insert((scope, token.clone()), wish.json.clone());
        if wish.kind.consistent {
            self.of_value.insert(value, token.clone());
        }
        token
    }
}

fn draw(format: Format, text: &str, count: u64) -> String {
    match format {
        Format::Opaque => format!("tok1_{count:025}0"),
        Format::Email => format!("{count:025}0@token.invalid"),
        Format::Uuid => format!("{:08x}-0000-8000-8000-{count:012x}", 7),
        Format::Digits => {
            let mut rest = count;
            let digit = |c: char| {
                let digit = char::from(b'0' + (rest % 10) as u8);
                if c.is_ascii_digit() {
                    rest /= 10;
                    digit
                } else {
                    c
                }
            };
            let turned: Vec<char> = text.chars().rev().map(digit).collect();
            turned.into_iter().rev().collect()
        }
    }
}
