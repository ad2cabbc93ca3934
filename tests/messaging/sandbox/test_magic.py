"""Every magic address is declared once, by its gateway; the documents show what it declares."""

from pathlib import Path

import pytest

from messaging.sandbox import declared

ROOT = Path(__file__).resolve().parents[3]
GATEWAYS = {name: found for name, found in declared().items() if found.magic}


@pytest.mark.parametrize("name", GATEWAYS)
def test_the_documents_show_every_magic_address(name: str) -> None:
    document = (ROOT / "docs" / "api.md").read_text()
    rows = [f"| `{one.address}` | {one.answer} |" for one in GATEWAYS[name].magic]
    assert [row for row in rows if row not in document] == []


@pytest.mark.parametrize("name", GATEWAYS)
def test_no_address_is_declared_twice(name: str) -> None:
    addresses = [one.address for one in GATEWAYS[name].magic]
    assert len(set(addresses)) == len(addresses)
