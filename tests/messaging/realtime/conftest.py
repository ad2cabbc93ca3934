"""Web processes that receivers' clients connect to."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pytest_django import Settings

from deploy.local.stack import Stack
from sprayer_project import redis
from tests.conftest import TenantUnderTest
from tests.live import LiveSystem


@pytest.fixture(autouse=True)
async def _clients_closed(settings: Settings) -> AsyncIterator[None]:
    yield
    for index in range(len(settings.REDIS_URLS)):
        await redis.ashard(index).aclose()


@pytest.fixture(scope="module")
def processes(
    stack: Stack, indexes: None, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveSystem]:
    """A web process that is strict and in a hurry.

    Inboxes are compared every second, windows hold 20,000 bytes, slow clients are cut after half a second, heartbeats
    come every second, and twenty frames a second (two hundred at once) are enough.
    """
    system = LiveSystem(tmp_path_factory.mktemp("realtime"))
    fast = {
        "SPRAYER_REALTIME_CHECK": "1",
        "SPRAYER_REALTIME_WINDOW": "20000",
        "SPRAYER_REALTIME_SLOW": "0.5",
        "SPRAYER_REALTIME_PING": "1",
        "SPRAYER_REALTIME_FRAMES": "20",
    }
    system.start("web", "feeder", env=fast)
    yield system
    system.close()


@pytest.fixture
def web(processes: LiveSystem, clean_stores: None, transactional_db: None, acme: TenantUnderTest) -> LiveSystem:
    return processes
