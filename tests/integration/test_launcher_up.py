"""`llmproxy up` with stand-in services: each is told only its own, is replaced when it dies, and nothing is left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from patience import PATIENCE_S, wait_for
from ports import free_port

from llmproxy.launcher.data_folder import DataFolder

# Runs the launcher with stand-ins for the six services.
LAUNCHER = """
import os, sys
from pathlib import Path
from llmproxy.launcher import cli, gateway
stand_in, options = sys.argv[1], sys.argv[2:]
original = gateway.Gateway
class Gateway(original):
    def __init__(self, options, environment, say):
        super().__init__(options, environment, say, argv_of=lambda service: (sys.executable, stand_in, service), ready_timeout_s=2)
gateway.Gateway = Gateway
cli.cli(options, prog_name="llmproxy")
"""

# A service that serves /readyz, answers as admin does, and writes down what it was told.
STAND_IN = """
import http.server, json, os, pathlib, signal, socket, sys, threading, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
service = sys.argv[1]
told = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / (os.environ["LLM_PROXY_INSTANCE"] + ".told")
told.with_suffix(".new").write_text(json.dumps(dict(os.environ)))
told.with_suffix(".new").rename(told)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"keys": [], "pid": os.getpid(), "ready": True})
    def do_POST(self):
        self.answer({"key": "llmp-made-for-you", "record": {}})
    def answer(self, body):
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *ignored):
        pass

servers = []

