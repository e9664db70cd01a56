//! Who may see more than health and readiness.

use http::{HeaderMap, header};

use crate::caller::Secrets;

/// Whom the operator's pages are for. With neither, whoever reaches the listener.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Known by `Authorization: Bearer SECRET`.
    pub secrets: Secrets,
    /// Known by the user id at the other end of the Unix socket.
    pub uids: Vec<u32>,
}

impl Access {
    /// True for those who may. A secret that is sent decides alone: a wrong one is not made good by the user id.
    pub(super) fn allows(&self, headers: &HeaderMap, uid: Option<u32>) -> bool {
        if self.secrets.is_empty() && self.uids.is_empty() {
            return true;
        }
        let mut sent = headers.get_all(header::AUTHORIZATION).iter();
        match (sent.next(), sent.next()) {
            (None, _) => uid.is_some_and(|uid| self.uids.contains(&uid)),
            (Some(value), None) => bearer(value.as_bytes()).is_some_and(|secret| self.secrets.know(secret)),
            (Some(_), Some(_)) => false,
        }
    }
}

/// `Bearer SECRET` (RFC 6750, section 2.1); the scheme in any case, as RFC 9110 has it.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| secret.trim_ascii()).filter(|secret| !secret.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn one_right_secret_or_one_listed_user_id() {
        // SHA-256 of "secret".
        let hash = data_encoding::HEXLOWER
            .decode(b"2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b")
            .unwrap()
            .try_into()
            .unwrap();
        let access = Access { secrets: Secrets::new(vec![hash]), uids: vec![7] };
        assert!(access.allows(&sent(&["Bearer secret"]), None) && access.allows(&sent(&["bearer  secret"]), Some(9)));
        assert!(access.allows(&sent(&[]), Some(7)));
        assert!(!access.allows(&sent(&[]), None) && !access.allows(&sent(&[]), Some(8)));
        for wrong in ["Bearer secre", "Bearer ", "Bearer", "Basic secret", "secret", ""] {
            assert!(!access.allows(&sent(&[wrong]), Some(7)), "{wrong}");
        }
        let mut twice = sent(&["Bearer secret"]);
        twice.append(header::AUTHORIZATION, http::HeaderValue::from_static("Bearer secret"));
        assert!(!access.allows(&twice, Some(7)));
        assert!(Access::default().allows(&sent(&[]), None), "nobody is asked");
        assert!(!Access { secrets: Secrets::default(), uids: vec![7] }.allows(&sent(&["Bearer secret"]), Some(7)));
    }
}
