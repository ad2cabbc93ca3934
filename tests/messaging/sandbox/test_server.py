import socket
from typing import Any

import pytest
from aiohttp import ClientSession

from messaging.channels import registry
from messaging.sandbox.server import Sandbox
from messaging.sandbox.store import PER_OWNER, TOTAL, Arrivals


async def ask(method: str, url: str, body: Any = None) -> tuple[int, Any]:
    async with ClientSession() as session, session.request(method, url, json=body) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, await answer.json() if is_json else await answer.text()


async def test_the_root_lists_every_gateway_with_its_url(sandbox: Sandbox) -> None:
    status, body = await ask("GET", f"{sandbox.url}/")
    assert status == 200
    assert body["gateways"]["sms"] == {"url": f"{sandbox.url}/sms", "ca": None}


async def test_every_channel_with_addresses_has_a_gateway(sandbox: Sandbox) -> None:
    _, body = await ask("GET", f"{sandbox.url}/")
    assert set(body["gateways"]) >= {name for name, channel in registry().items() if channel.needs_address}


async def test_switches_are_read_and_changed(sandbox: Sandbox) -> None:
    assert await ask("PUT", f"{sandbox.url}/control", {"callbacks": False, "slow": 2}) == (
        200,
        {"callbacks": False, "delay": 0.01, "slow": 2},
    )
    assert (await ask("GET", f"{sandbox.url}/control"))[1]["callbacks"] is False


@pytest.mark.parametrize("body", [{"nonsense": 1}, {"callbacks": "no"}, {"delay": -1}, {"delay": True}, [], "x"])
async def test_a_bad_switch_changes_nothing(sandbox: Sandbox, body: Any) -> None:
    status, sentence = await ask("PUT", f"{sandbox.url}/control", body)
    assert status == 400
    assert sentence.endswith(".")
    assert (await ask("GET", f"{sandbox.url}/control"))[1] == {"callbacks": True, "delay": 0.01, "slow": 30.0}


async def test_arrivals_are_read_by_tenant_newest_first_and_cleared(sandbox: Sandbox) -> None:
    owner = sandbox.gateways["sms"].owner
    for number in range(3):
        sandbox.arrivals.add("sms", owner("acme"), {"n": number})
    sandbox.arrivals.add("sms", owner("globex"), {"n": 9})
    _, body = await ask("GET", f"{sandbox.url}/arrived/sms?tenant=acme&limit=2")
    assert [row["n"] for row in body["data"]] == [2, 1]
    assert (await ask("DELETE", f"{sandbox.url}/arrived/sms?tenant=acme"))[0] == 204
    _, body = await ask("GET", f"{sandbox.url}/arrived/sms")
    assert [row["n"] for row in body["data"]] == [9]


async def test_arrivals_of_an_unknown_gateway_are_not_found(sandbox: Sandbox) -> None:
    assert (await ask("GET", f"{sandbox.url}/arrived/pigeon"))[0] == 404


async def test_a_taken_port_is_an_error_that_leaves_nothing_open() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        blocked = Sandbox("127.0.0.1", taken.getsockname()[1], 0)
        with pytest.raises(OSError, match="address already in use"):
            await blocked.start()


def test_an_owner_keeps_its_newest_thousand() -> None:
    arrivals = Arrivals()
    for number in range(PER_OWNER + 5):
        arrivals.add("sms", "acme", {"n": number})
    kept = arrivals.newest("sms", "acme", 10_000)
    assert (len(kept), kept[0]["n"], kept[-1]["n"]) == (PER_OWNER, PER_OWNER + 4, 5)


def test_memory_is_bounded_whatever_the_number_of_owners() -> None:
    arrivals = Arrivals()
    for number in range(TOTAL + 500):
        arrivals.add("sms", f"tenant-{number}", {})
    assert len(arrivals.newest("sms", None, 2 * TOTAL)) == TOTAL
    assert arrivals.newest("sms", "tenant-0", 1) == []
    assert len(arrivals.newest("sms", f"tenant-{TOTAL + 499}", 1)) == 1
