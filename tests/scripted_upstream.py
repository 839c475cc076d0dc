"""An upstream that does exactly what a test says, byte by byte, and remembers what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"hello there"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"
DONE = b"[DONE]"
USAGE = b'{"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}'


@dataclass
class Asked:
    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)  # A client has closed its connection.


Script = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""What to send for the nth request (from 0). Returning keeps the connection; closing the writer ends it."""


def answer(status: int, body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in ("content-type: application/json", *headers))
    return f"HTTP/1.1 {status} Any\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body


def event(data: bytes) -> bytes:
    """One SSE event as one chunk of a chunked body."""
    text = b"data: " + data + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(text), text)


def delta(content: str = "", *, role: str = "", finish: str = "") -> bytes:
    inner = (f'"role":"{role}",' if role else "") + f'"content":"{content}"'
    reason = f'"{finish}"' if finish else "null"
    return f'{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{{inner}}},"finish_reason":{reason}}}]}}'.encode()


def always(*pieces: bytes) -> Script:
    async def script(_: int, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)

    return script


@asynccontextmanager
async def upstream(script: Script) -> AsyncIterator[Upstream]:
    served = Upstream()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                served.asked.append(Asked(head[0], headers, body))
                watching = asyncio.ensure_future(_end_of(reader, served))
                try:
                    await script(len(served.asked) - 1, writer)
                    if writer.is_closing():
                        return
                finally:
                    watching.cancel()
        except (asyncio.IncompleteReadError, ConnectionError):
            served.left.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    served.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield served
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _end_of(reader: asyncio.StreamReader, served: Upstream) -> None:
    """Sees a client leave while the script is still busy."""
    while not (reader.at_eof() or reader.exception()):  # A connection that is reset has no end.
        await asyncio.sleep(0.002)
    served.left.set()
