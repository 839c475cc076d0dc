"""What of a request the shield's event loop looks at itself: what is made to take long is examined elsewhere, with the same verdict."""

import json
from base64 import b64encode
from functools import partial
from itertools import count
from typing import Any

import pytest

from llmproxy.common.policy import Policy
from llmproxy.common.segments import Segment
from llmproxy.common.testing import FakeClock
from llmproxy.shield import preflight
from llmproxy.shield.examine import Examined, Order, Refused, examine_within
from llmproxy.shield.guards import GUARDS
from llmproxy.shield.guards.base import Sighted, never
from llmproxy.shield.guards.injection import LOOP_BEYOND_CHARS_MAX, Injection
from llmproxy.shield.inspection import LOOP_DENSE_CHARS_MAX, LOOP_FILES_MAX, LOOP_PARTS_MAX, LOOP_PLACES_MAX, LOOP_S
from llmproxy.shield.look import Look
from llmproxy.shield.offload import INLINE_BYTES_MAX, INLINE_WORK_MAX
from llmproxy.shield.verdict import ALLOW, Verdict

RING = preflight.pipeline(GUARDS)


def within(work_max: int | None, content: Any, ring: Any = RING) -> Examined | Refused | None:
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": content}]}, ensure_ascii=False)
    order = Order(body=body.encode(), policy=Policy(guard_timeout_ms=60_000), key=b"k" * 32, max_depth=64)
    assert len(order.body) <= INLINE_BYTES_MAX, "the size alone decides nothing here"
    return examine_within(work_max, order, ring, FakeClock())


def file(said: str) -> dict[str, Any]:
    return {"type": "file", "file": {"file_data": f"data:text/plain;base64,{b64encode(said.encode()).decode()}"}}


def part(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("few", "many"),
    [
        ([file("so it is")] * LOOP_FILES_MAX, [file("so it is")] * (LOOP_FILES_MAX + 1)),
        ([part("a")] * (LOOP_PARTS_MAX // 4), [part("a")] * (LOOP_PARTS_MAX)),
        ("\U00010330 " * (LOOP_PLACES_MAX // 2), "\U00010330 " * (LOOP_PLACES_MAX + 1)),
        ("éàü " * (LOOP_BEYOND_CHARS_MAX // 8), "éàü " * (LOOP_BEYOND_CHARS_MAX // 4 + 1)),
    ],
    ids=["files", "parts", "signs from far away", "letters with marks"],
)
def test_much_of_what_takes_long_is_not_looked_at_in_the_loop(few: Any, many: Any) -> None:
    assert within(INLINE_WORK_MAX, few) is not None
    assert within(INLINE_WORK_MAX, many) is None
    assert isinstance(within(None, many), Examined)


class Looking(Sighted):
    """Counts how often it was asked to look."""

    name, needs = "looking", Look.PASSWORD | Look.YEAR

    def __init__(self) -> None:
        self.looks = 0

    def may_hold(self, text: str) -> bool:
        self.looks += 1
        return False

    def inspect(self, segment: Segment) -> Verdict:
        return ALLOW


def test_a_guard_does_not_even_begin_on_a_text_that_is_full_of_what_it_tries_its_rules_on() -> None:
    often, seldom = "the password of " * (LOOP_DENSE_CHARS_MAX // 6), "the password of nobody. " + "So it is. " * 900
    looking = Looking()
    ring = preflight.pipeline([looking])
    assert within(INLINE_WORK_MAX, often, ring) is None
    assert looking.looks == 0
    assert within(INLINE_WORK_MAX, seldom, ring) is not None
    assert within(INLINE_WORK_MAX, "In 1985 it was so. " * 900, ring) is not None, "a year is tried under one rule"
    assert looking.looks == 2
    assert within(None, often, ring) is not None


def test_what_was_clear_before_the_time_was_over_is_remembered() -> None:
    guard, texts = Injection(), [f"Le café numéro {number} était fermé l’été passé." for number in range(20)]
    asked = count()
    spent = []
    for is_late in (lambda: next(asked) == 5, never, lambda: True):
        sparing = guard.sparing(b"k" * 32, is_late)
        sparing.look(texts)
        sparing.suspects()
        spent.append(sparing.is_spent)
    assert spent == [True, False, False]


def test_the_loop_weighs_texts_for_so_long_and_no_longer() -> None:
    texts = [part(f"só it ìs {number}, ánd nó óthèr") for number in range(40)]
    for each_s, is_in_time in ((LOOP_S / 100, True), (LOOP_S, False)):
        clock = partial(next, count(0, each_s))
        body = json.dumps({"messages": [{"role": "user", "content": texts}]}).encode()
        order = Order(body=body, policy=Policy(guard_timeout_ms=60_000), key=bytes(32), max_depth=64)
        seen = examine_within(INLINE_WORK_MAX, order, preflight.pipeline([Injection()]), clock, loop_cpu=clock)
        assert (seen is not None) is is_in_time
