"""The canonical form has one spelling, and no record is too strange for the ledger."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmproxy.audit.record import COLUMN_CHARACTERS_MAX, ID_CHARACTERS_MAX, canonical, column, columns, parse, spell
from llmproxy.common.explanations import Explained, Explanation
from llmproxy.common.records import AuditRecord

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
EXPLANATIONS = st.builds(
    Explanation,
    guard=TEXT,
    kind=TEXT,
    action=st.sampled_from(["mask", "block", "flag"]),
    path=TEXT,
    via=st.lists(TEXT, max_size=2).map(tuple),
    per_mille=st.integers(0, 1000),
)
RECORDS = st.builds(
    AuditRecord,
    id=TEXT,
    at_ms=st.integers(-(1 << 63), (1 << 64) - 1),
    verdict=st.sampled_from(["answered", "blocked", "refused", "failed", "cancelled", "changed"]),
    tenant=TEXT,
    key=TEXT,
    model=TEXT,
    findings=st.dictionaries(TEXT, st.integers(0, 1000), max_size=4),
    cost=st.integers(0, 1 << 62),
    stream=st.booleans(),
    subject=TEXT,
    explained=st.none() | st.builds(Explained, st.lists(EXPLANATIONS, max_size=3).map(tuple), st.integers(0, 99)),
)


def test_the_spelling_of_a_record_is_the_published_one() -> None:
    record = AuditRecord(
        id="0192f0c1-0000-7000-8000-000000000001",
        at_ms=1_732_000_000_000,
        verdict="answered",
        tenant="acme",
        model="gpt-4o é",
        findings={"phone": 1, "email": 2},
        stream=True,
        cost=12_345,
    )
    assert (
        canonical(record)
        == (
            '{"at_ms":1732000000000,"cost":12345,"findings":{"email":2,"phone":1},'
            '"id":"0192f0c1-0000-7000-8000-000000000001","model":"gpt-4o é","stream":true,"tenant":"acme",'
            '"verdict":"answered"}'
        ).encode()
    )


def test_an_explanation_is_spelled_in_integers_and_strings_and_nothing_found_is_not_spelled() -> None:
    record = AuditRecord(id="1", at_ms=2, verdict="blocked")
    assert canonical(record) == b'{"at_ms":2,"id":"1","verdict":"blocked"}'
    why = Explanation(
        guard="injection", kind="injection", action="block", path="messages[0].content", start=3, end=40,
        via=("runs", "rot13"), per_mille=913,
    )  # fmt: skip
    assert canonical(msgspec.structs.replace(record, explained=Explained((why,), 2))) == (
        b'{"at_ms":2,"explained":{"findings":[{"action":"block","end":40,"guard":"injection","kind":"injection",'
        b'"path":"messages[0].content","per_mille":913,"start":3,"via":["runs","rot13"]}],"more":2},'
        b'"id":"1","verdict":"blocked"}'
    )


def test_a_field_added_later_with_a_default_leaves_the_spelling_of_older_records() -> None:
    later = msgspec.defstruct(
        "Later",
        [("about", str, ""), ("zone", int, 0)],
        bases=(AuditRecord,),
        kw_only=True,
        omit_defaults=True,
    )
    fields = {"id": "1", "at_ms": 2, "verdict": "failed", "model": "m"}
    assert canonical(later(**fields)) == canonical(AuditRecord(**fields))  # type: ignore[arg-type]


@given(RECORDS)
def test_a_record_has_one_spelling_whatever_the_order_of_its_findings(record: AuditRecord) -> None:
    other = msgspec.structs.replace(record, findings=dict(reversed(record.findings.items())))
    assert canonical(record) == canonical(other)
    assert parse(canonical(record)) == record


@given(RECORDS)
def test_whatever_a_caller_wrote_fits_into_the_table(record: AuditRecord) -> None:
    stored, spelled = spell(record)
    assert parse(spelled) == stored
    found = columns(stored)
    assert len(found.id) <= ID_CHARACTERS_MAX
    assert 0 <= found.at_ms < 1 << 63
    assert all(
        "\0" not in text and len(text) <= COLUMN_CHARACTERS_MAX for text in (found.tenant, found.key, found.model)
    )


def test_an_ordinary_record_is_stored_as_it_is() -> None:
    record = AuditRecord(id="1", at_ms=2, verdict="failed", model="m\\u0000")
    assert spell(record) == (record, canonical(record))


def test_different_long_ids_stay_different() -> None:
    first, second = (AuditRecord(id="x" * 200 + end, at_ms=1, verdict="failed") for end in "ab")
    assert spell(first)[0].id != spell(second)[0].id


def test_a_query_for_a_long_model_finds_what_was_indexed() -> None:
    assert column("m" * 1000) == columns(AuditRecord(id="1", at_ms=1, verdict="failed", model="m" * 1000)).model
