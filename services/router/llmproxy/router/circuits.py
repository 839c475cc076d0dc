"""What this router believes about endpoints and their models: a pure state machine over outcomes, times and what the others know.

closed: called. open: not called until `open_ms` has passed. half-open: one leased probe may find out. Every router
hears every outcome, so each counts for itself; `breaker.lua` makes of their opinions one state, and the changes that
`record` returns are compare-and-set there, so it does not matter how many routers ask for the same one.

A model has a circuit of its own at each endpoint, and the endpoint has one for all of them (docs/adr/0035): who cannot
be reached cannot for any model; an answer that says that it failed, or one that stays away, is the model's.
"""

from collections import deque
from collections.abc import Container

from msgspec import Struct

from llmproxy.common.config import Breaker
from llmproxy.common.errors import CATALOGUE
from llmproxy.common.outcomes import Outcome

COOLING_MS = 1_000  # After a 429 that does not say for how long.
COOLING_MS_MAX = 60_000
LEASED_ELSEWHERE_MS = 1_000  # A caller refused because another's probe is under way comes back this soon.
CIRCUITS_MAX = 1_024  # Of models. At a `*` endpoint their names are the callers' choice; beyond it models are called.
UNASKED_MS = 600_000  # A model that no configuration names and nobody has asked for so long has no circuit any more.

# A refusal of this one request proves that the endpoint answers; that it is somebody else's fault says nothing more.
ALIVE = frozenset({"provider_rejected", "context_length_exceeded", "provider_rate_limited"})
UNREACHABLE = "provider_unreachable"  # No connection, or none that led to an answer: no model is to blame.
SILENT = frozenset({UNREACHABLE, "provider_timeout"})  # Nothing came back. Of everything else a head did.

Key = tuple[str, str]
"""One circuit: (endpoint, model); without a model, that of the endpoint as a whole."""


def whole(endpoint: str) -> Key:
    return endpoint, ""


class Opened(Struct, frozen=True):
    key: Key
    generation: int


class Closed(Struct, frozen=True):
    key: Key
    generation: int


class Reopened(Struct, frozen=True):
    key: Key
    probe: str


class Released(Struct, frozen=True):
    key: Key
    probe: str


Change = Opened | Closed | Reopened | Released


