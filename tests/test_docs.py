"""What the documents say of the code is so."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SOURCES = ("sprayer_project", "tenants", "subscriptions", "feedback", "messaging", "deploy", "benchmarks")
FILES = ("Makefile", "Procfile", "manage.py")
_variable = re.compile(r"\bSPRAYER_[A-Z][A-Z_]*[A-Z]\b(?!_)")
_link = re.compile(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"")


def _code() -> Iterator[str]:
    paths = [path for folder in SOURCES for kind in ("py", "sh", "yaml") for path in (ROOT / folder).rglob(f"*.{kind}")]
    for path in [*paths, *(ROOT / name for name in FILES)]:
        yield path.read_text()


def _anchors(document: Path) -> set[str]:
    """The anchors that a document's headings make, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_documented_and_every_documented_setting_exists() -> None:
    in_code = {name for text in _code() for name in _variable.findall(text)}
    # NAME_FILE is the same setting, read from a file.
    in_code -= {name for name in in_code if name.removesuffix("_FILE") in in_code - {name}}
    table = (ROOT / "docs" / "settings.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == in_code


def test_every_setting_has_a_default_a_unit_and_a_meaning() -> None:
    rows = re.findall(r"^\| `SPRAYER_.*$", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert rows
    assert all(len(cells := row.strip("|").split("|")) == 4 and all(cell.strip() for cell in cells) for row in rows)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    lost = []
    for target in (first or second for first, second in _link.findall(document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        place = (document.parent / name).resolve() if name else document
        if not place.exists() or (anchor and anchor not in _anchors(place)):
            lost.append(target)
    assert not lost


def test_the_documents_name_only_commands_that_exist() -> None:
    commands = {path.stem for folder in SOURCES for path in (ROOT / folder).glob("management/commands/*.py")}
    django = {"check", "createsuperuser", "migrate", "shell", "makemigrations", "spectacular"}
    named = {name for path in DOCUMENTS for name in re.findall(r"manage\.py (\w+)", path.read_text())}
    assert named
    assert named <= commands | django
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {name for path in DOCUMENTS for name in re.findall(r"`make ([a-z]+)", path.read_text())}
    assert made <= targets
