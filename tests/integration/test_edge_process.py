"""The edge as it runs: its own process, its own NATS permissions, real servers, and a listening socket that outlives it."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
from patience import NATS_S, PATIENCE_S
from ports import free_port

from llmproxy import common
from llmproxy.common import keyring, signatures
from llmproxy.common.bus import Answer, Bus
from llmproxy.common.channels import CONFIG_BUCKET, KEYS_BUCKET, REQUEST_INSPECT
from llmproxy.common.config import Config, Endpoint, Gateway, Limit, Limits, Snapshot
from llmproxy.common.envelope import Envelope
from llmproxy.common.frames import Data, End, Failure, Head
from llmproxy.common.keyring import KeyRecord
from llmproxy.common.nats_wire import NatsWire
from llmproxy.launcher.embedded import EmbeddedServers

KEY = keyring.generate()
HEADERS = {"Authorization": f"Bearer {KEY}"}
CHAT = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
WHOLE = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[]}'
CHUNK = Data(msgspec.Raw(b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'))
HEAD = Head(endpoint="main", provider="demo", model="demo")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with EmbeddedServers(tmp_path_factory.mktemp("data"), durable=False, which=("nats", "redis")) as started:
        yield started


class Edges:
    """Edge processes that share one listening socket, as under the supervisor."""

    def __init__(self, servers: EmbeddedServers, folder: Path, lost_s: float, packages: Path | None) -> None:
        self._servers, self._folder, self._lost_s, self._count = servers, folder, lost_s, 0
        self._found_first = {"PYTHONPATH": str(packages)} if packages is not None else {}
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.running: list[subprocess.Popen[bytes]] = []

    async def start(self) -> subprocess.Popen[bytes]:
        """Returns when it is ready."""
        probes = free_port()
        process = self._spawn(probes)
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            while True:
                assert process.poll() is None, "the edge ended at once"
                try:
                    async with session.get(f"http://127.0.0.1:{probes}/readyz") as response:
                        if response.status == 200:
                            return process
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.02)

    def _spawn(self, probes: int) -> subprocess.Popen[bytes]:
        self._count += 1
        fd = self.listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-m", "llmproxy.edge"],
            pass_fds=[fd],
            env={
                **os.environ,
                **self._found_first,
                "LLM_PROXY_NATS_URL": self._servers.nats_address,
                "LLM_PROXY_NATS_USER": "edge",
                "LLM_PROXY_NATS_PASSWORD": self._servers.nats_password("edge"),
                "LLM_PROXY_REDIS_URL": self._servers.redis_url,
                "LLM_PROXY_INSTANCE": f"edge-{self._count}",
                "LLM_PROXY_PROBES_PORT": str(probes),
                "LLM_PROXY_LISTEN_FD": str(fd),
                "LLM_PROXY_SPOOL_DIR": str(self._folder / "spool"),
                # Above any pause of a client: until then each of its connections has had an answer that says that it ends.
                "LLM_PROXY_LINGER_S": str(PATIENCE_S / 2),
                "LLM_PROXY_NATS_TIMEOUT_S": str(NATS_S),
                "LLM_PROXY_LOST_S": str(self._lost_s),
            },
            stderr=(self._folder / f"edge-{self._count}.log").open("wb"),
        )
        self.running.append(process)
        return process

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.listener.close()


def answers(envelope: Envelope, answer: Answer) -> None:
    if envelope.api == "probe":
        answer.send(HEAD, End())
    elif envelope.stream:
        answer.send(HEAD, CHUNK)
        answer.send(CHUNK, End())
    else:
        answer.send(HEAD, Data(msgspec.Raw(WHOLE)), End(provider_ms=1))


@asynccontextmanager
async def stage(servers: EmbeddedServers, script=answers) -> AsyncIterator[Bus]:
    wire = await NatsWire.connect(
        servers.nats_address,
        user="shield",
        password=servers.nats_password("shield"),
        service="shield",
        timeout_s=NATS_S,
    )
    bus = Bus(wire, service="shield", instance=f"shield-{time.monotonic_ns()}")
    await bus.start()
    await bus.serve(REQUEST_INSPECT, script, max_in_flight=5_000)
    try:
        yield bus
    finally:
        await bus.drain(PATIENCE_S)


async def configure(servers: EmbeddedServers, limits: Limits | None = None) -> None:
    """What admin does."""
    wire = await NatsWire.connect(
        servers.nats_address,
        user="admin",
        password=servers.nats_password("admin"),
        service="admin",
        timeout_s=NATS_S,
    )
    await wire.provision()
    endpoints = {"main": Endpoint(provider="demo", models=("demo",))}
    grace_ms = 1_000 * int(PATIENCE_S)  # Longer than a stage needs to start, on any machine.
    config = Config(endpoints=endpoints, limits=limits or Limits(), gateway=Gateway(grace_ms=grace_ms))
    await (await wire.bucket(CONFIG_BUCKET)).put(
        "current", msgspec.json.encode(Snapshot(revision=time.monotonic_ns(), config=config))
    )
    digest = keyring.hash_key(KEY)
    record = KeyRecord(id=keyring.key_id(digest), hash=digest, tenant="acme")
    await (await wire.bucket(KEYS_BUCKET)).put(digest, msgspec.json.encode(record))
    await wire.close()


@asynccontextmanager
async def edges(
    servers: EmbeddedServers, folder: Path, lost_s: float = PATIENCE_S, packages: Path | None = None
) -> AsyncIterator[Edges]:
    """`lost_s`: how long they wait for a sign of whoever holds a request, for a test that kills him; `packages`: where their code is looked
    for first."""
    started = Edges(servers, folder, lost_s, packages)
    try:
        yield started
    finally:
        started.stop()


def test_answers_streams_large_bodies_and_readiness(servers: EmbeddedServers, tmp_path: Path) -> None:
    async def run() -> None:
        limit = Limit(requests_per_minute=6000, burst=1000, concurrency=50)
        # Who has once been answered too late notes it until the next request; there is none below.
        await configure(servers, Limits(key=limit, redis_timeout_ms=1_000 * int(PATIENCE_S)))
        async with (
            stage(servers),
            edges(servers, tmp_path) as edge,
            aiohttp.ClientSession(headers=HEADERS) as client,
        ):
            await edge.start()
            url = f"{edge.url}/v1/chat/completions"
            async with client.post(url, json=CHAT) as response:
                assert (response.status, await response.read()) == (200, WHOLE)
                assert response.headers["x-ratelimit-limit-requests"] == "6000"
            async with client.post(url, json={**CHAT, "stream": True}) as response:
                assert (await response.read()).endswith(b"data: [DONE]\n\n")
            async with client.post(url, json={**CHAT, "pad": "x" * (3 << 20)}) as response:
                assert response.status == 200
            async with client.get(f"{edge.url}/v1/models") as response:
                assert [model["id"] for model in (await response.json())["data"]] == ["demo"]
            async with asyncio.timeout(PATIENCE_S):  # A probe of the path waits a second.
                while True:
                    async with client.get(f"{edge.url}/readyz") as response:
                        said = await response.json()
                    if (response.status, said) == (200, {"ready": True, "blockers": {}, "notes": {}}):
                        break
            async with client.post(url, json=CHAT, headers={"Authorization": "Bearer wrong"}) as response:
                assert response.status == 401
        assert KEY not in (tmp_path / "edge-1.log").read_text()

    asyncio.run(run())


def one_signature(words: str) -> str:
    return f"""version: 1
