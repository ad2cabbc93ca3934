"""Files that people upload in the console, written by the sweeper; and files that they take away."""

import io
import json
from datetime import UTC, datetime
from typing import IO, cast

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from messaging import errands, imports
from sprayer_project import mongo
from subscriptions import importing, selectors, services
from subscriptions.inputs import AddressInput
from tenants.models import AuditEntry, User
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services
PHONE = "+34600000001"


def _as(user: User | None) -> Client:
    assert user is not None
    client = Client()
    client.force_login(user)
    return client


def upload(client: Client, text: str, name: str = "fans.csv", tenant: str = "acme") -> str:
    """The path of the page that follows it."""
    answer = client.post(f"/t/{tenant}/imports", {"file": SimpleUploadedFile(name, text.encode())})
    assert answer.status_code == 302, answer.content
    return str(answer["Location"])


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, path
    return b"".join(answer.streaming_content).decode() if answer.streaming else answer.content.decode()  # type: ignore[attr-defined]


def members() -> list[str]:
    return [row.receiver for row in selectors.group_subscriptions("acme", "news", None, None, 500).data]


def test_an_upload_is_written_by_the_sweeper_and_its_bad_rows_are_a_file(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    page = upload(client, "receiver,group,sms\nann,news,+34600000001\nbea,news,12\ncleo,news,\n")
    assert "0</strong> of 3 rows" in text(client, page) and selectors.unknown_receivers("acme", ["ann"])
    errands.go_on()
    assert members() == ["ann", "cleo"]
    done = text(client, page)
    assert "3</strong> of 3 rows, <strong>1</strong> refused" in done and "hx-get" not in done
    lines = text(client, f"{page}/refused.csv").splitlines()
    assert lines[0] == "line,receiver,problem" and lines[1].startswith("3,bea,") and len(lines) == 2
    assert AuditEntry.objects.get(action="receivers.imported").detail["rows"] == 3
    chunk = mongo.database()["import_chunks"].find_one()
    assert chunk is not None and chunk["rows"] == "[]", "nobody's address stays there"


def test_a_sweeper_that_was_killed_in_a_chunk_repeats_it_and_counts_its_bad_rows_once(
    acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    client = _as(acme.owner)
    rows = "".join(f"r{number},news,{'12' if number == 0 else ''}\n" for number in range(5))
    page = upload(client, f"receiver,group,sms\n{rows}")
    killed = errands._taken()
    assert killed is not None
    imports.step(errands._row(killed))  # written, and never noted
    mongo.database()["errands"].update_many({}, {"$set": {"look_at": datetime.now(UTC)}})
    assert errands.go_on() == 3
    assert members() == ["r1", "r2", "r3", "r4"]
    row = errands.one("acme", page.rpartition("/")[2], ("import",))
    assert (row.status, dict(row.progress)) == ("done", {"chunk": 3, "done": 5, "bad": 1})


NESTED, WORDS = "[" * 300 + "]" * 300, json.dumps(["x"] * 40_000)


@pytest.mark.parametrize(
    "line",
    [
        '{"receiver": "bea", "attributes": {"number": 12345678901234567890}}',
        '{"receiver": "bea", "attributes": {"number": 123456789012345678901234567890}}',
        '{"receiver": "bea", "attributes": {"text": "\\ud800"}}',
        '{"receiver": "bea", "attributes": {"\\u0000": 1}}',
        '{"receiver": "bea", "attributes": {"$set": 1, "a.b": 2}}',
        f'{{"receiver": "bea", "attributes": {{"list": {NESTED}}}}}',
        f'{{"receiver": "bea", "addresses": [{{"channel": "webpush", "address": {NESTED}}}]}}',
        '{"receiver": "bea", "addresses": [{"channel": "sms", "address": "\\ud800"}]}',
        '{"receiver": "bea", "\\ud800": 1}',
        f'{{"receiver": "bea", "{"x" * 200_000}": 1}}',
        f'{{"receiver": "bea", "group": "news", "channels": {WORDS}}}',
    ],
    ids=lambda line: line[:60],
)
def test_a_row_that_nothing_can_keep_is_refused_alone(acme: TenantUnderTest, line: str) -> None:
    client = _as(acme.owner)
    page = upload(client, f'{{"receiver": "ann", "group": "news"}}\n{line}\n', "fans.ndjson")
    errands.go_on()
    assert members() == ["ann"] and "2</strong> of 2 rows, <strong>1</strong> refused" in text(client, page)
    (_, refused) = text(client, f"{page}/refused.csv").splitlines()
    assert refused.startswith("2,bea,") and len(refused) < 600


def test_large_rows_are_kept_in_chunks_that_the_record_takes(acme: TenantUnderTest) -> None:
    many = {f"a{number}": "é" * 700 for number in range(50)}
    rows = [{"receiver": f"r{number}", "attributes": many, "group": "news"} for number in range(100)]
    longer = {"receiver": "longer", "attributes": {"text": "😀" * 260_000}}
    lines = [json.dumps(row, ensure_ascii=False) for row in [*rows, longer]]
    page = upload(_as(acme.owner), "\n".join(lines), "fans.ndjson")
    chunks = list(mongo.database()["import_chunks"].find())
    assert sum(chunk["size"] for chunk in chunks) == 101 and len(chunks) > 5
    assert max(len(chunk["rows"].encode()) for chunk in chunks) <= imports._CHUNK + 1000
    while errands.go_on():
        pass
    assert len(members()) == 100 and selectors.receiver("acme", "r7").attributes == many
    row = errands.one("acme", page.rpartition("/")[2], ("import",))
    assert (row.status, dict(row.progress)) == ("done", {"chunk": len(chunks), "done": 101, "bad": 1})


def test_nothing_stays_of_an_upload_that_fails(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    with pytest.raises(ZeroDivisionError):
        imports.keep("acme", "ern_1", cast(IO[bytes], _Broken(b"receiver\nann\nbea\n")), "csv")
    assert mongo.database()["import_chunks"].count_documents({}) == 0


class _Broken(io.BytesIO):
    """A file that fails at its end."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(size) or bytes(1 // 0)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("fans.txt", "receiver\nann\n", "Name the file"),
        ("fans.csv", "name\nann\n", "names the columns"),
        ("fans.csv", "receiver\n", "no rows"),
        ("fans.ndjson", "\n", "no rows"),
    ],
)
def test_a_file_that_is_none_is_refused_at_the_field_and_nothing_is_kept(
    acme: TenantUnderTest, name: str, content: str, said: str
) -> None:
    answer = _as(acme.owner).post("/t/acme/imports", {"file": SimpleUploadedFile(name, content.encode())})
    assert answer.status_code == 400 and said in " ".join(answer.context["form"].errors["file"])
    assert mongo.database()["import_chunks"].count_documents({}) == mongo.database()["errands"].count_documents({}) == 0


def test_a_file_that_is_too_large_is_refused(acme: TenantUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MOST", 10)
    file = SimpleUploadedFile("fans.csv", b"receiver\nanna-lena\n")
    assert _as(acme.owner).post("/t/acme/imports", {"file": file}).context["form"].errors["file"]


def test_an_import_is_stopped(acme: TenantUnderTest) -> None:
    client = _as(acme.owner)
    page = upload(client, "receiver\nann\n")
    client.post(f"{page}/stop")
    assert errands.go_on() == 0 and "Stopped" in text(client, page)
    assert mongo.database()["import_chunks"].count_documents({}) == 0


def test_exports_are_streamed_with_whole_addresses_and_audited(acme: TenantUnderTest) -> None:
    services.put_receiver("acme", "ann", [AddressInput("sms", PHONE)])
    services.put_receiver("acme", "bea")
    services.put_group("acme", "a/b")
    services.subscribe("acme", "a/b", "ann")
    client = _as(acme.owner)
    assert f"'{PHONE}" in text(client, "/t/acme/receivers.csv")
    assert [line[:17] for line in text(client, "/t/acme/receivers.ndjson?name=b").splitlines()] == ['{"receiver":"bea"']
    assert text(client, "/t/acme/group/csv/a/b").splitlines()[1].startswith("ann,a/b,,")
    assert '"receiver":"ann"' in text(client, "/t/acme/group/ndjson/a/b")
    assert AuditEntry.objects.filter(action__in=["receivers.exported", "group.exported"]).count() == 4


PAGES = ["imports", "receivers.csv", "receivers.ndjson", "group/csv/news"]


def test_a_viewer_gets_no_file_and_a_stranger_finds_none(acme: TenantUnderTest, globex: TenantUnderTest) -> None:
    services.put_group("acme", "news")
    page = upload(_as(acme.owner), "receiver\nann\n")
    errand = page.removeprefix("/t/acme/")
    paths = [*PAGES, errand, f"{errand}/refused.csv"]
    bob, charlie = _as(acme.viewer), _as(globex.owner)
    assert {bob.get(f"/t/acme/{path}").status_code for path in paths} == {403}
    assert {charlie.get(f"/t/acme/{path}").status_code for path in paths} == {404}
    assert [bob.post(f"{page}/stop").status_code, charlie.post(f"{page}/stop").status_code] == [403, 404]
    assert charlie.get(f"/t/globex/{errand}").status_code == charlie.get("/t/globex/group/csv/news").status_code == 404
