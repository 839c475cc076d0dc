"""What services answer at their probes."""

import http.client
import urllib.request

import msgspec

ANSWER_BYTES_MAX, ANSWER_SHOWN_CHARS_MAX = 64 << 10, 500  # Of what a probe answers.
PROBE_TIMEOUT_S = 0.3
HTTP_TIMEOUT_S = 5.0


def probe(url: str, timeout_s: float = PROBE_TIMEOUT_S) -> tuple[bool, str]:
    """Whether it answers 200, and what it answers when not."""
    status, answer = fetch(url, timeout_s)
    return status == 200, "" if status == 200 else answer[:ANSWER_SHOWN_CHARS_MAX].strip()


def fetch(url: str, timeout_s: float) -> tuple[int, str]:
    """The status and the beginning of the answer; (0, "") when there is none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        try:
            answer = opener.open(url, timeout=timeout_s)
        except urllib.request.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read(ANSWER_BYTES_MAX).decode(errors="replace")
    except (OSError, ValueError, http.client.HTTPException):  # The last: it died while it answered.
        return 0, ""


def are_records_blocked(gateway_url: str) -> bool:
    """Whether the edge says that it cannot commit audit records, though it is connected to NATS."""
    _, answer = fetch(gateway_url + "/readyz", HTTP_TIMEOUT_S)
    try:
        said = msgspec.json.decode(answer, type=_Readiness)
    except msgspec.DecodeError:
        return False
    return "nats" not in said.blockers and "audit" in {**said.blockers, **said.notes}


class _Readiness(msgspec.Struct, frozen=True):
    """What concerns us of an edge's /readyz."""

    blockers: dict[str, str] = {}
    notes: dict[str, str] = {}