class Shared(Struct, frozen=True):
    """One circuit as Redis has it; its times are left-over durations, since clocks differ."""

    key: Key
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
        self.open: dict[Key, Circuit] = {}  # Those that are not closed.
        self.cooling: dict[Key, int] = {}  # When a model's rate limit lets go.
        self._failures: dict[Key, deque[int]] = {}
        self._generations: dict[Key, int] = {}

    # -- reading; never changes anything, so that looking at a circuit cannot use up its probe

    def callable(self, endpoint: str, model: str) -> bool:
        return (endpoint, model) not in self.open and (endpoint, "") not in self.open

    def between(self, endpoint: str, model: str) -> list[Key]:
        """The circuits that keep requests from this model there."""
        return [key for key in (whole(endpoint), (endpoint, model)) if key in self.open]

    def probeable(self, endpoint: str, model: str, now_ms: int) -> bool:
        """Half-open, and as far as we know nobody's probe is under way."""
        between = [self.open[key] for key in self.between(endpoint, model)]
        return bool(between) and all(one.open_until_ms <= now_ms and one.probe_until_ms <= now_ms for one in between)

    def wait_ms(self, endpoint: str, model: str, now_ms: int) -> int:
        """How long until a call may be let through."""
        return max((_wait_ms(self.open[key], now_ms) for key in self.between(endpoint, model)), default=0)

    def is_cooling(self, endpoint: str, model: str, now_ms: int) -> bool:
        return self.cooling.get((endpoint, model), 0) > now_ms

    def generation(self, key: Key) -> int:
        return self._generations.get(key, 0)

    def unshared(self) -> list[Opened]:
        """What Redis has still to be told."""
        return [Opened(key, self.generation(key)) for key, circuit in self.open.items() if not circuit.is_shared]

    # -- changing

    def record(self, outcome: Outcome, now_ms: int) -> list[Change]:
        """Learns from one attempt; returns what the others should agree on."""
        if outcome.ok and not (self.open or self._failures):  # Nearly always.
            return []
        key, of_all = (outcome.endpoint, outcome.model), whole(outcome.endpoint)
        if outcome.code == "provider_rate_limited" and (len(self.cooling) < CIRCUITS_MAX or key in self.cooling):
            cooling_ms = min(outcome.retry_after_ms or COOLING_MS, COOLING_MS_MAX)
            self.cooling[key] = now_ms + cooling_ms
        alive = outcome.ok or outcome.code in ALIVE
        if outcome.probe:
            return self._probed(outcome, alive, now_ms)
        if of_all in self.open:
            return []  # Called before it opened; only a probe speaks for it now.
        if outcome.ok:
            self._failures.pop(of_all, None)
            if key not in self.open:
                self._failures.pop(key, None)
        return [] if alive else self._failed(outcome, now_ms)

    def leased(self, key: Key, now_ms: int) -> None:
        """Somebody's probe is on its way."""
        circuit = self.open.get(key)
        if circuit is not None:
            circuit.probe_until_ms = now_ms + self.settings.probe_lease_ms

    def released(self, key: Key) -> None:
        """It is not after all."""
        circuit = self.open.get(key)
        if circuit is not None:
            circuit.probe_until_ms = 0

    def adopt(self, shared: Shared, now_ms: int) -> None:
        """What Redis says wins, except over an opening that it has not heard of."""
        key, circuit = shared.key, self.open.get(shared.key)
        if shared.is_open:
            self._generations[key] = shared.generation
            self._failures.pop(key, None)
            self.open[key] = Circuit(
                _passed(shared.open_ms, now_ms), is_shared=True, probe_until_ms=_passed(shared.probe_ms, now_ms)
            )
        elif circuit is None or circuit.is_shared:
            self._generations[key] = shared.generation
            self.open.pop(key, None)
        elif shared.generation != self.generation(key):
            # Others have opened and closed it since; our opening was about an earlier time.
            self._generations[key] = shared.generation
            del self.open[key]

    def keep(self, endpoints: Container[str], models: Container[Key], now_ms: int) -> None:
        """Forgets endpoints that are no longer configured, models that nobody names or asks for, and rate limits that have
        let go."""

        def is_kept(key: Key, circuit: Circuit | None = None) -> bool:
            is_asked = circuit is None or circuit.open_until_ms + UNASKED_MS > now_ms
            return key[0] in endpoints and (not key[1] or key in models or is_asked)

        self.open = {key: circuit for key, circuit in self.open.items() if is_kept(key, circuit)}
        oldest = now_ms - self.settings.window_ms
        self._failures = {key: one for key, one in self._failures.items() if is_kept(key) and one[-1] >= oldest}
        has_room = len(self._generations) <= 2 * CIRCUITS_MAX
        self._generations = {
            key: generation
            for key, generation in self._generations.items()
            if is_kept(key) and (has_room or key in self.open)
        }
        self.cooling = {key: until for key, until in self.cooling.items() if until > now_ms}

    def _failed(self, outcome: Outcome, now_ms: int) -> list[Change]:
        if not outcome.counts or CATALOGUE[outcome.code].blame != "provider":
            return []
        key = whole(outcome.endpoint) if outcome.code == UNREACHABLE else (outcome.endpoint, outcome.model)
        if key in self.open:
            return []  # Called before it opened.
        failures = self._window(key)
        failures.append(now_ms)
        if len(failures) < self.settings.failures or now_ms - failures[0] > self.settings.window_ms:
            return []
        if key[1] and len(self.open) >= CIRCUITS_MAX:
            return []
        del self._failures[key]
        self.open[key] = Circuit(now_ms + self.settings.open_ms, is_shared=False)
        return [Opened(key, self.generation(key))]

    def _window(self, key: Key) -> deque[int]:
        limit, failures = self.settings.failures, self._failures.get(key)
        if failures is None:
            if len(self._failures) >= CIRCUITS_MAX:
                del self._failures[next(iter(self._failures))]
            failures = self._failures[key] = deque(maxlen=limit)
        elif failures.maxlen != limit:
            failures = self._failures[key] = deque(failures, maxlen=limit)
        return failures

    def _probed(self, outcome: Outcome, alive: bool, now_ms: int) -> list[Change]:
        """A probe speaks for every circuit that it was let through."""
        key, of_all = (outcome.endpoint, outcome.model), whole(outcome.endpoint)
        if alive:
            return [*self._closed(of_all), *self._closed(key)]
        if not outcome.counts:
            return [*self._released(of_all, outcome.id), *self._released(key, outcome.id)]
        changes = self._reopened(of_all, outcome.id, now_ms) if outcome.code in SILENT else self._closed(of_all)
        is_told = outcome.code != UNREACHABLE  # About the model.
        changes += self._reopened(key, outcome.id, now_ms) if is_told else self._released(key, outcome.id)
        return [*changes, *self._failed(outcome, now_ms)]  # For the one of them that was closed.

    def _closed(self, key: Key) -> list[Change]:
        self._failures.pop(key, None)
        return [Closed(key, self.generation(key))] if self.open.pop(key, None) is not None else []

    def _released(self, key: Key, probe: str) -> list[Change]:
        self.released(key)
        return [Released(key, probe)] if key in self.open else []

    def _reopened(self, key: Key, probe: str, now_ms: int) -> list[Change]:
        circuit = self.open.get(key)
        if circuit is None:
            return []
        circuit.open_until_ms, circuit.probe_until_ms = now_ms + self.settings.open_ms, 0
        return [Reopened(key, probe)]


def _wait_ms(circuit: Circuit, now_ms: int) -> int:
    if circuit.open_until_ms > now_ms:
        return circuit.open_until_ms - now_ms
    return min(max(circuit.probe_until_ms - now_ms, 0), LEASED_ELSEWHERE_MS)


def _passed(left_ms: int, now_ms: int) -> int:
    """When `left_ms` of Redis's clock are over by ours.

    Both clocks drop their fractions: without the one more we could ask a moment before Redis agrees, and a request
    would be refused for it.
    """
    return now_ms + left_ms + 1 if left_ms else 0