vocabulary: {{}}
signatures:
  - {{id: own.heron, category: override, severity: high, source: field, pattern: '{words}', why: 'Nobody else says so.'}}
"""


def own_signatures(folder: Path) -> Path:
    """The shared library as it is installed somewhere else, with hardly any signatures, which are made ready in no time."""
    package = folder / "llmproxy" / "common"
    shutil.copytree(Path(common.__file__).parent, package)
    (package / signatures.PREPARED).unlink()
    for name in signatures.DATA:
        (package / name).write_text("version: 1\nvocabulary: {}\nsignatures: []\n")
    return package / signatures.DATA[-1]


def test_an_edge_that_runs_takes_over_what_is_written_to_its_files_of_signatures(
    servers: EmbeddedServers, tmp_path: Path
) -> None:
    async def run() -> None:
        await configure(servers)
        file = own_signatures(tmp_path)
        async with (
            stage(servers),
            edges(servers, tmp_path, packages=tmp_path) as edge,
            aiohttp.ClientSession(headers=HEADERS) as client,
        ):
            await edge.start()

            async def becomes(status: int, words: str) -> None:
                body = {"model": "demo", "messages": [{"role": "user", "content": f"the {words} flies"}]}
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        async with client.post(f"{edge.url}/v1/chat/completions", json=body) as response:
                            if response.status == status:
                                return
                        await asyncio.sleep(0.05)

            await becomes(200, "blue heron")
            for words in ("blue heron", "grey heron"):
                file.write_text(one_signature(words))
                await becomes(400, words)
            await becomes(200, "blue heron")

    asyncio.run(run())


def test_a_rolling_restart_under_load_loses_no_request(servers: EmbeddedServers, tmp_path: Path) -> None:
    async def slow(envelope: Envelope, answer: Answer) -> None:
        if envelope.stream:
            answer.send(HEAD, CHUNK)
            await asyncio.sleep(0.2)
        answers(envelope, answer)

    failures: list[str] = []
    answered = [0]

    async def client(url: str, stop: asyncio.Event, stream: bool) -> None:
        """Keep-alive connections and no retries: what is lost is seen."""
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            while not stop.is_set():
                try:
                    async with session.post(url, json={**CHAT, "stream": stream}) as response:
                        body = await response.read()
                        if response.status != 200 or (stream and not body.endswith(b"data: [DONE]\n\n")):
                            failures.append(f"{response.status} {body[:200]!r}")
                        answered[0] += 1
                except aiohttp.ClientError as error:
                    failures.append(repr(error))
                await asyncio.sleep(0.005)

    async def run() -> None:
        await configure(servers)
        async with stage(servers, slow), edges(servers, tmp_path) as edge:
            first = await edge.start()
            stop = asyncio.Event()
            url = f"{edge.url}/v1/chat/completions"
            clients = [asyncio.create_task(client(url, stop, number % 2 == 0)) for number in range(20)]
            for _ in range(2):
                second = await edge.start()
                first.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(first.wait, PATIENCE_S) == 0
                first = second
            async with asyncio.timeout(PATIENCE_S):
                while answered[0] <= 200:
                    await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*clients)
            assert failures == []

    asyncio.run(run())


def test_a_restart_keeps_its_instance_name_and_every_record(servers: EmbeddedServers, tmp_path: Path) -> None:
    """Message ids must differ between two lives of one instance, or JetStream would drop the second's records."""

    async def run() -> None:
        await configure(servers)
        wire = await NatsWire.connect(
            servers.nats_address,
            user="audit",
            password=servers.nats_password("audit"),
            service="audit",
            timeout_s=NATS_S,
        )
        seen: list[str] = []

        async def keep(messages: list[tuple[int, bytes]]) -> None:
            for _, payload in messages:
                seen.extend(record["id"] for record in json.loads(payload)["records"])

        await wire.consume("AUDIT", "audit", "llmproxy.v1.audit.*", keep)
        async with stage(servers), aiohttp.ClientSession(headers=HEADERS) as session:
            sent: list[str] = []
            for life in range(2):
                async with edges(servers, tmp_path / str(life)) as edge:
                    (tmp_path / str(life)).mkdir()
                    await edge.start()
                    for _ in range(5):
                        async with session.post(f"{edge.url}/v1/chat/completions", json=CHAT) as response:
                            assert response.status == 200
                            sent.append(response.headers["x-request-id"])
            async with asyncio.timeout(PATIENCE_S):
                while not set(sent) <= set(seen):
                    await asyncio.sleep(0.02)
            assert len(seen) == len(set(seen))
        await wire.close()

    asyncio.run(run())


