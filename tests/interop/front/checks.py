"""The checks of ./run: checks.py SUDARE WORK"""

import asyncio
import csv
import gzip
import json
import pathlib
import re
import subprocess
import sys

import brotli
import httpx
import zstandard
from frames import CASES, Connection
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from scene import CREDENTIAL, HERE, Gauge, Probe, Results, free_port, listens, origin, program, proxy, sockets, wait_for

SUDARE, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
VENV = pathlib.Path(sys.executable).parent
results = Results()
PERSON = {"id": "c-1", "name": "Mei Tanaka", "phone": "+81355501234", "tier": "gold"}
WRITER = {"Sudare-Credential": CREDENTIAL, "Data-Purpose": "registration"}


def run(arguments, seconds=60, **more):
    ended = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=seconds, **more)
    return ended.returncode, ended.stdout, ended.stderr


def curl(*arguments):
    """Status, version and body."""
    code, out, err = run(["curl", "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code} %{http_version}", *arguments])
    if code != 0:
        raise RuntimeError(f"curl ended with {code}: {err}")
    body, told = out.rsplit("\n", 1)
    status, version = told.split()
    return int(status), version, body


def headers_of(fields):
    return [part for name, value in fields.items() for part in ("--header", f"{name}: {value}")]


def expect(holds, said):
    if not holds:
        raise AssertionError(said)


# --- certificates, with openssl


def openssl(*arguments):
    code, _, err = run(["openssl", *arguments])
    expect(code == 0, err)


