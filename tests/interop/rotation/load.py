"""The load of ./scenario.py: customers who are read, written and searched through all proxies, without a pause, each answer compared with what it must be.

A customer belongs to one worker, so what a read or a search must find is known exactly. The only writer beside it is the sweep of the operator, which leaves
the values as they are: it can only be in the way (409), as any other client of such a database can.
"""

import asyncio
import itertools
import json
import random
import time
import urllib.parse

import aiohttp

SURNAMES = "Sato Suzuki Takahashi Müller Nguyễn Okafor Novák Ólafsdóttir Šimić García".split()
GIVEN = "Hana Ren Yuki Jörg Thảo Chidi Zdeněk Guðrún Ivana María".split()
STREETS = "Sakura-dōri, Lindenweg, Rue de l’Église, Nguyễn Huệ, Broad Street, Calle Mayor".split(", ")
DATABASE = "people"
# How many selectors, of all that is asked, for each document that the database then looks at; and where a killed proxy leaves one behind that the database goes on
# with, while it is asked again.
SELECTORS, SELECTORS_RESTLESS = 20, 4


def customer(number, draw):
    """A new state of a customer; e-mail and phone are nobody else's, ever."""
    version = draw.randrange(1_000_000)
    return {
        "_id": f"c-{number:06}",
        "name": f"{draw.choice(GIVEN)} {draw.choice(SURNAMES)}",
        "address": {"street": draw.choice(STREETS), "number": draw.randrange(1, 400), "zip": f"{draw.randrange(100_000):05}"},
        "email": f"c{number}.v{version}@example.com",
        "phone": f"+49 30 {number:06}{version:06}",
        "member": f"M-{number:06}",
        "tier": draw.choice(("gold", "silver", "bronze")),
    }


class Counts:
    def __init__(self):
        self.requests = self.failed = self.missed_hits = self.wrong_hits = self.unreadable = 0
        self.conflicts = self.tried_again = self.reads = self.writes = self.searches = 0
        self.slowest = 0.0
        self.told = []

    def tell(self, sentence):
        if len(self.told) < 20:
            self.told.append(sentence)
            print(f"  FAILED  {sentence}", flush=True)


