"""The clients of a real Redis server."""

from typing import Any

import pytest
from redis.exceptions import DataError

from sprayer_project import redis

pytestmark = pytest.mark.services


@pytest.fixture
async def client() -> Any:
    yield redis.aclient("acme")
    await redis.aclose()


@pytest.mark.parametrize(("value", "kept"), [("é\r\n", "é\r\n"), (b"raw", "raw"), (17, "17"), (1.5, "1.5"), ("", "")])
async def test_event_loops_send_texts_bytes_and_numbers_as_threads_do(client: Any, value: Any, kept: str) -> None:
    await client.set("packed", value)
    assert redis.client("acme").get("packed") == await client.get("packed") == kept
    async with client.pipeline(transaction=False) as pipeline:
        assert await pipeline.set("packed", value).get("packed").execute() == [True, kept]


@pytest.mark.parametrize("value", [None, True, ["list"]])
async def test_event_loops_refuse_what_has_no_form_in_redis(client: Any, value: Any) -> None:
    with pytest.raises(DataError):
        await client.set("packed", value)


async def test_a_command_of_two_words_is_sent_as_two(client: Any) -> None:
    assert await client.execute_command("CONFIG GET", "maxmemory-policy")
