"""Three proxies over one store, read from all the time, while people withdraw their consent through one of them; then the store goes away.

scenario.py SUDARE FOLDER UPSTREAM STORE POSTGRES_PID WITHDRAWALS RATE
The last line of its output is one JSON object.
"""

import asyncio
import base64
import hashlib
import json
import os
import pathlib
import random
import signal
import statistics
import sys
import time

import aiohttp

sys.dont_write_bytecode = True
here = pathlib.Path(__file__).resolve().parent
sys.path.append(str(here.parent))
import nodes
from nodes import Failed

sudare, folder, upstream, store, postgres_pid, withdrawals, rate = sys.argv[1:]
folder, postgres_pid, withdrawals, rate = pathlib.Path(folder), int(postgres_pid), int(withdrawals), float(rate)
NODES, WORKERS, BOUND_S, SEED = 3, 24, 5.0, 4711
secrets = {name: base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=") for name in ("shop", "mailer", "consents")}
# Who keeps their consent, so that something is shown all the time.
LOYAL = 60


def hashed(name):
    return hashlib.sha256(secrets[name].encode()).hexdigest()


class Traffic:
    def __init__(self, session, proxies):
        self.session, self.proxies = session, proxies
        self.requests = self.failed = self.shown = self.shown_after = 0
        # Of whom nobody may be shown anything any more.
        self.gone = set()
        self.running = True

    async def ask(self, node, method, path, caller, purpose, body=None):
        self.requests += 1
        headers = {"Sudare-Credential": f"{caller}.{secrets[caller]}", "Data-Purpose": purpose, "Content-Type": "application/json"}
        try:
            async with self.session.request(method, node.url + path, json=body, headers=headers) as reply:
                return reply.status, await reply.json(content_type=None)
        except (aiohttp.ClientError, asyncio.TimeoutError, json.JSONDecodeError) as error:
            return 0, repr(error)

    async def sees(self, node, number):
        """Does the newsletter see the person? None if it could not be told."""
        status, document = await self.ask(node, "GET", f"/people/c-{number}", "mailer", "newsletter")
        if status != 200:
            return None
        return "name" in document or "email" in document

    async def read(self, seed):
        draw = random.Random(seed)
        while self.running:
            began = time.monotonic()
            number, node = draw.randrange(LOYAL + withdrawals), draw.choice(self.proxies)
            was_gone = number in self.gone
            sees = await self.sees(node, number)
            if sees is None:
                self.failed += 1
            elif sees:
                self.shown += 1
                self.shown_after += was_gone
            elif number < LOYAL:
                self.failed += 1
            await asyncio.sleep(max(0.0, WORKERS / rate - (time.monotonic() - began)))

    async def record(self, node, facts):
        headers = {"Sudare-Credential": f"consents.{secrets['consents']}"}
        async with self.session.post(f"http://127.0.0.1:{node.admin}/facts", json=facts, headers=headers) as reply:
            if reply.status not in (200, 201):
                raise Failed(f"recording: {reply.status} {await reply.text()}")


async def withdraw(traffic, number, draw):
    """Seconds from the answer to a withdrawal until each node showed nothing; the longest."""
    through = draw.choice(traffic.proxies)
    await traffic.record(through, {"subject": f"c-{number}", "record": "withdrawal", "purpose": "newsletter"})
    answered = time.monotonic()

    async def until_closed(node):
        while True:
            asked = time.monotonic()
            sees = await traffic.sees(node, number)
            if sees is False:
                return max(0.0, asked - answered)
            if time.monotonic() - answered > 2 * BOUND_S:
                raise Failed(f"{node.name} still shows c-{number} {2 * BOUND_S:.0f} s after the withdrawal")
            await asyncio.sleep(0.002)

    took = max(await asyncio.gather(*map(until_closed, traffic.proxies)))
    traffic.gone.add(number)
    return took


async def without_store(traffic):
    """The store goes away: seconds until the purpose that needs consent is closed everywhere. What needs none goes on."""
    children = pathlib.Path(f"/proc/{postgres_pid}/task/{postgres_pid}/children").read_text().split()
    for pid in [postgres_pid, *map(int, children)]:
        os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        async def until_refused(node):
            while True:
                asked = time.monotonic()
                status, answer = await traffic.ask(node, "GET", "/people/c-0", "mailer", "newsletter")
                if status == 503:
                    if "facts-stale" not in json.dumps(answer):
                        raise Failed(f"503 of another kind: {answer}")
                    return asked - stopped
                if status != 200:
                    raise Failed(f"neither shown nor refused: {status} {answer}")
                if asked - stopped > 3 * BOUND_S:
                    raise Failed(f"{node.name} still shows what needs consent {3 * BOUND_S:.0f} s after the store went away")
                await asyncio.sleep(0.02)

        took = max(await asyncio.gather(*map(until_refused, traffic.proxies)))
        for node in traffic.proxies:
            status, document = await traffic.ask(node, "GET", "/people/c-0", "shop", "registration")
            if status != 200 or "name" not in document:
                raise Failed(f"what needs no consent does not go on: {status} {document}")
    finally:
        for pid in [*map(int, children), postgres_pid]:
            os.kill(pid, signal.SIGCONT)
    for node in traffic.proxies:
        for _ in range(100):
            if await traffic.sees(node, 0):
                break
            await asyncio.sleep(0.1)
        else:
            raise Failed(f"{node.name} does not open again once the store is back")
    return took


async def main():
    values = {"UPSTREAM": upstream, "STORE": store, **{name.upper(): hashed(name) for name in secrets}}
    proxies = [nodes.Node(sudare, folder / f"node-{number}", here / "sudare.toml", here / "policy.toml", values) for number in range(NODES)]
    draw = random.Random(SEED)
    try:
        await nodes.command(sudare, proxies[0], "keys", "init")
        for node in proxies:
            await nodes.command(sudare, node, "check")
            await node.start()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30), connector=aiohttp.TCPConnector(limit=0)) as session:
            traffic = Traffic(session, proxies)
            status, answer = await traffic.ask(proxies[0], "PUT", "/people", "shop", "registration")
            if status not in (201, 202):
                raise Failed(f"the database cannot be made: {status} {answer}")
            people = range(LOYAL + withdrawals)
            documents = [{"_id": f"c-{number}", "name": f"Hana Sato {number}", "email": f"c{number}@example.com"} for number in people]
            status, answer = await traffic.ask(proxies[0], "POST", "/people/_bulk_docs", "shop", "registration", {"docs": documents})
            if status != 201 or any("error" in row for row in answer):
                raise Failed(f"people cannot be stored: {status} {answer}")
            for node in proxies:
                if await traffic.sees(node, 0):
                    raise Failed("somebody is shown before they consented")
            await traffic.record(proxies[1], [{"subject": f"c-{number}", "record": "consent", "purpose": "newsletter"} for number in people])
            given = time.monotonic()
            for node in proxies:
                while not all([await traffic.sees(node, number) for number in people]):
                    if time.monotonic() - given > 2 * BOUND_S:
                        raise Failed(f"{node.name} does not show who consented")
            print(f"  {len(people)} people consented; all three nodes show them", flush=True)
            began, before = time.monotonic(), traffic.requests
            readers = [asyncio.create_task(traffic.read(SEED + number)) for number in range(WORKERS)]
            took = []
            for number in range(LOYAL, LOYAL + withdrawals):
                took.append(await withdraw(traffic, number, draw))
                await asyncio.sleep(draw.uniform(0.1, 0.5))
            seconds, under_load = time.monotonic() - began, traffic.requests - before
            # Whoever was read meanwhile was read by then, or not at all.
            await asyncio.sleep(1)
            traffic.running = False
            await asyncio.gather(*readers)
            stale = await without_store(traffic)
        for node in proxies:
            await node.stop()
            await nodes.command(sudare, node, "audit", "verify")
    finally:
        for node in proxies:
            await node.stop()
    result = {
        "requests": traffic.requests, "requests_per_second": round(under_load / seconds, 1), "failed": traffic.failed, "shown": traffic.shown,
        "withdrawals": withdrawals, "slowest_ms": round(max(took) * 1000), "median_ms": round(statistics.median(took) * 1000), "shown_after": traffic.shown_after,
        "closed_without_store_ms": round(stale * 1000),
    }
    print(json.dumps(result), flush=True)
    # A request that was on its way when the store went away may be answered a little later than it was decided.
    good = traffic.failed == traffic.shown_after == 0 and traffic.shown > 0 and max(took) < BOUND_S and stale < BOUND_S + 1
    return 0 if good else 1


try:
    sys.exit(asyncio.run(main()))
except Failed as failed:
    print(f"  FAILED  {failed}", flush=True)
    sys.exit(1)
