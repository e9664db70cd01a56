"""One application's use of CouchDB through PyPI `CouchDB`, straight or through Sudare: the same checks either way.

    python python_couchdb.py URL RESULTS CANARIES [SECRETS]

With SECRETS every request carries a credential and a purpose. Exits 0 when it ran to its end; whether what failed may fail is for
compare.mjs to say.
"""
import json
import re
import secrets as randomness
import string
import sys
import warnings
from urllib.parse import parse_qsl, unquote, urlsplit

import couchdb
from couchdb import http

# Its own habits, not ours.
warnings.simplefilter("ignore")

url, results_file, canaries_file, *rest = sys.argv[1:]
credentials = json.load(open(rest[0])) if rest else None
results = []
canaries = {"protected": [], "control": []}
refused = {}


def word(kind="protected"):
    text = "q" + "".join(randomness.choice(string.ascii_lowercase + string.digits) for _ in range(19))
    canaries[kind].append(text)
    return text


def digits(count):
    text = str(randomness.randbelow(9) + 1) + "".join(randomness.choice(string.digits) for _ in range(count - 1))
    canaries["protected"].append(text)
    return text


class Recorded(http.Session):
    """Every request of the library's goes through here, so that refusals are known by their code whatever it makes of them."""

    def request(self, method, target, *others, **named):
        # The library reports `error` and `reason` alone; a refusal of Sudare's has its code before the first colon of the reason.
        try:
            return super().request(method, target, *others, **named)
        except http.HTTPError as error:
            note(method, target, error)
            raise
        except http.ServerError as error:
            note(method, target, error)
            raise


def note(method, target, error):
    said = error.args[0] if error.args else None
    if isinstance(said, tuple) and len(said) == 2 and isinstance(said[0], int):  # ServerError((status, error))
        said = said[1]
    code = re.match(r"([a-z]+(?:-[a-z]+)+): ", said[1]) if isinstance(said, tuple) and isinstance(said[1], str) else None
    if code:
        parts = urlsplit(target)
        names = "&".join(sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}))
        request = f"{method.upper()} {unquote(parts.path)}" + (f"?{names}" if names else "")
        refused[request, code[1]] = {"request": request, "code": code[1]}


def check(group, name):
    """Runs the function under it at once. It returns what the client saw, less what differs from run to run."""

    def run(look):
        refused.clear()
        result = {"group": group, "name": name}
        try:
            result.update(passed=True, seen=look())
        except Exception as error:  # a failed check never ends the run
            result.update(passed=False, why=f"{type(error).__name__}: {error}"[:600])
        result["refused"] = list(refused.values())
        results.append(result)

    return run


def failure(look):
    """What the library reports of a failure."""
    try:
        look()
    except (http.HTTPError, http.ServerError) as error:
        return [type(error).__name__, error.args[0]]
    raise AssertionError("this should have failed, and did not")


def bare(doc):
    return {name: value for name, value in doc.items() if not name.startswith("_")}


def same(found, expected):
    # No value in the message: it is for whoever reads the results.
    assert found == expected, "not what was written, in " + ", ".join(
        sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)) if isinstance(found, dict) else ["a list"]
    )


def guest(**extra):
    return {
        "name": f"Aoi Mori 森 \"é\" {word()}",
        "address": f"060-0001 Kita {word()}",
        "phones": [f"+81 11 {digits(14)}"],
        "national_id": digits(16),
        "email": f"{word()}@shop.example",
        "history": {"since": 2021, "moved": [word(), None]},
        "tier": "gold",
        "points": 1.5,
        **extra,
    }


session = Recorded(timeout=20)
server = couchdb.Server(url, session=session)
if credentials:
    server.resource.headers.update({"Sudare-Credential": f"shop.{credentials['shop']}", "Data-Purpose": "registration"})
first = guest()
many = [{**guest(tier="odd" if at % 2 else "even", at=at), "_id": f"g-{at:04}"} for at in range(40)]
written = [bare(doc) for doc in many]


@check("server", "version, list, make")
def _():
    assert server.version()
    server.create("guests")
    assert "guests" in server
    return sorted(name for name in server if name == "guests")


guests = couchdb.Database(server.resource("guests"), "guests")


@check("server", "make again: exists already")
def _():
    return failure(lambda: server.create("guests"))


