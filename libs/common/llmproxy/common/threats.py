"""Who stands out by what the guards found in their requests: the settings of the threat ledger, and the laws it follows.

A score is a number of bad requests, of which half is forgotten every `half_life_s`. It is kept in Redis, where edges share it, and
changed there by a script; what is here says the same in Python, for whoever reads it (docs/adr/0023).
"""

from collections.abc import Iterable
from math import log2
from typing import Annotated, Literal, get_args

from msgspec import Meta, Struct

from llmproxy.common.explanations import Explained, Explanation

Kind = Literal["key", "principal", "user", "address"]
"""key: an API key; principal: whom several keys belong to; user: an end user within a key, as the application names them;
address: where requests without a good key come from. Never a tenant, and never the address of a request with a good key."""

KINDS: tuple[Kind, ...] = get_args(Kind)
Mode = Literal["off", "shadow", "throttle", "lock"]
"""off: nothing is kept; shadow: kept and told, and nobody is slowed; throttle: slowed; lock: slowed, then refused for a while."""

Step = Literal["", "throttled", "locked"]
STEPS: tuple[Step, ...] = get_args(Step)

FORGOTTEN = 0.05  # A score below it is nothing: the caller is no longer asked about.
SHRINK = 10  # From `throttle` to `lock` the rate falls to the tenth.
GATE = 0.5  # Of `throttle`: from which score on a key answers for the other keys of its principal.
SECOND_US = 1_000_000

Weight = Annotated[float, Meta(ge=0, le=1)]


class Weights(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much of a bad request one is, by the gravest of its findings: never more than one."""

    high: Weight = 1.0  # Refused by a guard that knows that the text is the caller's own.
    # Refused where that is not sure: by the firewall, or in what is said to be a tool's. Or `alert`.
    medium: Weight = 0.5
    low: Weight = 0.1  # Let pass, and recorded.
    unauthenticated: Weight = 0.5  # A request without a good key; it counts for its address, and for nothing else.


class Threats(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Two conditions, and both must hold: many bad requests of late, and a share of all requests that no honest caller has."""

    mode: Mode = "throttle"
    half_life_s: Annotated[int, Meta(ge=1, le=604_800)] = 600
    # Bad requests of late, from which on a caller is slowed, and, in mode `lock`, refused.
    throttle: Annotated[float, Meta(ge=1, le=1_000_000)] = 100.0
    lock: Annotated[float, Meta(ge=1, le=1_000_000)] = 400.0
    # Of the caller's requests that must be bad, however many there are.
    share: Annotated[float, Meta(gt=0, le=1)] = 0.25
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] = 600  # At `throttle`; at `lock`, a tenth of it.
    weights: Weights = Weights()
    kinds: tuple[str, ...] = ("injection", "firewall")  # Findings that count: these, and what is below them.
    end_users: Literal["ignored", "trusted"] = "ignored"
    """Whether the end user that a body names (`user`, `safety_identifier`, `metadata.user_id`) is blamed instead of the key. Only for
    applications that write the name themselves: whoever may choose it escapes by inventing another."""

    def problem(self) -> tuple[str, str] | None:
        """What is wrong beyond types, and the fix."""
        if self.lock <= self.throttle:
            return (
                "lock",
                f"must be above threats.throttle, which is {self.throttle:g}: who is refused was slowed before",
            )
        return None


class Standing(Struct, frozen=True, kw_only=True):
    """What is known of one caller at one moment."""

    score: float
    requests: float = 0.0  # Since it is known, forgotten at the same pace.
    locked: bool = False


NOBODY = Standing(score=0.0)


def decayed(amount: float, elapsed_s: float, half_life_s: float) -> float:
    return float(amount * 0.5 ** (max(0.0, elapsed_s) / half_life_s))


def after(standing: Standing, elapsed_s: float, settings: Threats) -> Standing:
    """The same caller, some time later."""
    score = decayed(standing.score, elapsed_s, settings.half_life_s)
    return Standing(
        score=score,
        requests=decayed(standing.requests, elapsed_s, settings.half_life_s),
        locked=standing.locked and score > settings.throttle,
    )


def step(standing: Standing, settings: Threats) -> Step:
    """What follows from it."""
    if standing.locked and standing.score > settings.throttle and settings.mode == "lock":
        return "locked"
    stands_out = standing.score >= max(settings.throttle, settings.share * standing.requests)
    return "throttled" if stands_out else ""


def ends_in_s(standing: Standing, settings: Threats) -> float:
    """Until the step is over if nothing is added."""
    return (
        settings.half_life_s * log2(standing.score / settings.throttle) if standing.score > settings.throttle else 0.0
    )


def parse(value: bytes, now_us: int, settings: Threats) -> Standing:
    """A standing as the script keeps it: score, requests, when in microseconds, locked, and when the next request may come."""
    score, requests, at_us, locked, _ = value.split()
    kept = Standing(score=float(score), requests=float(requests), locked=locked == b"1")
    return after(kept, (now_us - int(at_us)) / SECOND_US, settings)


def weight(explained: Explained | None, settings: Threats) -> float:
    """Of one request, for whoever sent it."""
    if explained is None:
        return 0.0
    weights = settings.weights
    return max((_weight(one, weights) for one in _counting(explained.findings, settings)), default=0.0)


def _counting(findings: Iterable[Explanation], settings: Threats) -> Iterable[Explanation]:
    """Of the request: what the model answered is nobody's doing."""
    for one in findings:
        if (
            one.side == "request"
            and not one.kind.endswith(".shadow")
            and any(_is_below(one.kind, kind) for kind in settings.kinds)
        ):
            yield one


def _is_below(kind: str, counting: str) -> bool:
    return kind == counting or kind.startswith(f"{counting}.")


def _weight(one: Explanation, weights: Weights) -> float:
    match one.action:
        case "block":
            # A poisoned page attacks the caller who reads it; but whoever could put words of their own into a tool's mouth for free would.
            return weights.medium if one.role or one.guard == "firewall" else weights.high
        case "alert":
            return weights.medium
        case "flag":
            return weights.low
    return 0.0


# -- what admin asks the edges


class ThreatsQuestion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """About one caller (`kind` and `name`), or about all of them."""

    address: str  # Who asks; the answer goes to `threats.answer.<address>.<id>`.
    id: str
    kind: Kind | None = None
    name: str = ""
    clear: bool = False  # Forget the one, before answering what was known of it.


class Known(Struct, frozen=True, kw_only=True):
    """A caller that the ledger knows."""

    kind: Kind
    name: str
    score: float
    requests: float
    step: Step
    ends_in_s: int  # Until the step is over if nothing is added.


class ThreatsAnswer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    known: tuple[Known, ...] = ()  # The highest first.
    problem: str = ""  # Why there is no answer.
