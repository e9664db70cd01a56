"""Customers in six languages, the same in every run: what run.py writes, searches and looks for where it must not be."""

import datetime
import unicodedata

import phonenumbers
from faker import Faker

LOCALES = {"ja_JP": "JP", "zh_CN": "CN", "en_US": "US", "vi_VN": "VN", "ar_SA": "SA", "de_DE": "DE"}
FIELDS = ("name", "email", "phone", "national_id", "birth")


def customers(locale, count):
    fake = Faker(locale)
    fake.seed_instance(4711)
    people = []
    for number in range(count):
        birth = fake.date_of_birth(minimum_age=18, maximum_age=90)
        people.append({
            "_id": f"{locale[:2].lower()}-{number}",
            "name": fake.name(),
            # The locale's own addresses repeat within thousands; people of a shop do not share them.
            "email": fake.email().replace("@", f".{number}@"),
            "phone": fake.phone_number(),
            "national_id": fake.ssn(),
            "birth": birth.isoformat(),
            "address": fake.address(),
            "member": f"M-{count * 7919 + number}-{locale[3:]}",
            "tier": fake.random_element(("gold", "silver", "bronze")),
        })
    return people


def key(field, value, region):
    """What two spellings of a value have in common, by other means than Sudare's; None where there is nothing to search by."""
    if field == "name":
        return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).casefold()).split())
    if field == "email":
        return value.strip().lower()
    if field == "phone":
        try:
            return phonenumbers.format_number(phonenumbers.parse(value, region), phonenumbers.PhoneNumberFormat.E164)
        except phonenumbers.NumberParseException:
            return None
    if field == "national_id":
        # Some end with a letter to check by.
        digits = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in unicodedata.normalize("NFKC", value).casefold())
        return digits.translate({ord(c): None for c in "-. "})
    return datetime.date.fromisoformat(value).isoformat()


WIDE = {ord(c): chr(ord(c) + 0xFEE0) for c in "0123456789"}
ARABIC = {ord(c): chr(ord(c) - ord("0") + 0x0660) for c in "0123456789"}


def respelled(field, value, number):
    """Another spelling of the same value: one that people really type."""
    way = number % 4
    if field == "name":
        return (value, unicodedata.normalize("NFD", value), value.upper() if value.upper().casefold() == value.casefold() else value, f"  {value} ")[way]
    if field == "email":
        return (value, value.upper(), value.capitalize(), value)[way]
    if field in ("phone", "national_id"):
        return (value, value.translate(WIDE), value.translate(ARABIC), value)[way]
    return value
