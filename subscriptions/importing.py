"""Receivers and subscriptions from files, as CSV or NDJSON: row by row, in batches of the writes that the API uses.

A row with more than receiver, group and channels is all of its receiver, as a PUT is, but retired addresses that it
does not name stay: a file knows of no opt-out. One without leaves a receiver as it is, and makes it where there is
none. A group that is not there is made. Everything may be repeated: an import that was interrupted goes on from any
earlier line.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from sprayer_project import json_text
from sprayer_project.errors import Invalid, SprayerError
from sprayer_project.spreadsheet import lines, uncell
from subscriptions import addresses, selectors, services
from subscriptions.inputs import AddressInput, ReceiverInput, named

BATCH = 500
FORMATS = ("csv", "ndjson")
_MAX_LINE = 256 * 1024
_MAX_PROBLEM = 500
"""Characters: what is wrong may quote a row at length."""
_PLACE = frozenset({"receiver", "group", "channels"})
_TOLD = frozenset({"created_at", "updated_at"})
"""What an export says and nobody can set."""
_RECEIVER = frozenset({"addresses", "attributes", "locale", "timezone"})


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: whom it is about, all of the receiver where it says so, and a subscription."""

    line: int
    receiver: str
    values: Mapping[str, Any] | None
    """addresses as (channel, address), attributes, locale, timezone; None: leave the receiver as it is"""
    group: str | None
    channels: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that was refused: what is wrong with it, without its addresses."""

    line: int
    receiver: str
    problem: str


def read(file: IO[bytes], kind: str) -> Iterator[Row | Bad]:
    """The rows of a file of one of FORMATS, in UTF-8. Raises Invalid for a file that has none that can be read."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="strict", newline="")
    try:
        yield from _csv(text) if kind == "csv" else _ndjson(text)
    except UnicodeDecodeError as error:
        raise Invalid("not_utf8", f"The file is not UTF-8: {error.reason} at byte {error.start}.") from error
    except csv.Error as error:
        raise Invalid("not_csv", f"The file is not CSV: {error}.") from error
    finally:
        text.detach()


def batches(rows: Iterable[Row | Bad], size: int = BATCH) -> Iterator[list[Row | Bad]]:
    found = iter(rows)
    while batch := list(islice(found, size)):
        yield batch


def put(tenant: str, batch: Sequence[Row | Bad]) -> list[Bad]:
    """Write what is good of a batch. Returns what is bad, in the order of the lines. Raises the stores' errors."""
    rows = [row for row in batch if isinstance(row, Row)]
    bad = [row for row in batch if isinstance(row, Bad)]
    refused = _put_receivers(tenant, rows)
    bad += [Bad(row.line, row.receiver, refused[row.receiver]) for row in rows if row.receiver in refused]
    bad += _subscribe(tenant, [row for row in rows if row.receiver not in refused])
    return sorted(bad, key=lambda row: row.line)


def report(bad: Sequence[Bad], head: bool = True) -> bytes:
    """The refused rows as CSV."""
    rows = [(row.line, row.receiver, row.problem) for row in bad]
    return lines([("line", "receiver", "problem"), *rows] if head else rows)


def _put_receivers(tenant: str, rows: Sequence[Row]) -> dict[str, str]:
    """By name what is wrong with it. Of several rows that are all of one receiver the last counts."""
    wanted: dict[str, ReceiverInput] = {}
    for row in rows:
        if row.values is not None:
            places = [AddressInput(channel, address) for channel, address in row.values["addresses"]]
            rest = {name: row.values[name] for name in ("attributes", "locale", "timezone")}
            wanted[row.receiver] = ReceiverInput(row.receiver, places, **rest, keeps_retired=True)
    others = list(dict.fromkeys(row.receiver for row in rows if row.receiver not in wanted))
    for name in selectors.unknown_receivers(tenant, others):
        wanted[name] = ReceiverInput(name)
    results = services.put_receivers(tenant, list(wanted.values()))
    return {
        name: _problem(result) for name, result in zip(wanted, results, strict=True) if isinstance(result, SprayerError)
    }


def _subscribe(tenant: str, rows: Sequence[Row]) -> list[Bad]:
    by_group: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.group is not None:
            by_group.setdefault(row.group, {})[row.receiver] = row
    for name in selectors.unknown_groups(tenant, list(by_group)):
        services.put_group(tenant, name)
    bad = []
    for group, members in by_group.items():
        pairs = [(name, row.channels) for name, row in members.items()]
        results = services.subscribe_many(tenant, group, pairs)
        bad += [
            Bad(row.line, row.receiver, _problem(result))
            for row, result in zip(members.values(), results, strict=True)
            if isinstance(result, SprayerError)
        ]
    return bad


