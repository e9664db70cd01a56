"""Writes customers through Sudare, searches each of them by each indexed field, reads all of them back, and looks for what must not be stored.

scenario.py PROXY ADMIN SECRETS.json COUNT REPORT.json -- FOLDER...; what the admin listener says of itself goes into the last folder
"""

import base64
import json
import pathlib
import sys
import time
import urllib.request
from collections import defaultdict

import ahocorasick
import people

proxy, admin, secrets_file, count, report_file, _, *folders = sys.argv[1:]
secrets = json.load(open(secrets_file))
each = int(count) // len(people.LOCALES)
failures = []


def check(what, good):
    if not good:
        failures.append(what)
        print(f"  FAILED  {what}")


def ask(method, path, caller, purpose, body=None):
    request = urllib.request.Request(
        proxy + path, method=method, data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Sudare-Credential": f"{caller}.{secrets[caller]}", "Data-Purpose": purpose},
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def found_by(database, selector, caller="desk", purpose="lookup"):
    status, reply = ask("POST", f"/{database}/_find", caller, purpose, {"selector": selector, "limit": 100_000, "fields": ["_id"]})
    if status != 200:
        return status, reply
    return status, {row["_id"] for row in reply["docs"]}


written, canaries = {}, []
began = time.monotonic()
for locale in people.LOCALES:
    database = f"people-{locale[:2].lower()}"
    status, _ = ask("PUT", f"/{database}", "shop", "registration")
    check(f"{database} is made: {status}", status in (201, 202))
    written[locale] = people.customers(locale, each)
    for start in range(0, each, 250):
        batch = written[locale][start:start + 250]
        status, rows = ask("POST", f"/{database}/_bulk_docs", "shop", "registration", {"docs": batch})
        check(f"{database}: {len(batch)} customers are written: {status} {'' if status == 201 else rows}", status == 201 and all("rev" in row for row in rows))
    for member in ("email_ix", "phone_ix", "name_ix", "national_id_ix", "birth_ix"):
        status, reply = ask("POST", f"/{database}/_index", "shop", "registration", {"index": {"fields": [member]}, "name": member})
        check(f"{database}: an index on {member} is made: {status} {reply}", status == 200)
print(f"  {each * len(written)} customers written in {time.monotonic() - began:.1f} s")

searches = found = wrong = missed = unsearchable = 0
began = time.monotonic()
for locale, region in people.LOCALES.items():
    database = f"people-{locale[:2].lower()}"
    for field in people.FIELDS:
        whose = defaultdict(set)
        for person in written[locale]:
            whose[people.key(field, person[field], region)].add(person["_id"])
        wanted = [(person, people.respelled(field, person[field], number)) for number, person in enumerate(written[locale])]
        # One by one for some, many at once for all: the same terms, fewer round trips.
        asked = [[pair] for pair in wanted[:25]] + [wanted[at:at + 30] for at in range(0, len(wanted), 30)]
        for pairs in asked:
            pairs = [pair for pair in pairs if people.key(field, pair[0][field], region)]
            if not pairs:
                continue
            values = sorted({value for _, value in pairs})
            expected = set().union(*(whose[people.key(field, person[field], region)] for person, _ in pairs))
            status, ids = found_by(database, {field: values[0]} if len(values) == 1 else {field: {"$in": values}})
            searches += 1
            if status != 200:
                check(f"{database}: search by {field}: {status} {ids}", False)
                break
            found, missed, wrong = found + len(ids & expected), missed + len(expected - ids), wrong + len(ids - expected)
        unsearchable += sum(1 for person in written[locale] if not people.key(field, person[field], region))
print(f"  {searches} searches in {time.monotonic() - began:.1f} s: {found} found, {missed} missed, {wrong} wrong; {unsearchable} values are no number that could be dialled")
check("everybody is found", found > 0 and missed == 0)
check("nobody else is found", wrong == 0)

began = time.monotonic()
for locale in people.LOCALES:
    database = f"people-{locale[:2].lower()}"
    status, reply = ask("GET", f"/{database}/_all_docs?include_docs=true", "shop", "registration")
    read = {row["id"]: {name: value for name, value in row["doc"].items() if name != "_rev"} for row in reply.get("rows", []) if not row["id"].startswith("_design/")}
    check(f"{database}: every customer is read back as written", read == {person["_id"]: person for person in written[locale]})
    status, reply = ask("POST", f"/{database}/_find", "desk", "lookup", {"selector": {"email": written[locale][0]["email"]}})
    shown = reply["docs"][0] if status == 200 and reply["docs"] else {}
    check(f"{database}: who may search by a value does not thereby see it", shown.get("_id") == written[locale][0]["_id"] and not set(people.FIELDS) & set(shown))
    check(f"{database}: no index member leaves", not any(name.endswith("_ix") for name in shown) and not any(name.endswith("_ix") for doc in read.values() for name in doc))
print(f"  read back in {time.monotonic() - began:.1f} s")

with urllib.request.urlopen(f"{admin}/metrics", timeout=60) as reply:
    page = reply.read()
check("the admin listener has metrics", b"sudare_" in page)
pathlib.Path(folders[-1], "metrics.txt").write_bytes(page)

# What must stand nowhere, in the spellings that a store or a log could give it.
patterns = ahocorasick.Automaton()


def plant(text, says):
    if len(text) >= 6:
        patterns.add_word(text.decode("latin-1"), says)


def spellings(value, all_of_them):
    raw = value.encode()
    yield raw
    if any(ord(c) > 126 or c in '"\\\n' for c in value):
        yield json.dumps(value)[1:-1].encode()
    if all_of_them and len(raw) >= 9:
        yield raw.hex().encode()
        yield value.encode("utf-16-le")
        for shift in range(3):
            yield base64.b64encode(b"\0" * shift + raw)[4 if shift else 0:-4]


values = 0
for locale, list_of in written.items():
    for number, person in enumerate(list_of):
        for field in ("name", "email", "phone", "national_id", "address", "member"):
            values += 1
            for text in spellings(person[field], number % 10 == 0):
                plant(text, field)
controls = [b'"gold"', b'"silver"', b'"bronze"']
for control in controls:
    patterns.add_word(control.decode("latin-1"), control)
patterns.make_automaton()
seen, files, volume = defaultdict(list), 0, 0
for folder in folders:
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.is_file():
            blob = path.read_bytes()
            files, volume = files + 1, volume + len(blob)
            for _, says in patterns.iter(blob.decode("latin-1")):
                seen[says].append(str(path))
leaked = {says: sorted(set(paths))[:5] for says, paths in seen.items() if isinstance(says, str)}
print(f"  {values} values looked for in {files} files ({volume >> 20} MiB): {sum(len(seen[says]) for says in leaked)} found; controls found: {sum(control in seen for control in controls)} of {len(controls)}")
check(f"no value is stored or logged: {leaked}", not leaked)
check("the controls are found", all(control in seen for control in controls))
json.dump({"customers": each * len(written), "searches": searches, "found": found, "missed": missed, "wrong": wrong, "values": values, "files": files}, open(report_file, "w"))
sys.exit(1 if failures else 0)
