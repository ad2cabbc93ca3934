import pytest
from django.core.exceptions import ImproperlyConfigured

from sprayer_project import env

SCHEMES = ("smtp", "smtps")


def test_a_server_is_a_url_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SERVER", "smtps://me:p%40ss@mail.example:2465")
    found = env.server("A_SERVER", SCHEMES)
    assert (found.scheme, found.hostname, found.port, found.username) == ("smtps", "mail.example", 2465, "me")
    monkeypatch.delenv("A_SERVER")
    assert not any(env.server("A_SERVER", SCHEMES))


def test_a_folder_may_stand_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SERVER", "file:///var/mail%20box")
    assert env.server("A_SERVER", (*SCHEMES, "file")).path == "/var/mail%20box"
    monkeypatch.setenv("A_SERVER", "file://")
    with pytest.raises(ImproperlyConfigured, match="A_SERVER: file:// is followed by no path"):
        env.server("A_SERVER", (*SCHEMES, "file"))


@pytest.mark.parametrize("value", ["http://mail.example", "mail.example:25", "smtp://", "smtp://mail.example:smtp"])
def test_a_server_that_cannot_be_one_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("A_SERVER", value)
    with pytest.raises(ImproperlyConfigured, match="A_SERVER"):
        env.server("A_SERVER", SCHEMES)
