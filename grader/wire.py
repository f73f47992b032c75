"""Messages over a socket: a length, then that many bytes, with a deadline for the whole message."""

import json
import socket
import struct
import time
from typing import Any

LENGTH = struct.Struct(">Q")
PIECE = 1 << 16  # bytes read at once
GATHER_SECONDS = 0.01
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
        parts.append(_part(sock, size, deadline))
        size -= len(parts[-1])
    return b"".join(parts)


class Stream:
    """The bytes of a socket that nobody else reads, fetched many at a time.

    Between two reads it waits a moment, for more to come: to be woken for each frame takes longer than to decode it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock, self._held, self._empty = sock, bytearray(), False

    def take(self, size: int, deadline: float) -> bytes:
        """The next bytes; see receive_bytes."""
        while len(self._held) < size:
            if self._empty:
                time.sleep(GATHER_SECONDS)
            part = _part(self._sock, PIECE, deadline)
            self._empty = len(part) < PIECE
            self._held += part
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


def _part(sock: socket.socket, most: int, deadline: float | None) -> bytes:
    if deadline is not None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Late
        sock.settimeout(left)
    try:
        part = sock.recv(min(most, PIECE))
    except TimeoutError:
        raise Late from None
    except OSError as error:
        raise Closed(str(error)) from None
    if not part:
        raise Closed("the stream ended")
    return part
