"""An OpenAI-compatible provider that costs next to nothing: raw protocol, fixed answers, a clock in every chunk.

The model's name says how it behaves, so that nothing has to be set up between runs:

    mock                  one JSON answer at once; streamed: 16 chunks as fast as they are read
    mock-c200-i25         streamed: 200 chunks, 25 ms apart
    mock-d60              the answer begins after 60 ms

Every content chunk holds `T[…]`: CLOCK_MONOTONIC in nanoseconds, in letters only so that no guard takes it for a number.
A client on the same machine subtracts it from its own clock and knows how long the chunk was on its way.
"""

import argparse
import asyncio
import gc
import json
import re
import signal
import time
from typing import cast

import uvloop

CHUNKS = 16
MODEL = re.compile(rb'"model"\s*:\s*"mock([^"]*)"')
OPTION = re.compile(rb"-([cid])(\d+)")
LETTERS = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")
ID = "chatcmpl-mockaaaaaaaaaaaaaaaaaaaaaaaa"
TEXT = (
    "Here is a short answer. The report compares three plans and recommends the second one, since it needs fewer "
    "changes and keeps the current schedule. The main open question is who will review the draft before it is sent to "
    "the customer next week. A longer note with the details follows in the appendix."
)


def answer(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    return b"data: %s\n\n" % compact(
        {
            "id": ID,
            "object": "chat.completion.chunk",
            "created": 1_750_000_000,
            "model": "mock",
            "system_fingerprint": "fp_mock",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        }
    )


USAGE = {"prompt_tokens": 211, "completion_tokens": 72, "total_tokens": 283}
COMPLETION = answer(
    b"200 OK",
    compact(
        {
            "id": ID,
            "object": "chat.completion",
            "created": 1_750_000_000,
            "model": "mock",
            "system_fingerprint": "fp_mock",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
        }
    ),
)
HEALTHY = answer(b"200 OK", b'{"status":"ok"}')
NOT_FOUND = answer(b"404 Not Found", b'{"error":{"message":"not found"}}')
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
ROLE = chunk(event({"role": "assistant", "content": ""}))
BEFORE_CLOCK, AFTER_CLOCK = event({"content": " word T[@]"}).split(b"@")
CHUNK_HEAD = b"%x\r\n%s" % (len(BEFORE_CLOCK) + 16 + len(AFTER_CLOCK), BEFORE_CLOCK)
CHUNK_TAIL = AFTER_CLOCK + b"\r\n"
FINISH = chunk(event({}, "stop"))
USAGE_EVENT = chunk(
    b"data: %s\n\n"
    % compact(
        {
            "id": ID,
            "object": "chat.completion.chunk",
            "created": 1_750_000_000,
            "model": "mock",
            "choices": [],
            "usage": USAGE,
        }
    )
)
DONE = chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection: a request at a time, keep-alive."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._busy = self._paused = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:

        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._busy = True

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        received = self._received
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        begin = head + 4
        lower = received[:begin].lower()
        at = lower.find(b"\r\ncontent-length:")
        if at >= 0:
            end = begin + int(lower[at + 17 : lower.find(b"\r\n", at + 2)])
        elif b"\r\ntransfer-encoding:" in lower:
            last = received.find(b"0\r\n\r\n", begin)
            end = last + 5 if last >= 0 else len(received) + 1
        else:
            end = begin
        if len(received) < end:
            return
        self._received = received[end:]
        self._busy = True
        self._answer(received[: received.find(b"\r\n")], received[begin:end])

    def _answer(self, line: bytes, body: bytes) -> None:
        if b"/chat/completions" not in line:
            self._transport.write(HEALTHY if line.startswith(b"GET ") else NOT_FOUND)
            self._done()
            return
        named = MODEL.search(body)
        options = {key: int(value) for key, value in OPTION.findall(named[1])} if named else {}
        streamed = b'"stream":true' in body or b'"stream": true' in body
        begin = self._stream if streamed else self._complete
        usage = b'"include_usage":true' in body or b'"include_usage": true' in body
        if delay_ms := options.get(b"d", 0):
            self._timer = self._loop.call_later(delay_ms / 1000, begin, options, usage)
        else:
            begin(options, usage)

    def _complete(self, _: dict[bytes, int], __: bool) -> None:
        self._transport.write(COMPLETION)
        self._done()

    def _stream(self, options: dict[bytes, int], usage: bool) -> None:
        self._transport.write(STREAM_HEAD + ROLE)
        self._chunks(options.get(b"c", CHUNKS), options.get(b"i", 0) / 1000, usage, self._loop.time())

    def _chunks(self, left: int, interval_s: float, usage: bool, due: float) -> None:
        if self._transport.is_closing():
            return
        if self._paused:
            self._timer = self._loop.call_later(0.001, self._chunks, left, interval_s, usage, due)
            return
        if not left:
            self._transport.write(FINISH + (USAGE_EVENT if usage else b"") + DONE)
            self._done()
            return
        self._transport.write(CHUNK_HEAD + (b"%016x" % time.monotonic_ns()).translate(LETTERS) + CHUNK_TAIL)
        due += interval_s
        self._timer = self._loop.call_at(due, self._chunks, left - 1, interval_s, usage, due)

    def _done(self) -> None:
        self._busy = False
        self._timer = None
        if self._received:
            self._loop.call_soon(self._next)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gc.freeze()
    gc.disable()
    await stop.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
