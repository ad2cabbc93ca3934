"""The console's first page of a tenant: from the totals, for whoever may see it, with what needs somebody's eye."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from django.test import Client

from feedback import rollups, webhooks
from feedback import services as feedback
from feedback.events import DeliveryEvent, Status, delivery_id
from messaging import breaker, charts, overview
from messaging.breaker import Circuit
from messaging.channels.base import Outcome
from messaging.charts import Column
from messaging.services import accept
from messaging.templatetags.overview import duration, percent
from sprayer_project import redis
from sprayer_project.ids import new_id
from subscriptions.services import put_receiver
from tenants.models import User
from tenants.selectors import channel_config
from tenants.services import note_credentials, set_channel_config
from tests.conftest import TenantUnderTest

NOW = datetime.now(UTC)


def page(user: User | None, query: str = "", path: str = "") -> str:
    assert user is not None
    client = Client()
    client.force_login(user)
    answer = client.get(f"/t/acme/{path}{query}")
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


def happened(status: Status, count: int, channel: str = "sms", mode: str = "live", ago: float = 600) -> None:
    """So many deliveries, all counted."""
    at = NOW - timedelta(seconds=ago)
    message = new_id("msg", at)
    feedback.write(
        [
            DeliveryEvent(
                tenant="acme",
                mode=mode,
                message=message,
                delivery=delivery_id(message, f"r{number}", channel, None),
                receiver=f"r{number}",
                channel=channel,
                status=status,
                at=at + timedelta(seconds=2),
                reason="expired" if status is Status.EXPIRED else "",
            )
            for number in range(count)
        ]
    )
    while rollups.roll_up(100, NOW + timedelta(hours=4)):
        pass


@pytest.mark.services
def test_the_page_tells_deliveries_success_and_times_by_channel(acme: TenantUnderTest) -> None:
    happened(Status.DELIVERED, 27)
    happened(Status.FAILED, 3)
    happened(Status.SENT, 5, channel="ios")
    text = page(acme.viewer)
    assert 'aria-label="All channels: 27 delivered, 5 sent, 3 failed. The table has all."' in text
    assert "91.4 %" in text and '<dd class="large">1.7 s</dd>' in text
    for query in ("?range=hour&channel=ios", "?range=month&channel=ios"):
        assert 'aria-label="iOS push: 5 sent. The table has all."' in page(acme.owner, query)
    assert "No test deliveries in this time" in page(acme.owner, "?mode=test")
    assert "27 delivered" in page(acme.owner, path="overview")


@pytest.mark.services
def test_a_tenant_that_tried_the_sandbox_alone_sees_that(acme: TenantUnderTest) -> None:
    happened(Status.DELIVERED, 1, mode="test")
    assert "All channels: 1 delivered" in page(acme.owner)
    assert "No live deliveries in this time" in page(acme.owner, "?mode=live")


@pytest.mark.services
def test_first_steps_are_ticked_as_they_are_done_and_go_with_the_last(acme: TenantUnderTest) -> None:
    def done() -> list[bool]:
        return [step.done for step in overview.steps("acme")]

    assert done() == [False, True, False, False, False]
    set_channel_config("acme", "sms", {"account_sid": "AC1", "auth_token": "x", "from_number": "+12025550100"})
    assert done()[0]
    put_receiver("acme", "ann")
    accept("acme", "test", {"to": {"receivers": ["ann"]}, "channels": ["websocket"], "content": {}})
    assert done() == [True, True, True, False, False]
    assert "First steps" in page(acme.viewer)
    happened(Status.DELIVERED, 1, mode="test")
    actor = webhooks.Actor(user=acme.owner)
    webhooks.create("acme", "live", "https://hooks.example/sprayer", ["delivery.*"], actor)
    assert all(done()) and "First steps" not in page(acme.owner)


@pytest.mark.services
def test_refused_credentials_and_many_failures_are_trouble(acme: TenantUnderTest) -> None:
    set_channel_config("acme", "sms", {"account_sid": "AC1", "auth_token": "x", "from_number": "+12025550100"})
    stored = channel_config("acme", "sms")
    assert stored is not None
    note_credentials("acme", "sms", stored.version, "20003: Authenticate")
    happened(Status.DELIVERED, 15, channel="email")
    happened(Status.BOUNCED, 5, channel="email")
    text = page(acme.viewer)
    assert "refuses the credentials: 20003: Authenticate" in text
    assert "25% of the deliveries of the last 24 hours failed." in text


@pytest.mark.services
async def test_hosts_that_do_not_answer_are_trouble_until_they_do(db: None) -> None:
    circuit = Circuit("acme", "http", "hooks.example:8443")

    async def saw(status: Status, times: int) -> None:
        permits = await breaker.admit([circuit])
        watch = breaker.Watch({"dlv_1": circuit}, permits)
        for _ in range(times):
            watch.saw(Outcome(delivery="dlv_1", status=status, reason="timeout" if status is Status.DEFERRED else ""))
        await watch.aclose()

    await saw(Status.DEFERRED, breaker.FAILURES)
    assert await asyncio.to_thread(breaker.opened, "acme") == [circuit]
    deadline = asyncio.get_running_loop().time() + 20
    while await asyncio.to_thread(breaker.opened, "acme"):
        assert asyncio.get_running_loop().time() < deadline
        await saw(Status.DELIVERED, 1)
        await asyncio.sleep(0.1)
    await redis.aclose()


@pytest.mark.services
def test_a_stranger_finds_no_overview(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    client = Client()
    client.force_login(globex.owner)
    assert [client.get(f"/t/acme/{path}").status_code for path in ("", "overview")] == [404, 404]


def test_a_chart_has_no_style_and_no_script_and_a_title_for_every_column() -> None:
    start = datetime(2026, 11, 24, tzinfo=UTC)
    columns = [Column(start + timedelta(hours=hour), {"sent": hour % 5, "failed": 1}) for hour in range(24)]
    drawn = charts.stacked(columns, {"sent": "Sent", "failed": "Failed"}, "hour", '23 "sent" & more')
    root = ElementTree.fromstring(drawn)
    assert root.get("aria-label") == '23 "sent" & more'
    assert {node.tag for node in root.iter()} <= {"svg", "g", "rect", "path", "text", "title"}
    assert not [node for node in root.iter() if {"style", "onclick", "href"} & set(node.attrib)]
    titles = list(root.iter("title"))
    assert titles[3].text == "03:00 UTC\n3 sent\n1 failed"
    assert titles[3].get("data-hour") == "2026-11-24T03:00:00+00:00"
    assert len(titles) == 24


@pytest.mark.parametrize("counts", [[{}], [{}, {"sent": 1}], [{"sent": 10**7}, {}, {}]])
def test_a_chart_of_little_or_much_is_drawn(counts: list[dict[str, int]]) -> None:
    start = datetime(2026, 11, 24, tzinfo=UTC)
    columns = [Column(start + timedelta(days=day), found) for day, found in enumerate(counts)]
    root = ElementTree.fromstring(charts.stacked(columns, {"sent": "Sent"}, "day", "words"))
    assert len(list(root.iter("title"))) == len(counts)


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (None, "—"),
        (3.4, "3 ms"),
        (999, "999 ms"),
        (1234, "1.2 s"),
        (59_000, "59 s"),
        (90_000, "1.5 min"),
        (1e9, "12 d"),
    ],
)
def test_times_are_told_in_the_unit_that_fits(milliseconds: float | None, words: str) -> None:
    assert duration(milliseconds) == words


@pytest.mark.parametrize(("share", "words"), [(None, "—"), (1.0, "100 %"), (0.99999, "99.9 %"), (0.5, "50.0 %")])
def test_success_is_never_whole_while_something_failed(share: float | None, words: str) -> None:
    assert percent(share) == words
