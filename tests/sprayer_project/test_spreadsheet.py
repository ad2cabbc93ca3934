"""Cells that are harmless in a spreadsheet."""

import pytest

from sprayer_project.spreadsheet import cell, uncell


@pytest.mark.parametrize("text", ["=x", "+34600000001", "-1", "@x", "\tx", "'=x", "''=x", "'x", "x", "'", "", "x'=y"])
def test_a_cell_is_read_back_as_it_was_written(text: str) -> None:
    assert uncell(cell(text)) == text


@pytest.mark.parametrize("text", ["=x", "+34600000001", "-1", "@x", "\tx", "\rx"])
def test_an_apostrophe_stands_before_a_formula(text: str) -> None:
    assert cell(text) == f"'{text}"