def _csv(text: IO[str]) -> Iterator[Row | Bad]:
    """With a head: receiver, group, channels, locale, timezone, attributes, and a column of addresses for a channel."""
    head = text.readline(_MAX_LINE)
    delimiter = ";" if head.count(";") > head.count(",") else ","
    names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    places = [name for name in addresses.channels() if addresses.kind_of(name).needs_address]
    unknown = sorted({*names} - {*places, *_PLACE, *_TOLD, *_RECEIVER - {"addresses"}})
    if "receiver" not in names or unknown or len({*names}) < len(names):
        said = f"these mean nothing: {', '.join(map(repr, unknown))}" if unknown else "each once, receiver among them"
        known = ", ".join([*sorted(_PLACE), "locale", "timezone", "attributes", *places])
        raise Invalid("bad_columns", f"The first line names the columns ({known}); {said}.")
    reader, line = csv.reader(text, delimiter=delimiter), 2
    for cells in reader:
        if any(cells):
            yield _checked(line, _of_cells(names, cells, places))
        line = reader.line_num + 2


def _of_cells(names: Sequence[str], cells: Sequence[str], places: Sequence[str]) -> dict[str, Any] | str:
    """The object that a row of cells means, or what is wrong with it. Empty cells say nothing."""
    if len(cells) > len(names):
        return f"The row has {len(cells)} cells, and the head has {len(names)}."
    found: dict[str, Any] = {name: uncell(cell) for name, cell in zip(names, cells, strict=False) if cell.strip()}
    if "attributes" in found:
        try:
            found["attributes"] = json_text.parse(found["attributes"])
        except ValueError:
            return "attributes is no JSON object."
    if "channels" in found:
        found["channels"] = found["channels"].replace(",", " ").split()
    values = [(name, text) for name in places for text in _several(found.pop(name, ""))]
    if values:
        found["addresses"] = [{"channel": name, "address": text} for name, text in values]
    return found


def _several(text: str) -> list[Any]:
    """The addresses in a cell: apart by spaces, or the JSON of one browser's subscription."""
    if text.startswith("{"):
        try:
            return [json_text.parse(text)]
        except ValueError:
            return [text]
    return [uncell(part) for part in text.split()]


def _ndjson(text: IO[str]) -> Iterator[Row | Bad]:
    """One object a line: a receiver as the API answers or takes it in a batch, with group and channels."""
    line = 0
    while raw := text.readline(_MAX_LINE):
        line += 1
        if len(raw) >= _MAX_LINE and not raw.endswith("\n"):
            raise Invalid("line_too_long", f"Line {line} is longer than {_MAX_LINE} characters.")
        if not raw.strip():
            continue
        try:
            found = json_text.parse(raw, halves=True)
        except ValueError:
            found = "The line is not JSON."
        yield _checked(line, found if isinstance(found, dict | str) else "The line is no JSON object.")


def _checked(line: int, found: dict[str, Any] | str) -> Row | Bad:
    if isinstance(found, str):
        return Bad(line, "", found)
    try:
        receiver = named(found.get("receiver"), "")
    except Invalid as error:
        return Bad(line, "", error.detail)
    problem = _shape(found)
    if problem:
        return Bad(line, receiver, problem[:_MAX_PROBLEM])
    channels = found.get("channels")
    reach = None if channels is None else tuple(channels)
    return Row(line, receiver, _values(found) if _RECEIVER & found.keys() else None, found.get("group"), reach)


def _values(found: Mapping[str, Any]) -> dict[str, Any]:
    places = [item for item in found.get("addresses", ()) if item.get("status") != "retired"]
    return {
        "addresses": [(item["channel"], item["address"]) for item in places],
        "attributes": found.get("attributes") or {},
        "locale": found.get("locale") or None,
        "timezone": found.get("timezone") or None,
    }


def _shape(found: Mapping[str, Any]) -> str | None:
    """What is wrong with the shape of a row; what it says is judged by who writes it."""
    if unknown := sorted(found.keys() - _PLACE - _TOLD - _RECEIVER):
        return f"There is nothing called {', '.join(map(repr, unknown))}."
    if found.get("group") is not None:
        try:
            named(found["group"], "")
        except Invalid as error:
            return f"group: {error.detail}"
    channels, places = found.get("channels"), found.get("addresses", [])
    if channels is not None and not (isinstance(channels, list) and all(isinstance(one, str) for one in channels)):
        return "channels is a list of names."
    if not isinstance(places, list) or not all(map(_is_place, places)):
        return "addresses is a list of objects with channel and address."
    if not isinstance(found.get("attributes") or {}, dict):
        return "attributes is no JSON object."
    if any(not isinstance(found.get(name), str | None) for name in ("locale", "timezone")):
        return "locale and timezone are texts."
    return None


def _is_place(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("channel"), str) and "address" in value


def _problem(error: SprayerError) -> str:
    return (" ".join(found.detail for found in error.errors) or error.detail)[:_MAX_PROBLEM]
