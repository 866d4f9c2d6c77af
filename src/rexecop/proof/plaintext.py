"""Text as people may safely read it: nothing invisible, nothing that turns the line around.

Whether a character can be shown is asked of Unicode 3.2, which every Python carries
and which never changes, so one value has one spelling on every machine. What came
later, or shows nothing, or steers the line, is written as its number.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import ucd_3_2_0

# Assigned and in a letter's class, yet blank or joining: they would hide in a line.
_HIDDEN: Final = frozenset(
    "\u00ad\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5\u180b\u180c\u180d"
) | frozenset(chr(code) for code in range(0xFE00, 0xFE10))
_SHOWN: Final = frozenset(
    ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")
) | frozenset(("Sm", "Sc", "Sk", "So"))
_BARE: Final = re.compile(r"[A-Za-z0-9_./:=@%+,~^-]+")


def escape(text: str) -> str:
    """Return `text` with every character that could hide or steer written as `\\u{HEX}`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if _is_shown(char) else f"\\u{{{ord(char):x}}}" for char in text)


def quote(text: str) -> str:
    """Return `text` as one word: bare when plain, else in quotes."""
    return text if _BARE.fullmatch(text) else in_quotes(text)


def in_quotes(text: str) -> str:
    """Return `text` in quotes, with `"`, `\\` and line breaks escaped; no two texts look the same."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escape(plain)}"'


def _is_shown(char: str) -> bool:
    return char == " " or (char not in _HIDDEN and ucd_3_2_0.category(char) in _SHOWN)
