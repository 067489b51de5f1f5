"""Takes signed events as a script says, a word a request: python3 receive.py PORT FOLDER

Words: take, lost (taken, and the answer is not sent), hang, garbage, or a status. Without a word: take.
"""

import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from standardwebhooks import Webhook, WebhookVerificationError

FOLDER = Path(sys.argv[2])
LOCK = Lock()


def next_word():
    with LOCK:
        words = (FOLDER / "script").read_text().split()
        (FOLDER / "script.left").write_text("\n".join(words[1:]))
        os.replace(FOLDER / "script.left", FOLDER / "script")
        return words[0] if words else "take"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        secret = (FOLDER / "secret").read_text().strip()
        try:
            payload = Webhook(secret).verify(body, dict(self.headers))
        except WebhookVerificationError:
            return self.answer(401)
        word = next_word()
        if word in ("take", "lost"):
            self.take(payload)
        if word == "take":
            self.answer(204)
        elif word == "lost":
            self.close_connection = True
        elif word == "hang":
            time.sleep(10)
            self.close_connection = True
        elif word == "garbage":
            self.wfile.write(b"\x00\x01 nothing of this is HTTP\r\n\r\n")
            self.close_connection = True
        else:
            self.answer(int(word), ("Retry-After", "1") if word == "429" else None)

    def take(self, payload):
        assert payload["type"] == "edgeward.log", payload
        lines = [json.dumps(event) + "\n" for event in payload["data"]["events"]]
        with LOCK, open(FOLDER / "received", "a") as out:
            out.write("".join(lines))

    def answer(self, status, header=None):
        self.send_response(status)
        if header:
            self.send_header(*header)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
