"""A whole gateway for tests: `llmproxy up` as a child process, with the means to look inside it and to hurt it."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml
from patience import NATS_S, PATIENCE_S, wait_for
from ports import free_port

KEY = "llm-test-key-0001"
READY_S = STOP_S = 2 * PATIENCE_S
ALONE = {"LLM_PROXY_LOCAL_DISCOVERY": "0"}  # Whatever else runs on this machine.
PATIENT = {"LLM_PROXY_NATS_TIMEOUT_S": str(NATS_S), "LLM_PROXY_LOST_S": str(NATS_S)}
"""A process that a busy machine leaves waiting for seconds has not died. Who kills one says how long others wait for it."""
INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
SERVICES = ("edge", "shield", "router", "provider-workers", "audit", "admin")


class Gateway:
    """Use as a context manager. `config` is the YAML's content; without it the environment decides, as for a user."""

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        scale: Mapping[str, int] | None = None,
    ) -> None:
        self.folder, self.data = folder, folder / "data"
        self.port, self.admin_port = free_port(), free_port()
        self.url, self.admin_url = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.admin_port}"
        self.base_url = f"{self.url}/v1"
        self.key = KEY
        self._config, self._scale = config, scale or {}
        self._environment = {"LLM_PROXY_API_KEYS": KEY, **ALONE, **PATIENT, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).with_name("llmproxy")), "up", "--data", str(self.data)]
        command += ["--port", str(self.port), "--admin-port", str(self.admin_port)]
        if self._scale:
            command += ["--scale", ",".join(f"{service}={count}" for service, count in self._scale.items())]
        if self._config is not None:
            path = self.folder / "llmproxy.yaml"
            path.write_text(yaml.safe_dump(dict(self._config)))
            command += ["--config", str(path)]
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.output = (self.folder / "up.log").open("ab")
        self._process = subprocess.Popen(
            command, stdout=self.output, stderr=subprocess.STDOUT, env={**inherited, **self._environment}
        )
        self.wait_ready()

    def wait_ready(self, seconds: float = READY_S) -> None:
        def ready() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"llmproxy up ended:\n{self.printed()}"
            return self.get("/readyz")[0] == 200

        try:
            wait_for(ready, "/readyz", seconds)
        except AssertionError as late:
            late.add_note(f"printed:\n{self.printed()}")
            raise

    def stop(self) -> None:
        """As Ctrl-C does."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"llmproxy up did not stop; printed:\n{self.printed()}") from None
        finally:
            self.output.close()

    # Looking inside.

    def printed(self) -> str:
        return (self.folder / "up.log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def admin_token(self) -> str:
        return (self.data / "admin.token").read_text().strip()

    def pids(self, service: str) -> list[int]:
        """The processes of one service, recognised by name as an operator would."""
        module = f"llmproxy.{service.replace('-', '_')}"
        found = []
        for child in psutil.Process(self.pid).children(recursive=True):
            try:
                if module in child.cmdline():
                    found.append(child.pid)
            except psutil.Error:
                continue
        return found

    def get(self, path: str, *, admin: bool = False) -> tuple[int, Any]:
        return self._call("GET", path, None, admin=admin)

    def post(self, path: str, body: Any, *, admin: bool = False, key: str = "") -> tuple[int, Any]:
        return self._call("POST", path, body, admin=admin, key=key)

    def _call(self, method: str, path: str, body: Any, *, admin: bool, key: str = "") -> tuple[int, Any]:
        base, token = (self.admin_url, self.admin_token) if admin else (self.url, key or self.key)
        request = urllib.request.Request(
            base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _decoded(error.read())
        except OSError:
            return 0, None

    def records(self, limit: int = 1000) -> list[dict[str, Any]]:
        """The newest audit records, through the admin API."""
        entries: list[dict[str, Any]] = []
        before = ""
        while len(entries) < limit:
            path = f"/api/v1/audit?limit={min(limit, 1000)}{before}"
            page = self.ledger_page(path)
            entries += page["entries"]
            if not page["entries"]:
                break
            before = f"&before_seq={page['entries'][-1]['seq']}"
        return [entry["record"] for entry in entries[:limit]]

    def ledger_page(self, path: str) -> Any:
        """Waits while there is no ledger: requests are answered before the audit service has made its table."""

        def page() -> Any:
            status, found = self.get(path, admin=True)
            if status == 503:
                return None
            assert status == 200, found
            return found

        return wait_for(page, "a page of the ledger")

    def verify_ledger(self) -> dict[str, Any]:
        status, answer = self.post("/api/v1/audit/verify", {}, admin=True)
        assert status == 200, answer
        found: dict[str, Any] = answer
        return found

    # Hurting it.

    def kill(self, service: str) -> list[int]:
        """kill -9 of all instances of a service at once; returns the pids that died."""
        victims = self.pids(service)
        assert victims, f"no process of {service}"
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        return victims

    def terminate(self, pid: int) -> None:
        """SIGTERM, as a rolling restart sends it."""
        os.kill(pid, signal.SIGTERM)

    def wait_replaced(self, service: str, gone: list[int], seconds: float = PATIENCE_S) -> list[int]:
        def replaced() -> list[int]:
            now = self.pids(service)
            return now if len(now) >= len(gone) and not set(now) & set(gone) else []

        found: list[int] = wait_for(replaced, f"new processes of {service}", seconds)
        return found


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
