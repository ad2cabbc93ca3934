"""Receivers and subscriptions from files: what is good is taken, what is bad is told, and all of it may be repeated."""

import io
import json
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.management import CommandError, call_command

from sprayer_project.errors import Invalid
from subscriptions import export, importing, selectors, services
from subscriptions.importing import Bad, Row
from subscriptions.inputs import AddressInput
from tests.conftest import TenantUnderTest

pytestmark = pytest.mark.services
PHONE = "+34600000001"


def take(text: str, kind: str = "csv", size: int = importing.BATCH) -> list[Bad]:
    rows = importing.read(io.BytesIO(text.encode()), kind)
    return [bad for batch in importing.batches(rows, size) for bad in importing.put("acme", batch)]


def addresses(name: str) -> list[str]:
    return [row.address for row in selectors.receiver("acme", name).addresses]


def members(group: str) -> dict[str, tuple[str, ...] | None]:
    return {row.receiver: row.channels for row in selectors.group_subscriptions("acme", group, None, None, 500).data}


FILE = """receiver,group,channels,locale,timezone,attributes,sms,email
ann,news,,es,Europe/Madrid,"{""league"": ""second""}",'+34600000001,ann@acme.example
bea,news,sms websocket,,,,+34600000002 +34600000003,
ann,sports,sms,,,,,
"""


def test_a_csv_file_makes_receivers_groups_and_subscriptions() -> None:
    assert take(FILE) == []
    ann = selectors.receiver("acme", "ann")
    assert (ann.locale, ann.timezone, ann.attributes) == ("es", "Europe/Madrid", {"league": "second"})
    assert addresses("ann") == [PHONE, "ann@acme.example"] or addresses("ann") == ["ann@acme.example", PHONE]
    assert addresses("bea") == ["+34600000002", "+34600000003"]
    assert members("news") == {"ann": None, "bea": ("sms", "websocket")} and members("sports") == {"ann": ("sms",)}


def test_the_same_file_again_changes_nothing() -> None:
    take(FILE)
    before = [selectors.receiver("acme", name) for name in ("ann", "bea")]
    assert take(FILE, size=1) == []
    assert [selectors.receiver("acme", name) for name in ("ann", "bea")] == before


def test_a_row_of_a_subscription_alone_leaves_the_receiver_as_it_is() -> None:
    services.put_receiver("acme", "ann", [AddressInput("sms", PHONE)], {"plan": "gold"})
    services.put_group("acme", "news", "The news", ["sms"])
    assert take("receiver,group\nann,news\nnew,news\n") == []
    ann, news = selectors.receiver("acme", "ann"), selectors.group("acme", "news")
    assert (addresses("ann"), ann.attributes) == ([PHONE], {"plan": "gold"})
    assert (news.title, news.channels, set(members("news"))) == ("The news", ("sms",), {"ann", "new"})