@check("server", "what is not there")
def _():
    return failure(lambda: server["nothing_here"])


@check("server", "about the database, commit")
def _():
    return [guests.info()["doc_count"], len(guests), guests.commit().get("ok")]


@check("document", "save without an id")
def _():
    mine = guest()
    id, rev = guests.save(dict(mine))
    assert rev.startswith("1-")
    same(bare(guests[id]), mine)


@check("document", "save under an id, read")
def _():
    id, rev = guests.save({**first, "_id": "g"})
    found = guests["g"]
    same(bare(found), first)
    assert found.rev == rev
    return [id, list(bare(found)), "g" in guests, "nobody" in guests]


@check("document", "read, change, save")
def _():
    doc = guests["g"]
    doc["tier"] = first["tier"] = "silver"
    doc["address"] = first["address"] = f"060-0002 Kita {word()}"
    _, rev = guests.save(doc)
    assert rev.startswith("2-")
    same(bare(guests["g"]), first)


@check("document", "set as an item")
def _():
    mine = guest()
    guests["set"] = dict(mine)
    same(bare(guests["set"]), mine)


@check("document", "its revisions, newest first")
def _():
    found = list(guests.revisions("g"))
    assert found[-1]["name"] == first["name"]
    return [doc["tier"] for doc in found]


@check("document", "get with revisions and conflicts")
def _():
    found = guests.get("g", revs=True, revs_info=True, conflicts=True)
    assert found["name"] == first["name"]
    return [found["_revisions"]["start"], guests.get("nobody", default="none")]


@check("document", "all open revisions")
def _():
    found = guests.get("g", open_revs="all")
    same(bare(found[0]["ok"]), first)
    return len(found)


@check("document", "a conflict")
def _():
    return failure(lambda: guests.save({**guest(), "_id": "g", "_rev": "1-" + "0" * 32}))


@check("document", "delete")
def _():
    doc = guest()
    doc["_id"] = "gone"
    guests.save(doc)
    guests.delete(doc)
    return ["gone" in guests, failure(lambda: guests["gone"])]


@check("document", "an id that needs escapes")
def _():
    mine = guest()
    for id in ["a/b c+é#?&%:ü", "森/1"]:
        guests[id] = dict(mine)
        same(bare(guests[id]), mine)
        guests.delete(guests[id])


@check("document", "the cache of the library: read twice, changed between")
def _():
    # It sends If-None-Match and would serve its copy after 304.
    before = guests["set"]
    again = guests["set"]
    same(bare(again), bare(before))
    mine = guest()
    guests["set"] = {**mine, "_rev": again.rev}
    same(bare(guests["set"]), mine)


@check("many", "update: forty at once")
def _():
    return sorted([id, done] for done, id, _ in guests.update([dict(doc) for doc in many]))


@check("many", "view _all_docs")
def _():
    found = guests.view("_all_docs", include_docs=True, startkey="g-", endkey="g-\ufff0")
    same([bare(row.doc) for row in found], written)
    return [found.total_rows > 40, [row.id for row in guests.view("_all_docs", limit=3, startkey="g-0002")]]


@check("many", "view _all_docs by keys")
def _():
    found = guests.view("_all_docs", include_docs=True, keys=["g-0003", "nobody", "g"])
    same(bare(found.rows[0].doc), written[3])
    same(bare(found.rows[2].doc), first)
    return found.rows[1].error


@check("many", "iterview, in batches")
def _():
    found = list(guests.iterview("_all_docs", 7, include_docs=True, startkey="g-0000", limit=30))
    same([bare(row.doc) for row in found], written[:30])


@check("many", "update: changed and in conflict")
def _():
    docs = [dict(row.doc) for row in guests.view("_all_docs", include_docs=True, keys=["g-0000", "g-0001"])]
    docs[0]["tier"] = "changed"
    docs[1]["_rev"] = "1-" + "0" * 32
    found = sorted([id, done] for done, id, _ in guests.update(docs))
    same(bare(guests["g-0000"]), {**written[0], "tier": "changed"})
    return found


DESIGN = {
    "_id": "_design/people",
    "views": {
        "by_tier": {"map": "function (doc) { if (typeof doc.at === 'number') emit(doc.tier, doc.at) }", "reduce": "_count"},
    },
}
CARDS = {"cards": {"map": "function (doc) { if (typeof doc.at === 'number') emit(doc.at, { name: doc.name }) }"}}


