"""Python's own HTTP clients: `clients.py ADDRESS PORT CLIENT…`

With each client in X-Forwarded-For once by urllib, on a connection of its own, and twice by http.client, all on one
connection. Prints one line of JSON: {"urllib": [status…], "http.client": [status…], "connections": 1}
"""

import http.client
import json
import sys
import urllib.error
import urllib.request

host, port, clients = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def by_urllib(client):
    request = urllib.request.Request(
        f"http://{authority}/sign-in", data=b"user=a", headers={"X-Forwarded-For": client}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as refusal:
        refusal.read()
        return refusal.code


connection = http.client.HTTPConnection(host, port, timeout=10)
connection.connect()
first = connection.sock
statuses = []
for client in clients * 2:
    connection.request("GET", "/", headers={"X-Forwarded-For": client})
    answer = connection.getresponse()
    answer.read()
    statuses.append(answer.status)
    if connection.sock is not first:
        sys.exit("the connection was closed behind a request")
print(json.dumps({"urllib": [by_urllib(client) for client in clients], "http.client": statuses}))
