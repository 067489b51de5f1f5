"""An application that people sign in to, in three ways.

`login.py PORT [SOCKET]` listens on 127.0.0.1. With a socket it reports each outcome of /login there before it answers,
as an application behind a proxy does that asks Edgeward: for the client in X-Edgeward-Client. The password is `right`; users whose name begins with `nobody` do not exist.

    POST /login        a form; 302, 401 or, for an unknown user, 404
    POST /word         HTTP Basic; always 200, X-Login-Result: in, wrong or unknown
    POST /api/login    {"user": {"mail", "password"}}; always 200, {"error": null or {"code"}}
    anything else      200
"""

import base64
import http.client
import http.server
import json
import socket
import socketserver
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 120

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/login":
            form = urllib.parse.parse_qs(body.decode())
            result = outcome(form["user"][0], form["password"][0])
            status = {"in": 302, "wrong": 401, "unknown": 404}[result]
            if SOCKET:
                report(self.headers["X-Edgeward-Client"], form["user"][0], result)
            return self.reply(status, b"", [("Location", "/home")] if status == 302 else [])
        if self.path == "/word":
            scheme, credentials = self.headers["Authorization"].split()
            user, password = base64.b64decode(credentials).decode().split(":")
            return self.reply(200, b"<html>", [("X-Login-Result", outcome(user, password))])
        if self.path == "/api/login":
            user = json.loads(body)["user"]
            result = outcome(user["mail"], user["password"])
            error = None if result == "in" else {"code": "E_" + result.upper()}
            # Long, so that it comes in several pieces.
            answer = {"padding": "x" * 3000, "error": error}
            return self.reply(200, json.dumps(answer).encode(), [("Content-Type", "application/json")])
        self.reply(200, b"ok", [])

    def do_GET(self):
        self.reply(200, b"ok", [])

    def reply(self, status, body, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def outcome(user, password):
    if user.startswith("nobody"):
        return "unknown"
    return "in" if password == "right" else "wrong"


def report(client, user, result):
    words = {"in": "success", "wrong": "failure", "unknown": "unknown-user"}
    signal = {"client": client, "user": user, "outcome": words[result], "path": "/login"}
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(SOCKET)
    connection.request("POST", "/v1/signals", json.dumps(signal), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200 or json.load(answer)["accepted"] != 1:
        raise OSError(f"the report was answered {answer.status}")
    connection.close()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256


SOCKET = sys.argv[2] if len(sys.argv) > 2 else None
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
