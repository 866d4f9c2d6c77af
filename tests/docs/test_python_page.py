"""The page about Python names what is public, and all its Python is run."""

from __future__ import annotations

import re
from typing import Final

import rexecop
from tests.docs.pages import Page, page

PAGE: Final = page("docs/python.md")
# Parts of answers, which are found from what holds them.
PARTS: Final = re.compile(r"View$|^(Claims|Finding|NotChecked|OperationLine|Priority|Rung|Mode|ApiError)$|^_")


def test_all_python_of_the_page_is_kept_in_a_file_and_run() -> None:
    files = [block.file for block in PAGE.blocks() if block.file is not None]
    run = {command.text for block in PAGE.blocks() for command in block.commands()}

    assert len(files) == len(PAGE.fenced("python")) > 0
    assert {f"python {file}" for file in files} <= run


def test_every_public_name_that_is_no_part_of_an_answer_stands_on_the_page() -> None:
    missing = [name for name in rexecop.__all__ if not PARTS.search(name) and name not in PAGE.text]

    assert missing == []


def test_every_method_stands_on_the_page() -> None:
    methods = [name for name in vars(rexecop.Instance) if name[0] != "_"]

    assert [name for name in methods if not re.search(rf"`{name}\b", PAGE.text)] == []


def test_python_without_a_file_is_left_alone() -> None:
    shown = Page(name="x", text="```python\nx\n```\n\n<!-- file: a.py -->\n```python\ny\n```\n")

    assert [(block.file, block.text) for block in shown.blocks()] == [("a.py", "y\n")]
