"""A WebSocket client: `websocket.py URL CLIENT ROUNDS`

Sends ROUNDS texts and binary messages of growing length and expects each back; before every round it waits for a line
on standard input if ROUNDS is followed by `step`. Prints "echoed N" behind each round; ends with 0 after all.
"""

import asyncio
import sys

import websockets


async def main(url, client, rounds, step):
    headers = {"X-Forwarded-For": client} if client != "-" else {}
    options = {"extra_headers": headers, "max_size": None, "ping_interval": None}
    async with websockets.connect(url, **options) as socket:
        for number in range(rounds):
            for message in [f"round {number}", bytes([number]) * (1 << min(number * 4, 20)), ""]:
                await socket.send(message)
                answer = await asyncio.wait_for(socket.recv(), 10)
                if answer != message:
                    sys.exit(f"another echo in round {number}")
            print(f"echoed {number}", flush=True)
            if step:
                await asyncio.sleep(0.2)


try:
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), "step" in sys.argv[4:]))
except websockets.exceptions.InvalidStatusCode as refusal:
    print(f"refused {refusal.status_code}", flush=True)
    sys.exit(3)
