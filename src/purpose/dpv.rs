//! Purposes of the W3C Data Privacy Vocabulary (DPV) and what they are kinds of; and the personal data of which there are few values.
//!
//! Source: DPV 2.3 (<https://w3id.org/dpv/2.3>), module *purposes*: every concept of type `dpv:Purpose` with its
//! `skos:broader` concepts. Only names and their order are kept. `dpv:RightsFulfilment` stands there below the legal basis
//! `dpv:LegalObligation`; here it stands below `dpv:FulfilmentOfObligation`, the purpose that says the same.
//!
//! Always holds (tests): the table is sorted, names only itself, has no circle, and every entry leads to [`ROOT`].
//! Used by `compile` (a `never` holds for all kinds of what it names) and by the JSON Schema of the policy file.

/// The DPV release the table was taken from.
pub const VERSION: &str = "2.3";

/// What every purpose is a kind of. It says nothing, so no purpose of a policy may carry it.
pub const ROOT: &str = "Purpose";

/// Prefix of DPV's own ids in the policy file and in the header.
const PREFIX: &str = "dpv:";

/// How an id relates to the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A purpose of DPV other than the root.
    Purpose,
    /// `dpv:Purpose` itself.
    Root,
    /// Has the prefix `dpv:` but names no purpose of this release.
    Unknown,
    /// Of another vocabulary (`acme:Audit`): compared as text, kinds are not known.
    Foreign,
    /// Not of the form `prefix:Name`.
    Malformed,
}

/// Looks an id up.
pub fn known(id: &str) -> Known {
    if let Some(name) = id.strip_prefix(PREFIX) {
        return match name {
            ROOT => Known::Root,
            name if parents(name).is_some() => Known::Purpose,
            name if is_local_name(name) => Known::Unknown,
            _ => Known::Malformed,
        };
    }
    if is_id(id) { Known::Foreign } else { Known::Malformed }
}

/// True for `prefix:Name`: the prefix of `a-z 0-9 -` after a letter, the name of letters, digits, `-` and
/// `_` after a letter.
pub fn is_id(id: &str) -> bool {
    id.split_once(':').is_some_and(|(prefix, name)| {
        prefix.starts_with(|first: char| first.is_ascii_lowercase())
            && prefix.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && is_local_name(name)
    })
}

/// True if `id` is `ancestor` or a kind of it. Ids of other vocabularies are kinds of themselves only.
pub fn is_kind_of(id: &str, ancestor: &str) -> bool {
    if id == ancestor {
        return true;
    }
    let (Some(name), Some(ancestor)) = (id.strip_prefix(PREFIX), ancestor.strip_prefix(PREFIX)) else { return false };
    descends(name, ancestor)
}

/// True for personal data (`pd:Gender`) of which there are so few values that knowing which ones are equal is knowing them.
pub fn has_few_values(id: &str) -> bool {
    id.strip_prefix("pd:").is_some_and(|name| FEW_VALUES.binary_search(&name).is_ok())
}

/// The known purpose most like an unknown id, with its prefix; `None` when nothing is near (more than a third of the
/// letters differ).
pub fn nearest(id: &str) -> Option<String> {
    let name = id.strip_prefix(PREFIX).unwrap_or(id);
    let (distance, best) = PURPOSES.iter().map(|(known, _)| (distance(name, known), *known)).min()?;
    (distance * 3 <= name.len().max(best.len())).then(|| format!("{PREFIX}{best}"))
}

/// All known ids, in alphabetical order, with their prefix; without the root.
pub fn ids() -> impl Iterator<Item = String> {
    PURPOSES.iter().map(|(name, _)| format!("{PREFIX}{name}"))
}

fn is_local_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn parents(name: &str) -> Option<&'static [&'static str]> {
    let at = PURPOSES.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    PURPOSES.get(at).map(|(_, parents)| *parents)
}

/// Follows every broader concept; the table has no circle, so this ends.
fn descends(name: &str, ancestor: &str) -> bool {
    name == ancestor || parents(name).is_some_and(|parents| parents.iter().any(|parent| descends(parent, ancestor)))
}

