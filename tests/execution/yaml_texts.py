"""Texts that look like YAML, well formed and not: pieces in any order, and our own files with one change."""

from typing import Final

from hypothesis import strategies as st

from tests.house.source import ROOT

_PIECES: Final = (
    *(
        "a",
        "b",
        "key",
        "1",
        "-1",
        "1.5",
        "true",
        "null",
        "~",
        "a?b",
        "[a?",
        "é",
        "\u3000",
        "\ue000",
        "😀",
        "=",
        "\\",
    ),
    *(
        ": ",
        ":",
        ":\n",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "-",
        "-\n",
        "  ",
        " ",
        "\t",
        "\r\n",
        "--",
        "...",
        "---",
        "%",
    ),
    *("#", " # c", "# c\n", '"x"', "'y'", '"', "'", '"a\\\n b"', "|", "|-\n", ">\n", ">+\n", "|2\n"),
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ", ",
        "? ",
        "?",
        "&a ",
        "*a",
        "!t ",
        "!",
        "&",
        "*",
        "<<: ",
        "@",
        "`",
        "$",
        ";",
        "^",
    ),
    *("x: ", "y:\n ", "z: |\n  text\n  more\n", " : ", "\n- ", "\n  - ", "\n  - q: "),
)
_LOOSE = st.builds(
    str.__add__, st.sampled_from(["", "a: "]), st.lists(st.sampled_from(_PIECES), max_size=18).map("".join)
)
_FILES: Final = [path.read_text() for path in sorted((ROOT / "examples").rglob("*.yaml"))]


@st.composite
def _altered(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(_FILES))
    at, cut = draw(st.integers(0, len(text))), draw(st.integers(0, 3))
    return text[:at] + draw(st.sampled_from(_PIECES)) + text[at + cut :]


TEXTS: Final = st.one_of(_LOOSE, _altered())
