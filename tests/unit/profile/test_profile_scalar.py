"""What an unquoted word means, and which words are refused."""

import pytest

from neuronctl.profile.scalar import Ambiguous, read_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("null", None),
        ("~", None),
        ("true", True),
        ("False", False),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0xff", 255),
        ("9223372036854775807", 2**63 - 1),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("bfloat16", "bfloat16"),
        ("0.1.2", "0.1.2"),
        ("127.0.0.1", "127.0.0.1"),
        ("./model", "./model"),
        (".", "."),
        ("-", "-"),
        ("1-2", "1-2"),
        ("0e9e39f249a16976918f6564b8830bc894c89659", "0e9e39f249a16976918f6564b8830bc894c89659"),
        ("tRUE", "tRUE"),
        ("online", "online"),
        ("yEs", "yEs"),
        ("8b", "8b"),
        ("²", "²"),
    ],
)
def test_both_yaml_versions_agree(text: str, value: object) -> None:
    read = read_plain(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "on", "Off", "YES", "no", "010", "-00", "1_000", "0o17", "0b11", "12:30", "1:30:00", "2024-01-31",
        "2024-01-31T10:00:00Z", ".inf", "-.INF", ".nan", "1e999", "9223372036854775808", "9" * 5000,
        "0x" + "f" * 17,
    ],
)  # fmt: skip
def test_a_word_with_two_readings_is_refused(text: str) -> None:
    with pytest.raises(Ambiguous) as caught:
        read_plain(text)
    assert len(str(caught.value)) < 200


def test_the_refusal_says_what_to_write() -> None:
    with pytest.raises(Ambiguous, match=r'write true, or "on" for the word'):
        read_plain("on")
    with pytest.raises(Ambiguous, match='write 17 for the number, or "017"'):
        read_plain("017")
    with pytest.raises(Ambiguous, match="write 1000,"):
        read_plain("1_000")
