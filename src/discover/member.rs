//! What the name of a member says of its values, in some fifteen languages.
//!
//! A name is split into words (`billingEmail_address` is billing, email, address), folded to small letters without accents, and the longest
//! run of words that stands in a list decides. Words beside it may take that back: a `company_name` names nobody.

use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;

use super::Category;

/// How well a name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Telling {
    /// A part of it does, or it is a word with other meanings (`name`).
    Part,
    /// All of it does.
    Whole,
}

/// Longest name that is looked at, in bytes.
const MAX_NAME: usize = 100;

/// The words of each category, written as one word each, folded as names are.
const LISTS: &[(Category, &str)] = &[
    (
        Category::Email,
        "email mail emailaddress mailaddress emails emailaddr mailadresse emailadresse courriel adressemail adresseemail correo
        correoelectronico eposta epost surel diachiemail thudientu メール メールアドレス eメール 邮箱 电子邮件 电子邮箱 邮件地址 電郵 電子郵件 信箱 이메일 메일주소 전자우편
        البريدالإلكتروني البريد بريدإلكتروني",
    ),
    (
        Category::Phone,
        "phone phonenumber phoneno telephone telephonenumber telephoneno tel telno telnumber telefon telefonnummer mobile mobilenumber mobileno
        mobilephone cell cellphone cellnumber fax faxnumber handy handynummer mobil mobilnummer rufnummer phones telefono movil celular
        telemovel telefone portable numerotelephone numerodetelephone msisdn whatsapp sodienthoai dienthoai sdt didong 電話 電話番号 携帯 携帯電話 携帯番号 手机
        手机号 手机号码 电话 电话号码 联系电话 手機 手機號碼 電話號碼 전화 전화번호 휴대폰 휴대전화 핸드폰 الهاتف رقمالهاتف هاتف جوال رقمالجوال الجوال nomorhp telepon",
    ),
    (
        Category::Address,
        "address addr addresses addressline addressline1 addressline2 addressline3 address1 address2 streetaddress street streetname streetline
        streetline1 street1 street2 homeaddress postaladdress mailingaddress shippingaddress deliveryaddress billingaddress residence
        adresse anschrift strasse hausnummer strassehausnummer wohnort lieferadresse rue adressepostale direccion calle domicilio endereco rua
        morada indirizzo via adres straat diachi duong sonha 住所 所在地 番地 町名番地 現住所 地址 住址 详细地址 收货地址 家庭住址 街道 送貨地址 주소 도로명주소 العنوان عنوان الشارع alamat",
    ),
    (
        Category::Postcode,
        "postcode postalcode zip zipcode postal plz postleitzahl codepostal cp codigopostal cep cap postnummer mabuudien mabuuchinh 郵便番号 邮编 邮政编码 郵遞區號
        우편번호 الرمزالبريدي رمزبريدي kodepos",
    ),
    (
        Category::BirthDate,
        "birthdate dateofbirth dob birthday birth birthdt born bornon geburtsdatum geburtstag geboren datedenaissance datenaissance naissance nele
        fechadenacimiento fechanacimiento nacimiento datadenascimento datanascimento nascimento datadinascita ngaysinh sinhnhat 生年月日 誕生日 出生日期
        出生年月 生日 생년월일 생일 تاريخالميلاد الميلاد tanggallahir dogumtarihi",
    ),
    (
        Category::OfficialId,
        "ssn socialsecuritynumber socialsecurity nationalid nationalidnumber nationalidentifier nationalidentity idcard idcardnumber idcardno
        identitycard identitynumber idnumber personalid personalidnumber citizenid residentid taxid tin taxnumber nino nationalinsurance
        mynumber individualnumber driverlicense driverslicense drivinglicence licensenumber licencenumber personalausweis ausweisnummer
        ausweis steuerid steueridentifikationsnummer steuernummer sozialversicherungsnummer svnr insee nir numerosecu securitesociale
        carteidentite dni nif nie curp rfc cpf rg codicefiscale bsn pesel cccd cmnd socccd socmnd cancuoc chungminhnhandan マイナンバー 個人番号 運転免許証番号 免許証番号
        身份证 身份证号 身份证号码 证件号 证件号码 身分證 身分證字號 주민등록번호 주민번호 رقمالهوية الهويةالوطنية هوية رقمالإقامة iqama nik aadhaar emiratesid",
    ),
    (
        Category::Passport,
        "passport passportnumber passportno reisepass reisepassnummer passnummer passeport numeropasseport pasaporte passaporte hochieu sohochieu
        パスポート 旅券 旅券番号 护照 护照号 护照号码 護照 여권 여권번호 جوازالسفر رقمالجواز paspor",
    ),
    (
        Category::BankAccount,
        "iban bankaccount bankaccountnumber accountnumber bankaccountno kontonummer bankverbindung bankkonto comptebancaire rib cuentabancaria
        cuenta contabancaria sotaikhoan taikhoannganhang 口座番号 銀行口座 银行账号 银行账户 银行卡号 銀行帳號 계좌번호 رقمالحساب آيبان routingnumber",
    ),
    (
        Category::Card,
        "cardnumber cardno creditcard creditcardnumber creditcardno ccnumber ccnum pan debitcard debitcardnumber paymentcard kreditkarte
        kreditkartennummer kartennummer numerocarte cartebancaire tarjeta numerotarjeta cartao numerocartao sothe カード番号 クレジットカード クレジットカード番号 信用卡 信用卡号
        卡号 信用卡號 카드번호 신용카드 رقمالبطاقة",
    ),
    (
        Category::Ip,
        "ip ipaddress ipaddr ipv4 ipv6 remoteaddr remoteip clientip lastip loginip signupip ipadresse adresseip direccionip diachiip ipアドレス ip地址 ip주소
        عنوانip xforwardedfor",
    ),
    (
        Category::Device,
        "deviceid deviceuuid deviceidentifier deviceserial imei imsi iccid mac macaddress macaddr idfa idfv gaid aaid advertisingid adid androidid
        udid fcmtoken pushtoken devicetoken fingerprint geraeteid 端末id デバイスid 设备id 设备号 裝置id 기기id معرفالجهاز",
    ),
    (
        Category::Coordinates,
        "lat latitude lng lon long longitude latlng latlon lnglat gps gpscoordinates coordinates coords coord geo geolocation geopoint location
        breitengrad laengengrad längengrad longitud latitud vido kinhdo 緯度 経度 座標 纬度 经度 坐标 經度 위도 경도 좌표 خطالعرض خطالطول",
    ),
    (
        Category::Gender,
        "gender sex geschlecht sexe genre genero sexo sesso geslacht gioitinh 性別 性别 성별 الجنس jeniskelamin cinsiyet",
    ),
    (
        Category::Name,
        "fullname firstname lastname middlename givenname familyname surname forename nickname displayname maidenname legalname realname
        fname lname mname cardholder cardholdername accountholder nameoncard vorname nachname familienname vollername kontoinhaber prenom nomdefamille
        nomcomplet nombre nombrecompleto apellido apellidos nome nomecompleto sobrenome cognome achternaam voornaam hoten hovaten hoveten tenho
        tenkhachhang tennguoinhan imie nazwisko adsoyad 氏名 名前 お名前 姓名 顧客名 お客様名 宛名 受取人 氏名カナ フリガナ 姓 名 真实姓名 客户姓名 收件人 收货人 联系人 客戶姓名 收件人姓名 이름 성명 성함 고객명
        الاسم الاسمالكامل اسمالعميل الاسمالأول اسمالعائلة namalengkap namadepan",
    ),
];
/// Words that name a person or many other things.
const AMBIGUOUS: &[&str] = &["name", "nom", "ten", "nama", "naam", "isim", "names"];
/// Words beside another that say that it is a person's.
const PERSONS: &str = "customer client user contact person patient guest owner holder recipient receiver sender billing shipping delivery payer payee
    traveller traveler passenger employee student member author buyer applicant tenant subscriber beneficiary spouse partner parent child emergency
    account kunde kunden empfaenger empfanger client cliente khachhang nguoinhan driver citizen resident father mother";
