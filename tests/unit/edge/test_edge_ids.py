"""Request ids: unguessable digits, asked for a page of bytes at a time, and none used twice."""

import os
from uuid import RFC_4122, UUID

from llmproxy.edge.ids import AT_ONCE, POOL_BYTES, pooled, uuid7

TIME = 0x0198_C0DE_0000


def test_ids_are_written_from_a_page_of_random_bytes_at_a_time_and_each_of_them_is_used_once() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    take = pooled(source)
    made = [uuid7(TIME, take()) for _ in range(2 * AT_ONCE + 1)]
    assert asked == [POOL_BYTES] * 3
    assert len(set(made)) == len(made)


def test_every_random_byte_is_in_an_id() -> None:
    given = os.urandom(POOL_BYTES)
    take = pooled(lambda _: given)
    ids = [UUID(uuid7(TIME, take())).bytes[6:] for _ in range(AT_ONCE)]
    thirds, fourths, lasts = (b"".join(one[at:end] for one in ids) for at, end in ((0, 2), (2, 4), (4, 10)))
    assert lasts == given[4 * AT_ONCE :]
    assert all(one & 0x0F == byte & 0x0F for one, byte in zip(thirds[::2], given[: 2 * AT_ONCE : 2], strict=True))
    assert thirds[1::2] == given[1 : 2 * AT_ONCE : 2]
    assert all(
        one & 0x3F == byte & 0x3F for one, byte in zip(fourths[::2], given[2 * AT_ONCE : 4 * AT_ONCE : 2], strict=True)
    )
    assert fourths[1::2] == given[2 * AT_ONCE + 1 : 4 * AT_ONCE : 2]


def test_an_id_is_a_version_7_uuid_that_begins_with_its_time() -> None:
    for byte, expected in ((b"\xff", "7fff-bfff-ffffffffffff"), (b"\0", "7000-8000-000000000000")):
        made = uuid7(TIME, pooled(lambda count, byte=byte: byte * count)())
        assert made == f"0198c0de-0000-{expected}"
        assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)
