"""Labelled documents: made-up customers of six countries, and decoys beside them.

    customers.py FOLDER COUNT

Writes, for each country and for all together (`mixed`), the same customers three times: with English member names, with the names of the
country's language, and with names that say nothing (`f1`, `f2` ...). `labels.json` says which path holds which category; every other path is
a decoy. Seeded: the same version of faker makes the same documents.
"""

import json
import random
import sys
from pathlib import Path

from faker import Faker

LOCALES = ["ja_JP", "zh_CN", "en_US", "vi_VN", "ar_SA", "de_DE"]
SEED = 20260

# path -> category; what is not listed is a decoy. Names in the languages of the countries follow in the same order.
PERSONAL = {
    "name": "name", "first_name": "name", "last_name": "name", "email": "email", "phone": "phone", "mobile": "phone", "address": "address",
    "street": "address", "postcode": "postcode", "birth_date": "birth-date", "gender": "gender", "national_id": "official-id",
    "passport_no": "passport", "iban": "bank-account", "card_number": "card", "last_ip": "ip", "mac_address": "device", "device_id": "device",
    "latitude": "coordinates", "longitude": "coordinates", "geo_location": "coordinates",
}
LOCAL = {
    "ja_JP": "氏名 名 姓 メールアドレス 電話番号 携帯番号 住所 番地 郵便番号 生年月日 性別 個人番号 旅券番号 口座番号 カード番号 ipアドレス macアドレス 端末ID 緯度 経度 座標",
    "zh_CN": "姓名 名 姓 电子邮箱 电话 手机号码 收货地址 街道 邮编 出生日期 性别 身份证号 护照号 银行账号 信用卡号 ip地址 mac地址 设备ID 纬度 经度 坐标",
    "en_US": "customerName givenName familyName emailAddress telephone cell billingAddress streetLine1 zip dob sex ssn passportNumber bankAccount creditCard ipAddress mac deviceIdentifier lat lng coordinates",
    "vi_VN": "họ_và_tên tên họ thư_điện_tử số_điện_thoại di_động địa_chỉ đường mã_bưu_điện ngày_sinh giới_tính số_cccd số_hộ_chiếu số_tài_khoản số_thẻ địa_chỉ_ip mac device_id vĩ_độ kinh_độ gps",
    "ar_SA": "الاسم_الكامل الاسم_الأول اسم_العائلة البريد_الإلكتروني رقم_الهاتف رقم_الجوال العنوان الشارع الرمز_البريدي تاريخ_الميلاد الجنس رقم_الهوية جواز_السفر رقم_الحساب رقم_البطاقة عنوان_ip mac معرف_الجهاز خط_العرض خط_الطول gps",
    "de_DE": "Kundenname Vorname Nachname E-Mail Telefon Handynummer Anschrift Straße PLZ Geburtsdatum Geschlecht SteuerID Reisepassnummer Kontonummer Kreditkartennummer IP-Adresse MAC DeviceID Breitengrad Längengrad Koordinaten",
}
GENDERS = {
    "ja_JP": ["男性", "女性"], "zh_CN": ["男", "女"], "en_US": ["male", "female", "non-binary"], "vi_VN": ["nam", "nữ"],
    "ar_SA": ["ذكر", "أنثى"], "de_DE": ["männlich", "weiblich", "divers"],
}
PRODUCTS = [a + " " + b for a in "Oxford Madison Victoria Vienna Windsor Classic Nordic Urban Savannah Florence Berlin Brooklyn Royal".split()
            for b in "Lamp Chair Desk Sofa Shelf Blanket Kettle Mug Rug Mirror".split()]
# Firms that carry people's names.
BRANDS = ["Calvin Klein", "Hugo Boss", "Ralph Lauren", "Tommy Hilfiger", "Paul Smith", "Jack Wolfskin", "Michael Kors", "Stella McCartney", "Karl Lagerfeld",
          "Acme", "Northwind", "Initech", "Globex", "Umbra", "Contoso"]
WORDS = "late early blue box gate note paid open next week please call before noon leave door desk order".split()