@check("views", "a design document")
def _():
    return guests.save(dict(DESIGN))[0]


@check("views", "by key")
def _():
    return [[row.id, row.value] for row in guests.view("people/by_tier", key="odd", reduce=False)]


@check("views", "with documents")
def _():
    found = guests.view("people/by_tier", key="odd", reduce=False, include_docs=True, limit=2)
    same([bare(row.doc) for row in found], [written[1], written[3]])


@check("views", "reduced and grouped")
def _():
    return [[row.key, row.value] for row in guests.view("people/by_tier", group=True)]


@check("views", "protected members as values")
def _():
    guests.save({"_id": "_design/cards", "views": dict(CARDS)})
    found = guests.view("cards/cards", key=7)
    same(found.rows[0].value, {"name": written[7]["name"]})


@check("views", "a temporary view")
def _():
    found = guests.query("function (doc) { if (doc.tier === 'silver') emit(doc._id, doc.name) }")
    same([row.value for row in found], [first["name"]])


@check("views", "cleanup, compact")
def _():
    return [guests.cleanup(), guests.compact()]


@check("find", "by members that are not protected")
def _():
    guests.index()["people-index", "at"] = ["at"]
    found = guests.find({"selector": {"at": {"$gt": 9, "$lt": 12}}})
    same(sorted((bare(doc) for doc in found), key=lambda doc: doc["at"]), written[10:12])


@check("find", "equality on a protected member that is stored deterministically")
def _():
    found = guests.find({"selector": {"email": written[5]["email"]}})
    same([bare(doc) for doc in found], [written[5]])


@check("find", "explain, indexes")
def _():
    return [guests.explain({"selector": {"at": {"$gt": 9}}})["index"]["name"], sorted(index["name"] for index in guests.resource.get_json("_index")[2]["indexes"])]


@check("changes", "all, with documents")
def _():
    found = {change["id"]: change for change in guests.changes(include_docs=True)["results"]}
    same(bare(found["g-0005"]["doc"]), written[5])
    return found["gone"]["deleted"]


@check("changes", "some, from one on")
def _():
    found = guests.changes(limit=3)
    later = guests.changes(since=found["last_seq"])
    return [len(found["results"]), len(later["results"]) > 20]


@check("changes", "a long poll that is answered at once")
def _():
    return len(guests.changes(feed="longpoll", since=0, limit=1)["results"])


@check("changes", "a continuous feed")
def _():
    # Heartbeats are empty lines, at which the library stops reading: none within the time this takes.
    for change in guests.changes(feed="continuous", since=0, include_docs=True, heartbeat=15000):
        if change["id"] == "g-0039":
            same(bare(change["doc"]), written[39])
            return True
    raise AssertionError("the feed ended")


@check("attachments", "put, get, delete")
def _():
    doc = {"_id": "file", **guest()}
    guests.save(doc)
    guests.put_attachment(doc, b"a note", "note.txt", "text/plain")
    found = guests.get_attachment("file", "note.txt").read()
    guests.delete_attachment(guests["file"], "note.txt")
    return [found.decode(), guests.get_attachment("file", "note.txt", default="none")]


@check("local", "put and get")
def _():
    guests["_local/mark"] = {"at": 1}
    return guests["_local/mark"]["at"]


@check("server", "a database that comes and goes")
def _():
    scratch = server.create("scratch")
    scratch.save({"_id": "s-1", "name": f"Short {word()}"})
    server.delete("scratch")
    return "scratch" in server


# One that stays, with a member that is not protected, for the search that follows.
@check("document", "one that is searched for afterwards")
def _():
    mine = guest(tier=word("control"))
    guests["control"] = dict(mine)
    same(bare(guests["control"]), mine)


for group in dict.fromkeys(result["group"] for result in results):
    own = [result for result in results if result["group"] == group]
    print(f"  {group:<12} {sum(result['passed'] for result in own):>3} of {len(own)} passed")
print(f"PyPI CouchDB: {sum(result['passed'] for result in results)} of {len(results)} passed")
json.dump(results, open(results_file, "w"), indent=1)
json.dump(canaries, open(canaries_file, "w"))
