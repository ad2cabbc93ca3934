"""The live system of the tests: what other tests rely on."""

import pytest

from tests.live import LiveSystem


@pytest.mark.services
def test_every_process_starts_and_a_killed_one_comes_back(live_system: LiveSystem) -> None:
    web, _, dispatcher, *_ = live_system.start("web", "sandbox", "dispatcher", "feeder", "sweeper")
    (second,) = live_system.start("web")
    assert second.name == "web2" and second.url != web.url

    dispatcher.kill()
    assert not dispatcher.running
    dispatcher.restart()

    assert all(process.running for process in live_system.processes)
    assert "started" in dispatcher.log_text()