def test_bad_rows_are_told_by_line_and_the_others_are_taken() -> None:
    bad = take(
        "receiver,group,channels,attributes,sms\n"
        "ann,news,,,+34600000001\n"
        "bea,,,,12\n"
        ",news,,,\n"
        "cleo,news,pigeon,,\n"
        "dora,,,{oops,\n"
        "emil,news,,,,,too many\n"
        '"fay\n",news,,,\n'
        "gus,news,,,\n"
    )
    assert [(row.line, row.receiver) for row in bad] == [(3, "bea"), (4, ""), (5, "cleo"), (6, ""), (7, ""), (8, "")]
    assert "pigeon" in bad[2].problem and "JSON" in bad[3].problem
    assert set(members("news")) == {"ann", "gus"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"name,group\nann,news\n", "bad_columns"),
        (b"receiver,colour\nann,red\n", "bad_columns"),
        (b"receiver,receiver\nann,bea\n", "bad_columns"),
        (b"", "bad_columns"),
        (b"receiver,sms\n\xff\xfe,1\n", "not_utf8"),
    ],
)
def test_a_file_that_is_none_is_refused_whole(text: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        list(importing.read(io.BytesIO(text), "csv"))
    assert refused.value.code == code


def test_semicolons_and_a_byte_order_mark_are_understood() -> None:
    rows = list(importing.read(io.BytesIO("\ufeffreceiver;sms\r\nann;+34600000001\r\n".encode()), "csv"))
    assert [(row.line, row.receiver) for row in rows] == [(2, "ann")]


def test_ndjson_takes_what_the_api_takes() -> None:
    lines = [
        {"receiver": "ann", "addresses": [{"channel": "sms", "address": PHONE}], "locale": "es", "group": "news"},
        {"receiver": "bea", "group": "news", "channels": ["sms"]},
        {"receiver": "cleo", "colour": "red"},
        {"receiver": "dora", "addresses": [{"address": PHONE}]},
        {"receiver": 7},
    ]
    bad = take("\n".join([*map(json.dumps, lines), "[1]", "{", ""]), "ndjson")
    assert [row.line for row in bad] == [3, 4, 5, 6, 7]
    assert addresses("ann") == [PHONE] and members("news") == {"ann": None, "bea": ("sms",)}


def test_a_row_is_read_when_it_is_asked_for() -> None:
    """A file of any length takes no more memory than a batch."""

    class Endless(io.RawIOBase):
        read_bytes = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            line = b"receiver,group\n" if not self.read_bytes else b"ann,news\n"
            buffer[: len(line)] = line
            self.read_bytes += len(line)
            return len(line)

    source = Endless()
    batches = importing.batches(importing.read(io.BufferedReader(cast(Any, source)), "csv"))
    assert all(isinstance(row, Row) for row in next(batches))
    assert source.read_bytes < 1024 * 1024


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_an_export_is_imported_as_it_was(kind: str) -> None:
    take(FILE)
    written = export.FORMATS[kind]
    receivers = b"".join(written.receivers("acme", "")).decode()
    news = b"".join(written.members("acme", "news")).decode()
    before = [(row.name, row.attributes, addresses(row.name)) for row in selectors.receivers("acme", None, 10).data]
    for name in ("ann", "bea"):
        services.delete_receiver("acme", name)
    assert take(receivers, kind) == [] and take(news, kind) == []
    after = [(row.name, row.attributes, addresses(row.name)) for row in selectors.receivers("acme", None, 10).data]
    assert [(name, values, sorted(found)) for name, values, found in after] == [
        (name, values, sorted(found)) for name, values, found in before
    ]
    assert members("news") == {"ann": None, "bea": ("sms", "websocket")}


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_an_export_that_is_imported_again_changes_no_address(kind: str) -> None:
    mail, phones = AddressInput("email", "ann@acme.example"), ["+34600000002", PHONE]
    places = [mail, *(AddressInput("sms", phone) for phone in phones)]
    ann = services.put_receiver("acme", "ann", places, {"plan": "gold"})
    for row, reason in zip(ann.addresses, ("opted_out", "unregistered"), strict=False):
        services.retire_address("acme", row.channel, row.hash, reason, row.active_at)

    def health() -> set[tuple[str, str, str | None]]:
        return {(row.address, row.status, row.reason) for row in selectors.receiver("acme", "ann").addresses}

    before = health()
    assert {reason for _, _, reason in before} == {"opted_out", "unregistered", None}
    assert take(b"".join(export.FORMATS[kind].receivers("acme", "")).decode(), kind) == []
    assert health() == before
    services.put_receiver("acme", "ann", [mail])
    assert health() == {("ann@acme.example", "retired", "opted_out")}, "a PUT is all of its receiver, as ever"


def test_an_import_takes_out_what_is_active_and_uses_what_it_names() -> None:
    places = [AddressInput("sms", PHONE), AddressInput("email", "ann@acme.example")]
    phone, *_ = services.put_receiver("acme", "ann", places).addresses
    services.retire_address("acme", "sms", phone.hash, "unregistered", phone.active_at)
    assert take(f"receiver,sms\nann,{PHONE}\n") == []
    (row,) = selectors.receiver("acme", "ann").addresses
    assert (row.address, row.status) == (PHONE, "active")


def test_an_export_is_harmless_in_a_spreadsheet() -> None:
    services.put_receiver("acme", "=cmd|' /C calc'!A0", [AddressInput("sms", PHONE)])
    lines = b"".join(export.FORMATS["csv"].receivers("acme", "")).decode()
    assert "'=cmd" in lines and f"'{PHONE}" in lines
    assert take(lines) == [] and selectors.receiver("acme", "=cmd|' /C calc'!A0")


def test_the_command_takes_a_file_and_tells_what_it_refused(acme: TenantUnderTest, tmp_path: Path) -> None:
    file, report = tmp_path / "fans.csv", tmp_path / "bad.csv"
    file.write_text("receiver,group,sms\nann,news,+34600000001\nbea,news,12\n")
    told, refused = io.StringIO(), io.StringIO()
    with pytest.raises(CommandError, match="Some rows were refused"):
        call_command("import_subscriptions", "acme", str(file), "--bad", str(report), stdout=told, stderr=refused)
    assert told.getvalue() == "2 rows, 1 taken, 1 refused\n" and "line 3" in refused.getvalue()
    assert report.read_text().splitlines()[0] == "line,receiver,problem" and "3,bea," in report.read_text()
    assert set(members("news")) == {"ann"}


def test_the_command_goes_on_from_a_line(acme: TenantUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "fans.ndjson"
    file.write_text('{"receiver": "ann", "group": "news"}\n{"receiver": "bea", "group": "news"}\n')
    call_command("import_subscriptions", "acme", str(file), "--from-line", "2", stdout=io.StringIO())
    assert set(members("news")) == {"bea"}


@pytest.mark.parametrize(
    ("slug", "file", "said"),
    [("nobody", "x.csv", "no tenant"), ("acme", "x.txt", "--format"), ("acme", "x.csv", "No such")],
)
def test_the_command_says_what_is_wrong(acme: TenantUnderTest, slug: str, file: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("import_subscriptions", slug, file)
