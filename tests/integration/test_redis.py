"""The Redis client against a real server that is slow, gone, forgetful or restarted: a bounded wait, never a wrong answer."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from llmproxy.common.errors import Unavailable
from llmproxy.common.redis import FAILURES_TO_OPEN, OPEN_S, Redis
from llmproxy.common.testing import FakeClock

BUDGET_S = 0.1
MARGIN_S = 0.4  # For a busy machine; still far from any of redis-py's own retries.
ECHO = "return {KEYS[1], ARGV[1], 7}"


class Server:
    """A redis-server that can be stopped, frozen and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.folder = folder
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        program = Path(sys.executable).with_name("redis-server")
        self.process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"PING\r\n")
                    if connection.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.kill()


def run(server: Server, scenario: Callable[[Redis, FakeClock], Awaitable[None]], timeout_s: float = BUDGET_S) -> None:
    async def main() -> None:
        clock = FakeClock()
        redis = Redis(server.url, timeout_s=timeout_s, monotonic=clock)
        try:
            async with asyncio.timeout(60):
                await scenario(redis, clock)
        finally:
            await redis.close()

    asyncio.run(main())


async def refused(redis: Redis) -> float:
    """Seconds until the client said that Redis is not available."""
    began = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await redis.ping()
    assert caught.value.code == "limits_unavailable"
    return time.monotonic() - began


async def break_it(redis: Redis) -> None:
    for _ in range(FAILURES_TO_OPEN):
        await refused(redis)


def test_a_script_gets_its_keys_and_arguments_and_answers_a_list(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        assert await redis.script(ECHO)(["k"], ["a"]) == [b"k", b"a", 7]
        await redis.ping()
        assert redis.available

    run(server, scenario, 5)


def test_a_script_that_the_server_forgot_is_loaded_again(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        await redis.guarded(lambda client: client.script_flush())
        assert await script(["k"], ["b"]) == [b"k", b"b", 7]

    run(server, scenario, 5)


def test_a_restart_is_survived_without_an_error(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        server.kill()
        server.start()
        assert await script(["k"], ["b"]) == [b"k", b"b", 7]
        assert redis.available

    run(server, scenario, 5)


def test_more_callers_than_connections_wait_instead_of_failing(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        replies = await asyncio.gather(*(script([f"k{n}"], [str(n)]) for n in range(500)))
        assert replies == [[f"k{n}".encode(), str(n).encode(), 7] for n in range(500)]
        assert redis.available

    run(server, scenario, 20)


def test_a_frozen_server_costs_the_budget_and_no_more(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        await redis.ping()
        server.freeze()
        assert BUDGET_S <= await refused(redis) < BUDGET_S + MARGIN_S

    run(server, scenario)


def test_a_server_that_is_gone_costs_at_most_the_budget(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        await redis.ping()
        server.kill()
        assert await refused(redis) < BUDGET_S + MARGIN_S

    run(server, scenario)


def test_after_failures_in_a_row_it_refuses_without_asking(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        server.freeze()
        await break_it(redis)
        assert not redis.available
        server.thaw()
        asked = False

        async def ask(_: object) -> object:
            nonlocal asked
            asked = True
            return None

        with pytest.raises(Unavailable):
            await redis.guarded(ask)
        assert not asked

    run(server, scenario)


def test_one_call_finds_out_whether_it_is_back_and_the_others_do_not_wait(server: Server) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        server.freeze()
        await break_it(redis)
        clock.advance(OPEN_S)
        asked = 0

        async def ask(_: object) -> object:
            nonlocal asked
            asked += 1
            await asyncio.Event().wait()

        results = await asyncio.gather(*(redis.guarded(ask) for _ in range(50)), return_exceptions=True)
        assert asked == 1
        assert all(isinstance(one, Unavailable) for one in results)

    run(server, scenario)


def test_it_is_used_again_once_it_answers(server: Server) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        script = redis.script(ECHO)
        server.freeze()
        await break_it(redis)
        server.thaw()
        clock.advance(OPEN_S)
        assert await script(["k"], ["a"]) == [b"k", b"a", 7]
        assert redis.available

    run(server, scenario, 0.3)


def test_fewer_failures_than_the_limit_are_forgotten_by_a_success(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        for _ in range(3):
            server.freeze()
            for _ in range(FAILURES_TO_OPEN - 1):
                await refused(redis)
            server.thaw()
            await asyncio.sleep(0)
            assert await redis.script(ECHO)(["k"], ["a"]) == [b"k", b"a", 7]

    run(server, scenario, 0.3)


def test_a_late_reply_is_never_taken_for_another_calls(server: Server) -> None:
    async def scenario(redis: Redis, clock: FakeClock) -> None:
        script = redis.script(ECHO)
        await asyncio.gather(*(script([f"warm{n}"], ["x"]) for n in range(8)))
        server.freeze()
        late = await asyncio.gather(*(script([f"late{n}"], ["x"]) for n in range(8)), return_exceptions=True)
        assert all(isinstance(one, Unavailable) for one in late)
        server.thaw()
        clock.advance(OPEN_S)
        await redis.ping()
        for number in range(40):
            assert await script([f"new{number}"], [str(number)]) == [f"new{number}".encode(), str(number).encode(), 7]

    run(server, scenario, 0.5)


def test_a_cancelled_call_leaves_the_client_usable(server: Server) -> None:
    async def scenario(redis: Redis, _: FakeClock) -> None:
        script = redis.script(ECHO)
        await script(["k"], ["a"])
        server.freeze()
        calls = [asyncio.ensure_future(script([f"k{n}"], ["a"])) for n in range(40)]
        await asyncio.sleep(0)  # Each has begun.
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        server.thaw()
        assert await script(["after"], ["b"]) == [b"after", b"b", 7]

    run(server, scenario, 5)
