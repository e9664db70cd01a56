"""What the checks of ./run share: programs that are started and ended, proxies, and the table of results."""

import base64
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).parent
SECRET = base64.urlsafe_b64encode(hashlib.sha256(os.urandom(32)).digest()).decode().rstrip("=")
CREDENTIAL = f"shop.{SECRET}"


class Results:
    """One row for each check: what it was, whether it held, what was measured."""

    def __init__(self):
        self.rows = []

    def add(self, peer, what, holds, said=""):
        self.rows.append((peer, what, bool(holds), str(said)))
        print(f"  {'ok    ' if holds else 'FAILED'}  {peer}: {what}{f' ({said})' if said else ''}", flush=True)

    @contextlib.contextmanager
    def check(self, peer, what):
        """A check that fails with an exception; the block may put what it measured into the list it is given."""
        said = []
        try:
            yield said
        except Exception as error:  # any failure is one row
            self.add(peer, what, False, f"{type(error).__name__}: {error}"[:600])
        else:
            self.add(peer, what, True, " ".join(map(str, said)))

    def table(self):
        peers = dict.fromkeys(row[0] for row in self.rows)
        print(f"\n{'peer':<20}{'checks':>8}{'failed':>8}")
        for peer in peers:
            mine = [row for row in self.rows if row[0] == peer]
            print(f"{peer:<20}{len(mine):>8}{sum(not row[2] for row in mine):>8}")
        failed = sum(not row[2] for row in self.rows)
        print(f"{'all':<20}{len(self.rows):>8}{failed:>8}")
        return failed == 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, seconds, why):
    """Until `what` gives something true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise RuntimeError(f"{why} within {seconds} s")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def program(arguments, log, **more):
    """A program that is ended at the end, by its process id."""
    with open(log, "wb") as file:
        process = subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **more)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def origin(work):
    port = free_port()
    with program([sys.executable, str(HERE / "origin.py"), str(port)], work / "origin.log"):
        wait_for(lambda: listens(port), 30, "the server did not start")
        yield port


class Proxy:
    def __init__(self, folder, port, admin, process):
        self.folder, self.port, self.admin, self.process = folder, port, admin, process
        self.url = f"http://127.0.0.1:{port}"

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=20) as page:
            return page.headers["Content-Type"], page.read().decode()

    def log(self):
        return (self.folder / "output.log").read_text(errors="replace")


@contextlib.contextmanager
def proxy(sudare, work, name, upstream, listen="", callers="", limits=""):
    """Sudare with its own folder; what stands in `folder` already may be named by its configuration."""
    folder = work / name
    folder.mkdir(exist_ok=True)
    text = (HERE / "sudare.toml").read_text()
    for mark, value in (
        ("@UPSTREAM@", f"http://127.0.0.1:{upstream}"),
        ("@LISTEN@", listen),
        ("@CALLERS@", callers),
        ("@LIMITS@", limits),
        ("@SHOP@", hashlib.sha256(SECRET.encode()).hexdigest()),
    ):
        text = text.replace(mark, value)
    (folder / "sudare.toml").write_text(text)
    (folder / "policy.toml").write_text((HERE / "policy.toml").read_text())
    if "shipping" not in callers:
        # The caller that is known by a certificate is there only where certificates are.
        policy = (folder / "policy.toml").read_text()
        (folder / "policy.toml").write_text(policy[: policy.index("[purpose.delivery]")])
    config = ["-c", str(folder / "sudare.toml")]
    for step in (["keys", "init"], ["check"]):
        ended = subprocess.run([sudare, *step, *config], capture_output=True, text=True)
        if ended.returncode != 0:
            raise RuntimeError(f"sudare {' '.join(step)}: {ended.stdout}{ended.stderr}")
    with program([sudare, "serve", *config], folder / "output.log", env=os.environ | {"SUDARE_LOG": "debug"}) as process:

        def ready():
            if process.poll() is not None:
                raise RuntimeError(f"sudare serve ended: {(folder / 'output.log').read_text()}")
            found = re.findall(r"^listening on (\S+?)( \(admin\))?$", (folder / "output.log").read_text(), re.M)
            return found if len(found) == 2 else None

        found = wait_for(ready, 60, "sudare serve did not listen")
        address = next(where for where, admin in found if not admin)
        admin = next(where for where, admin in found if admin)
        yield Proxy(folder, int(address.rsplit(":", 1)[1]), admin, process)


class Probe:
    """Asks again and again on connections of its own, while something else goes on."""

    def __init__(self, url):
        self.url, self.times, self.failures = url, [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            started = time.monotonic()
            try:
                with urllib.request.urlopen(self.url, timeout=10) as reply:
                    reply.read()
                self.times.append(time.monotonic() - started)
            except OSError as error:
                self.failures.append(str(error))
            self.over.wait(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def said(self):
        times = sorted(self.times)
        return f"{len(times)} probes, median {times[len(times) // 2] * 1000:.1f} ms, slowest {times[-1] * 1000:.0f} ms, {len(self.failures)} failed"


class Gauge:
    """Looks at a number of /metrics twice a second, while something else goes on, and once at its end."""

    def __init__(self, front, name):
        self.front, self.name, self.values = front, name, {}
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def look(self):
        found = re.search(rf"^{self.name} ([\d.]+)$", self.front.metrics()[1], re.M)
        self.values[time.monotonic() - self.started] = float(found[1])

    def run(self):
        while not self.over.wait(0.5):
            self.look()

    def __enter__(self):
        self.started = time.monotonic()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.look()

    def gone_after(self, few):
        """Seconds until it was `few` or fewer for good."""
        gone = None
        for at, value in sorted(self.values.items()):
            gone = None if value > few else at if gone is None else gone
        return gone


def sockets(port):
    """How many connections of a port the system still serves, those without a process included."""
    states = [line.split()[1:4] for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    # Listening, and waiting for late packets, are no connections.
    return sum(local.endswith(f":{port:04X}") and state not in ("0A", "06") for local, _, state in states)