def test_a_client_that_does_not_read_costs_a_bounded_amount_of_memory(servers: EmbeddedServers, tmp_path: Path) -> None:
    async def flood(envelope: Envelope, answer: Answer) -> None:
        if envelope.api == "probe" or not envelope.stream:
            answers(envelope, answer)
            return
        try:
            answer.send(HEAD)
            while True:
                answer.send(*[Data(msgspec.Raw(b'"' + b"x" * 10_000 + b'"'))] * 10)
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            cancelled.append(envelope.id)
            raise

    cancelled: list[str] = []

    async def run() -> None:
        await configure(servers)
        async with stage(servers, flood), edges(servers, tmp_path) as edge, aiohttp.ClientSession() as session:
            process = await edge.start()
            before = rss_mb(process.pid)
            address = edge.listener.getsockname()
            writers = []
            body = json.dumps({**CHAT, "stream": True}).encode()
            for _ in range(10):
                _, writer = await asyncio.open_connection(*address, limit=1024)
                writer.write(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"x-api-key: %b\r\nContent-Length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
                )
                writers.append(writer)
            async with asyncio.timeout(PATIENCE_S):
                while len(cancelled) < 10:
                    await asyncio.sleep(0.02)
            url = f"{edge.url}/v1/chat/completions"
            async with session.post(url, json=CHAT, headers=HEADERS) as response:
                assert response.status == 200
            assert rss_mb(process.pid) - before < 10 * 3
            for writer in writers:
                writer.close()

    asyncio.run(run())


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def test_the_openai_package_understands_answers_streams_and_errors(servers: EmbeddedServers, tmp_path: Path) -> None:
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "demo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    }
    part = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "demo",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": None}],
    }

    def script(envelope: Envelope, answer: Answer) -> None:
        content = msgspec.json.decode(envelope.body)["messages"][0]["content"] if envelope.api == "chat" else ""
        if content == "fail":
            answer.send(Failure(code="provider_quota_exceeded", message="the budget is spent"))
        elif content == "break":
            answer.send(HEAD, Data(msgspec.Raw(msgspec.json.encode(part))))
            answer.send(Failure(code="provider_stream_broken", message="it broke"))
        elif envelope.stream:
            answer.send(HEAD, *[Data(msgspec.Raw(msgspec.json.encode(part)))] * 3, End())
        elif envelope.api == "chat":
            answer.send(HEAD, Data(msgspec.Raw(msgspec.json.encode(whole))), End())
        else:
            answer.send(HEAD, End())

    def says(content: str) -> Any:
        return [{"role": "user", "content": content}]

    async def run() -> None:
        await configure(servers)
        async with stage(servers, script), edges(servers, tmp_path) as edge:
            await edge.start()
            base = f"{edge.url}/v1"
            async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=2) as client:
                chat = client.chat.completions
                assert (await chat.create(model="demo", messages=says("x"))).choices[0].message.content == "hi"
                raw = await chat.with_raw_response.create(model="demo", messages=says("x"))
                assert raw.headers["x-llmproxy-provider"] == "demo"
                assert raw.request_id == raw.headers["x-request-id"]
                stream = await chat.create(model="demo", messages=says("x"), stream=True)
                assert [event.choices[0].delta.content async for event in stream] == ["hi"] * 3
                assert [model.id async for model in client.models.list()] == ["demo"]
                assert (await client.models.retrieve("demo")).id == "demo"
                with pytest.raises(openai.NotFoundError) as missing:
                    await chat.create(model="nope", messages=says("x"))
                assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
                with pytest.raises(openai.RateLimitError) as spent:  # And not retried: x-should-retry is false.
                    await chat.create(model="demo", messages=says("fail"))
                assert spent.value.code == "provider_quota_exceeded"
                broken = await chat.create(model="demo", messages=says("break"), stream=True)
                with pytest.raises(openai.APIError, match="it broke"):
                    [event async for event in broken]
            async with openai.AsyncOpenAI(base_url=base, api_key="sk-wrong", max_retries=0) as client:
                with pytest.raises(openai.AuthenticationError) as wrong:
                    await client.models.list()
                assert wrong.value.code == "invalid_api_key"

    asyncio.run(run())


