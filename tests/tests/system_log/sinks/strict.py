"""Receivers as their makers describe them, which take nothing that is written otherwise:
python3 strict.py PORT FOLDER KIND [FORMAT]

KIND: splunk, datadog, sentinel, otlp. What the next requests get is in FOLDER/script, a word each: take, lost (taken,
and the answer is not sent), slow, hang, garbage, partial (otlp), revoke
(sentinel), restart (splunk: everything that waits is forgotten), or a status. Without a word: take.
FORMAT is that of the events (splunk only): okta, ecs, ocsf; each is held against its schema.
An event with the text of FOLDER/poison in it is refused for good. What was wrong with requests goes to FOLDER/faults,
events that were taken to FOLDER/received, a line each.
"""

import gzip
import json
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from urllib.parse import parse_qs

import schemas

PORT, FOLDER, KIND = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
FORMAT = sys.argv[4] if len(sys.argv) > 4 else "okta"
LOCK = Lock()
SECRET = "s3cret-token+/="


class Refusal(Exception):
    """An answer that takes nothing. `fault` says what of the request nobody may send."""

    def __init__(self, status, body=b"", fault=None):
        super().__init__(status)
        self.status, self.body, self.fault = status, body, fault


def demand(holds, what, status=400, body=b""):
    if not holds:
        raise Refusal(status, body, what)


def next_word():
    with LOCK:
        words = (FOLDER / "script").read_text().split()
        (FOLDER / "script.left").write_text("\n".join(words[1:]))
        os.replace(FOLDER / "script.left", FOLDER / "script")
        return words[0] if words else "take"


def poison():
    path = FOLDER / "poison"
    return path.read_text().strip() if path.exists() else None


def append(name, lines):
    with LOCK, open(FOLDER / name, "a") as out:
        out.write("".join(line + "\n" for line in lines))
        out.flush()
        os.fsync(out.fileno())


def take(events):
    append("received", [json.dumps({"uuid": schemas.id_of(FORMAT, event), **event}) for event in events])


def is_bad(event):
    return poison() is not None and poison() in json.dumps(event)


