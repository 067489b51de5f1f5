"""The application behind the proxies: tells as JSON what reached it.

`origin.py PORT` listens on 127.0.0.1 and writes every request as one line of JSON to standard output.

    GET /download?bytes=N    N bytes, streamed
    GET /slow…?ms=N          answers after N milliseconds
    GET /status?code=N       answers with that status
    Upgrade: websocket       echoes messages (RFC 6455, unfragmented)
    anything else            {"method", "path", "peer", "headers": [[name, value]…], "body_bytes"}
"""

import base64
import hashlib
import http.server
import json
import socketserver
import struct
import sys
import threading
import time
import urllib.parse

CHUNK = bytes(64 * 1024)
OUTPUT = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        upgrade = self.headers.get("Upgrade", "").lower() == "websocket"
        facts = {
            "method": self.command,
            "path": self.path,
            "peer": self.client_address[0],
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body_bytes": 0 if upgrade else self.drain(),
        }
        line = json.dumps(facts)
        with OUTPUT:
            print(line, flush=True)
        if upgrade:
            return self.echo()
        if url.path == "/download":
            return self.stream(int(query["bytes"]))
        if url.path.startswith("/slow"):
            time.sleep(int(query["ms"]) / 1000)
        self.send_response(int(query.get("code", "200")))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(line)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(line.encode())

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

    def drain(self):
        """Reads the body, and throws it away."""
        count = 0
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                count += size
                self.skip(size)
                self.rfile.readline()
                if size == 0:
                    return count
        size = int(self.headers.get("Content-Length", "0"))
        self.skip(size)
        return size

    def skip(self, count):
        while count > 0:
            piece = self.rfile.read(min(count, len(CHUNK)))
            if not piece:
                raise ConnectionError("the body ended early")
            count -= len(piece)

    def stream(self, count):
        self.send_response(200)
        self.send_header("Content-Length", str(count))
        self.end_headers()
        while count > 0:
            self.wfile.write(CHUNK[: min(count, len(CHUNK))])
            count -= len(CHUNK)

    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while True:
            first, second = self.rfile.read(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack(">H", self.rfile.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.rfile.read(8))
            mask = self.rfile.read(4)
            payload = self.rfile.read(length)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            head = bytes([first])
            if length < 126:
                head += bytes([length])
            elif length < 65536:
                head += b"\x7e" + struct.pack(">H", length)
            else:
                head += b"\x7f" + struct.pack(">Q", length)
            self.wfile.write(head + payload)
            if first & 0x0F == 8:
                return

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        """A client that goes away is no error of the origin."""


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
