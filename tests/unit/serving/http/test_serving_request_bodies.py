"""Bodies of requests: joined, unpacked, and bounded in size, time and number."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.serving.contract.messages import BadInputError, OverloadedError
from mlops_cli.serving.http import request_bodies
from mlops_cli.serving.http.refusals import RefusedError
from mlops_cli.serving.http.request_bodies import SMALL, Bodies, JsonLimits, Message, check_json

LARGEST = 1_000_000


def read(
    parts: Sequence[bytes], headers: dict[bytes, bytes] | None = None, bodies: Bodies | None = None
) -> bytes | None:
    messages: list[Message] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = False

    async def receive() -> Message:
        return messages.pop(0)

    return asyncio.run((bodies or Bodies(LARGEST)).read(headers or {}, receive))


def status_of(parts: Sequence[bytes], headers: dict[bytes, bytes]) -> tuple[int, str]:
    with pytest.raises(RefusedError) as caught:
        read(parts, headers)
    return caught.value.status, caught.value.message


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_parts_are_joined_in_order(parts: list[bytes]) -> None:
    assert read(parts) == b"".join(parts)


@given(st.binary(max_size=500))
def test_packed_bodies_come_out_as_they_went_in(body: bytes) -> None:
    for packed in (gzip.compress(body), zlib.compress(body)):
        for name in (b"gzip", b"deflate", b" GZIP "):
            assert read([packed], {b"content-encoding": name}) == body
    assert read([body], {b"content-encoding": b"identity"}) == body


def test_an_unknown_packing_is_refused_and_its_name_cut() -> None:
    status, message = status_of([b"x"], {b"content-encoding": b"br" * 1000})
    assert status == 415
    assert len(message) < 120


@pytest.mark.parametrize("body", [b"no gzip", b"", gzip.compress(b"x" * 1000, mtime=0)[:-9]])
def test_damaged_packing_is_refused(body: bytes) -> None:
    assert status_of([body], {b"content-encoding": b"gzip"})[0] == 400


def test_what_unpacks_to_too_much_is_refused() -> None:
    status, message = status_of([gzip.compress(b"0" * (LARGEST + 1))], {b"content-encoding": b"gzip"})
    assert (status, message) == (413, "the body is larger than 1 MB")
    assert read([gzip.compress(b"0" * LARGEST)], {b"content-encoding": b"gzip"}) == b"0" * LARGEST


def test_parts_beyond_the_largest_size_are_refused_at_once() -> None:
    assert status_of([b"x" * (LARGEST // 2)] * 3, {})[0] == 413


def test_a_body_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_bodies, "_SECONDS", 0.01)

    async def work() -> None:
        first: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive() -> Message:
            if first:
                return first.pop()
            await asyncio.sleep(10)
            raise AssertionError

        with pytest.raises(RefusedError, match="did not arrive within") as caught:
            await Bodies(LARGEST).read({}, receive)
        assert caught.value.status == 408

    asyncio.run(work())


@pytest.mark.parametrize("begun", [[], [{"type": "http.request", "body": b"x", "more_body": True}]])
def test_a_caller_that_hangs_up_leaves_no_body(begun: list[Message]) -> None:
    messages = [*begun, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return messages.pop(0)

    assert asyncio.run(Bodies(LARGEST).read({}, receive)) is None


@pytest.mark.parametrize(
    ("headers", "reserved"),
    [
        ({}, 0),
        ({b"content-length": b"0"}, 0),
        ({b"content-length": b"9999"}, 0),
        ({b"content-length": str(SMALL).encode()}, 0),
        ({b"content-length": str(SMALL + 1).encode()}, SMALL + 1),
        ({b"content-length": str(LARGEST).encode()}, LARGEST),
        ({b"content-length": b"no number"}, 0),
        ({b"transfer-encoding": b"chunked"}, LARGEST),
        ({b"content-length": b"50", b"content-encoding": b"gzip"}, 0),
        ({b"content-length": b"500", b"content-encoding": b"gzip"}, 516_000),
        ({b"content-length": b"5000", b"content-encoding": b"gzip"}, LARGEST),
    ],
)
def test_the_memory_that_a_body_may_need_is_reserved(headers: dict[bytes, bytes], reserved: int) -> None:
    assert Bodies(LARGEST).reserve(headers) == reserved


def test_memory_is_bounded_and_given_back() -> None:
    bodies, large = Bodies(LARGEST), {b"content-length": str(LARGEST).encode()}
    sizes = [bodies.reserve(large) for _ in range(8)]
    with pytest.raises(OverloadedError, match="too many large bodies"):
        bodies.reserve(large)
    assert bodies.reserve({b"content-length": b"10"}) == 0, "small ones always pass"
    bodies.release(sizes.pop())
    assert bodies.reserve(large) == LARGEST


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        (b"[" + b"1," * 99_999 + b"1]", False),
        (b"[" + b"1," * 100_001 + b"1]", True),
        (b"[" * 100_001, True),
        (b"[" + b'"x",' * 1001 + b'"x"]' + b" " * SMALL, True),
        (b"{" + b'"x":1,' * 999 + b"}" + b" " * SMALL, True),
        (b"[" + b"{}," * 1001 + b"1]" + b" " * SMALL, True),
        (b'"' + b"x" * 10 * SMALL + b'"', False),
        (b"[" * SMALL, False),
    ],
)
def test_json_that_would_grow_when_parsed_is_refused_unparsed(text: bytes, refused: bool) -> None:
    limits = JsonLimits(values=100_000, names=1000)
    if not refused:
        check_json(text, limits, "send less")
        return
    with pytest.raises(BadInputError, match="the JSON holds more than") as caught:
        check_json(text, limits, "send less")
    assert caught.value.hint == "send less"
