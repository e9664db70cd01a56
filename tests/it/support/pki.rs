//! A certificate authority for one test: certificates and keys in PEM files, right or wrong in one chosen way.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};

/// An authority, and the folder its files go to.
pub(crate) struct Pki {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate chain and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// An authority of this name, whose certificate is `NAME-ca.pem` in `folder`.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("{name} authority"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self { folder: folder.to_path_buf(), issuer };
        fs::write(pki.folder.join(format!("{name}-ca.pem")), pki.issuer.pem()).unwrap();
        pki
    }

    /// What a server with these names (DNS names or IP addresses) presents.
    pub(crate) fn server(&self, file: &str, names: &[&str]) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(file, &params)
    }

    /// What a client presents: URI names, for SPIFFE one, and a subject with this organisation and common name.
    pub(crate) fn client(&self, file: &str, uris: &[&str], organisation: &str, common_name: &str) -> Files {
        self.issue(file, &Self::client_params(uris, organisation, common_name))
    }

    /// The same, to be changed before it is issued.
    pub(crate) fn client_params(uris: &[&str], organisation: &str, common_name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, organisation);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params
    }

    /// A list of what the authority has revoked: the certificates with these serial numbers.
    pub(crate) fn revoke(&self, file: &str, serials: &[u64]) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(4096, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.folder.join(format!("{file}.pem"));
        fs::write(&path, list.signed_by(&self.issuer).unwrap().pem().unwrap()).unwrap();
        path
    }

    /// A certificate of any kind: `FILE.pem` and `FILE.key`, the latter for its owner only.
    pub(crate) fn issue(&self, file: &str, params: &CertificateParams) -> Files {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = Files { certificate: self.folder.join(format!("{file}.pem")), key: self.folder.join(format!("{file}.key")) };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

#[test]
fn an_authority_writes_files_that_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let pki = Pki::new(folder.path(), "shop");
    let client = pki.client("shipping", &["spiffe://shop.example/shipping"], "Shop", "shipping");
    let server = pki.server("front", &["localhost", "127.0.0.1"]);
    for files in [client, server] {
        assert_eq!(sudare::net::tls::pem::certificates(&files.certificate).unwrap().len(), 1);
        sudare::net::tls::pem::private_key(&files.key).unwrap();
        assert!(sudare::net::tls::pem::certificates(&files.key).unwrap_err().to_string().contains("no certificate"));
    }
    assert_eq!(sudare::net::tls::pem::authorities(&folder.path().join("shop-ca.pem")).unwrap().len(), 1);
}