class Load:
    """`proxies` is a list of base URLs, which may change while the load runs. With `restless` proxies come and go: what does not answer is asked again elsewhere."""

    def __init__(self, proxies, secret, people, rate, restless, seed):
        self.proxies, self.people, self.rate, self.restless = proxies, people, rate, restless
        self.headers = {"Sudare-Credential": secret, "Data-Purpose": "registration", "Content-Type": "application/json"}
        self.counts, self.turn, self.seed = Counts(), itertools.count(), seed
        self.running = False

    async def __aenter__(self):
        self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300), connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def ask(self, method, path, body=None):
        """Status and content; 0 if nobody answered whose answer can be trusted."""
        url = self.proxies[next(self.turn) % len(self.proxies)] + path
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        self.counts.requests += 1
        began = time.monotonic()
        try:
            async with self.session.request(method, url, data=data, headers=self.headers) as reply:
                content = await reply.json(content_type=None)
                return reply.status, content
        except (aiohttp.ClientError, asyncio.TimeoutError, json.JSONDecodeError, UnicodeDecodeError) as error:
            return 0, repr(error)
        finally:
            self.counts.slowest = max(self.counts.slowest, time.monotonic() - began)

    async def certainly(self, method, path, body=None):
        """As ask; where proxies come and go, until one answers. What is not 2xx, 404 or 409 in the end has failed."""
        for attempt in range(40 if self.restless else 1):
            status, content = await self.ask(method, path, body)
            if status not in (0, 502, 503, 504):
                break
            if self.restless:
                self.counts.tried_again += 1
                await asyncio.sleep(0.05 * min(attempt + 1, 10))
        if not (200 <= status < 300 or status in (404, 409)):
            self.counts.failed += 1
            self.counts.tell(f"{method} {path.split('?')[0]}: {status} {str(content)[:300]}")
        return status, content

    async def fill(self):
        """Everybody is written, 250 at a time."""
        for start in range(0, len(self.people), 250):
            batch = [person for person, _ in self.people[start:start + 250]]
            status, rows = await self.certainly("POST", f"/{DATABASE}/_bulk_docs", {"docs": batch})
            assert status == 201 and all("rev" in row for row in rows), f"{status} {str(rows)[:300]}"
            for at, row in enumerate(rows, start):
                self.people[at][1] = row["rev"]

    async def read(self, at):
        person, _ = self.people[at]
        status, found = await self.certainly("GET", f"/{DATABASE}/{person['_id']}")
        self.counts.reads += 1
        if status == 200:
            rev = found.pop("_rev", None)
            if found == person:
                self.people[at][1] = rev
                return True
        self.counts.unreadable += 1
        differs = [name for name in person if not isinstance(found, dict) or found.get(name) != person[name]]
        self.counts.tell(f"{person['_id']} is not read as it was written: {status}, {', '.join(differs)}")
        return False

    async def write(self, at, draw):
        before = self.people[at][0]
        person = customer(at, draw)
        if draw.random() < 0.6:  # most saves change little
            person = before | {"address": person["address"], "tier": person["tier"]}
        self.counts.writes += 1
        for _ in range(30):
            status, answer = await self.certainly("PUT", f"/{DATABASE}/{person['_id']}", person | {"_rev": self.people[at][1]})
            if 200 <= status < 300:
                self.people[at] = [person, answer["rev"]]
                return
            if status != 409:
                return
            # The sweep wrote in between, or a proxy died with our answer: what is stored now?
            self.counts.conflicts += 1
            status, found = await self.certainly("GET", f"/{DATABASE}/{person['_id']}")
            rev = found.pop("_rev", None) if status == 200 else None
            if found == person and self.restless:
                self.people[at] = [person, rev]
                return
            if found != before:
                self.counts.unreadable += 1
                self.counts.tell(f"{person['_id']} is not read as it was written, after a conflict: {status}")
                return
            self.people[at][1] = rev
        self.counts.failed += 1
        self.counts.tell(f"{person['_id']}: 30 conflicts, one after the other")

    async def search(self, at, member):
        person = self.people[at][0]
        self.counts.searches += 1
        if member == "email":
            key = urllib.parse.quote(json.dumps(person[member]))
            status, reply = await self.certainly("GET", f"/{DATABASE}/_design/search/_view/by_email?key={key}&include_docs=true")
        else:
            body = {"selector": {member: person[member]}, "limit": 10, "fields": ["_id"]}
            status, reply = await self.certainly("POST", f"/{DATABASE}/_find", body)
        if status != 200:
            return
        found = [row["id"] for row in reply["rows"]] if member == "email" else [row["_id"] for row in reply["docs"]]
        if person["_id"] not in found:
            self.counts.missed_hits += 1
            self.counts.tell(f"a search by {member} does not find {person['_id']}, but {found}")
        elif len(found) > 1:
            self.counts.wrong_hits += 1
            self.counts.tell(f"a search by {member} finds {found}")

    async def worker(self, number, workers):
        draw = random.Random(self.seed * 1000 + number)
        due = time.monotonic()
        while self.running:
            at = draw.randrange(number, len(self.people), workers)
            what = draw.random()
            if what < 0.55:
                await self.read(at)
            elif what < 0.75:
                await self.write(at, draw)
            else:
                # The database goes through all documents for a selector with two values, as it has while a search asks for two versions.
                selectors = SELECTORS_RESTLESS if self.restless else SELECTORS
                await self.search(at, "email" if what < 1 - selectors / len(self.people) else "phone")
            # Behind its time it does not hurry: what waited would only come all at once.
            due = max(due + workers / self.rate, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def begin(self, workers=96):
        self.running, self.began = True, time.monotonic()
        self.tasks = [asyncio.create_task(self.worker(number, workers)) for number in range(workers)]

    async def end(self):
        self.running = False
        await asyncio.gather(*self.tasks)
        return time.monotonic() - self.began

    async def read_everybody(self):
        """In lists and, some, one by one."""
        expected = {person["_id"]: person for person, _ in self.people}
        read = {}
        for start in range(0, len(self.people), 500):
            keys = [person["_id"] for person, _ in self.people[start:start + 500]]
            status, reply = await self.certainly("POST", f"/{DATABASE}/_all_docs?include_docs=true", {"keys": keys})
            for row in reply.get("rows", []) if status == 200 else []:
                doc = dict(row.get("doc") or {})
                doc.pop("_rev", None)
                read[row["id"]] = doc
        for name, person in expected.items():
            if read.get(name) != person:
                self.counts.unreadable += 1
                self.counts.tell(f"{name} is not read back as it was written")
        return len(read)
