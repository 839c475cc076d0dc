"""The admin API as the command line uses it."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import msgspec

from llmproxy.common.config import Config

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 16 << 20
WHERE = "say where it is with LLM_PROXY_ADMIN_URL or --data"


class AdminError(Exception):
    """Admin could not be asked, or said no. The message names the fix."""


class UnreachableError(AdminError):
    """Nobody answers there, or it is not this gateway's admin."""


class RefusedError(AdminError):
    """It answered, with an error of its own."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(message)


class AdminClient:
    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token.strip()

    def status(self) -> dict[str, Any]:
        return self.ask("GET", "/api/v1/status")

    def config(self) -> Config:
        """That is in force."""
        try:
            return msgspec.convert(self.ask("GET", "/api/v1/config").get("config"), Config)
        except msgspec.ValidationError:
            raise UnreachableError(f"{self.url} does not answer as this version's admin") from None

    def list_keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("GET", "/api/v1/keys").get("keys", [])
        return found

    def create_key(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return self.ask("POST", "/api/v1/keys", wanted)

    def revoke_key(self, key_id: str) -> None:
        self.ask("DELETE", f"/api/v1/keys/{urllib.parse.quote(key_id, safe='')}")

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer's JSON object ({} when it has no body). Raises UnreachableError, RefusedError."""
        if not (self._token.isascii() and self._token.isprintable()):  # Else http.client quotes it in its complaint.
            raise UnreachableError("the admin token has a sign that no header can carry; copy it again")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            request = urllib.request.Request(  # noqa: S310 - the operator's own URL
                self.url + path,
                data=None if body is None else msgspec.json.encode(body),
                method=method,
                headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
            )
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return _object(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error.code, error.read(ANSWER_BYTES_MAX)) from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = (
                "it does not speak HTTP"
                if isinstance(error, http.client.HTTPException)
                else getattr(error, "reason", error)
            )
            raise UnreachableError(
                f"no gateway answers at {self.url} ({reason}); start one with `llmproxy up`, or {WHERE}"
            ) from None

    def _refusal(self, status: int, answer: bytes) -> AdminError:
        error = _object(answer).get("error")
        if status in (401, 403):
            return UnreachableError(
                f"{self.url} refuses the admin token; set LLM_PROXY_ADMIN_TOKEN, or --data to the gateway's data folder"
            )
        if not isinstance(error, dict):
            return UnreachableError(f"{self.url} does not answer as an admin API (status {status}); {WHERE}")
        return RefusedError(status, str(error.get("code", "")), str(error.get("message", f"status {status}")))


def _object(answer: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(answer) if answer else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        body = {}
    return body if isinstance(body, dict) else {}
