"""What the pages show is what happens: every shell block runs, and says what the page says it says."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import Page, pages
from tests.docs.preloaded import preloaded
from tests.docs.shell import Reader, missing_lines
from tests.house.source import ROOT
from tests.needs import needs

# Pages whose blocks another test runs, each example where it makes sense.
RUN_BY: Final = {"docs/reference/verbs.md": "tests/cli/test_end_to_end.py"}
RUN_HERE: Final = [
    pytest.param(page, id=page.name, marks=[needs("curl")] if "curl " in page.text else [])
    for page in pages()
    if page.name not in RUN_BY and list(page.blocks())
]


@pytest.fixture(scope="session")
def commands() -> Iterator[Path]:
    """A folder whose `rexecop` starts at once; its path is short, as the address of a socket has to be."""
    with tempfile.TemporaryDirectory() as folder, preloaded(Path(folder)) as found:
        yield found


@pytest.mark.parametrize("page", RUN_HERE)
def test_every_shell_block_of_a_page_runs_and_says_what_is_shown(
    page: Page, tmp_path: Path, commands: Path
) -> None:
    wrong = Reader(page, tmp_path, commands).type_everything()

    assert not wrong, "\n".join(wrong)


def test_pages_run_elsewhere_are_named_with_the_test_that_runs_them() -> None:
    assert all((ROOT / test).is_file() for test in RUN_BY.values())
    assert set(RUN_BY) <= {page.name for page in pages()}


def test_a_shown_line_that_is_not_said_is_found() -> None:
    said = "#1  op_0123456789  completed\n  took 12 ms\nnext\n"

    assert missing_lines(("#1  op_ffffff0000  completed", "  took 3 ms", "next"), said) == []
    assert missing_lines(("...", "next"), said) == []
    assert missing_lines(("#1  op_0123456789  failed",), said) != []
    assert missing_lines(("#1  op_0123456789  completed", "next"), said) == ["next"]
    assert missing_lines(("next", "...", "  took 1 ms"), said) != []
    assert missing_lines(("#1  op_0123456789",), said) != []
