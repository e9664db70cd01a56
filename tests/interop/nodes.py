"""Proxies that a scenario starts, kills and asks, for the runs that need several: each one `sudare serve` in a folder of its own, always on the same ports."""

import asyncio
import pathlib
import signal
import socket


class Failed(Exception):
    pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Node:
    """Its files are filled in from `template`: names between at signs by `values`, beside PORT and ADMIN."""

    def __init__(self, sudare, folder, template, policy, values):
        self.sudare, self.folder, self.name = sudare, folder, folder.name
        self.port, self.admin = free_port(), free_port()
        self.folder.mkdir()
        text = pathlib.Path(template).read_text()
        for key, value in {"PORT": self.port, "ADMIN": self.admin, **values}.items():
            text = text.replace(f"@{key}@", str(value))
        self.config = self.folder / "sudare.toml"
        self.config.write_text(text)
        (self.folder / "policy.toml").write_text(pathlib.Path(policy).read_text())
        self.process, self.url, self.killed = None, f"http://127.0.0.1:{self.port}", 0

    async def start(self):
        log = open(self.folder / "output.log", "ab")
        self.process = await asyncio.create_subprocess_exec(self.sudare, "serve", "-c", str(self.config), stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL)
        for _ in range(600):
            if self.process.returncode is not None:
                raise Failed(f"{self.name} ended before it was ready: exit code {self.process.returncode}")
            if await self.is_ready():
                return
            await asyncio.sleep(0.1)
        raise Failed(f"{self.name} was not ready within a minute")

    async def is_ready(self):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.admin), 5)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 5)
            writer.close()
            return answer.startswith(b"HTTP/1.1 200")
        except (OSError, asyncio.TimeoutError):
            return False

    async def kill(self):
        self.killed += 1
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self):
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), 60)


async def command(sudare, node, *words, ends_with=0):
    """Runs one command of an operator and returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        sudare, *map(str, words), *([] if node is None else ["-c", str(node.config)]),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL,
    )
    out, err = await process.communicate()
    if process.returncode != ends_with:
        raise Failed(f"sudare {' '.join(map(str, words))}: exit code {process.returncode}\n{out.decode()}{err.decode()}")
    return out.decode()
