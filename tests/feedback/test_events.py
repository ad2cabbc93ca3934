import json
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from feedback.events import OPEN, DeliveryEvent, Status, delivery_id, score
from feedback.updates import BadEvent, check, merge, state_of
from tests.feedback.stories import START, event, nameless, random_story, shuffled, winner

ORDER = ["scheduled", "queued", "deferred", "sent", "failed"]


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(ORDER)))
def test_a_status_is_above_the_one_before_it_within_a_round(lower: str, higher: str) -> None:
    assert score(Status(lower), 1) < score(Status(higher), 1)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.EXPIRED, Status.SUPPRESSED])
def test_what_ends_a_delivery_before_it_is_sent_never_overrules_sent(status: Status) -> None:
    assert max(score(open_status, 1) for open_status in OPEN) < score(status, 1) < score(Status.SENT, 1)


@pytest.mark.parametrize(
    "status", [status for status in Status if status.value not in ("delivered", "read", "bounced")]
)
def test_a_later_round_overrules_every_status_of_an_earlier_one(status: Status) -> None:
    assert score(status, 1) < score(Status.SCHEDULED, 2)


def test_delivered_read_and_bounced_compare_above_every_round() -> None:
    assert score(Status.FAILED, 100) < score(Status.DELIVERED, 1) < score(Status.READ, 1) < score(Status.BOUNCED, 1)


def test_an_event_survives_its_way_through_json() -> None:
    full = event(
        group="news",
        attempt=2,
        reason="busy",
        provider="twilio",
        provider_id="SM1",
        detail={"code": 1},
        due_at=START + timedelta(seconds=5),
        dead=True,
        waiting=True,
        fact="opened",
        metadata={"order": "17"},
    )
    assert DeliveryEvent.from_json(json.loads(full.to_json())) == full


def test_an_event_that_names_only_the_providers_id_survives_its_way_through_json() -> None:
    found = nameless(event(status=Status.DELIVERED, provider_id="SM1"))
    assert check(DeliveryEvent.from_json(json.loads(found.to_json()))) == found


def test_a_deliverys_id_begins_with_its_messages() -> None:
    assert delivery_id("msg_01abc", "alice", "sms", None).startswith("dlv_01abc")


@pytest.mark.parametrize("seed", range(200))
def test_any_order_and_repetition_in_a_batch_gives_the_same_state(seed: int) -> None:
    chance = random.Random(seed)
    story = random_story(chance, "alice", "msg_01hzzzzzzzzzzzzzzzzzzzzzzz")
    (merged,) = merge(shuffled(chance, story)).values()
    (straight,) = merge(story).values()
    assert merged.state == straight.state == state_of(winner(story))
    assert merged.slots == straight.slots
    assert merged.known == straight.known
    assert merged.provider_ids == straight.provider_ids


def test_events_of_the_same_kind_take_one_place_and_the_earliest_stays() -> None:
    opened = [
        event(status=Status.DELIVERED, fact="opened", seconds=second, event=f"evt_{second}") for second in range(50)
    ]
    (change,) = merge(reversed(opened)).values()
    assert list(change.slots) == ["r1a0_opened"]
    assert change.slots["r1a0_opened"]["event"] == "evt_0"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"round": 0}, "round"),
        ({"round": "1"}, "round"),
        ({"attempt": 10_000}, "attempt"),
        ({"mode": "both"}, "mode"),
        ({"delivery": "dlv_of_another_message"}, "delivery"),
        ({"delivery": ""}, "provider"),
        ({"tenant": ""}, "tenant"),
        ({"reason": None}, "reason"),
        ({"provider_id": "x" * 501}, "provider_id"),
        ({"fact": "a.$b"}, "fact"),
        ({"due_at": datetime(2026, 1, 1)}, "zone"),
    ],
)
def test_a_bad_event_is_refused_with_its_reason(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadEvent, match=reason):
        check(event(**values))


def test_the_wake_up_of_a_deferred_delivery_is_never_after_its_expiry() -> None:
    late = event(status=Status.DEFERRED, due_at=START + timedelta(hours=2), expires_at=START + timedelta(hours=1))
    assert state_of(late)["wake_at"] == START.astimezone(UTC) + timedelta(hours=1)


def test_a_settled_delivery_needs_no_wake_up() -> None:
    assert "wake_at" not in state_of(event(status=Status.SENT))
    assert "wake_at" in state_of(event(status=Status.SENT, waiting=True))


def test_an_event_holds_whatever_a_provider_answered() -> None:
    odd = event(detail={"code": 2**70, "message": "\ud800"})
    assert DeliveryEvent.from_json(json.loads(odd.to_json())) == odd


def test_what_waited_in_an_inbox_may_still_expire_or_be_suppressed_after_sent() -> None:
    for status in (Status.EXPIRED, Status.SUPPRESSED):
        assert score(Status.SENT, 1) < score(status, 1, waited=True) < score(Status.FAILED, 1)
        assert score(status, 1, waited=True) < score(Status.DELIVERED, 1)
