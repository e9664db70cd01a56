//! Reads the members of a KEK at AWS KMS. Only with the feature `aws-kms`.
//!
//! Always holds: as [`super::kek`]. Called there.

use std::path::Path;
use std::sync::Arc;

use super::kek::{ca, service_at};
use super::report::Draft;
use super::service::millis;
use super::tree::{Section, Text, shorten};
use crate::base::SystemClock;
use crate::keys::kek::aws::{Config, Kms, WhoWeAre};

pub(super) fn aws(kek: &Section<'_>, folder: &Path) -> Option<Arc<Kms>> {
    let report = kek.report();
    let example = "key = \"arn:aws:kms:eu-central-1:111122223333:key/…\": an ARN, a key id, or \"alias/…\"";
    let key = kek.required("key", example).and_then(|node| node.text()).filter(|text| {
        let fits = text.value.bytes().all(|b| b.is_ascii_alphanumeric() || b":/_-".contains(&b));
        if !fits {
            report.push(
                Draft::error(&text.span, format!("\"{}\" is no name of a key at KMS", shorten(&text.value)))
                    .remedy(format!("write {example}")),
            );
        }
        fits
    });
    // An ARN says in which region its key is.
    let of_arn = key.as_ref().and_then(|key| {
        let region = key.value.strip_prefix("arn:")?.split(':').nth(2)?;
        Some(Text { value: region.to_owned(), span: key.span.clone() })
    });
    let region = match kek.optional("region") {
        Some(node) => node.text(),
        None if of_arn.is_some() || key.is_none() => of_arn,
        None => kek.required("region", "region = \"eu-central-1\"").and_then(|node| node.text()),
    };
    let region = region.filter(|text| {
        let fits = text.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            report.push(
                Draft::error(&text.span, format!("\"{}\" is no region of AWS", shorten(&text.value)))
                    .remedy("write region = \"eu-central-1\", or yours"),
            );
        }
        fits
    });
    let endpoint = kek.optional("endpoint").map(|node| node.text());
    let sts = kek.optional("sts_endpoint").map(|node| node.text());
    let profile = kek.optional("profile").map(|node| node.text());
    let file = kek.optional("credentials_file").map(|node| node.text());
    let (ca, timeout) = (ca(kek), millis(kek, "timeout_ms", 100..=60_000, 5_000));
    let (key, region, ca, timeout) = (key?, region?, ca?, timeout?);
    let of_aws = |service: &str| {
        let end = if region.value.starts_with("cn-") { ".cn" } else { "" };
        let value = format!("https://{service}.{}.amazonaws.com{end}", region.value);
        Text { value, span: region.span.clone() }
    };
    // What was written wrong has its finding.
    let endpoint = endpoint.unwrap_or_else(|| Some(of_aws("kms")))?;
    let sts = sts.unwrap_or_else(|| Some(of_aws("sts")))?;
    let scheme = if endpoint.value.starts_with("http://") { "http" } else { "https" };
    let at = |url: &Text| {
        let ca = ca.as_ref().filter(|_| url.value.starts_with("https://"));
        service_at(kek, url, ca, timeout, folder)
    };
    let (service, sts) = (at(&endpoint)?, at(&sts)?);
    let who = WhoWeAre {
        profile: profile.map_or(Some(None), |text| text.map(|text| Some(text.value)))?,
        credentials_file: file.map_or(Some(None), |text| text.map(|text| Some(folder.join(text.value))))?,
        sts,
        environment: Arc::new(|name| std::env::var(name).ok()),
    };
    let config = Config { service, scheme, region: region.value, key: key.value, who };
    Some(Arc::new(Kms::new(config, Arc::new(SystemClock))))
}
