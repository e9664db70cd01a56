"""What an application does with a REST database: the same program straight and through Sudare, then what only Sudare does.

    scenario.py straight URL OUT
    scenario.py through URL OUT SECRETS DIRECT      compares with straight's OUT beside it, then tries partial views

A check returns what the client saw, less what differs from run to run; the runs are compared by it.
"""
import json
import sys
import threading
from pathlib import Path

import requests

RECORDS = "/v1/buckets/shop/collections/customers/records"
AUTH = ("shop", "interop")
# Values that must never be found in the database; each is spelled so that it is found again wherever it turns up.
NAMES = [f"Kanzaki-{n} Wakaba" for n in range(40)]
PHONES = [f"+81 90 7700 {n:04}" for n in range(40)]
STREETS = [f"{n} Tsukushi-dori" for n in range(40)]
MAILS = [f"wakaba.{n}@kanzaki.example" for n in range(40)]
PROTECTED = NAMES + PHONES + STREETS + MAILS
CONTROL = "control-visible-7c1e"


class Checks:
    def __init__(self):
        self.results = []

    def check(self, name, look):
        try:
            self.results.append({"name": name, "passed": True, "seen": json.loads(json.dumps(look()))})
        except Exception as error:  # a failed check is a result, whatever it failed with
            self.results.append({"name": name, "passed": False, "why": f"{type(error).__name__}: {error}"[:600]})
            print(f"  FAILED  {name}: {self.results[-1]['why']}")

    def finish(self, title):
        passed = sum(result["passed"] for result in self.results)
        print(f"  {title}: {passed} of {len(self.results)} passed")
        return passed == len(self.results)


