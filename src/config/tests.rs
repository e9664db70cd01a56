//! What the shared readers do with text that is broken or secret. What people see is tested in `tests/check.rs`.

use std::path::Path;

use super::findings::Severity;
use super::report::{Draft, Report};
use super::source::Source;

fn source(text: &str) -> Source {
    Source::from_text(Path::new("conf/sudare.toml"), text.to_owned())
}

fn keys(source: &Source) -> Vec<String> {
    source.tree().keys().map(|key| key.get_ref().to_string()).collect()
}

#[test]
fn a_broken_statement_does_not_spoil_the_next() {
    for (broken, others) in [
        ("a = 1\nb = \nc = 3\n", vec!["a", "c"]),
        ("a = 1\nb = { x = 1\nc = 3\n", vec!["a", "c"]),
        ("a = 1\nb = [ 1,\nc = 3\n[d]\ne = 1\n", vec!["a", "c", "d"]),
        ("a = 1\nb = [\n  1\n  2\n]\nc = 3\n", vec!["a", "c"]),
        ("a = 1\nb = {\n  x = 1\n  y = 2 z\n}\nc = 3\n", vec!["a", "c"]),
        ("a = 1\n[b\nx = 1\n[c]\ny = 2\n", vec!["a", "c"]),
        ("a = 1\nb 2\nc = 3\n", vec!["a", "c"]),
        ("a = 1\nb = \"x\nc = 3\n", vec!["a", "c"]),
        ("a = 1\na = 2\nc = 3\n", vec!["a", "c"]),
    ] {
        let source = source(broken);
        assert_eq!(source.syntax.len(), 1, "{broken}\n{:?}", source.syntax);
        assert_eq!(keys(&source), others, "{broken}");
    }
}

#[test]
fn a_name_in_a_broken_statement_is_not_missing() {
    let source = source("[listen\naddress = \"x\"\n[store]\n");
    assert!(source.has_lost("listen") && source.has_lost("address"));
    assert!(!source.has_lost("store") && !source.has_lost("list") && !source.has_lost("addres"));
}

#[test]
fn so_many_syntax_errors_end_the_list() {
    let source = source(&"= 1\n".repeat(200));
    assert_eq!(source.syntax.len(), 51);
    assert!(keys(&source).is_empty());
    assert!(source.syntax.iter().all(|draft| !draft.remedy.is_empty()));
}

#[test]
fn place_is_counted_in_lines_and_characters() {
    let text = "# é\r\nnäme = \"ü\"  # comment\n";
    let source = source(text);
    let report = Report::new(&source);
    let at = text.find("\"ü\"").unwrap();
    report.push(Draft::error(&(at..at + 4), "m").remedy("r"));
    let finding = report.finish().into_iter().next_back().unwrap();
    assert_eq!((finding.line, finding.column), (2, 8));
    assert_eq!(finding.excerpt.get(finding.caret.clone()), Some("\"ü\""));
    assert_eq!(source.line_of(text.len()), 3);
    assert_eq!(source.span_of_line(2), text.find("näme").unwrap()..text.find("\n# comment").unwrap_or(text.len() - 1));
}

#[test]
fn t13_lines_are_shown_without_secrets() {
    for (line, shown) in [
        ("auth = { basic = \"admin:hunter2\" }", "auth = { basic = \"*************\" }"),
        ("auth = { basic = \"env:DATABASE_AUTH\" }", "auth = { basic = \"env:DATABASE_AUTH\" }"),
        ("auth = { bearer = 'x y', z = 1 }", "auth = { bearer = '***', z = 1 }"),
        ("auth = \"admin:hunter2\"", "auth = \"*************\""),
        ("auth = { basic = \"admin:hunter2 }", "auth = { basic = \"***************"),
        ("password=hunter2", "password=*******"),
        ("url = \"http://a:b@h/x\"", "url = \"http://***@h/x\""),
        ("credential_sha256 = \"abc\"", "credential_sha256 = \"***\""),
        ("protect = \"token\"  # basic", "protect = \"token\"  # basic"),
    ] {
        let source = source(line);
        let report = Report::new(&source);
        report.push(Draft::new(Severity::Warning, 0..1, "m").remedy("r"));
        for finding in report.finish() {
            assert_eq!(finding.excerpt, shown);
        }
    }
    let full = format!("credential_sha256 = \"{}\"", "0a".repeat(32));
    let source = source(&full);
    let report = Report::new(&source);
    report.push(Draft::error(&(0..3), "m").remedy("r"));
    assert_eq!(report.finish().first().unwrap().excerpt, full);
    report.hide(&(21..full.len()));
    assert!(!report.finish().first().unwrap().to_string().contains("0a0a"));
}
