"""The console's page that sends: what it makes of its form, what it shows before, through Django's test client."""

import ast
import json
import shlex
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from messaging import override_fields, selectors
from messaging.channels import registry
from messaging.send_form import SendForm
from messaging.services import accept
from messaging.snippets import snippets
from subscriptions.inputs import AddressInput
from subscriptions.services import put_group, put_receiver, subscribe
from tenants.models import User
from tenants.selectors import audit_entries
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services

BODY = {
    "to": {"receivers": ["ann"], "groups": ["news"], "addresses": [{"channel": "sms", "address": "+12025550001"}]},
    "channels": ["sms", "websocket"],
    "content": {"type": "score.changed", "title": "Goal", "body": "Two\nto one.", "data": {"match": 17}},
    "overrides": {"sms": {"body": "Short"}, "ios": {"badge": 0, "content_available": True, "sound": "default"}},
    "ttl": 600,
    "send_at": "2026-12-01T08:00:00+00:00",
    "priority": "high",
    "collapse_key": "score-17",
    "metadata": {"order": "17"},
    "attributes": {"league": 2},
}
FORM = {
    "mode": "test",
    "receivers": "ann\r\n",
    "groups": "news",
    "address_channel": "sms",
    "addresses": "+12025550001",
    "channels": ["sms", "websocket"],
    "type": "score.changed",
    "title": "Goal",
    "body": "Two\r\nto one.",
    "json_data": '{"match": 17}',
    "override-sms-body": "Short",
    "override-ios-badge": "0",
    "override-ios-content_available": "true",
    "override-ios-sound": "default",
    "ttl": "600",
    "send_at": "2026-12-01T09:00",
    "zone": "Europe/Madrid",
    "priority": "high",
    "collapse_key": "score-17",
    "metadata": '{"order": "17"}',
    "attributes": '{"league": 2}',
    "idempotency_key": "k1",
}


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def _short(**changes: Any) -> dict[str, Any]:
    return {"mode": "test", "receivers": "ann", "title": "Hi", "idempotency_key": "k1"} | changes


def _typed(value: Any) -> Any:
    return "" if value is None else value


def _preview(tenant: TenantUnderTest, **changes: Any) -> str:
    answer = _as(tenant.owner).post(f"/t/{tenant.slug}/send/preview", _short(**changes))
    assert isinstance(answer, HttpResponse) and answer.status_code == 200
    return answer.content.decode()


@pytest.fixture
def ann(acme: TenantUnderTest) -> TenantUnderTest:
    put_receiver("acme", "ann", [AddressInput("sms", "+34600000001")])
    put_group("acme", "news")
    subscribe("acme", "news", "ann", None)
    return acme


def test_a_form_says_all_that_the_api_takes() -> None:
    form = SendForm(FORM)
    assert form.is_valid(), form.errors
    assert form.message() == BODY


def test_a_sent_form_leads_to_the_message(ann: TenantUnderTest) -> None:
    answer = _as(ann.owner).post("/t/acme/send", FORM)
    assert answer.status_code == 302
    row = selectors.message("acme", "test", answer.headers["Location"].rpartition("/")[2])
    assert row.content == BODY["content"] and row.overrides == BODY["overrides"]
    assert (row.to["receivers"], row.to["groups"], row.ttl, row.priority) == (["ann"], ["news"], 600, "high")


def test_a_form_sent_twice_makes_one_message(ann: TenantUnderTest) -> None:
    client = _as(ann.owner)
    answers = [client.post("/t/acme/send", _short()) for _ in range(2)]
    assert answers[0].headers["Location"] == answers[1].headers["Location"]
    assert audit_entries("acme").filter(action="message.sent", by=ann.owner, ip="127.0.0.1").count() == 1


