"""Messages over a socket: whole or not at all, and never later than the deadline."""

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from grader.wire import LENGTH, MAX_MESSAGE, PIECE, Closed, Late, Stream, receive_bytes, receive_json, send_json


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("message", [None, 3, "½ \ud800", [], {"rows": [{"name": "a", "weight": 0.5}]}])
def test_message_arrives_as_it_was_sent(pair: Pair, message: object) -> None:
    send_json(pair[0], message)
    assert receive_json(pair[1]) == message


def test_messages_arrive_one_by_one_in_order(pair: Pair) -> None:
    for number in range(3):
        send_json(pair[0], number)
    assert [receive_json(pair[1]) for _ in range(3)] == [0, 1, 2]


def test_message_larger_than_the_buffers_arrives(pair: Pair) -> None:
    message = "x" * (3 << 20)
    sender = threading.Thread(target=send_json, args=(pair[0], message))
    sender.start()
    assert receive_json(pair[1]) == message
    sender.join()


def test_message_in_pieces_is_put_together(pair: Pair) -> None:
    text = json.dumps([1, 2]).encode()
    whole = LENGTH.pack(len(text)) + text

    def dribble() -> None:
        for i in range(len(whole)):
            pair[0].sendall(whole[i : i + 1])

    sender = threading.Thread(target=dribble)
    sender.start()
    assert receive_json(pair[1]) == [1, 2]
    sender.join()


def test_announced_length_beyond_the_limit_is_refused_before_it_is_read(pair: Pair) -> None:
    pair[0].sendall(struct.pack(">Q", MAX_MESSAGE + 1))
    with pytest.raises(Closed, match=rf"^a message of {MAX_MESSAGE + 1} bytes is not one of ours$"):
        receive_json(pair[1])


@pytest.mark.parametrize("sent", [b"", b"\0\0", struct.pack(">Q", 5) + b"12"])
def test_stream_that_ends_too_early_is_closed(pair: Pair, sent: bytes) -> None:
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(Closed, match=r"^the stream ended$"):
        receive_json(pair[1])


def test_broken_socket_is_closed(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(Closed, match="Bad file descriptor"):
        receive_bytes(pair[1], 3)


def test_bytes_beyond_the_size_are_left_for_the_next(pair: Pair) -> None:
    pair[0].sendall(b"abcdef")
    assert receive_bytes(pair[1], 4) == b"abcd"
    assert receive_bytes(pair[1], 2) == b"ef"
    assert receive_bytes(pair[1], 0) == b""


def test_silence_ends_at_the_deadline(pair: Pair) -> None:
    start = time.monotonic()
    with pytest.raises(Late):
        receive_bytes(pair[1], 1, start + 0.05)
    assert 0.04 < time.monotonic() - start < 2


def test_deadline_is_that_of_the_whole_message_and_not_of_each_piece(pair: Pair) -> None:
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.01):
            pair[0].sendall(b"x")

    sender = threading.Thread(target=dribble)
    sender.start()
    try:
        start = time.monotonic()
        with pytest.raises(Late):
            receive_bytes(pair[1], 10_000, start + 0.1)
        assert time.monotonic() - start < 2
    finally:
        stop.set()
        sender.join()


def test_deadline_that_has_passed_reads_nothing(pair: Pair) -> None:
    pair[0].sendall(b"abc")
    with pytest.raises(Late):
        receive_bytes(pair[1], 3, time.monotonic() - 1)
    assert receive_bytes(pair[1], 3) == b"abc"


def test_stream_gives_its_bytes_in_order_whatever_came_at_once(pair: Pair) -> None:
    sent = bytes(range(256)) * (PIECE // 128)
    sender = threading.Thread(target=pair[0].sendall, args=(sent,))
    sender.start()
    stream, deadline = Stream(pair[1]), time.monotonic() + 5
    taken = [stream.take(size, deadline) for size in (8, 0, 1, PIECE, len(sent) - PIECE - 9)]
    sender.join()
    assert [len(part) for part in taken] == [8, 0, 1, PIECE, len(sent) - PIECE - 9]
    assert b"".join(taken) == sent


def test_stream_that_drips_is_late_and_one_that_ends_is_closed(pair: Pair) -> None:
    pair[0].sendall(b"abc")
    with pytest.raises(Late):
        Stream(pair[1]).take(8, time.monotonic() + 0.05)
    pair[0].close()
    with pytest.raises(Closed):
        Stream(pair[1]).take(8, time.monotonic() + 5)
