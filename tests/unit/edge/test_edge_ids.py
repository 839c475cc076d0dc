"""Request ids: unguessable bytes, asked for a page at a time, and none used twice."""

import os

from llmproxy.edge.ids import POOL_BYTES, RANDOM_BYTES, pooled, uuid7


def test_pooled_bytes_are_those_of_the_source_each_once_and_in_order() -> None:
    given: list[bytes] = []

    def source(count: int) -> bytes:
        given.append(os.urandom(count))
        return given[-1]

    take = pooled(source)
    taken = [take() for _ in range(2 * POOL_BYTES // RANDOM_BYTES + 1)]
    assert len(given) == 3
    assert {len(one) for one in taken} == {RANDOM_BYTES}
    assert b"".join(given).startswith(b"".join(taken))


def test_an_id_is_a_version_7_uuid_that_begins_with_its_time() -> None:
    made = uuid7(0x0198_C0DE_0000, b"\xff" * RANDOM_BYTES)
    assert made == "0198c0de-0000-7fff-bfff-ffffffffffff"
