"""What this router believes about each endpoint: a pure state machine over outcomes, times and what the others know.

closed: called. open: not called until `open_ms` has passed. half-open: one leased probe may find out. Every router
hears every outcome, so each counts for itself; `breaker.lua` makes of their opinions one state, and the changes that
`record` returns are compare-and-set there, so it does not matter how many routers ask for the same one.
"""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from llmproxy.common.config import Breaker
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.outcomes import Outcome

COOLING_MS = 1_000  # After a 429 that does not say for how long.
COOLING_MS_MAX = 60_000
LEASED_ELSEWHERE_MS = 1_000  # A caller refused because another's probe is under way comes back this soon.

# A refusal of this one request proves that the endpoint answers; that it is somebody else's fault says nothing more.
ALIVE = frozenset({"provider_rejected", "context_length_exceeded", "provider_rate_limited"})


class Opened(Struct, frozen=True):
    endpoint: str
    generation: int


class Closed(Struct, frozen=True):
    endpoint: str
    generation: int


class Reopened(Struct, frozen=True):
    endpoint: str
    probe: str


class Released(Struct, frozen=True):
    endpoint: str
    probe: str


Change = Opened | Closed | Reopened | Released


class Shared(Struct, frozen=True):
    """One circuit as Redis has it; its times are left-over durations, since clocks differ."""

    endpoint: str
    generation: int
    is_open: bool
    open_ms: int
    probe_ms: int


class Circuit:
    """An open or half-open circuit."""

    __slots__ = ("is_shared", "open_until_ms", "probe_until_ms")

    def __init__(self, open_until_ms: int, *, is_shared: bool, probe_until_ms: int = 0) -> None:
        self.open_until_ms, self.probe_until_ms = open_until_ms, probe_until_ms
        self.is_shared = is_shared  # False: opened here, and Redis has not heard of it yet.


class Circuits:
    """Times are milliseconds of one monotonic clock."""

    def __init__(self, settings: Breaker) -> None:
        self.settings = settings
        self.open: dict[str, Circuit] = {}  # Those that are not closed.
        self.cooling: dict[tuple[str, str], int] = {}  # (endpoint, model) -> when its rate limit lets go.
        self._failures: dict[str, deque[int]] = {}
        self._generations: dict[str, int] = {}

    # -- reading; never changes anything, so that looking at a circuit cannot use up its probe

    def callable(self, endpoint: str) -> bool:
        return endpoint not in self.open

    def probeable(self, endpoint: str, now_ms: int) -> bool:
        """Half-open, and as far as we know nobody's probe is under way."""
        circuit = self.open.get(endpoint)
        return circuit is not None and circuit.open_until_ms <= now_ms and circuit.probe_until_ms <= now_ms

    def wait_ms(self, endpoint: str, now_ms: int) -> int:
        """How long until a call of this endpoint may be let through."""
        circuit = self.open.get(endpoint)
        if circuit is None:
            return 0
        if circuit.open_until_ms > now_ms:
            return circuit.open_until_ms - now_ms
        return min(max(circuit.probe_until_ms - now_ms, 0), LEASED_ELSEWHERE_MS)

    def is_cooling(self, endpoint: str, model: str, now_ms: int) -> bool:
        return self.cooling.get((endpoint, model), 0) > now_ms

    def generation(self, endpoint: str) -> int:
        return self._generations.get(endpoint, 0)

    def unshared(self) -> list[Opened]:
        """What Redis has still to be told."""
        return [Opened(name, self.generation(name)) for name, circuit in self.open.items() if not circuit.is_shared]

    # -- changing

    def record(self, outcome: Outcome, now_ms: int) -> Change | None:
        """Learns from one attempt; returns what the others should agree on."""
        if outcome.code == "provider_rate_limited":
            cooling_ms = min(outcome.retry_after_ms or COOLING_MS, COOLING_MS_MAX)
            self.cooling[outcome.endpoint, outcome.model] = now_ms + cooling_ms
        alive = outcome.ok or outcome.code in ALIVE
        if outcome.probe:
            return self._probed(outcome, alive, now_ms)
        if outcome.endpoint in self.open:
            return None  # Called before it opened; only a probe speaks for it now.
        if alive:
            if outcome.ok:
                self._failures.pop(outcome.endpoint, None)
            return None
        if not outcome.counts or CATALOGUE[outcome.code].blame != "provider":
            return None
        return self._failed(outcome.endpoint, now_ms)

    def leased(self, endpoint: str, now_ms: int) -> None:
        """Somebody's probe is on its way."""
        circuit = self.open.get(endpoint)
        if circuit is not None:
            circuit.probe_until_ms = now_ms + self.settings.probe_lease_ms

    def adopt(self, shared: Shared, now_ms: int) -> None:
        """What Redis says wins, except over an opening that it has not heard of."""
        circuit = self.open.get(shared.endpoint)
        if shared.is_open:
            self._generations[shared.endpoint] = shared.generation
            self._failures.pop(shared.endpoint, None)
            self.open[shared.endpoint] = Circuit(
                _passed(shared.open_ms, now_ms), is_shared=True, probe_until_ms=_passed(shared.probe_ms, now_ms)
            )
        elif circuit is None or circuit.is_shared:
            self._generations[shared.endpoint] = shared.generation
            self.open.pop(shared.endpoint, None)
        elif shared.generation != self.generation(shared.endpoint):
            # Others have opened and closed it since; our opening was about an earlier time.
            self._generations[shared.endpoint] = shared.generation
            del self.open[shared.endpoint]

    def keep(self, endpoints: Iterable[str], now_ms: int) -> None:
        """Forgets endpoints that are no longer configured, and rate limits that have let go."""
        kept = set(endpoints)
        self.open = {name: circuit for name, circuit in self.open.items() if name in kept}
        self._failures = {name: failures for name, failures in self._failures.items() if name in kept}
        self._generations = {name: generation for name, generation in self._generations.items() if name in kept}
        self.cooling = {key: until for key, until in self.cooling.items() if until > now_ms}

    def _failed(self, endpoint: str, now_ms: int) -> Opened | None:
        limit = self.settings.failures
        failures = self._failures.setdefault(endpoint, deque(maxlen=limit))
        if failures.maxlen != limit:
            failures = self._failures[endpoint] = deque(failures, maxlen=limit)
        failures.append(now_ms)
        if len(failures) < limit or now_ms - failures[0] > self.settings.window_ms:
            return None
        del self._failures[endpoint]
        self.open[endpoint] = Circuit(now_ms + self.settings.open_ms, is_shared=False)
        return Opened(endpoint, self.generation(endpoint))

    def _probed(self, outcome: Outcome, alive: bool, now_ms: int) -> Change | None:
        endpoint, circuit = outcome.endpoint, self.open.get(outcome.endpoint)
        if alive:
            self._failures.pop(endpoint, None)
            self.open.pop(endpoint, None)
            return Closed(endpoint, self.generation(endpoint)) if circuit is not None else None
        if not outcome.counts:
            if circuit is not None:
                circuit.probe_until_ms = 0
            return Released(endpoint, outcome.id)
        if circuit is not None:
            circuit.open_until_ms, circuit.probe_until_ms = now_ms + self.settings.open_ms, 0
        return Reopened(endpoint, outcome.id)


def _passed(left_ms: int, now_ms: int) -> int:
    """When `left_ms` of Redis's clock are over by ours.

    Both clocks drop their fractions: without the one more we could ask a moment before Redis agrees, and a request
    would be refused for it.
    """
    return now_ms + left_ms + 1 if left_ms else 0
