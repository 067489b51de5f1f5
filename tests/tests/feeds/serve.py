"""Serves one list as a file says, whatever that is: python3 serve.py PORT FOLDER"""

import gzip
import hashlib
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        behaviour = (FOLDER / "behaviour").read_text().strip()
        body = (FOLDER / "list").read_bytes()
        print(behaviour, self.headers.get("If-None-Match", "-"), flush=True)
        getattr(self, "do_" + behaviour)(body)

    def answer(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_list(self, body):
        etag = '"%s"' % hashlib.sha256(body).hexdigest()
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
        else:
            self.answer(200, body, ("ETag", etag))

    def do_packed(self, body):
        self.answer(200, gzip.compress(body), ("Content-Encoding", "gzip"))

    def do_html(self, body):
        self.answer(200, b"<!DOCTYPE html><html><body>Sign in</body></html>", ("Content-Type", "text/html"))

    def do_words(self, body):
        self.answer(200, b"the service\nis under\nmaintenance\nuntil\ntomorrow\nnoon\n")

    def do_empty(self, body):
        self.answer(200, b"# nothing\n")

    def do_missing(self, body):
        self.answer(404, b"no such list")

    def do_often(self, body):
        self.answer(429, b"", ("Retry-After", "3600"))

    def do_broken_gzip(self, body):
        self.answer(200, gzip.compress(body * 100)[:-20], ("Content-Encoding", "gzip"))

    def do_bomb(self, body):
        self.answer(200, gzip.compress(b"198.51.100.1\n" * 10_000_000, 9), ("Content-Encoding", "gzip"))

    def do_truncated(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 1000))
        self.end_headers()
        self.wfile.write(body)

    def do_endless(self, body):
        self.send_response(200)
        self.end_headers()
        number = 0
        try:
            while True:
                lines = ("%d.%d.%d.%d" % (n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255) for n in range(number, number + 4096))
                self.wfile.write("\n".join(lines).encode() + b"\n")
                number += 4096
        except OSError:
            pass

    def do_slow(self, body):
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"#")
                self.wfile.flush()
                time.sleep(0.1)
        except OSError:
            pass

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