MORTAL_STAGE = """
import asyncio, sys
import msgspec
from llmproxy.common.bus import Bus
from llmproxy.common.channels import REQUEST_INSPECT
from llmproxy.common.frames import Data, End, Head
from llmproxy.common.nats_wire import NatsWire

address, password, timeout_s, instance, fate = sys.argv[1:]
serving = asyncio.Event()

async def handle(envelope, answer):
    await serving.wait()  # What waits for it may come before it has been said that it is served.
    if envelope.api != "probe":
        print("holding", flush=True)
        if fate == "is killed":
            await asyncio.Event().wait()
    answer.send(Head(provider="demo"), Data(msgspec.Raw(b"{}")), End())

async def main():
    wire = await NatsWire.connect(address, user="shield", password=password, service="shield", timeout_s=float(timeout_s))
    bus = Bus(wire, service="shield", instance=instance)
    await bus.start()
    await bus.serve(REQUEST_INSPECT, handle, max_in_flight=5000)
    print("serving", flush=True)
    serving.set()
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_killing_the_only_stage_three_times_under_200_requests_fails_none(
    servers: EmbeddedServers, tmp_path: Path
) -> None:
    kills = 3

    def mortal(number: int) -> subprocess.Popen[bytes]:
        fate = "is killed" if number < kills else "lives"
        arguments = [servers.nats_address, servers.nats_password("shield"), str(NATS_S), f"mortal-{number}", fate]
        process = subprocess.Popen([sys.executable, "-c", MORTAL_STAGE, *arguments], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        return process

    def holding(process: subprocess.Popen[bytes]) -> None:
        """Some requests have been announced by now, and some not."""
        assert process.stdout is not None
        for _ in range(25):
            assert process.stdout.readline() == b"holding\n"

    async def run() -> None:
        await configure(servers)
        living = await asyncio.to_thread(mortal, 0)
        try:
            async with (
                edges(servers, tmp_path, lost_s=5.0) as edge,
                aiohttp.ClientSession(headers=HEADERS, connector=aiohttp.TCPConnector(limit=0)) as session,
            ):
                await edge.start()

                async def ask() -> tuple[int, int]:
                    async with session.post(f"{edge.url}/v1/chat/completions", json=CHAT) as response:
                        await response.read()
                        return response.status, int(response.headers.get("x-llmproxy-attempts", 0))

                asking = [asyncio.create_task(ask()) for _ in range(200)]
                for number in range(1, kills + 1):
                    await asyncio.to_thread(holding, living)
                    living.kill()
                    living.wait()
                    living = await asyncio.to_thread(mortal, number)
                    asking += [asyncio.create_task(ask()) for _ in range(50)]
                answers = await asyncio.gather(*asking)
                assert {status for status, _ in answers} == {200}
                assert max(attempts for _, attempts in answers) > 1
        finally:
            living.kill()
            living.wait()

    asyncio.run(run())
