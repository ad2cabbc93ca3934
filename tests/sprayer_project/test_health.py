import pytest
from django.test import Client

from deploy.local.stack import Stack
from sprayer_project import metrics
from tests.live import wait_for


def test_healthz_asks_no_server(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_health_is_read_only(client: Client) -> None:
    assert [client.post(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [405, 405, 405]


@pytest.mark.services
def test_readyz_names_each_server(client: Client, db: None) -> None:
    response = client.get("/readyz")
    names = ("sql", "mongodb", "redis-0", "redis-1", "rabbitmq")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "servers": dict.fromkeys(names, "ok")})


@pytest.mark.services
def test_without_redis_readyz_is_degraded_and_without_mongodb_unavailable(
    client: Client, db: None, stack: Stack
) -> None:
    stack.redis[1].stop()
    degraded = client.get("/readyz")
    assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
    assert degraded.json()["servers"] | {"redis-1": "unavailable"} == degraded.json()["servers"]
    stack.mongo.stop()
    missing = client.get("/readyz")
    assert (missing.status_code, missing.json()["status"]) == (503, "unavailable")
    assert missing.json()["servers"]["mongodb"] == "unavailable"
    stack.mongo.start()
    stack.redis[1].start()
    wait_for(lambda: client.get("/readyz").json()["status"] == "ok", 10.0, "every server's return")


@pytest.mark.services
def test_metrics_show_every_queue_and_every_measure(client: Client) -> None:
    metrics.ACCEPTED.labels("live").inc()
    text = client.get("/metrics").content.decode()
    assert 'sprayer_accepted_messages_total{mode="live"}' in text
    for queue in ("feedback.record", "jobs.undecodable", "jobs.sms.single", "jobs.sms.bulk"):
        assert f'sprayer_queue_depth{{queue="{queue}"}} 0.0' in text
    for name in ("dispatch_seconds", "outcomes", "feeder_lag_seconds", "feedback_queue_fill", "connections"):
        assert f"# HELP sprayer_{name}" in text


def test_metrics_stop_asking_a_broker_that_is_away() -> None:
    asked: list[str] = []

    def depth(queue: str) -> int | None:
        asked.append(queue)
        return 3 if queue == "a" else None

    text = metrics.exposition(["a", "b", "c"], depth, [metrics.Reading("x_seconds", "X.", 1.5)]).decode()
    assert asked == ["a", "b"]
    assert 'sprayer_queue_depth{queue="a"} 3.0' in text
    assert 'queue="b"' not in text
    assert "x_seconds 1.5" in text