/// Edits (insert, delete, replace one character, case ignored) that turn one text into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (done, l) in left.chars().map(|c| c.to_ascii_lowercase()).enumerate() {
        let mut diagonal = done;
        let mut before = done + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(before);
        for (r, above) in right.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*r != l);
            before = replaced.min(before + 1).min(*above + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Concepts of DPV's extension *pd* that have at most a few thousand values in practice. Sorted by name.
const FEW_VALUES: &[&str] = &[
    "Age",
    "AgeExact",
    "AgeRange",
    "BloodType",
    "Citizenship",
    "Country",
    "CountryOfBirth",
    "Disability",
    "Divorce",
    "DrugTestResult",
    "EthnicOrigin",
    "Ethnicity",
    "FavoriteColor",
    "Gender",
    "HairColor",
    "Height",
    "IncomeBracket",
    "Language",
    "MaritalStatus",
    "Marriage",
    "Nationality",
    "PINCode",
    "PaymentCardExpiry",
    "PhilosophicalBelief",
    "PoliticalAffiliation",
    "Race",
    "Region",
    "Religion",
    "ReligiousBelief",
    "Residency",
    "SexualPreference",
    "SkinTone",
    "SocialStatus",
    "TradeUnionMembership",
    "Weight",
];

/// Every purpose of [`VERSION`] but the root, and what it is a kind of. Sorted by name.
const PURPOSES: &[(&str, &[&str])] = &[
    ("AcademicResearch", &["ResearchAndDevelopment"]),
    ("AccountManagement", &["Purpose"]),
    ("Advertising", &["Marketing"]),
    ("AgeVerification", &["Verification"]),
    ("CombatClimateChange", &["PublicBenefit"]),
    ("CommercialPurpose", &["Purpose"]),
    ("CommercialResearch", &["CommercialPurpose", "ResearchAndDevelopment"]),
    ("CommunicationForCustomerCare", &["CommunicationManagement", "CustomerCare"]),
    ("CommunicationManagement", &["Purpose"]),
    ("CounterMoneyLaundering", &["FraudPreventionAndDetection"]),
    ("Counterterrorism", &["PublicBenefit"]),
    ("CustomerCare", &["CustomerManagement"]),
    ("CustomerClaimsManagement", &["CustomerManagement"]),
    ("CustomerManagement", &["Purpose"]),
    ("CustomerOrderManagement", &["CustomerManagement"]),
    ("CustomerRelationshipManagement", &["CustomerManagement"]),
    ("CustomerSolvencyMonitoring", &["CustomerManagement"]),
    ("DataAltruism", &["PublicBenefit"]),
    ("DeliveryOfGoods", &["RequestedServiceProvision"]),
    ("DirectMarketing", &["Marketing"]),
    ("DisputeManagement", &["OrganisationGovernance"]),
    ("EnforceAccessControl", &["EnforceSecurity"]),
    ("EnforceSecurity", &["Purpose"]),
    ("EstablishContractualAgreement", &["Purpose"]),
    ("FraudPreventionAndDetection", &["MisusePreventionAndDetection"]),
    ("FulfilmentOfContractualObligation", &["FulfilmentOfObligation"]),
    ("FulfilmentOfObligation", &["Purpose"]),
    ("HumanResourceManagement", &["Purpose"]),
    ("IdentityAuthentication", &["EnforceSecurity"]),
    ("IdentityVerification", &["Verification"]),
    ("ImproveExistingProductsAndServices", &["OptimisationForController"]),
    ("ImproveHealthcare", &["PublicBenefit"]),
    ("ImproveInternalCRMProcesses", &["CustomerRelationshipManagement", "OptimisationForController"]),
    ("ImprovePublicServices", &["PublicBenefit"]),
    ("ImproveTransportMobility", &["PublicBenefit"]),
    ("IncreaseServiceRobustness", &["OptimisationForController"]),
    ("InternalResourceOptimisation", &["OptimisationForController"]),
    ("LegalCompliance", &["FulfilmentOfObligation"]),
    ("MaintainFraudDatabase", &["FraudPreventionAndDetection"]),
    ("Marketing", &["Purpose"]),
    ("MemberPartnerManagement", &["OrganisationGovernance"]),
    ("MisusePreventionAndDetection", &["EnforceSecurity"]),
    ("NonCommercialPurpose", &["Purpose"]),
    ("NonCommercialResearch", &["NonCommercialPurpose", "ResearchAndDevelopment"]),
    ("OptimisationForConsumer", &["ServiceOptimisation"]),
    ("OptimisationForController", &["ServiceOptimisation"]),
    ("OptimiseUserInterface", &["OptimisationForConsumer"]),
    ("OrganisationComplianceManagement", &["OrganisationGovernance"]),
    ("OrganisationGovernance", &["Purpose"]),
    ("OrganisationRiskManagement", &["OrganisationGovernance"]),
    ("PaymentManagement", &["ServiceManagement"]),
    ("Personalisation", &["Purpose"]),
    ("PersonalisedAdvertising", &["Advertising", "Personalisation"]),
    ("PersonalisedBenefits", &["ServicePersonalisation"]),
    ("PersonnelBehaviourMonitoring", &["PersonnelMonitoring"]),
    ("PersonnelHiring", &["PersonnelManagement"]),
    ("PersonnelManagement", &["HumanResourceManagement"]),
    ("PersonnelMonitoring", &["PersonnelManagement"]),
    ("PersonnelOffboarding", &["PersonnelManagement"]),
    ("PersonnelOnboarding", &["PersonnelHiring"]),
    ("PersonnelPayment", &["PersonnelManagement"]),
    ("PersonnelPerformanceEvaluation", &["PersonnelPerformanceManagement"]),
    ("PersonnelPerformanceManagement", &["PersonnelManagement", "PersonnelMonitoring"]),
    ("PersonnelPerformanceMonitoring", &["PersonnelMonitoring", "PersonnelPerformanceManagement"]),
    ("PersonnelPerformancePrediction", &["PersonnelPerformanceManagement"]),
    ("PersonnelPromotionManagement", &["PersonnelManagement"]),
    ("PersonnelTerminationManagement", &["PersonnelManagement"]),
    ("PersonnelWorkloadManagement", &["PersonnelManagement"]),
    ("PoliticalCampaign", &["Advertising", "Personalisation"]),
    ("ProtectionOfIPR", &["FulfilmentOfObligation"]),
    ("ProtectionOfNationalSecurity", &["PublicBenefit"]),
    ("ProtectionOfPublicSecurity", &["PublicBenefit"]),
    ("ProvideEventRecommendations", &["ProvidePersonalisedRecommendations"]),
    ("ProvideOfficialStatistics", &["PublicBenefit"]),
    ("ProvidePersonalisedRecommendations", &["ServicePersonalisation"]),
    ("ProvideProductRecommendations", &["ProvidePersonalisedRecommendations"]),
    ("PublicBenefit", &["Purpose"]),
    ("PublicPolicyMaking", &["PublicBenefit"]),
    ("PublicRelations", &["Marketing"]),
    ("RecordManagement", &["Purpose"]),
    ("RecruitmentAdvertising", &["Advertising", "PersonnelHiring"]),
    ("RecruitmentApplicantBackgroundCheck", &["RecruitmentManagement"]),
    ("RecruitmentApplicantCriminalBackgroundCheck", &["RecruitmentManagement"]),
    ("RecruitmentApplicantInformationAuthentication", &["RecruitmentManagement"]),
    ("RecruitmentApplicantSelection", &["RecruitmentManagement"]),
    ("RecruitmentApplicationAnalysis", &["RecruitmentApplicationManagement"]),
    ("RecruitmentApplicationManagement", &["RecruitmentManagement"]),
    ("RecruitmentApplicationScreening", &["RecruitmentApplicationManagement"]),
    ("RecruitmentInterviewAnalysis", &["RecruitmentInterviewManagement"]),
    ("RecruitmentInterviewAssessment", &["RecruitmentInterviewManagement"]),
    ("RecruitmentInterviewManagement", &["RecruitmentManagement"]),
    ("RecruitmentInterviewScheduling", &["RecruitmentInterviewManagement"]),
    ("RecruitmentManagement", &["PersonnelHiring"]),
    ("RecruitmentTargetedAdvertising", &["RecruitmentAdvertising", "TargetedAdvertising"]),
    ("RepairImpairments", &["ServiceManagement"]),
    ("RequestedServiceProvision", &["ServiceProvision"]),
    ("ResearchAndDevelopment", &["Purpose"]),
    ("RightsFulfilment", &["FulfilmentOfObligation"]),
    ("ScientificResearch", &["ResearchAndDevelopment"]),
    ("SearchFunctionalities", &["ServiceProvision"]),
    ("SellDataToThirdParties", &["SellProducts"]),
    ("SellInsightsFromData", &["SellProducts"]),
    ("SellProducts", &["ServiceProvision"]),
    ("SellProductsToDataSubject", &["SellProducts"]),
    ("ServiceAccessDetermination", &["ServiceManagement"]),
    ("ServiceManagement", &["Purpose"]),
    ("ServiceMonitoring", &["ServiceManagement"]),
    ("ServiceOptimisation", &["ServiceManagement"]),
    ("ServicePersonalisation", &["Personalisation", "ServiceManagement"]),
    ("ServiceProvision", &["ServiceManagement"]),
    ("ServiceRegistration", &["ServiceManagement"]),
    ("ServiceUsageAnalytics", &["ServiceMonitoring"]),
    ("SocialMediaMarketing", &["Marketing"]),
    ("TargetedAdvertising", &["PersonalisedAdvertising"]),
    ("TechnicalServiceProvision", &["ServiceProvision"]),
    ("UserInterfacePersonalisation", &["ServicePersonalisation"]),
    ("VendorManagement", &["Purpose"]),
    ("VendorPayment", &["VendorManagement"]),
    ("VendorRecordsManagement", &["VendorManagement"]),
    ("VendorSelectionAssessment", &["VendorManagement"]),
    ("Verification", &["EnforceSecurity"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_closed_and_leads_to_the_root() {
        assert!(PURPOSES.is_sorted_by(|left, right| left.0 < right.0));
        assert_eq!(PURPOSES.len(), 121);
        for (name, above) in PURPOSES {
            assert!(!above.is_empty(), "{name} is a kind of nothing");
            // A circle would not come to an end within as many steps as there are purposes.
            let mut level = vec![*name];
            for _ in 0..PURPOSES.len() {
                level = level
                    .iter()
                    .filter(|name| **name != ROOT)
                    .flat_map(|name| parents(name).unwrap_or_else(|| panic!("{name}?")).iter().copied())
                    .collect();
                level.sort_unstable();
                level.dedup();
            }
            assert!(level.is_empty(), "{name} stands in a circle");
            assert!(descends(name, ROOT), "{name} does not lead to the root");
        }
    }

    #[test]
    fn few_values_are_told_by_their_id() {
        assert!(FEW_VALUES.is_sorted() && FEW_VALUES.iter().all(|name| has_few_values(&format!("pd:{name}"))));
        for many in ["pd:Name", "pd:OfficialID", "pd:EmailAddress", "Gender", "dpv:Gender", "acme:Gender", "pd:gender", "pd:"] {
            assert!(!has_few_values(many), "{many}");
        }
    }

    #[test]
    fn kinds_are_found_through_every_parent() {
        assert!(is_kind_of("dpv:TargetedAdvertising", "dpv:Marketing"));
        assert!(is_kind_of("dpv:RecruitmentTargetedAdvertising", "dpv:Marketing"));
        assert!(is_kind_of("dpv:RecruitmentTargetedAdvertising", "dpv:HumanResourceManagement"));
        assert!(is_kind_of("dpv:SellDataToThirdParties", "dpv:SellProducts"));
        assert!(!is_kind_of("dpv:SellProducts", "dpv:SellDataToThirdParties"));
        assert!(!is_kind_of("dpv:DeliveryOfGoods", "dpv:Marketing"));
        assert!(is_kind_of("acme:Resale", "acme:Resale"));
        assert!(!is_kind_of("acme:Marketing", "dpv:Marketing"));
    }

    #[test]
    fn ids_are_told_apart() {
        assert_eq!(known("dpv:DeliveryOfGoods"), Known::Purpose);
        assert_eq!(known("dpv:Purpose"), Known::Root);
        assert_eq!(known("dpv:DeliveryOfGood"), Known::Unknown);
        assert_eq!(known("dpv:deliveryofgoods"), Known::Unknown);
        assert_eq!(known("acme:Audit"), Known::Foreign);
        for wrong in ["DeliveryOfGoods", "dpv:", ":X", "dpv:A B", "", "DPV:DeliveryOfGoods", "https://w3id.org/dpv#X"] {
            assert_eq!(known(wrong), Known::Malformed, "{wrong}");
        }
    }

    #[test]
    fn the_nearest_id_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("dpv:DeliveryOfGood").as_deref(), Some("dpv:DeliveryOfGoods"));
        assert_eq!(nearest("dpv:selldatatothirdparty").as_deref(), Some("dpv:SellDataToThirdParties"));
        assert_eq!(nearest("dpv:CustomerSupport"), None);
        assert_eq!(nearest("dpv:Xylophone"), None);
    }

    #[test]
    fn edits_are_counted() {
        for (left, right, expected) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("AB", "ab", 0)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
