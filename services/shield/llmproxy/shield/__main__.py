"""The shield: inspects and masks every request before a provider sees it, and unmasks every answer on its way back."""

import logging
import secrets
import time
from functools import partial
from typing import Annotated

from msgspec import Meta

from llmproxy.common import keyring, runtime
from llmproxy.common.channels import REQUEST_INSPECT
from llmproxy.common.config import Snapshot
from llmproxy.common.embedding import EMBEDDING, Embedding
from llmproxy.common.judge import JUDGE
from llmproxy.common.plugins.host import Ring
from llmproxy.common.policy import Policy, changed
from llmproxy.common.records import StepInfo
from llmproxy.shield import asking, postflight, preflight
from llmproxy.shield.embedding import stage
from llmproxy.shield.embedding.aside import Aside
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.injection import definitions, model, talk
from llmproxy.shield.inspect import Inspect
from llmproxy.shield.judge import Judges
from llmproxy.shield.offload import Offload
from llmproxy.shield.presidio import models

log = logging.getLogger("llmproxy.shield")  # Run with -m, `__name__` would not say whose it is.

EMBEDDING_PRIORITY = 99  # After all that is decided at once.
LOAD_MS_MAX = 20_000  # Until the embedding model must be there; the shield is not ready before that is known.


InFlight = Annotated[int, Meta(ge=1)]
Lanes = Annotated[int, Meta(ge=1, le=64)]  # Each has a hundred megabytes.


class Settings(runtime.Settings, frozen=True, kw_only=True):
    max_in_flight: InFlight = 2_048  # Requests held at once, most of them answers being unmasked.
    mask_secret: str = ""  # What placeholders are made from; the same on every shield, or prompt caches miss.
    shield_processes: Lanes = 2  # Processes that examine large bodies; of several, one is kept for those up to 256 KiB.
    gateway_url: str = "http://127.0.0.1:8090"  # Where the judge is asked (policy.injection.judge).
    judge_key: str = ""  # The API key that the judge is asked with. Without one it cannot be asked.
    embedding_model: str = ""  # Its folder; empty: that of an installed package, if there is one; off: none.

    def problem(self) -> str:
        if not self.mask_secret.isprintable():
            return "MASK_SECRET: it has a line break, or another sign that cannot be seen; write it again, in one line"
        return "" if keyring.is_sendable(self.judge_key) else f"JUDGE_KEY: it has {keyring.UNSENDABLE}; write it again"


async def run(context: runtime.Context[Settings]) -> None:
    settings, bus = context.settings, context.bus
    before, after = preflight.pipeline(GUARDS), postflight.pipeline()
    judges, gateway = None, asking.Gateway(settings.gateway_url, settings.judge_key)
    if settings.judge_key:
        judges = Judges(
            gateway.ask,
            settings.judge_key,
            nonce=lambda: secrets.token_hex(16),
            clock=time.monotonic,
            tell=partial(context.readiness.note, JUDGE),
        )
    place = stage.folder(settings.embedding_model)
    embedding = Aside(place, time.monotonic) if place is not None else None  # It reads while we do.
    offload = Offload(settings.shield_processes)
    offload.warm()

    def configured(snapshot: Snapshot) -> None:
        settings = models.settings_of(snapshot.config.policy)
        offload.warm(settings)
        note = "; ".join(models.note(one) for one in settings)
        if context.readiness.notes.get("pii") != note:
            log.info("personal data: %s", note)
        context.readiness.note("pii", note)
        context.readiness.note(JUDGE, NO_JUDGE if judges is None and wants_judge(snapshot.config.policy) else "")

    inspect = Inspect(
        bus,
        context.config,
        preflight=before,
        postflight=after,
        offload=offload,
        judges=judges,
        mask_secret=_secret(settings),
        clock=time.monotonic,
        now=time.time,
        cpu=time.thread_time,
    )
    context.config.on_change(configured)
    context.steps = [*before.describe(), *after.describe()]
    await bus.serve(REQUEST_INSPECT, inspect, max_in_flight=settings.max_in_flight)
    # What comes meanwhile waits here, which is better than nobody to come to, and its guards' time has not begun.
    matcher = model.shipped().matcher
    problem = await embedding.problem(LOAD_MS_MAX) if embedding is not None else NO_EMBEDDING
    if not problem:
        inspect.embedding = embedding
        context.steps = [*before.describe(), EMBEDDING_STEP, *after.describe()]
    log.info("injection: embedding model: %s", problem or "in force")
    context.readiness.note(EMBEDDING, problem or "in force")
    context.ready()
    matcher.warm_beside()
    talk.warm_beside()
    definitions.warm_beside()
    await context.stop.wait()
    # The processes are not closed here: draining comes after, and needs them. They end with the interpreter.


NO_JUDGE = "LLM_PROXY_JUDGE_KEY is not set: policy.injection.judge cannot be asked, and its on_failure holds"


def wants_judge(policy: Policy) -> bool:
    wanted = (policy, *(changed(policy, override) for override in policy.overrides))
    return any(one.injection.judge.model and one.injection.mode != "disabled" for one in wanted)


NO_EMBEDDING = "not installed (docs/models/embedding.md)"

EMBEDDING_STEP = StepInfo(
    name=EMBEDDING,
    ring=int(Ring.PRE_FLIGHT),
    priority=EMBEDDING_PRIORITY,
    timeout_ms=Embedding().timeout_ms,
    fail="open",
)


def _secret(settings: Settings) -> bytes:
    if settings.mask_secret:
        return settings.mask_secret.encode()
    log.warning("LLM_PROXY_MASK_SECRET is not set: placeholders change with every start, and prompt caches miss")
    return secrets.token_bytes(32)


def main() -> None:
    runtime.serve("shield", Settings, run)


if __name__ == "__main__":
    main()
