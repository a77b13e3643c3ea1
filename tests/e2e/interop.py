# The Python side of interop.sh, with the same words as interop.c.
import os
import sys
from multiprocessing import AuthenticationError, reduction
from multiprocessing.connection import Client, Listener

verb, address, key = sys.argv[1:4]
key = None if key == "-" else key.encode()
form, _, rest = address.partition(":")
if form == "tcp":
    host, _, port = rest.rpartition(":")
    where = (host.strip("[]"), int(port))
else:
    where = rest if form == "unix" else "\0" + rest


def say(*words):
    print(*words, flush=True)


def echo(c):
    while True:
        try:
            message = c.recv_bytes()
        except EOFError:
            return
        c.send_bytes(message)
        if message == b"handle":
            fd = reduction.recv_handle(c)
            os.write(fd, b"written")
            os.close(fd)


def serve(count):
    with Listener(where, backlog=8, authkey=key) as listener:
        got = listener.address
        say("tcp:%s:%d" % got if form == "tcp" else address)
        for _ in range(count):
            try:
                with listener.accept() as c:
                    echo(c)
            except (AuthenticationError, EOFError, ConnectionResetError) as e:
                say("accept:", type(e).__name__)


def ask():
    try:
        c = Client(where, authkey=key)
    except (AuthenticationError, EOFError, ConnectionResetError) as e:
        say("connect:", type(e).__name__)
        sys.exit(1)
    for n in 0, 1, 16384, 16385, 65536, 1 << 20, 8 << 20:
        message = bytes(i * 31 & 255 for i in range(1000)) * (n // 1000) + b"x" * (n % 1000)
        c.send_bytes(message)
        assert c.recv_bytes() == message, n
    if form != "tcp":
        r, w = os.pipe()
        c.send_bytes(b"handle")
        reduction.send_handle(c, w, None)
        os.close(w)
        assert os.read(r, 7) == b"written"
        assert c.recv_bytes() == b"handle"
    c.close()
    say("good")


if verb == "echo":
    serve(int(sys.argv[4]))
else:
    ask()
