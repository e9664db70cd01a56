"""A client of HTTP/2 that sends what clients do not send: Python h2 for the connection, hyperframe for single frames."""

import socket

import h2.config
import h2.connection
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, HeadersFrame, PingFrame, PushPromiseFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

PSEUDO = [(":method", "POST"), (":scheme", "http"), (":authority", "h"), (":path", "/echo")]


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config=config)
        self.h2.initiate_connection()
        self.socket.sendall(self.h2.data_to_send())
        self.encoder = Encoder()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def get(self, path):
        self.h2.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", path)], end_stream=True)
        self.socket.sendall(self.h2.data_to_send())

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            # Already closed, which is an outcome.
            pass

    def frames(self, *frames):
        self.raw(b"".join(frame.serialize() for frame in frames))

    def head(self, fields, end_stream=True, stream=1, end_headers=True):
        frame = HeadersFrame(stream, self.encoder.encode(fields))
        for flag, is_set in (("END_HEADERS", end_headers), ("END_STREAM", end_stream)):
            if is_set:
                frame.flags.add(flag)
        return frame

    def outcome(self):
        """The status of stream 1, RST or GOAWAY with its code, or closed."""
        # What is sent by hand is unknown to h2, so its frames are read by hand, too.
        data = b""
        self.socket.settimeout(30)
        while True:
            while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                length, kind, stream = int.from_bytes(data[:3], "big"), data[3], int.from_bytes(data[5:9], "big") & 0x7FFFFFFF
                payload, data = data[9 : 9 + length], data[9 + length :]
                if kind == 1 and stream == 1:
                    fields = dict(self.h2.decoder.decode(payload))
                    if not fields[":status"].startswith("1"):
                        return fields[":status"]
                if kind == 3 and stream == 1:
                    return f"RST_STREAM {int.from_bytes(payload[:4], 'big')}"
                if kind == 7 and int.from_bytes(payload[4:8], "big") != 0:
                    return f"GOAWAY {int.from_bytes(payload[4:8], 'big')}"
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                return "closed"
            if not more:
                return "closed"
            data += more


def with_fields(*fields, body=None, pseudo=PSEUDO):
    def send(client):
        frames = [client.head([*pseudo, *fields], end_stream=body is None)]
        if body is not None:
            data = DataFrame(1, body)
            data.flags.add("END_STREAM")
            frames.append(data)
        client.frames(*frames)

    return send


def sends(make):
    return lambda client: client.frames(*make(client))


def raw(kind, stream, payload, flags=0):
    return lambda client: client.raw(len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)


def finished(client, stream):
    return client.head(PSEUDO, stream=stream)


