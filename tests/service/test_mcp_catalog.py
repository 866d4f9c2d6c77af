"""The targets of a catalog as those of an agent's tools."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.settings import Settings
from rexecop.cli.main import run
from rexecop.operations.catalogs import binding_of
from tests.service.agents import Agent, agent, over_stdio
from tests.service.test_mcp import HELPERS, approve
from tests.service.yard import AGENT, ENVIRONMENT, yard

ENTRY: Final = """\
    - id: ID
      target_kind: host
      profile_ref: ./PROFILE
      environment_ref: ENVIRONMENT
      environment_target: TARGET
      capabilities: []
      connector_refs: [here]
"""


def entry(name: str, profile: str, environment: str, target: str) -> str:
    words = {"ID": name, "PROFILE": profile, "ENVIRONMENT": environment, "TARGET": target}
    text = ENTRY
    for word, value in words.items():
        text = text.replace(word, value)
    return text


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A yard with a second environment, a garden in which one only looks, and a catalog of both."""
    folder = tmp_path_factory.mktemp("catalog")
    found = yard(folder)
    shutil.copytree(folder / "yard", folder / "garden")
    for path in folder.glob("garden/*/*.yaml"):
        if path.parent.name != "connectors" and path.stem not in ("look", "thing"):
            path.unlink()
    contract = folder / "garden" / "profile.yaml"
    contract.write_text(contract.read_text().replace("yard", "garden"))
    text = ENVIRONMENT.replace("FOLDER", str(folder / "things"))
    (folder / "east.yaml").write_text(text.replace("id: yard", "id: east"))
    (folder / "garden.yaml").write_text(text.replace("yard", "garden", 2))
    entries = (
        entry("front", "yard", "yard.yaml", "near"),
        entry("back", "yard", "east.yaml", "far"),
        entry("bed", "garden", "garden.yaml", "near"),
    )
    write(folder, "".join(entries))
    return found


def write(folder: Path, entries: str) -> Path:
    path = folder / "targets.yaml"
    path.write_text(f'target_catalog:\n  version: "0.1"\n  targets:\n{entries}')
    return path


def words(settings: Settings) -> tuple[str, ...]:
    catalog = str(settings.root.parent / "targets.yaml")
    key = ("--identity", str(settings.identity))
    return ("--root", str(settings.root), *key, "mcp", "--agent", AGENT, "--catalog", catalog)


@pytest.fixture(scope="module")
def bot(settings: Settings) -> Iterator[Agent]:
    with agent(over_stdio(*words(settings), folder=settings.root.parent)) as found:
        yield found


def test_tools_are_for_the_entries_of_a_catalog_and_named_by_profile_where_two_have_one_name(
    bot: Agent,
) -> None:
    tools = bot.tools()

    assert set(tools) == {"yard_look", "garden_look", "leak", "linger", "put"} | HELPERS
    target = tools["yard_look"].input_schema["properties"]["target"]
    assert target == {"enum": ["front", "back"], "description": "On what, in catalog targets.yaml."}
    assert "target" not in tools["garden_look"].input_schema["properties"]  # There is only one.


def test_a_call_is_planned_through_the_catalog_and_notes_it(bot: Agent, settings: Settings) -> None:
    done = bot.told("yard_look", target="back")
    alone = bot.told("garden_look")
    asked = bot.told("put", rexecop_target="front", text="by name")
    approve(settings, str(asked["operation_id"]), settings.root / "keys" / "approver")
    put = bot.told("operation_wait", operation_id=asked["operation_id"], seconds=60)
    wrong = bot.told("yard_look", target="bed")
    why = bot.told("why", tool="yard_look", arguments={"target": "front"})

    assert (done["status"], done["target"], alone["status"]) == ("completed", "far", "completed")
    assert (put["status"], put["target"]) == ("completed", "near")
    assert wrong["code"] == "tool-refused" and "it is for front, back" in str(wrong["reason"])
    assert why["lines"]
    with open_instance(settings) as instance:
        view = instance.status(str(done["operation_id"]))
        binding = binding_of(instance.operation(view.operation_id).the_plan)
    assert (view.environment, view.profile) == ("east", "yard")
    assert binding is not None and (binding.target, binding.file) == ("back", "targets.yaml")


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("    - {id: x}\n", "target_kind"),
        (entry("x", "nowhere", "yard.yaml", "near"), "/nowhere`"),
        (entry("x", "yard", "yard.yaml", "moon"), "moon"),
        (
            entry("x", "yard", "yard.yaml", "near") + entry("y", "other", "east.yaml", "near"),
            "names another copy of profile `yard` than `x`",
        ),
    ],
)
def test_a_catalog_that_is_wrong_starts_nobody(
    tmp_path: Path, settings: Settings, entries: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("yard", "yard.yaml", "east.yaml"):
        source = settings.root.parent / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.copytree(tmp_path / "yard", tmp_path / "other")
    (tmp_path / "other" / "workflows" / "wipe.yaml").write_text(
        (tmp_path / "yard" / "workflows" / "wipe.yaml").read_text().replace("id: wipe", "id: swept")
    )
    (tmp_path / "other" / "validation_rules" / "wipe.yaml").unlink()
    said = (*words(settings)[:-1], str(write(tmp_path, entries)))

    assert run(said) == 2
    told = capsys.readouterr().err
    assert "error[catalog-refused]" in told and why in told and "Traceback" not in told


def test_a_catalog_and_an_environment_beside_it_are_refused(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run((*words(settings), "--env", str(settings.env))) == 2
    assert "`--catalog` names all of it" in capsys.readouterr().err
