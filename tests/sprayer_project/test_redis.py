"""The clients of a real Redis server."""

from collections.abc import Iterator
from typing import Any

import pytest
from redis.connection import DefaultParser
from redis.exceptions import DataError, ResponseError

from sprayer_project import redis
from sprayer_project.errors import STORE_ERRORS

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


@pytest.fixture(params=[("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)], ids=["OOM", "NOREPLICAS"])
def refusing(request: pytest.FixtureRequest) -> Iterator[None]:
    """A server that is there and takes no writes."""
    name, refuses, takes = request.param
    server = redis.client("acme")
    server.config_set(name, refuses)
    yield
    server.config_set(name, takes)


async def test_a_server_that_takes_no_writes_is_away_and_not_a_mistake(client: Any, refusing: None) -> None:
    with pytest.raises(STORE_ERRORS):
        redis.client("acme").set("refused", 1)
    with pytest.raises(STORE_ERRORS):
        await client.set("refused", 1)
    with pytest.raises(STORE_ERRORS):
        await client.eval("return redis.call('SET', KEYS[1], 1)", 1, "refused")
    async with client.pipeline() as pipeline:
        with pytest.raises(STORE_ERRORS):
            await pipeline.set("refused", 1).execute()


@pytest.mark.parametrize("code", ["BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "READONLY", "TRYAGAIN"])
def test_whatever_a_server_refuses_for_its_own_state_is_a_stores_error(code: str) -> None:
    error = DefaultParser.parse_error(f"{code} Not now.")  # type: ignore[no-untyped-call]
    assert isinstance(error, STORE_ERRORS)


async def test_a_script_that_is_wrong_is_a_mistake(client: Any) -> None:
    with pytest.raises(ResponseError) as raised:
        await client.eval("return redis.call('INCR', KEYS[1], 1)", 1, "wrong")
    assert not isinstance(raised.value, STORE_ERRORS)
