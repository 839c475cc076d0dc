"""What `llmproxy up` tells of services that work and are not well."""

from llmproxy.launcher.troubles import Troubles, why

WELL = '{"ready":true,"blockers":{},"notes":{"pii":"patterns"}}'
BROKEN = '{"ready":false,"blockers":{"ledger":"there is no signed head"},"notes":{}}'


def told(troubles: Troubles, answer: str) -> list[str]:
    return list(troubles.look({"audit-1": lambda: answer}))


def test_a_trouble_is_told_once_and_so_is_its_end() -> None:
    troubles = Troubles()
    assert told(troubles, WELL) == []
    assert told(troubles, BROKEN) == ["audit-1 is not well; ledger: there is no signed head"]
    assert told(troubles, BROKEN) == []
    assert told(troubles, "") == []  # It does not answer just now: nothing is known.
    assert told(troubles, WELL) == ["audit-1 is well again"]


def test_another_trouble_is_told_too() -> None:
    troubles = Troubles()
    told(troubles, BROKEN)
    assert told(troubles, BROKEN.replace("no signed head", "no key")) == [
        "audit-1 is not well; ledger: there is no key"
    ]


def test_starting_and_stopping_is_no_trouble() -> None:
    assert why('{"ready":false,"blockers":{"start":"waiting for NATS"}}') == ""
    assert (
        why('{"ready":false,"blockers":{"stop":"draining","audit":"JetStream is full"}}') == "audit: JetStream is full"
    )
    assert why("not found") == ""