/// Words beside another that change nothing.
const NEUTRAL: &str = "home work primary secondary main private personal my own contact current last first other alt alternative backup number no nr num
    value text full raw str string line line1 line2 1 2 3 01 02 the of in de du la list s info data field attr original profile";
/// Words beside another that say that it is nobody's.
const OTHERS: &str = "type kind verified verify valid confirmed count status state hash hashed format domain template preference preferences optin opt
    product company item file folder brand event host hostname server service org organization organisation store shop category tag team group
    project table class method sku bucket image version plan tier currency language locale flag enabled allowed required total length url link
    path key policy vendor merchant warehouse carrier supplier channel app model color colour unit market region country continent bank provider
    firma produkt artikel unternehmen produit entreprise producto empresa sanpham congty created updated at fee cost price rate level code
    platform os browser queue topic metric column schema database db campaign role permission feature rule game song album movie book hotel restaurant school firmware software build release voucher coupon gift founded
    established opened closed expires expiry manufacturer publisher";
/// The same in writing without spaces.
const OTHERS_HAN: &[&str] = &[
    "商品",
    "製品",
    "产品",
    "產品",
    "会社",
    "公司",
    "企業",
    "企业",
    "店",
    "ファイル",
    "文件",
    "种类",
    "種類",
    "상품",
    "회사",
    "제품",
    "المنتج",
    "الشركة",
];