def certificates(folder):
    folder.mkdir(exist_ok=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=interop authority", "-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, names, usage in (
        ("server", "DNS:localhost,IP:127.0.0.1", "serverAuth"),
        ("shipping", "URI:spiffe://shop.example/shipping", "clientAuth"),
        ("stranger", "URI:spiffe://shop.example/stranger", "clientAuth"),
    ):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/O=Shop/CN={name}", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")
        more = folder / f"{name}.ext"
        more.write_text(f"subjectAltName={names}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "1", "-extfile", more, "-out", folder / f"{name}.pem")
    for key in folder.glob("*.key"):
        key.chmod(0o600)


# --- peers


def by_curl(front):
    with results.check("curl", "HTTP/1.1, a document written and read") as said:
        put = curl("--request", "PUT", "--json", json.dumps(PERSON), *headers_of(WRITER), f"{front.url}/customers/c-1")
        status, version, body = curl(*headers_of(WRITER), f"{front.url}/customers/c-1")
        expect(put[0] == 201 and status == 200 and version == "1.1", f"{put} {status} {version}")
        expect(json.loads(body) == PERSON, body)
        said.append(f"HTTP/{version}")
    with results.check("curl", "the database holds no clear value"):
        _, _, stored = curl(f"{ORIGIN}/customers/c-1")
        expect("sdr1." in stored and "Mei" not in stored and "5550" not in stored, stored)
    with results.check("curl", "without a credential 401"):
        expect(curl(f"{front.url}/customers/c-1")[0] == 401, "not refused")
    with results.check("curl", "HTTP/1.0"):
        status, version, body = curl("--http1.0", f"{front.url}/resource")
        expect(status == 200 and body.startswith("line 0"), f"{status} {version}")
    with results.check("curl", "Expect: 100-continue before a body"):
        status, _, body = curl("--header", "Expect: 100-continue", "--data-binary", "x" * 100_000, f"{front.url}/echo")
        expect(status == 200 and len(json.loads(body)["body"]) == 100_000, status)
    with results.check("curl", "a body in chunks, also with GET"):
        for method in ("POST", "GET"):
            status, _, body = curl("--request", method, "--header", "Transfer-Encoding: chunked", "--data-binary", "hello", f"{front.url}/echo")
            expect(status == 200 and json.loads(body)["body"] == "hello", f"{method}: {status} {body}")


def by_curl_http2(front):
    with results.check("curl", "HTTP/2 by prior knowledge, a document written and read"):
        put = curl("--http2-prior-knowledge", "--request", "PUT", "--json", json.dumps(PERSON), *headers_of(WRITER), f"{front.url}/customers/c-1")
        status, version, body = curl("--http2-prior-knowledge", *headers_of(WRITER), f"{front.url}/customers/c-1")
        expect(put[:2] == (201, "2") and (status, version) == (200, "2") and json.loads(body) == PERSON, f"{put} {status} {version} {body}")
    with results.check("curl", "an Upgrade to HTTP/2 in clear leads nowhere") as said:
        status, version, _ = curl("--http2", f"{front.url}/resource")
        expect(version == "1.1" and status in (200, 400), f"{status} {version}")
        said.append(f"{status} over HTTP/{version}")


def by_codings(front):
    """Bodies that come compressed are stored sealed, and read back as they were."""
    text = json.dumps(PERSON).encode()
    for coding, coded in (("gzip", gzip.compress(text)), ("br", brotli.compress(text)), ("zstd", zstandard.compress(text))):
        with results.check("httpx", f"a document in {coding}, written and read"), httpx.Client(timeout=60) as client:
            fields = WRITER | {"Content-Encoding": coding, "Content-Type": "application/json"}
            put = client.put(f"{front.url}/customers/c-1", headers=fields, content=coded)
            stored = client.get(f"{ORIGIN}/customers/c-1").text
            read = client.get(f"{front.url}/customers/c-1", headers=WRITER | {"Accept-Encoding": coding})
            expect(put.status_code == 201 and "sdr1." in stored and "Mei" not in stored, f"{put.status_code} {put.text} {stored}")
            expect(read.status_code == 200 and read.json() == PERSON, f"{read.status_code} {read.text}")


def by_h2(front):
    """Frames that no client sends. Each ends its stream or its connection, none is served, and the next client is."""
    served = Connection(front.port)
    for name, send in CASES.items():
        with results.check("h2", name) as said:
            with Connection(front.port) as hostile:
                send(hostile)
                outcome = hostile.outcome()
            expect(outcome and not outcome.startswith("2"), f"served: {outcome}")
            said.append(outcome)
            with Connection(front.port) as client:
                client.get("/resource")
                expect(client.outcome() == "200", "the next client is not served")
    with results.check("h2", "a connection that was open beside all of these is served, or was told to go"), served:
        served.get("/resource")
        expect(served.outcome() in ("200", "GOAWAY 0", "closed"), "neither")


def by_curl_tls(front, folder):
    url, authority = f"https://localhost:{front.port}", ["--cacert", folder / "ca.pem"]
    shipping = ["--cert", folder / "shipping.pem", "--key", folder / "shipping.key"]
    for name, options in (("TLS 1.3", ["--tlsv1.3"]), ("TLS 1.2", ["--tlsv1.2", "--tls-max", "1.2"])):
        with results.check("curl", f"{name}, verified"):
            expect(curl(*authority, *options, "--http1.1", f"{url}/resource")[0] == 200, "not served")
    with results.check("curl", "TLS 1.1 is not spoken"):
        code, _, _ = run(["curl", "--silent", *authority, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", f"{url}/resource"])
        expect(code in (35, 56), f"curl ended with {code}")
    with results.check("curl", "another authority is not trusted"):
        code, _, _ = run(["curl", "--silent", f"{url}/resource"])
        expect(code == 60, f"curl ended with {code}")
    with results.check("curl", "mutual TLS: a caller by its SPIFFE id sees what its purpose allows"):
        put = curl(*authority, "--request", "PUT", "--json", json.dumps(PERSON), *headers_of(WRITER), f"{url}/customers/c-1")
        status, _, body = curl(*authority, *shipping, f"{url}/customers/c-1")
        seen = json.loads(body)
        expect(put[0] == 201 and status == 200 and seen["name"] == PERSON["name"] and "phone" not in seen, f"{put} {status} {body}")
    with results.check("curl", "HTTP/2 by ALPN, with mutual TLS"):
        status, version, body = curl(*authority, *shipping, "--http2", f"{url}/customers/c-1")
        expect((status, version) == (200, "2") and json.loads(body) == seen, f"{status} {version} {body}")
    with results.check("curl", "mutual TLS: a certificate of nobody's is 401"):
        stranger = ["--cert", folder / "stranger.pem", "--key", folder / "stranger.key"]
        expect(curl(*authority, *stranger, f"{url}/customers/c-1")[0] == 401, "not refused")
    with results.check("curl", "HTTP in clear to the TLS port is not served"):
        code, out, _ = run(["curl", "--silent", "--max-time", "20", f"http://127.0.0.1:{front.port}/resource"])
        expect(code != 0 or "line 0" not in out, out)


def by_h2load(name, url, *options):
    with results.check("h2load", f"10,000 requests, {name}") as said:
        code, out, err = run(["h2load", "--requests=10000", "--clients=20", "--threads=1", *options, url], 120)
        expect(code == 0, err)
        counts = dict((word, int(count)) for count, word in re.findall(r"(\d+) (total|started|done|succeeded|failed|errored|timeout)", out))
        status = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
        expect(counts["succeeded"] == 10_000 and counts["failed"] == counts["errored"] == counts["timeout"] == 0, out)
        expect(status and status[1] == "10000", out)
        said.append(re.search(r"finished in .*?, ([\d.]+) req/s", out)[1] + " requests a second, none failed")


def by_slowhttptest(front):
    """Each attack in turn, while a probe asks; the proxy gives a peer 3 seconds, and 4.5 to one that does not read."""
    attacks = {
        "slow headers": ["-H", "-i", "1"],
        "slow bodies": ["-B", "-i", "1", "-s", "8192", "-t", "POST", "-u", f"{front.url}/echo"],
        "slow reading": ["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "1", "-u", f"{front.url}/large"],
        "range attack": ["-R", "-a", "5", "-b", "500"],
    }
    for number, (name, options) in enumerate(attacks.items()):
        with results.check("slowhttptest", f"{name}: 150 connections, all ended, a probe beside them served") as said:
            prefix = WORK / f"slow-{number}"
            where = [] if "-u" in options else ["-u", f"{front.url}/resource"]
            with Probe(f"{front.url}/resource") as probe, Gauge(front, "sudare_connections") as connections:
                _, out, err = run(["slowhttptest", *options, *where, "-c", "150", "-r", "150", "-l", "10", "-p", "5", "-g", "-o", prefix], 60)
            rows = list(csv.DictReader(prefix.with_suffix(".csv").open()))
            expect(rows and all(int(row["Service Available"]) > 0 for row in rows), "not available all the time")
            # Who reads a few bytes at a time finds out late that the connection was reset; the proxy and the system know.
            if name != "slow reading":
                expect("No open connections left" in out, f"connections stay: {out[-300:]}{err[-300:]}")
            gone = connections.gone_after(few=5)
            expect(gone is not None, f"connections stay at the proxy: {connections.values}")
            expect(sockets(front.port) <= 5, f"{sockets(front.port)} sockets stay in the system")
            expect(not probe.failures and len(probe.times) > 5 and max(probe.times) < 5, f"{probe.said()}: {probe.failures[:3]}")
            said.append(f"at most {max(connections.values.values()):.0f} at once, gone after {gone:.0f} s; {probe.said()}")


def by_httpx(name, front, direct, version="HTTP/1.1", **how):
    """The same requests straight and through the proxy have the same answers."""

    # Dates, and what a hop may add, differ.
    def about(reply):
        fields = {key: value for key, value in reply.headers.items() if key not in ("date", "connection", "transfer-encoding", "x-request-id")}
        body = reply.content
        if reply.request.url.path == "/echo":
            told = reply.json()
            body = (told["method"], told["target"], told["body"])
            fields.pop("content-length")
        return reply.status_code, fields, body

    requests = [
        ("GET", "/resource", {}, None),
        ("HEAD", "/resource", {}, None),
        ("GET", "/resource", {"Accept-Encoding": "identity", "Range": "bytes=10-99"}, None),
        ("GET", "/resource", {"If-Modified-Since": "Sat, 29 Oct 1994 19:43:31 GMT"}, None),
        ("POST", "/echo?a=%20b&c=d", {"Content-Type": "text/plain"}, b"hello"),
        ("PUT", "/echo", {}, b"\x00\xff" * 1000),
        ("GET", "/nowhere", {}, None),
        ("OPTIONS", "/echo", {}, None),
    ]

    async def compare():
        turns = asyncio.Semaphore(30)
        async with httpx.AsyncClient(timeout=60) as straight, httpx.AsyncClient(timeout=60, **how) as through:
            expected = [about(await straight.request(method, direct + path, headers=fields, content=body)) for method, path, fields, body in requests]

            async def ask(number):
                method, path, fields, body = requests[number % len(requests)]
                async with turns:
                    reply = await through.request(method, front + path, headers=fields, content=body)
                return reply.http_version, about(reply), expected[number % len(requests)]

            for spoken, came, wanted in await asyncio.gather(*map(ask, range(300))):
                expect(spoken == version, spoken)
                expect(came == wanted, f"{came} is not {wanted}")

    with results.check("httpx", f"{name}: 300 requests, 30 at a time, answers as straight from the server") as said:
        asyncio.run(compare())
        said.append(version)


def by_redbot(front):
    """What redbot finds of a resource through the proxy, it finds straight, but for what expected.json lists with a reason."""
    listed = json.loads((HERE / "expected.json").read_text())["redbot"]

    def findings(url):
        code, out, err = run([VENV / "redbot", "-o", "text", url], 120)
        expect(code == 0 and "* General:" in out, err)
        head, notes = out.split("\n\n", 1)
        # The time that has passed is in one of the notes.
        lines = [re.sub(r"^(x-request-id): .*", r"\1", line.strip().lower()) for line in head.splitlines()[1:]]
        fields = {line for line in lines if not line.startswith("date:")}
        return {line.strip() for line in notes.splitlines() if line.strip().startswith("* ")} | {f"header {field}" for field in fields}

    with results.check("redbot", "the same findings as straight from the server") as said:
        straight, through = findings(f"{ORIGIN}/resource"), findings(f"{front.url}/resource")
        different = {f"+ {finding}" for finding in through - straight} | {f"- {finding}" for finding in straight - through}
        expect(different == set(listed), f"not listed: {sorted(different - set(listed))}; listed and gone: {sorted(set(listed) - different)}")
        said.append(f"{len(through)} findings and headers, {len(listed)} expected differences")


def by_prometheus(front):
    with results.check("prometheus_client", "/metrics is OpenMetrics") as said:
        kind, text = front.metrics()
        expect(kind.startswith("application/openmetrics-text"), kind)
        families = list(text_string_to_metric_families(text))
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        expect(all(family.documentation for family in families), "a family without help")
        expect(samples.get("sudare_connections", -1) >= 0 and "sudare_requests_total" in samples, sorted(samples))
        said.append(f"{len(families)} families")


def by_haproxy(upstream):
    """haproxy says for whom it connects; without it, and with version 1, nobody is served."""
    with proxy(SUDARE, WORK, "balanced", upstream, listen='proxy_protocol = ["127.0.0.1/32"]') as front:
        ports = {how: free_port() for how in ("send-proxy-v2", "send-proxy")}
        text = "global\n  maxconn 200\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        for how, port in ports.items():
            options = " proxy-v2-options crc32c" if how == "send-proxy-v2" else ""
            text += f"listen {how}\n  bind 127.0.0.1:{port}\n  server sudare 127.0.0.1:{front.port} {how}{options}\n"
        (WORK / "haproxy.cfg").write_text(text)
        with program(["haproxy", "-db", "-f", str(WORK / "haproxy.cfg")], WORK / "haproxy.log"):
            for port in ports.values():
                wait_for(lambda port=port: listens(port), 30, "haproxy did not start")
            with results.check("haproxy", "PROXY version 2 with a checksum: served, and the client is in the log"):
                url = f"http://127.0.0.1:{ports['send-proxy-v2']}"
                expect(curl("--interface", "127.0.0.77", f"{url}/resource")[0] == 200, "not served")
                put = curl("--request", "PUT", "--json", json.dumps(PERSON), *headers_of(WRITER), f"{url}/customers/c-1")
                expect(put[0] == 201, put)
                wait_for(lambda: "127.0.0.77" in front.log(), 20, "the client's address was not logged")
            with results.check("haproxy", "PROXY version 1: closed, counted and told"):
                code, _, _ = run(["curl", "--silent", "--max-time", "20", f"http://127.0.0.1:{ports['send-proxy']}/resource"])
                expect(code in (52, 55, 56), f"curl ended with {code}")
                wait_for(lambda: "proxy-header-version-1" in front.log() and 'reason="proxy-header-version-1"' in front.metrics()[1], 20, "neither counted nor told")
            with results.check("curl", "to a listener that wants a PROXY header: closed"):
                code, _, _ = run(["curl", "--silent", "--max-time", "20", f"{front.url}/resource"])
                expect(code in (52, 55, 56), f"curl ended with {code}")
            with results.check("curl", "--haproxy-protocol is version 1: closed"):
                code, _, _ = run(["curl", "--silent", "--max-time", "20", "--haproxy-protocol", f"{front.url}/resource"])
                expect(code in (52, 55, 56), f"curl ended with {code}")
        by_prometheus(front)


TLS = 'tls = { certificate = "server.pem", key = "server.key", client_ca = "ca.pem", clients = "optional" }'
SHIPPING = '[caller.shipping]\nspiffe = "spiffe://shop.example/shipping"'

with origin(WORK) as upstream:
    ORIGIN = f"http://127.0.0.1:{upstream}"
    with proxy(SUDARE, WORK, "plain", upstream) as plain:
        by_curl(plain)
        by_curl_http2(plain)
        by_codings(plain)
        by_httpx("HTTP/1.1", plain.url, ORIGIN)
        by_httpx("HTTP/2 by prior knowledge", plain.url, ORIGIN, version="HTTP/2", http1=False, http2=True)
        by_h2(plain)
        by_redbot(plain)
        by_h2load("HTTP/1.1", f"{plain.url}/echo", "--h1")
        by_h2load("HTTP/2 by prior knowledge", f"{plain.url}/echo", "--max-concurrent-streams=10")
        by_slowhttptest(plain)
        by_prometheus(plain)
    certificates(WORK / "tls")
    with proxy(SUDARE, WORK, "tls", upstream, listen=TLS, callers=SHIPPING) as secured:
        by_curl_tls(secured, WORK / "tls")
        by_h2load("HTTP/1.1 over TLS", f"https://localhost:{secured.port}/echo", "--npn-list=http/1.1")
        by_h2load("HTTP/2 over TLS", f"https://localhost:{secured.port}/echo", "--max-concurrent-streams=10")
        by_httpx("HTTP/2 over TLS", f"https://localhost:{secured.port}", ORIGIN, version="HTTP/2", http2=True, verify=str(WORK / "tls" / "ca.pem"))
        by_httpx("HTTP/1.1 over TLS", f"https://localhost:{secured.port}", ORIGIN, verify=str(WORK / "tls" / "ca.pem"))
    by_haproxy(upstream)

sys.exit(0 if results.table() else 1)