CASES = {
    # Heads that become other requests in HTTP/1.1 (T38; Kettle, HTTP/2: The Sequel is Always Worse).
    "H2.TE: transfer-encoding": with_fields(("transfer-encoding", "chunked"), body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    "H2.CL: a length that is too small": with_fields(("content-length", "0"), body=b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"),
    "H2.CL: a length that is too large": with_fields(("content-length", "100"), body=b"hello"),
    "H2.CL: two lengths": with_fields(("content-length", "5"), ("content-length", "0"), body=b"hello"),
    "a line end in a value": with_fields(("x", "y\r\ntransfer-encoding: chunked")),
    "a line feed in a value": with_fields(("x", "y\nhost: other")),
    "NUL in a value": with_fields(("x", "y\0z")),
    "a line end in a name": with_fields(("x: y\r\ntransfer-encoding", "chunked")),
    "a colon in a name": with_fields(("transfer-encoding:chunked", "x")),
    "a space in a name": with_fields(("transfer-encoding chunked", "x")),
    "capital letters in a name": with_fields(("Transfer-Encoding", "chunked")),
    "an empty name": with_fields(("", "x")),
    "connection": with_fields(("connection", "close")),
    "keep-alive": with_fields(("keep-alive", "timeout=5")),
    "proxy-connection": with_fields(("proxy-connection", "keep-alive")),
    "upgrade": with_fields(("upgrade", "h2c")),
    "te other than trailers": with_fields(("te", "gzip")),
    "a host that is not the authority": with_fields(("host", "other")),
    "a request in the path": with_fields(pseudo=[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/echo HTTP/1.1\r\nhost: h\r\n\r\nGET /smuggled")]),
    "a request in the method": with_fields(pseudo=[(":method", "GET /echo HTTP/1.1\r\n"), (":scheme", "http"), (":authority", "h"), (":path", "/echo")]),
    "a path without a slash": with_fields(pseudo=[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "echo")]),
    "an empty path": with_fields(pseudo=[(":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "")]),
    "no path": with_fields(pseudo=[(":method", "GET"), (":scheme", "http"), (":authority", "h")]),
    "no method": with_fields(pseudo=[(":scheme", "http"), (":authority", "h"), (":path", "/echo")]),
    "two paths": with_fields((":path", "/other")),
    "a pseudo-header that is none": with_fields((":x", "y")),
    "a pseudo-header behind a field": with_fields(pseudo=[(":method", "GET"), (":scheme", "http"), ("x", "y"), (":path", "/echo"), (":authority", "h")]),
    ":status in a request": with_fields((":status", "200")),
    "CONNECT": with_fields(pseudo=[(":method", "CONNECT"), (":authority", "h:80")]),
    # Frames out of place (RFC 9113 sections 5 and 6).
    "DATA on stream 0": raw(0, 0, b"x"),
    "HEADERS on stream 0": raw(1, 0, b"\x82"),
    "DATA on a stream that is not open": sends(lambda client: [DataFrame(1, b"x")]),
    "CONTINUATION without HEADERS": sends(lambda client: [ContinuationFrame(1, b"\x82")]),
    "a frame between HEADERS and CONTINUATION": sends(lambda client: [client.head(PSEUDO, end_headers=False), PingFrame(0, b"12345678")]),
    "an even stream": sends(lambda client: [finished(client, 2)]),
    "a stream that is older than the last": sends(lambda client: [finished(client, 5), finished(client, 3)]),
    "a stream that depends on itself": raw(1, 1, b"\0\0\0\x01\x10\x82", 0x25),
    "PUSH_PROMISE from a client": sends(lambda client: [PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"])]),
    "RST_STREAM on an idle stream": sends(lambda client: [RstStreamFrame(1, 8)]),
    "SETTINGS of an odd length": raw(4, 0, b"\0\x01\0"),
    "SETTINGS on a stream": raw(4, 1, b""),
    "SETTINGS acknowledged with a body": raw(4, 0, b"\0\x01\0\0\0\x01", 1),
    "ENABLE_PUSH of 2": sends(lambda client: [SettingsFrame(0, {2: 2})]),
    "a window above the largest": sends(lambda client: [SettingsFrame(0, {4: 1 << 31})]),
    "a frame size below the least": sends(lambda client: [SettingsFrame(0, {5: 100})]),
    "WINDOW_UPDATE of 0": raw(8, 0, b"\0\0\0\0"),
    "WINDOW_UPDATE beyond the largest": sends(lambda client: [WindowUpdateFrame(0, (1 << 31) - 1)]),
    "PING of seven bytes": raw(6, 0, b"1234567"),
    "PRIORITY of four bytes": raw(2, 1, b"\0\0\0\0"),
    "GOAWAY on a stream": raw(7, 1, b"\0" * 8),
    "a frame that is larger than was agreed": lambda client: client.raw((20_000).to_bytes(3, "big") + b"\0\0\0\0\0\x01" + b"x" * 20_000),
    "padding that is longer than its frame": raw(0, 1, b"\xff12", 8),
    "header compression that is damaged": raw(1, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff", 5),
    "header compression that names what is not there": raw(1, 1, b"\xfe", 5),
    "a table size above what was agreed": raw(1, 1, b"\x3f\xe1\xff\x07\x82\x84\x86", 5),
}