struct Lexicon {
    exact: HashMap<String, Category>,
    /// In writing without spaces, longest first.
    inside: Vec<(String, Category)>,
    words: HashMap<&'static str, Beside>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Neutral,
    Person,
    Other,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut lexicon = Lexicon { exact: HashMap::new(), inside: Vec::new(), words: HashMap::new() };
    for (category, list) in LISTS {
        for word in list.split_whitespace() {
            let word = folded(word);
            if !word.is_ascii() && word.chars().count() > 1 {
                lexicon.inside.push((word.clone(), *category));
            }
            lexicon.exact.insert(word, *category);
        }
    }
    lexicon.inside.sort_by_key(|(word, _)| std::cmp::Reverse(word.chars().count()));
    for (list, beside) in [(OTHERS, Beside::Other), (NEUTRAL, Beside::Neutral), (PERSONS, Beside::Person)] {
        lexicon.words.extend(list.split_whitespace().map(|word| (word, beside)));
    }
    lexicon
});

/// What a member's name says of its values.
pub fn telling(name: &str) -> Option<(Category, Telling)> {
    if name.len() > MAX_NAME {
        return None;
    }
    let words = words(name);
    let lexicon = &*LEXICON;
    // The longest run of words that stands in a list.
    let mut best: Option<(usize, usize, usize, Category, bool)> = None;
    for from in 0..words.len() {
        let mut run = String::new();
        for (to, word) in words.iter().enumerate().skip(from) {
            run.push_str(word);
            let found = lexicon.exact.get(&run).map(|category| (*category, false));
            let found = found.or_else(|| AMBIGUOUS.contains(&run.as_str()).then_some((Category::Name, true)));
            if let Some((category, ambiguous)) = found
                && best.is_none_or(|(length, ..)| run.len() > length)
            {
                best = Some((run.len(), from, to, category, ambiguous));
            }
        }
    }
    let Some((_, from, to, category, ambiguous)) = best else { return inside(&words) };
    let beside: Vec<Option<Beside>> = words
        .iter()
        .enumerate()
        .filter(|(at, _)| !(from..=to).contains(at))
        .map(|(_, word)| lexicon.words.get(word.as_str()).copied())
        .collect();
    if beside.contains(&Some(Beside::Other)) {
        return None;
    }
    let person = beside.contains(&Some(Beside::Person));
    let all_known = beside.iter().all(Option::is_some);
    let whole = all_known && (!ambiguous || person);
    Some((category, if whole { Telling::Whole } else { Telling::Part }))
}

