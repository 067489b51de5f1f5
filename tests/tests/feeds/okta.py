"""As much of Okta's System Log API as a poller meets, pages of one event: python3 okta.py PORT FOLDER

FOLDER/events is a JSON list. Okta itself runs nowhere else; what is served here is what its documentation says."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        events = json.loads((FOLDER / "events").read_text())
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        print(self.path, flush=True)
        if self.headers.get("Authorization") != "SSWS okta-token":
            self.answer(401, {"errorCode": "E0000011", "errorSummary": "Invalid token provided"})
            return
        if url.path != "/api/v1/logs" or ("since" in query) == ("after" in query):
            self.answer(400, {"errorCode": "E0000053", "errorSummary": "since or after"})
            return
        at = int(query["after"][0].split("_")[1]) if "after" in query else 0
        page = events[at : at + 1]
        link = '<http://127.0.0.1:%d/api/v1/logs?after=1_%d&limit=1>; rel="next"' % (PORT, at + len(page))
        self.answer(200, page, ("Link", '<http://127.0.0.1:%d%s>; rel="self"' % (PORT, self.path)), ("Link", link))

    def answer(self, status, body, *headers):
        body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