class Splunk:
    """HTTP Event Collector with indexer acknowledgement: a batch is indexed when it is asked for a second time."""

    GUID = re.compile(r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$")
    SOURCE_TYPES = {"okta": "OktaIM2:log", "ecs": "edgeward:ecs", "ocsf": "edgeward:ocsf"}
    KEYS = {"time", "host", "source", "sourcetype", "index", "event", "fields"}

    def __init__(self):
        self.waiting = {}
        self.next_id = {}

    def say(self, status, code, text, **more):
        return Refusal(status, json.dumps({"text": text, "code": code, **more}).encode())

    def check(self, request, body):
        given = request.headers.get("Authorization")
        if given is None:
            raise self.say(401, 2, "Token is required")
        if not given.startswith("Splunk "):
            raise self.say(401, 3, "Invalid authorization")
        if given != f"Splunk {SECRET}":
            raise self.say(403, 4, "Invalid token")
        channel = request.headers.get("X-Splunk-Request-Channel", "")
        if not self.GUID.match(channel):
            raise self.say(400, 10, "Data channel is missing")
        if request.path == "/services/collector/ack":
            return self.acks(channel, json.loads(body))
        demand(request.path == "/services/collector/event", f"path {request.path}", 404)
        return channel, self.events(body.decode())

    def events(self, text):
        decoder, events, at = json.JSONDecoder(), [], 0
        if not text:
            raise self.say(400, 5, "No data")
        while at < len(text):
            number = len(events)
            try:
                entry, at = decoder.raw_decode(text, at)
            except ValueError:
                raise self.say(400, 6, "Invalid data format", **{"invalid-event-number": number})
            demand(isinstance(entry, dict) and set(entry) <= self.KEYS, f"keys {entry}")
            demand(isinstance(entry.get("time"), (int, float)), f"time {entry}")
            for key in ("host", "source", "sourcetype"):
                demand(isinstance(entry.get(key), str) and entry[key], f"{key} {entry}")
            demand(entry["sourcetype"] == self.SOURCE_TYPES[FORMAT], f"source type {entry}")
            if "event" not in entry:
                raise self.say(400, 12, "Event field is required", **{"invalid-event-number": number})
            if is_bad(entry["event"]):
                raise self.say(400, 6, "Invalid data format", **{"invalid-event-number": number})
            try:
                schemas.check(FORMAT, entry["event"])
            except (ValueError, KeyError, TypeError) as error:
                # What is no document of its schema is a fault of the sender, and yet taken: others are to be seen as well.
                append("faults", [f"{error!r} in {json.dumps(entry['event'])}"])
            events.append(entry["event"])
        return events

    def accept(self, checked):
        channel, events = checked
        with LOCK:
            ack = self.next_id.get(channel, 0)
            self.next_id[channel] = ack + 1
            self.waiting[channel, ack] = [events, 0]
        return 200, json.dumps({"text": "Success", "code": 0, "ackId": ack}).encode()

    def restart(self):
        with LOCK:
            self.waiting.clear()
            self.next_id.clear()

    def acks(self, channel, asked):
        out = {}
        for ack in asked["acks"]:
            with LOCK:
                batch = self.waiting.get((channel, ack), [[], -1])
                batch[1] += 1
                is_new = batch[1] == 2
            if is_new:
                take(batch[0])
            out[str(ack)] = batch[1] >= 2
        raise Refusal(200, json.dumps({"acks": out}).encode())


class Datadog:
    def check(self, request, body):
        demand(request.path == "/api/v2/logs", f"path {request.path}", 404)
        if request.headers.get("DD-API-KEY") != SECRET:
            raise Refusal(403)
        demand(request.headers.get("Content-Type") == "application/json", "content type", 415)
        if len(body) > 5_000_000:
            raise Refusal(413)
        entries = json.loads(body)
        demand(isinstance(entries, list) and 1 <= len(entries) <= 1_000, "number of entries")
        events = []
        for entry in entries:
            demand(len(json.dumps(entry)) <= 1_000_000, "an entry is too long")
            for key in ("ddsource", "ddtags", "hostname", "service", "status", "message"):
                demand(isinstance(entry.get(key), str), f"{key} in {entry}")
            demand(isinstance(entry.get("timestamp"), int), f"timestamp in {entry}")
            events.append(json.loads(entry["message"]))
        if any(is_bad(event) for event in events):
            raise Refusal(400, b'{"errors":[{"detail":"bad event"}]}')
        return events

    def accept(self, events):
        take(events)
        return 202, b"{}"


class Sentinel:
    LIFE = 3
    INGEST = "/dataCollectionRules/dcr-0123/streams/Custom-Edgeward_CL?api-version=2023-01-01"
    COLUMNS = {"TimeGenerated", "EventId", "EventType", "Severity", "Event"}

    def __init__(self):
        self.tokens = {}
        self.given = 0

    def revoke(self):
        with LOCK:
            self.tokens.clear()

    def check(self, request, body):
        if request.path == "/directory-1/oauth2/v2.0/token":
            self.grant(request, body)
        demand(request.path == self.INGEST, f"path {request.path}", 404)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) < time.time():
            raise Refusal(401)
        demand(request.headers.get("Content-Type") == "application/json", "content type", 415)
        if len(body) > 1 << 20:
            raise Refusal(413)
        rows = json.loads(body)
        demand(isinstance(rows, list) and rows, "rows")
        for row in rows:
            demand(set(row) == self.COLUMNS, f"columns {row}")
            demand(re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", row["TimeGenerated"]), f"time {row}")
        if any(is_bad(row) for row in rows):
            raise Refusal(400, b'{"error":{"code":"InvalidPayload"}}')
        return [row["Event"] for row in rows]

    def grant(self, request, body):
        demand(request.headers.get("Content-Type") == "application/x-www-form-urlencoded", "content type")
        form = {key: values[0] for key, values in parse_qs(body.decode(), strict_parsing=True).items()}
        wanted = {"grant_type": "client_credentials", "client_id": "app-1", "scope": "https://monitor.azure.com/.default"}
        demand({**form, "client_secret": None} == {**wanted, "client_secret": None}, f"form {sorted(form)}")
        if form["client_secret"] != SECRET:
            raise Refusal(401, b'{"error":"invalid_client","error_description":"AADSTS7000215"}')
        with LOCK:
            self.given += 1
            token = f"token-{self.given}-{time.time()}"
            self.tokens[token] = time.time() + self.LIFE
        append("grants", [token])
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": self.LIFE}
        raise Refusal(200, json.dumps(answer).encode())

    def accept(self, events):
        take(events)
        return 204, b""


class Otlp:
    """Decoded by the messages that OpenTelemetry publishes."""

    def __init__(self):
        from google.protobuf import json_format
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

        self.messages, self.json_format = logs_service_pb2, json_format

    def check(self, request, body):
        demand(request.path == "/v1/logs", f"path {request.path}", 404)
        if request.headers.get("x-key") != SECRET:
            raise Refusal(401)
        self.is_json = request.headers["Content-Type"] == "application/json"
        message = self.messages.ExportLogsServiceRequest()
        if self.is_json:
            self.json_format.Parse(body, message)
        else:
            demand(request.headers["Content-Type"] == "application/x-protobuf", "content type", 415)
            message.ParseFromString(body)
        events = []
        for resource in message.resource_logs:
            names = {pair.key for pair in resource.resource.attributes}
            demand({"service.name", "host.name"} <= names, f"resource {names}")
            for scope in resource.scope_logs:
                demand(scope.scope.name == "edgeward", "scope")
                for record in scope.log_records:
                    event = json.loads(record.body.string_value)
                    ids = [it.value.string_value for it in record.attributes if it.key == "log.record.uid"]
                    demand(ids == [event["uuid"]], f"id {ids}")
                    demand(record.event_name == event["eventType"], "event name")
                    demand(record.severity_text == event["severity"] and record.severity_number in (5, 9, 13, 17), "severity")
                    demand(record.time_unix_nano > 0 and record.observed_time_unix_nano > 0, "time")
                    events.append(event)
        demand(events, "no records")
        if any(is_bad(event) for event in events):
            raise Refusal(400)
        return events

    def accept(self, events, rejected=0):
        take(events[rejected:])
        append("rejected", [event["uuid"] for event in events[:rejected]])
        answer = self.messages.ExportLogsServiceResponse()
        if rejected:
            answer.partial_success.rejected_log_records = rejected
            answer.partial_success.error_message = "too old"
        if self.is_json:
            return 200, self.json_format.MessageToJson(answer).encode()
        return 200, answer.SerializeToString()


RECEIVER = {"splunk": Splunk, "datadog": Datadog, "sentinel": Sentinel, "otlp": Otlp}[KIND]()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        try:
            checked = RECEIVER.check(self, body)
        except Refusal as refusal:
            if refusal.fault:
                append("faults", [refusal.fault])
            return self.answer(refusal.status, refusal.body)
        except Exception as error:
            append("faults", [repr(error)])
            return self.answer(400)
        self.act(next_word(), checked)

    def act(self, word, checked):
        if word == "slow":
            time.sleep(1)
        if word == "restart":
            RECEIVER.restart()
        if word in ("take", "slow", "restart"):
            self.answer(*RECEIVER.accept(checked))
        elif word == "partial":
            self.answer(*RECEIVER.accept(checked, 1))
        elif word == "lost":
            RECEIVER.accept(checked)
            self.close_connection = True
        elif word == "revoke":
            RECEIVER.revoke()
            self.answer(401)
        elif word == "hang":
            time.sleep(10)
            self.close_connection = True
        elif word == "garbage":
            self.wfile.write(b"\x00\x01 nothing of this is HTTP\r\n\r\n")
            self.close_connection = True
        elif word == "welcome":
            self.answer(200, b"<html>welcome to the network</html>")
        else:
            self.answer(int(word))

    def answer(self, status, body=b""):
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print("ready", flush=True)
server.serve_forever()
