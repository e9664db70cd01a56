//! Cuts JavaScript into tokens, for [`super`] to judge. No parser: it refuses what could be read in two ways.
//!
//! Always holds: what an engine runs as code is given out as tokens, never swallowed as a text or a comment. Where a slash could start
//! a regular expression or divide, an angle bracket could start XML (SpiderMonkey 1.8), or a line end is one to some engines only, the
//! function is refused.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A name or keyword.
    Name,
    /// A text, without its quotes; escapes stay.
    Text,
    Number,
    /// A regular expression.
    Pattern,
    Sign,
}

/// One token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) sort: Sort,
    pub(super) text: &'a str,
    /// A line ended before it.
    pub(super) new_line: bool,
}

/// Words after which an operand follows.
#[rustfmt::skip] // one name a line would hide the rest
const BEFORE_OPERAND: &[&str] = &[
    "return", "typeof", "case", "in", "of", "void", "delete", "do", "else", "instanceof", "new", "throw",
];
/// Longest first.
#[rustfmt::skip] // one sign a line would hide the rest
const SIGNS: &[&str] = &[
    ">>>=", "===", "!==", "**=", "<<=", ">>=", ">>>", "&&=", "||=", "??=", "...", "=>", "==", "!=", "<=", ">=", "&&", "||", "??",
    "?.", "++", "--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<", ">>", "**", "{", "}", "(", ")", "[", "]", ";", ",",
    "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "!", "~", "?", ":", "=", ".",
];

/// What may come next.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// An operand: a slash starts a regular expression.
    Operand,
    /// An operator: a slash divides.
    Operator,
    /// Only a parser knows.
    Either,
}

/// The tokens of a function's text.
///
/// # Errors
///
/// What cannot be read without doubt.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, &'static str> {
    if text.contains(['\u{2028}', '\u{2029}', '\u{feff}', '\0']) {
        return Err("it holds characters that engines read differently (U+2028, U+2029, U+FEFF, NUL)");
    }
    if text.contains("<!--") || text.contains("-->") {
        return Err("it holds an HTML comment sign, which some engines read as a comment");
    }
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let (mut rest, mut new_line) = (text, false);
    while let Some(first) = rest.chars().next() {
        if matches!(first, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c') {
            new_line |= matches!(first, '\n' | '\r');
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        if let Some(length) = comment(rest)? {
            let (skipped, after) = rest.split_at_checked(length).ok_or("it cannot be read")?;
            new_line |= skipped.contains(['\n', '\r']);
            rest = after;
            continue;
        }
        let next = match tokens.last().map_or(Next::Operand, what_follows) {
            // A line end may end the statement, and then an operand follows.
            Next::Operator if new_line => Next::Either,
            next @ (Next::Operand | Next::Operator | Next::Either) => next,
        };
        let (sort, length) = token(rest, first, next)?;
        let (text, after) = rest.split_at_checked(length).ok_or("it cannot be read")?;
        let text = if sort == Sort::Text { text.get(1..length - 1).unwrap_or_default() } else { text };
        tokens.push(Token { sort, text, new_line });
        (rest, new_line) = (after, false);
    }
    Ok(tokens)
}

/// The length of the comment that starts here.
fn comment(rest: &str) -> Result<Option<usize>, &'static str> {
    if rest.starts_with("//") {
        return Ok(Some(rest.find(['\n', '\r']).unwrap_or(rest.len())));
    }
    if let Some(inside) = rest.strip_prefix("/*") {
        return inside.find("*/").map(|end| Some(end + 4)).ok_or("a comment has no end");
    }
    Ok(None)
}

fn what_follows(before: &Token<'_>) -> Next {
    match (before.sort, before.text) {
        (Sort::Name, word) if BEFORE_OPERAND.contains(&word) => Next::Operand,
        (Sort::Name, "yield" | "await" | "async" | "let" | "break" | "continue") | (Sort::Sign, ")" | "}" | "++" | "--") => {
            Next::Either
        }
        (Sort::Name | Sort::Text | Sort::Number | Sort::Pattern, _) | (Sort::Sign, "]") => Next::Operator,
        (Sort::Sign, _) => Next::Operand,
    }
}

