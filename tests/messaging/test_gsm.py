import pytest

from messaging.gsm import Encoded, encoded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x" * 160, Encoded("GSM-7", 1)),
        ("x" * 161, Encoded("GSM-7", 2)),
        ("x" * 306, Encoded("GSM-7", 2)),
        ("x" * 307, Encoded("GSM-7", 3)),
        ("€" * 80, Encoded("GSM-7", 1)),
        ("€" * 81, Encoded("GSM-7", 2)),
        ("x" * 152 + "€" * 8, Encoded("GSM-7", 2)),
        ("я" * 70, Encoded("UCS-2", 1)),
        ("я" * 71, Encoded("UCS-2", 2)),
        ("😀" * 35, Encoded("UCS-2", 1)),
        ("😀" * 36, Encoded("UCS-2", 2)),
        ("", Encoded("GSM-7", 1)),
    ],
)
def test_segments_are_counted_as_the_network_counts_them(text: str, expected: Encoded) -> None:
    assert encoded(text) == expected
