"""Fixtures for all tests. Servers start when the first test marked `services` or `browser` needs them."""

# The environment first: what follows reads Django's settings.
from tests import environment

# isort: split
import logging
import os
import pkgutil
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from pika.exceptions import ChannelClosedByBroker
from pymongo import MongoClient
from pymongo.database import Database

from deploy.local.stack import Stack
from messaging import channels
from sprayer_project import amqp, redis
from tenants.models import User
from tenants.rights import SCOPES
from tenants.services import add_member, create_api_key, create_tenant
from tests.live import LiveSystem

FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class TenantUnderTest:
    """A tenant with its first people, and keys with every scope."""

    slug: str
    owner: User
    viewer: User | None
    key: str
    test_key: str

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {key or self.key}"}


def pytest_report_header() -> str:
    return f"logs and data of this run: {environment.FOLDER}"


def pytest_xdist_setupnodes() -> None:
    """A worker takes over an environment that names no settings yet, as this process did."""
    del os.environ["DJANGO_SETTINGS_MODULE"]


def pytest_sessionstart() -> None:
    """A terminated run ends its servers, too."""
    signal.signal(signal.SIGTERM, lambda number, frame: pytest.exit("SIGTERM", 143))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A failed run's logs stay."""
    if exitstatus == pytest.ExitCode.OK and not environment.WORKER:
        shutil.rmtree(environment.FOLDER, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured, whichever process ran them."""
    reports = [report for found in terminalreporter.stats.values() for report in found if hasattr(report, "when")]
    lines = [
        f"{report.head_line}: {text}"
        for report in reports
        if report.when == "call"
        for name, text in report.user_properties
        if name == FIGURES
    ]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """tell(text): show a figure at the end of the run."""
    return lambda text: request.node.user_properties.append((FIGURES, text))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """RabbitMQ, two Redis shards and a MongoDB-compatible server of this run's own. Not coming up is a failure."""
    environment.STACK.up()
    yield environment.STACK
    amqp.close()
    environment.STACK.down()


@pytest.fixture(scope="session")
def indexes(stack: Stack) -> None:
    call_command("ensure_indexes", verbosity=0)


@pytest.fixture
def clean_stores(stack: Stack, indexes: None) -> None:
    """Every server up again, and empty: MongoDB's collections keep their indexes, RabbitMQ its queues."""
    for server in stack.servers:
        if not server.process():
            server.start()
    _empty_mongodb()
    _empty_redis()
    _empty_rabbitmq(stack)


@pytest.fixture(autouse=True)
def _servers_when_marked(request: pytest.FixtureRequest) -> None:
    if any(request.node.get_closest_marker(name) for name in ("services", "browser")):
        request.getfixturevalue("clean_stores")


@pytest.fixture(scope="session")
def django_db_modify_db_settings() -> None:
    """A file, which the processes of a live system share."""
    connection.settings_dict["TEST"]["NAME"] = str(connection.settings_dict["NAME"])


@pytest.fixture
def acme(db: None) -> TenantUnderTest:
    """alice owns it, bob reads."""
    return _tenant("acme", "Acme", "alice@acme.example", "bob@acme.example")


@pytest.fixture
def globex(db: None) -> TenantUnderTest:
    """charlie owns it."""
    return _tenant("globex", "Globex", "charlie@globex.example", None)


@pytest.fixture
def live_system(clean_stores: None, transactional_db: None, tmp_path: Path) -> Iterator[LiveSystem]:
    """Real processes on this run's servers: `live_system.start("web", "dispatcher")`. They end with the test."""
    system = LiveSystem(tmp_path)
    yield system
    system.close()


def _tenant(slug: str, name: str, owner_email: str, viewer_email: str | None) -> TenantUnderTest:
    tenant, key = create_tenant(slug, name, owner_email)
    owner = User.objects.get(email=owner_email)
    _, test_key = create_api_key(tenant, mode="test", scopes=list(SCOPES), expires_at=None, name="tests", by=owner)
    viewer = None
    if viewer_email:
        viewer = add_member(slug, viewer_email, "viewer").user
    return TenantUnderTest(slug, owner, viewer, key, test_key)


def _empty_mongodb() -> None:
    client: MongoClient[dict[str, Any]]
    with MongoClient(settings.MONGODB_URL, retryWrites=False) as client:
        database: Database[dict[str, Any]] = client.get_default_database()
        for name in database.list_collection_names():
            if not name.startswith("system."):
                database[name].delete_many({})


def _empty_redis() -> None:
    for index in range(len(settings.REDIS_URLS)):
        redis.shard(index).flushall()


def _empty_rabbitmq(stack: Stack) -> None:
    """Purge every queue that exists. A queue that does not closes the AMQP channel that asks."""
    names = [module.name for module in pkgutil.iter_modules(channels.__path__)]
    queues = [amqp.job_queue(channel, lane) for channel in names for lane in amqp.LANES]
    queues += [amqp.RECORD_QUEUE, amqp.WEBHOOK_QUEUE, amqp.LIVE_QUEUE, amqp.LIVE_LOST_QUEUE, amqp.DEAD_QUEUE]
    queues += [f"retry.{seconds}" for seconds in amqp.RETRY_DELAYS]
    parameters = pika.URLParameters(stack.environment()["SPRAYER_AMQP_URL"])
    logging.getLogger("pika.channel").setLevel(logging.ERROR)
    broker = pika.BlockingConnection(parameters)
    try:
        asking = broker.channel()
        for queue in queues:
            try:
                asking.queue_purge(queue)
            except ChannelClosedByBroker:
                asking = broker.channel()
    finally:
        broker.close()
