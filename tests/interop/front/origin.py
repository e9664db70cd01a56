"""A small HTTP server behind the proxy: one resource as a good citizen of HTTP serves it, one that is large, and documents.

origin.py PORT
  GET  /resource          text with ETag, Last-Modified, ranges, gzip where it is asked for
  GET  /large             8 MiB
  GET  /echo, POST /echo  method, target, body and the client's headers as JSON
  PUT, GET /customers/ID  keeps and gives a document
"""

import gzip
import hashlib
import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = b"".join(b"line %d of the resource, which is long enough to be worth compressing\n" % n for n in range(200))
GZIP = gzip.compress(TEXT, mtime=0)
MODIFIED = "Sat, 29 Oct 1994 19:43:31 GMT"
LARGE = b"x" * (8 << 20)
documents = {}


def tag(data):
    return '"' + hashlib.sha256(data).hexdigest()[:16] + '"'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "origin"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            out = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                out += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return out
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, data=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(data)
        self.wfile.flush()

    def resource(self):
        zipped = re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\b)", self.headers.get("Accept-Encoding", "")) is not None
        data = GZIP if zipped else TEXT
        common = [("ETag", tag(data)), ("Last-Modified", MODIFIED), ("Cache-Control", "max-age=60"), ("Vary", "Accept-Encoding"), ("Accept-Ranges", "bytes")]
        if "If-None-Match" in self.headers:
            fresh = tag(data) in self.headers["If-None-Match"]
        else:
            fresh = self.headers.get("If-Modified-Since") == MODIFIED
        if fresh:
            return self.answer(304, headers=common)
        about = [("Content-Type", "text/plain; charset=utf-8")] + ([("Content-Encoding", "gzip")] if zipped else [])
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted and self.headers.get("If-Range", tag(data)) == tag(data):
            first = int(wanted[1])
            last = min(int(wanted[2] or len(data) - 1), len(data) - 1)
            if first <= last:
                return self.answer(206, data[first : last + 1], common + about + [("Content-Range", f"bytes {first}-{last}/{len(data)}")])
        self.answer(200, data, common + about)

    def handle_any(self):
        body = self.body()
        path = self.path.split("?")[0]
        json_type = [("Content-Type", "application/json")]
        if path == "/resource":
            self.resource()
        elif path == "/large":
            self.answer(200, LARGE, [("Content-Type", "application/octet-stream")])
        elif path == "/echo":
            said = {"method": self.command, "target": self.path, "body": body.decode("latin-1"), "headers": {k.lower(): v for k, v in self.headers.items()}}
            self.answer(200, json.dumps(said).encode(), json_type)
        elif path.startswith("/customers/") and self.command == "PUT":
            documents[path] = body
            self.answer(201, b"{}", json_type)
        elif path in documents:
            self.answer(200, documents[path], json_type)
        else:
            self.answer(404, b"{}", json_type)

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = do_DELETE = handle_any


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request, client_address):
        # A peer that went away is not worth a word.
        pass


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