/// Does a name say that its values are nobody's (`brand`, `firmware`, `warehouse`), whatever they look like?
pub(super) fn speaks_against(name: &str) -> bool {
    let other = |word: &String| LEXICON.words.get(word.as_str()) == Some(&Beside::Other);
    name.len() <= MAX_NAME
        && telling(name).is_none()
        && (words(name).iter().any(other) || OTHERS_HAN.iter().any(|other| name.contains(other)))
}

/// Writing without spaces: a word of a list inside one of the name's.
fn inside(words: &[String]) -> Option<(Category, Telling)> {
    let whole = words.concat();
    if whole.is_ascii() || OTHERS_HAN.iter().any(|other| whole.contains(other)) {
        return None;
    }
    LEXICON.inside.iter().find(|(word, _)| whole.contains(word.as_str())).map(|(_, category)| (*category, Telling::Part))
}

/// The words of a name, folded.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = c.is_uppercase() && before.is_lowercase();
        if !c.is_alphanumeric() && !matches!(c, '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}' | 'ー') || begins {
            words.push(String::new());
        }
        if c.is_alphanumeric() || matches!(c, '\u{300}'..='\u{36f}' | '\u{3099}' | '\u{309a}' | 'ー') {
            words.last_mut().into_iter().for_each(|word| word.push(c));
        }
        before = c;
    }
    words.iter().filter(|word| !word.is_empty()).map(|word| folded(word)).collect()
}

/// Small letters without accents.
fn folded(word: &str) -> String {
    let bare = word.nfd().filter(|c| !matches!(c, '\u{300}'..='\u{36f}'));
    bare.nfc().flat_map(char::to_lowercase).collect::<String>().replace('đ', "d").replace('ß', "ss")
}

#[cfg(test)]
mod tests {
    use super::*;
    use Telling::{Part, Whole};

    #[test]
    fn names_say_what_their_values_are() {
        for (name, expected) in [
            ("email", Some((Category::Email, Whole))),
            ("billingEmail_address", Some((Category::Email, Whole))),
            ("emailVerified", None),
            ("ip_address", Some((Category::Ip, Whole))),
            ("macAddress", Some((Category::Device, Whole))),
            ("address", Some((Category::Address, Whole))),
            ("Straße", Some((Category::Address, Whole))),
            ("name", Some((Category::Name, Part))),
            ("customer_name", Some((Category::Name, Whole))),
            ("product_name", None),
            ("companyName", None),
            ("Họ và tên", Some((Category::Name, Whole))),
            ("số điện thoại", Some((Category::Phone, Whole))),
            ("電話番号", Some((Category::Phone, Whole))),
            ("お客様電話番号", Some((Category::Phone, Part))),
            ("商品名前", None),
            ("身份证号码", Some((Category::OfficialId, Whole))),
            ("주민등록번호", Some((Category::OfficialId, Whole))),
            ("تاريخ الميلاد", Some((Category::BirthDate, Whole))),
            ("Geburtsdatum", Some((Category::BirthDate, Whole))),
            ("prénom", Some((Category::Name, Whole))),
            ("shippingAddressX", Some((Category::Address, Part))),
            ("f1", None),
            ("total", None),
            ("", None),
            ("maps", None),
        ] {
            assert_eq!(telling(name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_things_speak_against_their_values() {
        for name in ["brand", "firmware", "gift_code", "foundedOn", "product_name", "warehouseAddress", "商品名"] {
            assert!(speaks_against(name), "{name}");
        }
        for name in ["email", "bank_account", "f1", "note", "customer", "shippingAddressX", ""] {
            assert!(!speaks_against(name), "{name}");
        }
    }

    #[test]
    fn a_word_stands_in_one_list() {
        let mut seen = HashMap::new();
        for (category, list) in LISTS {
            for word in list.split_whitespace() {
                let before = seen.insert(folded(word), *category);
                assert!(before.is_none_or(|before| before == *category), "{word}");
            }
        }
    }
}
