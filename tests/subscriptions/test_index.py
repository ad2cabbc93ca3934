"""Keys and names: nothing that a tenant chooses can reach another key."""

import pytest

from sprayer_project import redis
from subscriptions import index
from subscriptions.names import clean_name


@pytest.mark.parametrize(("one", "other"), [("a:b", "a"), ("3!a:b", "a:b"), ("ñ", "n"), ("{x}", "x"), ("1!ñ", "ñ")])
def test_two_names_never_share_a_key(one: str, other: str) -> None:
    assert redis.part_of_key(one) != redis.part_of_key(other)


def test_all_keys_of_a_tenant_carry_its_hash_tag() -> None:
    assert index.base("acme").startswith("{acme:0}:")
    assert index.marker_key("acme") != index.marker_key("acme2")


@pytest.mark.parametrize("name", ["a", "añ/b c", "👩‍👩‍👧", "x" * 256, "\u00a0"])
def test_a_name_of_1_to_256_bytes_without_control_characters_is_kept_as_it_came(name: str) -> None:
    assert clean_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 257, "ñ" * 129, "a\nb", "\x00", "\x7f", "\x85", "\ud800", 7, None])
def test_anything_else_is_refused_with_a_sentence(name: object) -> None:
    with pytest.raises(ValueError, match=r"name .*\."):
        clean_name(name)
