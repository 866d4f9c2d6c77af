"""The names on the public index belong to others: nothing of ours may ever be fetched under them."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

import pytest

import recon
import rexecop
import tecrax
from tests.house.source import CORE, PROFILES, ROOT

THEIRS: Final = frozenset({"rexecop", "tecrax", "recon", "govengine", "sclite-core"})
OURS: Final = ("rexecop", "tecrax", "recon")
PROJECTS: Final = (ROOT / "pyproject.toml", *sorted(PROFILES.glob("*/pyproject.toml")))


def project(file: Path) -> Mapping[str, Mapping[str, list[str]]]:
    table: Mapping[str, Mapping[str, list[str]]] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
    return table


def requirements(file: Path) -> Iterator[str]:
    table = tomllib.loads(file.read_text(encoding="utf-8"))
    yield from table["build-system"]["requires"]
    yield from table["project"].get("dependencies", [])
    for group in table["project"].get("optional-dependencies", {}).values():
        yield from group


def name(requirement: str) -> str:
    """The normalised name a requirement asks an index for."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


@pytest.mark.parametrize("file", PROJECTS, ids=lambda file: file.parent.name)
def test_no_requirement_of_ours_bears_a_name_that_belongs_to_others(file: Path) -> None:
    assert {name(requirement) for requirement in requirements(file)} & THEIRS == set()


@pytest.mark.parametrize("ours", OURS)
def test_what_is_installed_under_our_names_came_from_files_of_ours(ours: str) -> None:
    origin = json.loads(distribution(ours).read_text("direct_url.json") or "{}")

    assert origin.get("url", "an index").startswith("file:")


def test_the_extra_all_is_the_sum_of_the_extras() -> None:
    extras = project(ROOT / "pyproject.toml")["optional-dependencies"]
    parts = {line for extra, lines in extras.items() if extra not in {"all", "dev"} for line in lines}

    assert set(extras["all"]) == parts


def test_every_requirement_has_an_upper_bound_or_is_data_or_stubs() -> None:
    unbounded = {name(line) for line in requirements(ROOT / "pyproject.toml") if "<" not in line}

    # Type stubs follow their library; the other two have no major of their own.
    assert unbounded == {"apsw", "tzdata", "types-pyyaml", "types-jsonschema", "types-python-dateutil"}


def test_the_version_has_one_source() -> None:
    assert distribution("rexecop").version == rexecop.__version__
    assert distribution("tecrax").version == tecrax.__version__
    assert distribution("recon").version == recon.__version__


def test_type_checkers_may_trust_every_package() -> None:
    assert (CORE / "py.typed").exists()
    for profile in ("recon", "tecrax"):
        assert (PROFILES / profile / "src" / profile / "py.typed").exists()
