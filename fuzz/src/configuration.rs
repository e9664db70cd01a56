//! The two files: whatever stands in them, mistakes are told with their place.

use std::cell::LazyCell;
use std::fs;

use sudare::config::templates::{CALLERS, POLICY, service};
use sudare::config::{Environment, Finding, load_policy_only, load_with};
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::LONGEST;

/// Stands between the two files of an input.
const BETWEEN: &[u8] = b"\n==== policy.toml\n";

thread_local! {
    static FOLDER: LazyCell<TempDir> = LazyCell::new(|| tempfile::tempdir().unwrap());
}

/// Input: `sudare.toml`, a line `==== policy.toml`, `policy.toml`. Without that line the policy is that of `sudare init`; with nothing before it,
/// so is `sudare.toml`.
pub fn configuration(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let between = input.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    let (written, policy) = between.map_or((input, POLICY.as_bytes()), |at| (&input[..at], &input[at + BETWEEN.len()..]));
    let usual;
    let written = if written.is_empty() && between.is_some() {
        let callers = CALLERS.map(|name| (sudare::base::CallerName::new(name), [7; 32]));
        usual = service("127.0.0.1:8080", "127.0.0.1:8081", &callers);
        usual.as_bytes()
    } else {
        written
    };
    FOLDER.with(|folder| check(folder, written, policy));
}

fn check(folder: &TempDir, written: &[u8], policy: &[u8]) {
    let path = folder.path().join("sudare.toml");
    fs::write(&path, written).unwrap();
    fs::write(folder.path().join("policy.toml"), policy).unwrap();
    let environment = |_: &str| Some(Zeroizing::new("canary-name:canary-password".to_owned()));
    let findings = match load_with(&path, Environment::Read(&environment)) {
        Ok(settings) => {
            assert_eq!(settings.warnings.errors(), 0, "settings in spite of a mistake");
            assert!(!format!("{settings:?}").contains("canary-password"), "a secret is shown");
            for collection in &settings.collections {
                assert!(!collection.plans.is_empty(), "a collection without a plan");
            }
            assert!(load_policy_only(&path).is_ok(), "the same files are refused for the policy alone");
            settings.warnings
        }
        Err(findings) => {
            assert!(findings.errors() > 0, "no settings, and no mistake");
            findings
        }
    };
    let texts = [written, policy].map(|text| String::from_utf8_lossy(text).into_owned());
    for finding in &findings {
        check_finding(finding, &texts);
    }
    assert!(findings.to_json().as_array().is_some_and(|list| list.len() == findings.len()));
    assert!(!findings.to_string().contains("canary-password"), "a secret is shown");
}

fn check_finding(finding: &Finding, [written, policy]: &[String; 2]) {
    let text = if finding.file.ends_with("policy.toml") { policy } else { written };
    assert!(finding.file.ends_with("sudare.toml") || finding.file.ends_with("policy.toml"), "a finding in {}", finding.file);
    assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "a finding that says nothing");
    let lines = text.split('\n').count();
    assert!(finding.line >= 1 && finding.line as usize <= lines, "line {} of {lines}", finding.line);
    assert!(finding.column >= 1, "column 0");
}
