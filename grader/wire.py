"""Messages over a socket: a length, then that many bytes, with a deadline for the whole message."""

import json
import socket
import struct
import time
from typing import Any

LENGTH = struct.Struct(">Q")
MAX_MESSAGE = 256 << 20  # bytes; jobs and manifests are ours, outcomes have their own tighter limit


class Closed(Exception):
    """The other side has gone."""


class Late(Exception):
    """The deadline passed before the whole message was there."""


def send_json(sock: socket.socket, message: Any) -> None:
    text = json.dumps(message).encode()
    sock.sendall(LENGTH.pack(len(text)) + text)


def receive_json(sock: socket.socket) -> Any:
    (size,) = LENGTH.unpack(receive_bytes(sock, LENGTH.size))
    if size > MAX_MESSAGE:
        raise Closed(f"a message of {size} bytes is not one of ours")
    return json.loads(receive_bytes(sock, size))


def receive_bytes(sock: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """Exactly `size` bytes, read before `deadline` (in seconds of time.monotonic).

    Raises:
        Closed: the stream ended first.
        Late: the deadline came first.
    """
    parts = []
    while size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late
            sock.settimeout(left)
        try:
            part = sock.recv(min(size, 1 << 20))
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Closed(str(error)) from None
        if not part:
            raise Closed("the stream ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
