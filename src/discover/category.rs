//! The kinds of personal data that are looked for, and what is proposed for each.
//!
//! Ids are those of the personal data extension of the W3C Data Privacy Vocabulary (<https://w3id.org/dpv/pd>). Used by `proposal`, and by
//! whoever prints a proposal.

/// A kind of personal data. The order is that of preference where two fit equally well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// An e-mail address.
    Email,
    /// A payment card's number.
    Card,
    /// An account at a bank: IBAN.
    BankAccount,
    /// An id that a state gives: Chinese resident id, My Number, social security number …
    OfficialId,
    /// The number of a passport.
    Passport,
    /// A telephone number.
    Phone,
    /// An address of the internet protocol.
    Ip,
    /// A place on Earth.
    Coordinates,
    /// What names a device: MAC address, IMEI, advertising id.
    Device,
    /// A postal address, or the street of one.
    Address,
    /// A postcode.
    Postcode,
    /// When somebody was born.
    BirthDate,
    /// A gender.
    Gender,
    /// A person's name, whole or in part.
    Name,
}

/// How a category is best stored and shown, in the words of the two configuration files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suggestion {
    /// `mask`.
    pub mask: Option<&'static str>,
    /// `generalise`.
    pub generalise: Option<&'static str>,
    /// `pad` where the default would tell too much.
    pub pad: Option<u16>,
    /// How a search index normalises it, one step or several; None where a search index tells more than it helps.
    pub index: Option<&'static [&'static str]>,
}

/// Every category.
pub const CATEGORIES: [Category; 14] = [
    Category::Email,
    Category::Card,
    Category::BankAccount,
    Category::OfficialId,
    Category::Passport,
    Category::Phone,
    Category::Ip,
    Category::Coordinates,
    Category::Device,
    Category::Address,
    Category::Postcode,
    Category::BirthDate,
    Category::Gender,
    Category::Name,
];

impl Category {
    /// Its name in a policy, in reports and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Card => "card",
            Self::BankAccount => "bank-account",
            Self::OfficialId => "official-id",
            Self::Passport => "passport",
            Self::Phone => "phone",
            Self::Ip => "ip",
            Self::Coordinates => "coordinates",
            Self::Device => "device",
            Self::Address => "address",
            Self::Postcode => "postcode",
            Self::BirthDate => "birth-date",
            Self::Gender => "gender",
            Self::Name => "name",
        }
    }

    /// Its id in the vocabulary.
    pub fn dpv(self) -> &'static str {
        match self {
            Self::Email => "pd:EmailAddress",
            Self::Card => "pd:PaymentCardNumber",
            Self::BankAccount => "pd:BankAccount",
            Self::OfficialId => "pd:OfficialID",
            Self::Passport => "pd:Passport",
            Self::Phone => "pd:TelephoneNumber",
            Self::Ip => "pd:IPAddress",
            Self::Coordinates => "pd:GPSCoordinate",
            Self::Device => "pd:DeviceBased",
            Self::Address | Self::Postcode => "pd:PhysicalAddress",
            Self::BirthDate => "pd:BirthDate",
            Self::Gender => "pd:Gender",
            Self::Name => "pd:Name",
        }
    }

    /// `nature` in the policy: does it name a person by itself?
    pub fn nature(self) -> &'static str {
        match self {
            Self::Email
            | Self::Card
            | Self::BankAccount
            | Self::OfficialId
            | Self::Passport
            | Self::Phone
            | Self::Address
            | Self::Name => "identifying",
            Self::Ip | Self::Coordinates | Self::Device | Self::Postcode | Self::BirthDate | Self::Gender => "linkable",
        }
    }

    /// What is proposed for it.
    pub fn suggestion(self) -> Suggestion {
        let none = Suggestion { mask: None, generalise: None, pad: None, index: None };
        match self {
            Self::Email => Suggestion { mask: Some("email"), index: Some(&["email"]), ..none },
            Self::Card | Self::BankAccount | Self::Passport | Self::Device => Suggestion { mask: Some("keep-last:4"), ..none },
            // Not `digits`, which has no form for a check letter.
            Self::OfficialId => Suggestion { mask: Some("keep-last:4"), index: Some(&["text", "strip:-. /"]), ..none },
            Self::Phone => Suggestion { mask: Some("phone"), index: Some(&["phone"]), ..none },
            Self::Ip => Suggestion { generalise: Some("ip-prefix"), pad: Some(64), ..none },
            Self::Coordinates => Suggestion { generalise: Some("grid:0.1"), pad: Some(32), ..none },
            Self::Address => Suggestion { generalise: Some("postcode-prefix:3"), pad: Some(128), ..none },
            Self::Postcode => Suggestion { generalise: Some("postcode-prefix:3"), pad: Some(32), ..none },
            Self::BirthDate => Suggestion { generalise: Some("year"), pad: Some(32), ..none },
            // Few values of different lengths: without padding the length would be the value.
            Self::Gender => Suggestion { pad: Some(32), ..none },
            Self::Name => Suggestion { mask: Some("initials"), pad: Some(64), ..none },
        }
    }
}
