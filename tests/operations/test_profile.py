"""Profiles: the seed's formats load as they are, and what is wrong is named by file, line and field."""

from pathlib import Path

import pytest

from rexecop.operations.errors import InputMissing, ProfileRefused
from rexecop.operations.pinned_files import ProfileSnapshot, files_of_snapshot
from rexecop.operations.pinned_files import profile_snapshot as snapshot
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import digest_of
from rexecop.proof.vocabulary import Effect, Mode
from tests.operations.folders import SHIPPED, edited, folder, seed


@pytest.mark.parametrize("root", SHIPPED, ids=lambda root: root.name)
def test_every_shipped_profile_loads(root: Path) -> None:
    assert load_profile(folder(root)).intents


def test_a_profile_written_for_the_seed_loads_unchanged() -> None:
    profile = load_profile(seed())

    intent = profile.intents["look"]
    assert (profile.name, profile.version) == ("seedlike", "0.3")
    assert (intent.modes, intent.enforce_modes) == ((Mode.READ_ONLY, Mode.DRY_RUN), True)
    assert intent.runbook == "docs/look.md"
    assert profile.workflows["workflows/look.yaml"].steps[1].continue_on_error
    assert [rule.test for rule in profile.rules["look"]] == ["mapping", "equals", "truthy_path"]


def test_the_contract_sections_may_be_left_out() -> None:
    profile = load_profile(seed(**{"profile.yaml": "profile_contract: {name: short, version: '1'}"}))

    assert profile.name == "short"


# file, old text, new text, line, field, what the message names
BROKEN = [
    (
        "profile.yaml",
        "  intents: {required: true}",
        "  intents: {required: false}",
        5,
        "profile_contract.intents",
        "required: true",
    ),
    ("profile.yaml", "  name: seedlike\n", "", 2, "profile_contract", "`name` is missing"),
    (
        "profile.yaml",
        "  version: 0.3",
        "  versions: 0.3",
        4,
        "profile_contract.versions",
        "did you mean `version`?",
    ),
    ("intents/look.yaml", "  risk: low", "  risky: low", 5, "intent.risky", "did you mean `risk`?"),
    ("intents/look.yaml", "  id: look", "  id: other", 2, "intent", "`other` stands in the file of `look`"),
    (
        "intents/look.yaml",
        "workflows/look.yaml",
        "workflows/gone.yaml",
        2,
        "intent.workflow",
        "not a file of the profile",
    ),
    ("intents/look.yaml", "[read_only, dry_run]", "[read_only, write]", 7, "intent.modes[1]", "`write`"),
    (
        "intents/look.yaml",
        "    title: Look",
        "    titel: Look",
        10,
        "intent.catalog.titel",
        "did you mean `title`?",
    ),
    ("workflows/look.yaml", "id: mark,", "id: read_name,", 15, "workflow.steps[2]", "already on line 9"),
    ("workflows/look.yaml", "timeout: 10s", "timeout: soon", 9, "workflow.steps[0].timeout", "duration"),
    (
        "workflows/look.yaml",
        "pause_safe: true",
        "needs: [nothing]",
        9,
        "workflow.steps[0]",
        "not a step above",
    ),
    (
        "workflows/look.yaml",
        "type: evidence",
        "type: dance",
        17,
        "workflow.steps[4].type",
        "one of internal, connector, evidence",
    ),
    (
        "connectors/shell.yaml",
        "  name: shell",
        "  name: bash",
        2,
        "connector",
        "stands in the file of `shell`",
    ),
    (
        "connectors/shell.yaml",
        "[read_name, fetch_status]",
        "[read_name]",
        14,
        "connector.command_shapes.fetch_status",
        "not among `capabilities`",
    ),
    (
        "validation_rules/look.yaml",
        "require_equals",
        "require_luck",
        6,
        "validation_rule.steps[1].type",
        "`require_luck`",
    ),
    (
        "normalizers/look.yaml",
        "'^(?P<value>\\S+)$'",
        "'^(a+)+$'",
        5,
        "normalizer.facts.name",
        "no named group",
    ),
    (
        "normalizers/look.yaml",
        "'^(?P<value>\\S+)$'",
        "'^(?P<value>(a+)+)$'",
        5,
        "normalizer.facts.name",
        "repeated group",
    ),
]


@pytest.mark.parametrize(
    ("path", "old", "new", "line", "field", "named"), BROKEN, ids=lambda item: str(item)[:30]
)
def test_what_is_wrong_is_named_by_file_line_and_field(
    path: str, old: str, new: str, line: int, field: str, named: str
) -> None:
    with pytest.raises(ProfileRefused) as refused:
        load_profile(edited(path, old, new))

    assert (refused.value.facts["file"], refused.value.facts["line"]) == (path, line)
    assert refused.value.facts["field"] == field
    assert named in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1\nb: *x",
        "a: 1\na: 2",
        "a: !!python/object:x 1",
        "{",
        "- 1\n- 2",
        "",
        "\x00",
        "a: " + "x" * 2_000_000,
    ],
    ids=["alias", "duplicate", "tag", "broken", "list", "empty", "nul", "oversize"],
)
@pytest.mark.parametrize(
    "path", ["profile.yaml", "intents/look.yaml", "workflows/look.yaml", "reactions/reaction_pack.yaml"]
)
def test_yaml_that_is_not_the_strict_kind_is_refused_in_one_line(path: str, text: str) -> None:
    with pytest.raises(ProfileRefused) as refused:
        load_profile(seed(**{path: text}))

    assert refused.value.facts.get("file") == path
    assert "\n" not in refused.value.message


def test_a_folder_without_a_profile_file_is_refused() -> None:
    with pytest.raises(ProfileRefused, match=r"profile\.yaml"):
        load_profile(seed(**{"profile.yaml": None}))


def test_a_file_that_is_not_text_is_refused() -> None:
    with pytest.raises(ProfileRefused, match="UTF-8"):
        load_profile({**seed(), "intents/look.yaml": b"\xff\xfe"})


@pytest.mark.parametrize("root", SHIPPED, ids=lambda root: root.name)
def test_a_snapshot_yields_the_profile_it_was_taken_of(root: Path) -> None:
    files = folder(root)
    data = snapshot(files)

    loaded = load_profile(files)

    again = profile_from_snapshot(data)
    assert loaded.digest == again.digest == digest_of(data)
    assert (again.intents, again.connectors, again.rules) == (loaded.intents, loaded.connectors, loaded.rules)


def test_a_snapshot_changes_with_every_file_that_matters_and_no_other() -> None:
    base = snapshot(seed())

    assert snapshot({**seed(), "docs/look.md": b"other", "code.py": b"x", "docs/x.yaml": b"y"}) == base
    for path in seed():
        if not path.startswith("docs/"):
            assert snapshot({**seed(), path: seed()[path] + b"# one more\n"}) != base


def profile_from_snapshot(data: bytes) -> Profile:
    return load_profile(files_of_snapshot(data, ProfileSnapshot.kind))


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    for data in (b"", b"{}", b'{"kind":"environment-snapshot/1","files":{}}', snapshot(seed())[:-1]):
        with pytest.raises(InputMissing):
            profile_from_snapshot(data)


def test_effects_stand_where_the_profile_declares_them() -> None:
    actions = load_profile(folder(SHIPPED[0])).connectors["local"].actions

    assert actions["write_greeting"].effect is Effect.CHANGE
    assert actions["read_greeting"].effect is Effect.READ