class Client:
    def __init__(self, url, headers=None):
        self.url = url
        self.session = requests.Session()
        self.session.auth = AUTH
        self.session.headers.update(headers or {})

    def __call__(self, method, path="", expect=(200,), **options):
        answer = self.session.request(method, self.url + RECORDS + path, timeout=30, **options)
        assert answer.status_code in expect, f"{method} {path}: {answer.status_code}, not {expect}"
        return answer

    def patch(self, path, kind, body, expect=(200,), **headers):
        headers = {"Content-Type": f"application/{kind}+json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self("PATCH", path, expect, data=json.dumps(body), headers=headers)


def person(n, **more):
    return {"name": NAMES[n], "address": {"street": STREETS[n], "city": "Tsukuba"}, "phones": [PHONES[n]], "tier": "gold", **more}


def plain(document):
    return {name: value for name, value in document.items() if name != "last_modified"}


def data(answer):
    return plain(answer.json()["data"])


def application(ask, checks):
    """What any application does; runs straight and through."""
    put = lambda n, body, **headers: ask("PUT", f"/c-{n}", (200, 201, 412), json={"data": body}, headers={k.replace("_", "-"): v for k, v in headers.items()})
    checks.check("create", lambda: [put(n, person(n), If_None_Match="*").status_code for n in range(8)])
    checks.check("create what is there", lambda: put(0, person(0), If_None_Match="*").status_code)
    checks.check("post", lambda: data(ask("POST", "", (201,), json={"data": {"id": "c-9", **person(9)}})))
    checks.check("read", lambda: data(ask("GET", "/c-1")))
    checks.check("read nothing", lambda: ask("GET", "/nobody", (404,)).json()["errno"])
    checks.check("head", lambda: ask("HEAD", "/c-1").text)
    checks.check("list", lambda: [plain(one) for one in ask("GET", "?_sort=id&_limit=50").json()["data"]])
    checks.check("list by a member", lambda: [one["id"] for one in ask("GET", "?tier=gold&_sort=id").json()["data"]])

    def pages():
        first = ask("GET", "?_limit=3&_sort=id")
        following = first.headers["Next-Page"]
        assert following.startswith(ask.url), "the next page leads elsewhere"
        second = ask.session.get(following, timeout=30)
        return [one["id"] for answer in (first, second) for one in answer.json()["data"]]

    checks.check("pages", pages)

    def replace():
        seen = ask("GET", "/c-2")
        changed = {**data(seen), "tier": "silver", "phones": [PHONES[2], PHONES[12]]}
        return data(ask("PUT", "/c-2", json={"data": changed}, headers={"If-Match": seen.headers["ETag"]}))

    checks.check("read, change, replace", replace)
    checks.check("replace what has changed", lambda: put(2, person(2), If_Match='"1"').status_code)
    checks.check("merge patch", lambda: data(ask.patch("/c-3", "merge-patch", {"data": {"name": NAMES[13], "tier": None, "n": 1.50}})))
    operations = [
        {"op": "test", "path": "/data/tier", "value": "gold"},
        {"op": "replace", "path": "/data/address/street", "value": STREETS[14]},
        {"op": "add", "path": "/data/phones/-", "value": PHONES[14]},
        {"op": "add", "path": "/data/phones/0", "value": PHONES[15]},
        {"op": "remove", "path": "/data/phones/1"},
    ]
    checks.check("json patch", lambda: data(ask.patch("/c-4", "json-patch", operations)))
    checks.check("json patch of what is not so", lambda: ask.patch("/c-4", "json-patch", operations[:1] + [{"op": "test", "path": "/data/tier", "value": "x"}], (400, 422, 412)).status_code)
    checks.check("patch what has changed", lambda: ask.patch("/c-4", "merge-patch", {"data": {"tier": "x"}}, (412,), If_Match='"1"').status_code)
    checks.check("delete", lambda: (ask("DELETE", "/c-9").json()["data"]["deleted"], ask("GET", "/c-9", (404,)).status_code))

    def count():
        """Four writers count up one member, each by compare-and-swap."""
        ask("PUT", "/counter", (200, 201), json={"data": person(20, count=0)})

        def one():
            for _ in range(5):
                while True:
                    seen = ask("GET", "/counter")
                    body = {**data(seen), "count": data(seen)["count"] + 1}
                    if ask("PUT", "/counter", (200, 412), json={"data": body}, headers={"If-Match": seen.headers["ETag"]}).status_code == 200:
                        break

        writers = [threading.Thread(target=one) for _ in range(4)]
        [writer.start() for writer in writers]
        [writer.join() for writer in writers]
        return data(ask("GET", "/counter"))

    checks.check("four writers count", count)
    checks.check("what is not protected stays", lambda: data(ask("PUT", "/c-5", json={"data": {**person(5), "note": "•é\u2028\U0001f600", "big": 12345678901234567890, "e": 1e2}})))


def only_sudare(full, part, direct, checks):
    """Partial views saved back, and what is refused."""

    def save_partial():
        seen = part("GET", "/c-6")
        document = data(seen)
        assert "address" not in document or "street" not in document["address"], "support sees no street"
        assert document["phones"] == ["•" * (len(PHONES[6]) - 4) + PHONES[6][-4:]] or "•" in document["phones"][0], document["phones"]
        part("PUT", "/c-6", json={"data": {**document, "tier": "platinum", "name": NAMES[16]}}, headers={"If-Match": seen.headers["ETag"]})
        whole = data(full("GET", "/c-6"))
        assert whole == {**plain(person(6)), "id": "c-6", "name": NAMES[16], "tier": "platinum"}, "a partial view was saved back with loss"

    checks.check("a partial view is saved back without loss", save_partial)

    def save_unconditionally():
        before = direct("GET", "/c-7").json()["data"]
        part("PUT", "/c-7", json={"data": {**data(part("GET", "/c-7")), "tier": "platinum"}})
        after = direct("GET", "/c-7").json()["data"]
        assert after["phones"] == before["phones"] and after["address"]["street"] == before["address"]["street"], "kept values were sealed anew"
        assert after["tier"] == "platinum"

    checks.check("without If-Match the proxy compares by itself", save_unconditionally)
    checks.check("a stale partial view is refused and leaks nothing", lambda: _stale(part))
    checks.check("a partial view patches what it may", lambda: part.patch("/c-7", "merge-patch", {"data": {"name": NAMES[17]}}).status_code)
    checks.check("and not what it may not", lambda: part.patch("/c-7", "merge-patch", {"data": {"phones": []}}, (403,)).json()["type"])
    checks.check("nor the street it does not see", lambda: part.patch("/c-7", "json-patch", [{"op": "remove", "path": "/data/address"}], (403,)).json()["type"])
    checks.check("test of a protected value", lambda: full.patch("/c-7", "json-patch", [{"op": "test", "path": "/data/name", "value": "x"}], (422,)).json()["type"])
    checks.check("PATCH that servers read differently", lambda: full.patch("/c-7", "vnd.own", {"data": {"name": "x"}}, (415,)).json()["type"])
    checks.check("search by a protected member without an index", lambda: full("GET", "?address=x", (400,)).json()["type"])

    def by_index():
        full("PUT", "/m-1", (201,), json={"data": person(31, mails=[MAILS[31], MAILS[32]])})
        full("PUT", "/m-2", (201,), json={"data": person(32, mails=[MAILS[33].upper()])})
        found = lambda ask, query: [one["id"] for one in ask("GET", "?_sort=id&" + query).json()["data"]]
        quote = requests.utils.quote
        assert found(full, "name=" + quote(NAMES[31].upper())) == ["m-1"], "by a name in capitals"
        assert found(full, "name=" + quote(" " + NAMES[31] + " ") + "&name=" + quote(NAMES[32])) == ["m-1", "m-2"], "by either of two"
        for ask in (full, part):
            assert found(ask, "mail=" + MAILS[32]) == ["m-1"], "by one of a list"
            assert found(ask, "mail=" + MAILS[33]) == ["m-2"], "by another spelling"
            assert found(ask, "mail=nobody@kanzaki.example") == []
            assert found(ask, "mail=" + MAILS[31] + "&tier=none") == [], "beside another member"
        seen = part("GET", "?mail=" + MAILS[31]).json()["data"][0]
        assert "_ix" not in json.dumps(seen) and MAILS[31] not in json.dumps(seen), "what is searched is not seen"
        stored = direct("GET", "/m-1").json()["data"]
        assert stored["name_ix"].startswith("ix1.") and len(stored["mails_ix"]) == 2, "the control"
        direct.patch("/m-2", "merge-patch", {"data": {"mails_ix": stored["mails_ix"]}})
        assert found(part, "mail=" + MAILS[31]) == ["m-1"], "a pasted term found something"
        full("PUT", "/m-2", (422,), json={"data": person(32, mails_ix=stored["mails_ix"])})
        full.patch("/m-1", "merge-patch", {"data": {"name": NAMES[34]}})
        assert (found(full, "name=" + quote(NAMES[31])), found(full, "name=" + quote(NAMES[34]))) == ([], ["m-1"]), "after a patch"

    checks.check("search by an index", by_index)

    def batch():
        request = {"requests": [{"method": "PUT", "path": RECORDS + "/b-1", "body": {"data": person(30)}}]}
        answer = full.session.post(full.url + "/v1/batch", json=request, timeout=30)
        assert answer.status_code == 403, answer.status_code

    checks.check("a batch that would pass by is refused", batch)


def _stale(part):
    answer = part("PUT", "/c-7", (412,), json={"data": {**data(part("GET", "/c-7")), "tier": "x"}}, headers={"If-Match": '"1"'})
    assert not any(value in answer.text for value in PHONES + STREETS), "the error shows what the view does not"


def search(direct, folder):
    """What the database answers, and what the proxy wrote, hold no protected value; the control value proves that the search finds."""
    direct("PUT", "/control", (200, 201), json={"data": {"note": CONTROL, "tier": "none"}})
    (folder / "control.txt").write_text(CONTROL)
    texts = {"the database": direct("GET", "?_limit=1000").text}
    for file in folder.rglob("*"):
        if file.is_file():
            texts[str(file.relative_to(folder))] = file.read_bytes().decode("utf-8", "replace")
    spellings = lambda value: {value, json.dumps(value)[1:-1], value.encode().hex(), requests.utils.quote(value)}
    found = [(where, value) for where, text in texts.items() for value in PROTECTED if any(s in text for s in spellings(value))]
    controls = sum(CONTROL in text for text in texts.values())
    print(f"  {len(found)} of {len(PROTECTED)} protected values in {len(texts)} places; control value found in {controls}")
    return not found and controls == 2


def main():
    mode, url, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    checks = Checks()
    if mode == "straight":
        session = requests.Session()
        session.auth = AUTH
        for path in ("/v1/buckets/shop", "/v1/buckets/shop/collections/customers"):
            session.put(url + path, json={}, timeout=30).raise_for_status()
        if len(sys.argv) > 4:
            return True
        application(Client(url), checks)
        out.write_text(json.dumps(checks.results))
        return checks.finish("straight")
    secrets, direct = json.loads(Path(sys.argv[4]).read_text()), Client(sys.argv[5])
    client = lambda caller: Client(url, {"Sudare-Credential": f"{caller}.{secrets[caller]}"})
    full, part = client("shop"), client("helpdesk")
    application(full, checks)
    good = checks.finish("through")
    straight = json.loads((out.parent / "straight.json").read_text())
    new = 0
    for before, now in zip(straight, checks.results, strict=True):
        if before["passed"] and now["passed"] and before["seen"] != now["seen"]:
            new += 1
            print(f"  DIFFERENT  {before['name']}\n    straight  {before['seen']}\n    through   {now['seen']}")
        elif before["passed"] and not now["passed"]:
            new += 1
    print(f"  {len(straight)} checks compared: {new} new failures")
    own = Checks()
    only_sudare(full, part, direct, own)
    good &= own.finish("only Sudare")
    good &= search(direct, out.parent / "proxy")
    return good and new == 0


sys.exit(0 if main() else 1)