def test_a_form_sent_again_with_another_text_makes_another_message(ann: TenantUnderTest) -> None:
    client = _as(ann.owner)
    answers = [client.post("/t/acme/send", _short(title=title)) for title in ("One", "Two")]
    assert [answer.status_code for answer in answers] == [302, 302]
    assert len(selectors.messages("acme", "test").data) == 2


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"receivers": "nobody"}, "receivers", "create it first"),
        ({"receivers": ""}, "receivers", "Name at least one"),
        ({"groups": "none"}, "groups", "create it first"),
        ({"json_data": "{"}, "json_data", "not JSON"),
        ({"addresses": "12", "address_channel": "sms"}, "addresses", "international form"),
        ({"addresses": '{"endpoint"', "address_channel": "webpush"}, "addresses", "not JSON"),
        ({"override-webpush-topic": "a b"}, "override-webpush-topic", "does not match"),
        ({"override-email-headers": "none"}, "override-email-headers", "dictionary"),
        ({"send_at": "2126-01-01T00:00"}, "send_at", "within a year"),
        ({"metadata": "17"}, "metadata", "dictionary"),
        ({"attributes": '{"a": NaN}'}, "attributes", "not JSON"),
    ],
)
def test_what_is_refused_is_said_at_the_field(
    ann: TenantUnderTest, changes: dict[str, str], field: str, words: str
) -> None:
    form = _as(ann.owner).post("/t/acme/send", _short(**changes)).context["form"]
    assert words in " ".join(form.errors[field])
    assert selectors.messages("acme", None).data == []


@pytest.mark.parametrize("channel", registry())
def test_every_channels_own_fields_are_on_the_page(ann: TenantUnderTest, channel: str) -> None:
    page = _as(ann.owner).get("/t/acme/send").content.decode()
    names = [f'name="override-{channel}-{field}"' for field in registry()[channel].Content().fields]
    assert [name for name in names if name not in page] == []


def test_what_overrides_say_comes_back_from_their_fields() -> None:
    said: dict[str, dict[str, Any]] = {
        "ios": {"badge": 0, "mutable_content": False, "aps": {"x": 1}},
        "email": {"unsubscribe": True},
    }
    fields = override_fields.fields()
    shown = {name: fields[name].prepare_value(value) for name, value in override_fields.initial(said).items()}
    form = SendForm(_short(**shown))
    assert form.is_valid() and form.message()["overrides"] == said


@pytest.mark.parametrize("channel", registry())
def test_every_channel_shows_what_the_message_becomes_on_it(ann: TenantUnderTest, channel: str) -> None:
    page = _preview(ann, title="A goal for Valencia", channels=[channel])
    assert f'<label for="shown-{channel}">{registry()[channel].label}</label>' in page
    assert "A goal for Valencia" in page.partition('class="figures"')[0]
    assert "Nothing would leave" not in page


def test_an_sms_is_shown_with_its_encoding_and_segments(ann: TenantUnderTest) -> None:
    page = _preview(ann, title="Ж" * 71, channels=["sms"])
    assert "<dt>Encoding</dt><dd>UCS-2</dd>" in page and "<dt>Segments</dt><dd>2</dd>" in page


def test_a_push_too_large_is_said_on_its_channel(ann: TenantUnderTest) -> None:
    assert "Nothing would leave: The payload has" in _preview(ann, body="x" * 5_000, channels=["ios"])


def test_the_html_of_a_mail_is_shown_in_a_frame_alone(ann: TenantUnderTest, globex: TenantUnderTest) -> None:
    html = "<p>Goal</p><script>alert(1)</script>"
    page = _preview(ann, **{"override-email-html": html, "channels": ["email"]})
    assert "<iframe sandbox" in page and html not in page
    path = page.partition('src="')[2].partition('"')[0]
    framed = _as(ann.owner).get(path)
    assert framed.content.decode() == html and framed.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "sandbox" in framed.headers["Content-Security-Policy"].split("; ")
    assert _as(globex.owner).get(path.replace("acme", "globex")).status_code == 404
    assert "frame-src 'self'" in _as(ann.owner).get("/t/acme/send").headers["Content-Security-Policy"]


def test_a_preview_says_who_would_get_it_and_keeps_nothing(ann: TenantUnderTest) -> None:
    page = _preview(ann, receivers="ann", groups="news", channels=["sms", "email"])
    assert "will send" in page and "no address" in page and "in group news" in page and "+34*****001" in page
    assert selectors.messages("acme", None).data == []