def serve(listener):
    listener.setblocking(False)  # Two edges share it: who comes second to a connection must not wait for the next one.
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.daemon_threads = listener, False
    servers.append(server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

probes = socket.create_server(("127.0.0.1", int(os.environ["LLM_PROXY_PROBES_PORT"])))
serve(probes)
if "LLM_PROXY_LISTEN_FD" in os.environ:
    serve(socket.socket(fileno=int(os.environ["LLM_PROXY_LISTEN_FD"])))
print(service, "serves", flush=True)
signal.sigwait({signal.SIGTERM})
print(service, "leaves at", time.monotonic_ns(), flush=True)
for server in servers:
    server.shutdown()
    server.server_close()
os._exit(0)
"""

PROVIDER_KEY = "sk-canary-0123456789abcdef"


class Running:
    def __init__(self, process: "subprocess.Popen[bytes]", output: Path, told: Path, port: int, data: Path) -> None:
        self.process, self.output, self._told, self.port, self.data = process, output, told, port, data

    def said(self) -> str:
        return self.output.read_text()

    def told(self, service: str) -> dict[str, str]:
        """What the newest instance of the service was told. Waits for the first: the stand-in of the edge is ready
        whatever the others do."""
        pattern = f"{service}-*.told"
        wait_for(lambda: any(self._told.glob(pattern)), f"{service} has started")
        found = max(self._told.glob(pattern), key=lambda path: path.stat().st_mtime_ns)
        environment: dict[str, str] = json.loads(found.read_text())
        return environment

    def services(self) -> dict[str, psutil.Process]:
        """All six: the launcher may say that it is ready before it has started the last of them."""
        return dict(wait_for(lambda: found if len(found := self._services()) == 6 else None, "every service runs"))

    def pids(self, count: int) -> set[int]:
        return set(wait_for(lambda: found if len(found := self._pids()) == count else None, f"{count} services run"))

    def _services(self) -> dict[str, psutil.Process]:
        return {argv[2]: child for child, argv in self._stand_ins()}

    def _pids(self) -> set[int]:
        return {child.pid for child, _ in self._stand_ins()}

    def _stand_ins(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):  # Also: a zombie.
                argv = child.cmdline()
                if len(argv) == 3 and "stand_in" in argv[1]:
                    yield child, argv

    def wait_until_said(self, text: str) -> None:
        wait_for(lambda: text in self.said() or self.process.poll() is not None, f"{text!r} is said")
        assert text in self.said(), self.said()


@contextmanager
def up(folder: Path, *options: str, stand_in: str = STAND_IN) -> Iterator[Running]:
    script, told, output = folder / "stand_in.py", folder / "told", folder / "output"
    script.write_text(stand_in)
    told.mkdir(exist_ok=True)
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME")},
        "TMPDIR": str(told),
        "OPENAI_API_KEY": PROVIDER_KEY,
        "LLM_PROXY_LOCAL_DISCOVERY": "0",
    }
    argv = ["up", "--data", str(folder / "data"), "--port", str(port), "--admin-port", str(free_port()), *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, str(script), *argv],
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    running = Running(process, output, told, port, folder / "data")
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"it did not stop:\n{running.said()}") from None


def test_up_prints_url_key_and_curl_and_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        said = running.said()
        assert f"http://127.0.0.1:{running.port}/v1" in said
        assert "llmp-made-for-you" in said
        assert '"model":"gpt-4o-mini"' in said
        for service in running.services():
            assert running.told(service)  # From then on it says when it leaves.
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 0
    assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []
    assert not (tmp_path / "data" / "run.json").exists()
    left_at = {
        log.stem: int(line.split()[-1])
        for log in (tmp_path / "data" / "logs").glob("*-1.log")
        for line in log.read_text().splitlines()
        if "leaves at" in line
    }
    assert sorted(left_at, key=lambda name: left_at[name]) == [
        *("edge-1", "shield-1", "router-1", "provider-workers-1", "admin-1", "audit-1"),
    ]


def test_one_wish_to_stop_that_comes_as_two_signals_kills_nobody(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        running.services()
        for number in (signal.SIGTERM, signal.SIGINT):
            running.process.send_signal(number)
        assert running.process.wait(PATIENCE_S) == 0
        assert "stopping" in running.said()
        assert "killed" not in running.said()


def test_each_service_is_told_its_own_and_nothing_of_the_others(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        told = {
            service: running.told(service)
            for service in ("edge", "shield", "router", "provider-workers", "audit", "admin")
        }
    holders = {service for service, environment in told.items() if PROVIDER_KEY in environment.values()}
    assert holders == {"provider-workers"}
    assert told["admin"]["LLM_PROXY_WORKER_VARIABLES"] == "OPENAI_API_KEY"
    assert {s for s in told if "LLM_PROXY_POSTGRES_DSN" in told[s]} == {"audit"}
    assert {s for s in told if "LLM_PROXY_REDIS_URL" in told[s]} == {"edge", "router"}
    assert {s for s in told if "LLM_PROXY_ADMIN_TOKEN" in told[s]} == {"admin"}
    assert {s for s in told if "LLM_PROXY_MASK_SECRET" in told[s]} == {"shield"}
    assert len({environment["LLM_PROXY_NATS_PASSWORD"] for environment in told.values()}) == len(told)
    assert "OPENAI_API_KEY" in Path(told["admin"]["LLM_PROXY_CONFIG"]).read_text()
    assert PROVIDER_KEY not in Path(told["admin"]["LLM_PROXY_CONFIG"]).read_text()


def test_a_killed_service_is_replaced_at_once_and_the_port_never_refuses(tmp_path: Path) -> None:
    """At once: at the supervisor's next tick, which the launcher's log shows by saying nothing of a delay."""
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        before = running.services()
        before["edge"].kill()
        before["shield"].kill()
        with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE_S):
            pass
        gone = {before["edge"].pid, before["shield"].pid}
        wait_for(lambda: len(running.services()) == 6 and not gone & running.pids(6), "both are replaced")
        with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/readyz", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
        assert "next try in" not in running.said()


def test_a_killed_server_is_replaced(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")

        def nats() -> int:
            return int((running.data / "run" / "nats.pid").read_text().split()[0])

        pid = nats()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: nats() != pid, "it is replaced")


def test_nothing_is_left_when_the_launcher_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        assert psutil.wait_procs(children, timeout=PATIENCE_S)[1] == []


def test_a_rolling_restart_replaces_every_instance_and_fails_no_request(tmp_path: Path) -> None:
    with up(tmp_path, "--scale", "edge=2") as running:
        running.wait_until_said("curl ")
        before = running.pids(7)
        running.process.send_signal(signal.SIGUSR1)
        while "edge-2 was restarted" not in running.said():
            assert running.process.poll() is None
            with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/readyz", timeout=PATIENCE_S) as answer:
                assert answer.status == 200
        after = running.pids(7)
        assert not before & after


def test_a_second_up_on_the_folder_exits_with_its_own_code_and_names_the_process(tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_said("curl ")
        second = subprocess.run(
            [sys.executable, "-m", "llmproxy.launcher", "up", "--data", str(running.data), "--port", "0"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert second.returncode == 5
        assert f"process {running.process.pid}" in second.stderr


def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        attempt = subprocess.run(
            [sys.executable, "-m", "llmproxy.launcher", "up", "--data", str(tmp_path / "data"), "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert attempt.returncode == 6
    assert f"127.0.0.1:{port}" in attempt.stderr
    assert "--port" in attempt.stderr


def test_a_changed_config_file_is_applied_and_a_broken_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("endpoints: {one: {provider: demo, models: [one]}}")
    with up(tmp_path, "--config", str(file)) as running:
        running.wait_until_said("curl ")
        effective = running.data / "config.effective.yaml"
        assert "one" in effective.read_text()
        write_whole(file, "endpoints: {two: {provider: nobody, models: [two]}}")
        running.wait_until_said("was not applied")
        assert "one" in effective.read_text()
        write_whole(file, "")
        running.wait_until_said("it is empty")
        assert "one" in effective.read_text()
        wait_for(lambda: "it is empty" in refused(running.data), "status can tell")
        write_whole(file, "endpoints: {two: {provider: demo, models: [two]}}")
        running.wait_until_said("was read again")
        assert "two" in effective.read_text()
        wait_for(lambda: not refused(running.data), "status has nothing more to tell")
        assert running.told("admin")["LLM_PROXY_CONFIG_SOURCE"] == "file"


def refused(data: Path) -> str:
    info = DataFolder(data).run_info()
    assert info is not None
    return info.refused


def test_a_changed_config_file_is_applied_when_there_is_room_again(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("endpoints: {one: {provider: demo, models: [one]}}")
    with up(tmp_path, "--config", str(file)) as running:
        running.wait_until_said("curl ")
        effective = running.data / "config.effective.yaml"
        in_the_way = running.data / f".{effective.name}.{running.process.pid}.new"
        in_the_way.mkdir()
        write_whole(file, "endpoints: {two: {provider: demo, models: [two]}}")
        running.wait_until_said("the configuration cannot be written")
        assert "one" in effective.read_text()
        in_the_way.rmdir()
        running.wait_until_said("was read again")
        assert "two" in effective.read_text()
        assert running.said().count("cannot be written") == 1


def write_whole(path: Path, text: str) -> None:
    """As careful editors do: who reads it meanwhile reads the old text or the new one."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.replace(path)


def test_a_key_that_is_not_there_is_named_and_the_other_endpoints_serve(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "endpoints: {one: {provider: openai, models: [one], key: 'env:NOT_SET'}, two: {provider: demo, models: [two]}}"
    )
    with up(tmp_path, "--config", str(file)) as running:
        running.wait_until_said("curl ")
        assert "endpoints.one.key: NOT_SET is not set" in running.said()


def test_a_service_that_does_not_come_up_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    broken = STAND_IN.replace("servers = []", "servers = []\nassert service != 'router', 'no map'")
    broken = broken.replace("send_response(200)", "send_response(503 if service == 'edge' else 200)")
    with up(tmp_path, stand_in=broken) as running:
        running.wait_until_said("AssertionError: no map")
        assert "not ready after 2 s" in running.said()
        assert "router-1: does not answer; the end of" in running.said()