fn token(rest: &str, first: char, next: Next) -> Result<(Sort, usize), &'static str> {
    match first {
        '"' | '\'' => quoted(rest, first).map(|length| (Sort::Text, length)),
        '`' => {
            let length = quoted(rest, first)?;
            let holds_code = rest.get(..length).is_some_and(|text| text.contains("${"));
            if holds_code { Err("it holds a template with an expression in it") } else { Ok((Sort::Text, length)) }
        }
        '/' if next == Next::Operand => pattern(rest).map(|length| (Sort::Pattern, length)),
        // Either way of reading gives the same code if nothing on the line could start or end a literal or a comment.
        '/' if next == Next::Either => {
            let line = rest.split(['\n', '\r']).next().unwrap_or_default();
            if line.get(1..).is_some_and(|line| line.contains(['/', '"', '\'', '`', '\\', '*'])) {
                return Err(
                    "it holds a slash that could divide or start a regular expression; write it on a line of its own, or elsewhere",
                );
            }
            Ok((Sort::Sign, 1))
        }
        '<' if next == Next::Operand => Err("it holds what could be XML to some engines"),
        '<' if next == Next::Either && !rest.get(1..2).is_some_and(|after| " \t\n=<0123456789".contains(after)) => {
            Err("it holds what could be XML to some engines; write a space after the angle bracket")
        }
        '0'..='9' => number(rest).map(|length| (Sort::Number, length)),
        c if c.is_alphabetic() || matches!(c, '_' | '$') => {
            Ok((Sort::Name, length_of(rest, |c| c.is_alphanumeric() || matches!(c, '_' | '$'))))
        }
        '\\' => Err("a name is written with escapes"),
        _ => {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            sign.map(|sign| (Sort::Sign, sign.len())).ok_or("it holds a character that is not read here")
        }
    }
}

/// The length of a number: digits and a fraction, or a prefix and digits. What follows it must not look like a part of it.
fn number(rest: &str) -> Result<usize, &'static str> {
    let based = ["0x", "0X", "0b", "0B", "0o", "0O"].iter().any(|prefix| rest.starts_with(prefix));
    let mut length = if based {
        2 + length_of(rest.get(2..).unwrap_or_default(), |c| c.is_ascii_hexdigit())
    } else {
        length_of(rest, |c| c.is_ascii_digit())
    };
    let after = |length: usize| rest.get(length..).unwrap_or_default();
    if !based && let Some(fraction) = after(length).strip_prefix('.') {
        length += 1 + length_of(fraction, |c| c.is_ascii_digit());
    }
    if !based && let Some(exponent) = after(length).strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        length += 1 + sign + length_of(exponent.get(sign..).unwrap_or_default(), |c| c.is_ascii_digit());
    }
    match after(length).chars().next() {
        Some(c) if c.is_alphanumeric() || matches!(c, '_' | '$' | '.' | '\\') => {
            Err("a number is followed by a name or a dot; put it in brackets")
        }
        _ => Ok(length),
    }
}

fn length_of(rest: &str, part: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !part(c)).unwrap_or(rest.len())
}

/// The length of a text with its quotes.
fn quoted(rest: &str, quote: char) -> Result<usize, &'static str> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' | '\r' if !escaped && quote != '`' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Ok(at + 1),
            _ => {}
        }
    }
    Err("a text has no end")
}

/// The length of a regular expression with its flags.
fn pattern(rest: &str) -> Result<usize, &'static str> {
    let (mut escaped, mut in_class) = (false, false);
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' | '\r' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            // Engines disagree on a slash in a class: older ones end the expression there.
            '/' if in_class => return Err("a regular expression holds a slash in a class; write it with a backslash"),
            '[' if in_class => return Err("a regular expression holds a bracket in a class; write it with a backslash"),
            '[' => in_class = true,
            ']' => in_class = false,
            '/' => {
                let flags = rest.get(at + 1..).unwrap_or_default();
                return Ok(at + 1 + length_of(flags, |c| c.is_ascii_alphabetic()));
            }
            _ => {}
        }
    }
    Err("a regular expression has no end")
}
