"""A bus in front of moto, which checks signatures and delivers: python3 bus.py PORT MOTO_PORT FOLDER

FOLDER/script has a word for each of the next requests: take, lost (taken, and the answer is not sent), slow, hang,
garbage, partial (every second entry fails), throttle, or a status. Without a word: take. An entry with the text of
FOLDER/poison in it fails for good. A request whose signature moto does not accept is never taken.
"""

import http.client
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

import boto3

PORT, MOTO, FOLDER = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
LOCK = Lock()
KEYS = json.loads((FOLDER / "keys").read_text())
EVENTS = boto3.client(
    "events",
    endpoint_url=f"http://127.0.0.1:{MOTO}",
    region_name="eu-central-1",
    aws_access_key_id=KEYS["AccessKeyId"],
    aws_secret_access_key=KEYS["SecretAccessKey"],
)


def next_word():
    with LOCK:
        words = (FOLDER / "script").read_text().split()
        (FOLDER / "script.left").write_text("\n".join(words[1:]))
        os.replace(FOLDER / "script.left", FOLDER / "script")
        return words[0] if words else "take"


def fault(line):
    with LOCK, open(FOLDER / "faults", "a") as out:
        out.write(line + "\n")


def checked(entries):
    """What Amazon demands and moto does not."""
    total = 0
    for entry in entries:
        size = 14 + sum(len(entry[key].encode()) for key in ("Source", "DetailType", "Detail"))
        total += size
        if set(entry) != {"EventBusName", "Source", "DetailType", "Time", "Detail"} or size > 256 * 1024:
            return False
        json.loads(entry["Detail"])
    return 1 <= len(entries) <= 10 and total <= 256 * 1024


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        entries = json.loads(body)["Entries"]
        if self.headers["X-Amz-Target"] != "AWSEvents.PutEvents" or not checked(entries):
            fault(f"{self.headers['X-Amz-Target']} {len(entries)}")
            return self.answer(400, {"__type": "ValidationException", "message": "refused"})
        path = FOLDER / "poison"
        text = path.read_text().strip() if path.exists() else None
        bad = [index for index, entry in enumerate(entries) if text and text in entry["Detail"]]
        word = next_word()
        if word == "slow":
            time.sleep(1)
        if word in ("take", "slow", "lost") and not bad:
            status, said = self.forward(body)
            if word == "lost":
                self.close_connection = True
                return
            return self.answer(status, said)
        if word in ("take", "slow", "lost", "partial"):
            failing = range(1, len(entries), 2) if word == "partial" else bad
            return self.part(entries, set(failing), "MalformedDetail" if bad and word != "partial" else "ThrottlingException")
        if word == "hang":
            time.sleep(10)
            self.close_connection = True
        elif word == "garbage":
            self.wfile.write(b"\x00\x01 nothing of this is HTTP\r\n\r\n")
            self.close_connection = True
        elif word == "throttle":
            self.answer(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
        else:
            self.answer(int(word), {})

    def forward(self, body):
        """As it came: the signature is of this host, and of these headers."""
        connection = http.client.HTTPConnection("127.0.0.1", MOTO)
        connection.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        said = answer.read()
        try:
            return answer.status, json.loads(said)
        except ValueError:
            return answer.status, {"__type": "InvalidSignatureException", "message": "moto refuses it"}

    def part(self, entries, failing, code):
        taken = [entry for index, entry in enumerate(entries) if index not in failing]
        if taken:
            assert EVENTS.put_events(Entries=taken)["FailedEntryCount"] == 0
        said = [
            {"ErrorCode": code, "ErrorMessage": "not now"} if index in failing else {"EventId": f"e-{index}"}
            for index in range(len(entries))
        ]
        self.answer(200, {"FailedEntryCount": len(failing), "Entries": said})

    def answer(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print("ready", flush=True)
server.serve_forever()
