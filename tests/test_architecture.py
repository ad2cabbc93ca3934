"""The rules of the house that a reader relies on: which way imports point, what stays where, how long things get."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from messaging import channels
from messaging.channels.base import Channel

ROOT = Path(__file__).resolve().parent.parent
BELOW = {
    "sprayer_project": set[str](),
    "tenants": {"sprayer_project"},
    "subscriptions": {"tenants", "sprayer_project"},
    "feedback": {"tenants", "sprayer_project"},
    "messaging": {"subscriptions", "feedback", "tenants", "sprayer_project"},
}
"""Each package, and what it may import besides itself."""
WIRING = {"sprayer_project/urls.py", "sprayer_project/asgi.py", "sprayer_project/wsgi.py"}
"""Where the project knows its apps."""
OPEN = {
    "tenants": {
        *("services", "selectors", "api", "authentication", "console", "activity", "tenancy", "limiter"),
        *("keys", "rights", "encryption", "cache"),
    },
    "subscriptions": {
        *("services", "selectors", "addresses", "changes", "inputs", "names", "reaching"),
        *("browsing", "suppressions", "importing", "export"),
    },
    "feedback": {
        *("services", "selectors", "events", "serializers", "waiting", "webhooks", "dead"),
        *("search", "export", "pruning", "erasing", "rollups", "series", "periods", "backlog"),
    },
}
"""What other apps may use of an app; its documents and models are its own."""
OPEN_FOR = {
    # The one command that prepares the whole database.
    ("messaging/management/commands/ensure_indexes.py", "subscriptions.documents"),
    ("messaging/management/commands/ensure_indexes.py", "feedback.documents"),
    # The type of what tenants.console hands to a page.
    ("messaging/views.py", "tenants.models"),
    ("messaging/channel_views.py", "tenants.models"),
    ("messaging/channel_trial_views.py", "tenants.models"),
    ("messaging/sandbox_views.py", "tenants.models"),
    ("messaging/send_views.py", "tenants.models"),
    ("messaging/request_views.py", "tenants.models"),
    ("messaging/explain_views.py", "tenants.models"),
    ("messaging/usage_views.py", "tenants.models"),
    ("messaging/overview_views.py", "tenants.models"),
    ("messaging/receiver_views.py", "tenants.models"),
    ("messaging/group_views.py", "tenants.models"),
    ("messaging/dead_letter_views.py", "tenants.models"),
    ("messaging/suppression_views.py", "tenants.models"),
    ("messaging/import_views.py", "tenants.models"),
    # The type of who erases a receiver.
    ("messaging/erasure.py", "tenants.models"),
    # The type of who changes a webhook.
    ("feedback/webhooks.py", "tenants.models"),
    ("feedback/webhook_views.py", "tenants.models"),
    ("feedback/live_views.py", "tenants.models"),
}
MODULE, FUNCTION, CHANNEL = 300, 50, 200
"""Lines."""
CHANNELS = {f"messaging/channels/{name}.py" for name in channels.registry()}
LONG = {
    "feedback/selectors.py": 330,
}


@cache
def _sources() -> dict[str, ast.Module]:
    """Every module of the five packages by its path, migrations left out."""
    paths = [path for package in BELOW for path in sorted((ROOT / package).rglob("*.py"))]
    return {
        str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths if "migrations" not in path.parts
    }


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported; `from a.b import c` counts as a.b.c where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports name the whole path"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield node.lineno, full if _is_module(full) else str(node.module)


def _is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def _crossings() -> Iterator[tuple[str, str, str]]:
    """Path, own package and imported module, for every import of another package of ours."""
    for path, tree in _sources().items():
        package = path.partition("/")[0]
        for _, name in _imports(tree):
            if name.partition(".")[0] in BELOW.keys() - {package}:
                yield path, package, name


def test_imports_point_one_way() -> None:
    upwards = {
        f"{path} imports {name}"
        for path, package, name in _crossings()
        if name.partition(".")[0] not in BELOW[package] and path not in WIRING
    }
    assert not upwards


def test_apps_use_of_each_other_only_what_is_open() -> None:
    closed = {
        (path, name)
        for path, package, name in _crossings()
        if (app := name.partition(".")[0]) in OPEN and path not in WIRING
        if name.partition(".")[2] not in OPEN[app]
    }
    assert closed == OPEN_FOR


def test_only_one_package_knows_pika() -> None:
    users = {path for path, tree in _sources().items() for _, name in _imports(tree) if name.split(".")[0] == "pika"}
    assert {path.rpartition("/")[0] for path in users} == {"sprayer_project/amqp"}


def test_nothing_is_imported_inside_a_function_but_in_ready() -> None:
    hidden = {
        f"{path}:{line}"
        for path, tree in _sources().items()
        for function in _functions(tree)
        if not (path.endswith("/apps.py") and function.name == "ready")
        for line, _ in _imports(function)
    }
    assert not hidden


@pytest.mark.parametrize("package", BELOW)
def test_modules_and_functions_stay_short(package: str) -> None:
    too_long = []
    for path, tree in _sources().items():
        if not path.startswith(f"{package}/"):
            continue
        lines = len((ROOT / path).read_text().splitlines())
        limit = CHANNEL if path in CHANNELS else LONG.get(path, MODULE)
        if lines > limit:
            too_long.append(f"{path}: {lines} lines")
        for function in _functions(tree):
            if (length := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION:
                too_long.append(f"{path}:{function.lineno} {function.name}: {length} lines")
    assert not too_long


def test_no_code_asks_which_channel_it_has() -> None:
    """A comparison with a channel's name belongs into that channel's own file."""
    names = set(channels.registry())
    asking = {
        f"{path}:{node.lineno}"
        for path, tree in _sources().items()
        if not path.startswith(("messaging/channels/", "messaging/sandbox/"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare | ast.MatchValue)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and part.value in names
    }
    assert not asking


def test_every_file_of_channels_is_a_channel() -> None:
    files = {path.stem for path in (ROOT / "messaging" / "channels").glob("*.py")} - {"__init__", "base"}
    assert set(channels.registry()) == files
    assert all(isinstance(found, Channel) and found.name == name for name, found in channels.registry().items())


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