def luhn_digit(digits):
    total = sum(sum(divmod(int(digit) * (2 - at % 2), 10)) for at, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def official_id(locale, fake, draw):
    digits = lambda count: "".join(str(draw.randint(0, 9)) for _ in range(count))
    if locale == "zh_CN":
        return fake.ssn()
    if locale == "en_US":
        return fake.ssn()
    if locale == "ja_JP":
        body = digits(11)
        rest = sum(int(digit) * weight for digit, weight in zip(body, [6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2])) % 11
        return body + str(0 if rest <= 1 else 11 - rest)
    if locale == "vi_VN":
        return f"{draw.randint(1, 96):03}{draw.randint(0, 3)}{draw.randint(0, 99):02}{digits(6)}"
    if locale == "ar_SA":
        body = draw.choice("12") + digits(8)
        return body + luhn_digit(body)
    while True:  # de_DE: one digit twice, one missing, the others once
        body = [str(digit) for digit in draw.sample(range(10), 9)]
        body.append(draw.choice(body))
        draw.shuffle(body)
        if body[0] != "0":
            break
    product = 10
    for digit in body:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return "".join(body) + str((11 - product) % 10)


def customer(locale, fake, draw):
    lat, lng = round(draw.uniform(-85, 85), 6), round(draw.uniform(-179, 179), 6)
    personal = [
        fake.name(), fake.first_name(), fake.last_name(), fake.email(), fake.phone_number(),
        f"+{draw.choice(['81', '86', '1', '84', '966', '49'])}{draw.randint(10**8, 10**9 - 1)}", fake.address(), fake.street_address(), fake.postcode(),
        fake.date_of_birth(minimum_age=18, maximum_age=90).isoformat(), draw.choice(GENDERS[locale]), official_id(locale, fake, draw),
        draw.choice("ABCEGKMTX") + draw.choice("ABCEGHKZ") + str(draw.randint(10**6, 10**7 - 1)), fake.iban(), fake.credit_card_number(),
        fake.ipv4_public() if draw.random() < 0.7 else fake.ipv6(), fake.mac_address(), fake.uuid4(), lat, lng,
        {"type": "Point", "coordinates": [lng, lat]},
    ]
    return personal, {
        "id": f"c-{draw.randint(10**5, 10**6)}",
        "order_no": str(draw.randint(10**15, 10**16 - 1)),
        "order_ref": 4 * 10**15 + draw.randint(0, 10**14),
        "batch": str(draw.randint(10**11, 10**12 - 1)),
        "sku": f"{draw.choice('ABCD')}{draw.choice('XYZ')}-{draw.randint(1000, 9999)}-{draw.randint(10, 99)}",
        "version": f"{draw.randint(0, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 30)}",
        "build": f"{draw.randint(1, 12)}.{draw.randint(0, 20)}.{draw.randint(0, 20)}.{draw.randint(0, 20)}",
        "product_name": draw.choice(PRODUCTS),
        "title": draw.choice(PRODUCTS),
        "company": fake.company(),
        "city": fake.city(),
        "created_at": f"{draw.randint(2018, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:15:00Z",
        "shipped_on": f"{draw.randint(2018, 2026)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
        "updated_ms": draw.randint(1_500_000_000_000, 1_790_000_000_000),
        "digest": "".join(draw.choice("0123456789abcdef") for _ in range(64)),
        "price": round(draw.uniform(1, 5000), 2),
        "score": round(draw.uniform(0, 1), 4),
        "weight": round(draw.uniform(0, 90), 1),
        "tracking": draw.randint(10**9, 10**10 - 1),
        "ticket": f"{draw.randint(100, 999)}-{draw.randint(1000, 9999)}",
        "invoice": f"2024-{draw.randint(1, 999999):06}",
        "handle": f"{draw.choice(WORDS)}@{draw.choice(WORDS)}",
        "ean": (lambda body: body + str(-sum(int(d) * (3 if at % 2 else 1) for at, d in enumerate(body)) % 10))("40" + str(draw.randint(10**9, 10**10 - 1))),
        # Hard ones: each is what a detector looks for, and nobody's.
        "brand": draw.choice(BRANDS),
        "voucher": (lambda body: body + luhn_digit(body))("6011" + str(draw.randint(10**10, 10**11 - 1))),
        "founded_on": f"{draw.randint(1900, 2010)}-{draw.randint(1, 12):02}-01",
        "firmware": f"{draw.randint(10, 14)}.{draw.randint(30, 60)}.{draw.randint(0, 9)}.{draw.randint(0, 9)}",
        "warehouse": f"{draw.randint(1, 99)} Harbor Road",
        "status": draw.choice(["paid", "open", "late"]),
        "note": " ".join(draw.choice(WORDS) for _ in range(6)),
        "url": f"https://shop.example/{draw.randint(1, 9999)}",
        "request": fake.uuid4(),
        "email_verified": draw.random() < 0.5,
        "email_count": draw.randint(0, 20),
        "phone_type": draw.choice(["mobile", "home"]),
        "address_kind": draw.choice(["home", "work"]),
        "locale": locale,
        "color": draw.choice(["red", "blue", "dark green"]),
        "tags": draw.sample(WORDS, 3),
    }


def main():
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    files, labels = {}, {}

    def write(dataset, document):
        if dataset not in files:
            files[dataset] = open(folder / f"{dataset}.jsonl", "w", encoding="utf-8")
        files[dataset].write(json.dumps(document, ensure_ascii=False) + "\n")

    made = []
    for at, locale in enumerate(LOCALES):
        fake, draw = Faker(locale), random.Random(SEED + at)
        fake.seed_instance(SEED + at)
        made += [(locale, *customer(locale, fake, draw)) for _ in range(count // len(LOCALES) + (at < count % len(LOCALES)))]
    random.Random(SEED).shuffle(made)
    for locale, personal, decoys in made:
        for into in (locale, "mixed"):
            names = {"english": list(PERSONAL), "local": LOCAL["en_US" if into == "mixed" else locale].split()}
            for style, used in names.items():
                write(f"{into}.{style}", dict(zip(used, personal)) | decoys)
            bare = personal + [value for name, value in decoys.items() if name != "id"]
            write(f"{into}.bare", {"id": decoys["id"]} | {f"f{at}": value for at, value in enumerate(bare)})
            for style, used in (names | {"bare": [f"f{at}" for at in range(len(personal))]}).items():
                labels[f"{into}.{style}"] = dict(zip(used, PERSONAL.values()))
    for file in files.values():
        file.close()
    (folder / "labels.json").write_text(json.dumps(labels, ensure_ascii=False))


main()
