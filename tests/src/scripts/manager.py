"""A service manager as far as the agent needs one: sd_notify(3) with its file descriptor store.

manager.py NOTIFY_SOCKET COMMAND...   SIGUSR1 restarts the command, SIGTERM ends both.
"""

import os
import select
import signal
import socket
import sys

path, argv = sys.argv[1], sys.argv[2:]
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
stored = {}
asked = []
signal.signal(signal.SIGUSR1, lambda *_: asked.append("restart"))
signal.signal(signal.SIGTERM, lambda *_: asked.append("end"))


def start():
    pid = os.fork()
    if pid:
        return pid
    environment = dict(os.environ, NOTIFY_SOCKET=path)
    if stored:
        names, descriptors = zip(*sorted(stored.items()))
        environment.update(
            LISTEN_PID=str(os.getpid()),
            LISTEN_FDS=str(len(names)),
            LISTEN_FDNAMES=":".join(names),
        )
        high = [os.dup(descriptor) for descriptor in descriptors]
        for index, descriptor in enumerate(high):
            os.dup2(descriptor, 3 + index)
    os.execve(argv[0], argv, environment)


def heard():
    message, descriptors, _, _ = socket.recv_fds(notify, 4096, 16)
    fields = dict(line.split("=", 1) for line in message.decode().splitlines() if "=" in line)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if fields.get("FDSTORE") == "1":
        for descriptor in descriptors:
            old = stored.get(fields["FDNAME"])
            stored[fields["FDNAME"]] = descriptor
            if old is not None:
                os.close(old)
    if fields.get("READY") == "1":
        print("ready with", len(stored), "stored", flush=True)


pid, starts = start(), 1
print("started", starts, flush=True)
while True:
    try:
        if select.select([notify], [], [], 0.02)[0]:
            heard()
    except InterruptedError:
        pass
    if not asked:
        continue
    wish = asked.pop(0)
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    print("ended with", os.waitstatus_to_exitcode(status), flush=True)
    if wish == "end":
        break
    pid, starts = start(), starts + 1
    print("started", starts, flush=True)