def test_a_preview_says_what_the_api_would_refuse(ann: TenantUnderTest) -> None:
    page = _preview(ann, receivers="nobody")
    assert "/to/receivers/0" in page and "create it first" in page and "Hi" in page


def test_without_a_target_the_looks_are_there_already(ann: TenantUnderTest) -> None:
    page = _preview(ann, receivers="", channels=["sms"])
    assert 'id="shown-sms"' in page and "Name a receiver" in page


def test_a_browser_without_scripts_asks_for_the_preview_by_a_button(ann: TenantUnderTest) -> None:
    page = _as(ann.owner).post("/t/acme/send", _short(look="on", channels=["sms"])).content.decode()
    assert 'id="shown-sms"' in page and 'value="Hi"' in page
    assert selectors.messages("acme", None).data == []


def test_the_shown_calls_say_what_the_form_says() -> None:
    url = "https://push.example.com/api/v1/messages"
    body = BODY | {"metadata": {"it's": '"quoted" \\ $HOME'}, "attributes": {"yes": True, "no": False}}
    curl, python, javascript = [snippet.text for snippet in snippets(url, body)]
    words = shlex.split(curl.replace("\\\n", ""))
    assert url in words and json.loads(words[words.index("-d") + 1]) == body
    (message,) = [node for node in ast.parse(python).body if isinstance(node, ast.Assign) and node.lineno == 6]
    assert ast.literal_eval(message.value) == body and f'"{url}"' in python
    assert json.JSONDecoder().raw_decode(javascript.removeprefix("const message = "))[0] == body


def test_a_message_is_sent_again_from_its_own_words(ann: TenantUnderTest) -> None:
    sent = accept("acme", "test", BODY).id
    answer = _as(ann.owner).get(f"/t/acme/send?from={sent}")
    assert "+12025550001" not in answer.content.decode()
    shown = {field.html_name: _typed(field.value()) for field in answer.context["form"]} | {"address_channel": "sms"}
    again = SendForm(shown)
    assert again.is_valid() and again.repeated == sent
    plain = selectors.plain_addresses("acme", sent)
    assert again.message(plain) == {name: value for name, value in BODY.items() if name != "send_at"}

    page = _as(ann.owner).post("/t/acme/send/preview", shown).content.decode()
    assert "+1*****001" in page and "+12025550001" not in page
    second = _as(ann.owner).post("/t/acme/send", shown).headers["Location"].rpartition("/")[2]
    assert second != sent and selectors.plain_addresses("acme", second) == plain
    third = _as(ann.owner).post("/t/acme/send", shown | {"same_addresses": ""}).headers["Location"].rpartition("/")[2]
    assert selectors.plain_addresses("acme", third) == []


def test_a_link_fills_the_form_in(ann: TenantUnderTest) -> None:
    form = _as(ann.owner).get("/t/acme/send?receiver=ann&group=news").context["form"]
    assert (form["receivers"].value(), form["groups"].value()) == ("ann", "news")


def test_another_tenants_message_is_not_sent_again(ann: TenantUnderTest, globex: TenantUnderTest) -> None:
    sent = accept("acme", "test", BODY).id
    charlie = _as(globex.owner)
    assert charlie.get(f"/t/globex/send?from={sent}").status_code == 404
    form = {"mode": "test", "title": "Hi", "idempotency_key": "k1", "again": sent, "same_addresses": "on"}
    assert [charlie.post(f"/t/globex/{path}", form).status_code for path in ("send", "send/preview")] == [404, 404]
    assert selectors.messages("globex", None).data == []


@pytest.mark.parametrize("path", ["send", "send/preview"])
def test_a_viewer_may_not_send(ann: TenantUnderTest, path: str) -> None:
    client = _as(ann.viewer)
    assert client.post(f"/t/acme/{path}", _short()).status_code == 403
    assert client.get("/t/acme/send").status_code == 403
