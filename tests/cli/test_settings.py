"""Settings: one order of precedence, and a project folder that grants nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.app.settings import FILE_BYTES_MAX, SETTINGS, Kind, Settings, load_settings, project_file_text
from rexecop.app.settings_errors import SettingInvalid, SettingNotHere, SettingsUnreadable, SettingUnknown
from rexecop.proof.errors import RexecopError


def load(
    here: Path, flags: dict[str, str | int | bool] | None = None, environ: dict[str, str] | None = None
) -> Settings:
    return load_settings(flags or {}, environ or {}, here / "project", here / "home")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    (tmp_path / "home" / ".config" / "rexecop").mkdir(parents=True)
    return tmp_path


def project(here: Path, text: str) -> None:
    (here / "project" / "rexecop.toml").write_text(text)


def user(here: Path, text: str) -> None:
    (here / "home" / ".config" / "rexecop" / "rexecop.toml").write_text(text)


def test_a_flag_beats_a_variable_beats_the_project_beats_the_user(here: Path) -> None:
    user(here, 'profile = "by-user"\nenv = "by-user"\nmode = "apply"\ntarget = "by-user"')
    project(here, 'profile = "by-project"\nenv = "by-project"\nmode = "observe"')

    found = load(here, {"profile": "by-flag"}, {"REXECOP_PROFILE": "by-env", "REXECOP_ENV": "by-env"})

    assert (found.profile, found.env, found.mode, found.target) == ("by-flag", "by-env", "observe", "by-user")


@pytest.mark.parametrize("setting", [s for s in SETTINGS if not s.project], ids=lambda s: s.name)
def test_a_project_folder_never_gives_authority(here: Path, setting: object) -> None:
    name = getattr(setting, "name", "")
    project(here, f'{name} = "x"')

    with pytest.raises(SettingNotHere, match=f"`{name}`"):
        load(here)


def test_nothing_set_is_the_defaults(here: Path) -> None:
    found = load(here)

    assert found.root == here / "project" / ".rexecop"
    assert (found.storage, found.output, found.quiet, found.color) == ("sqlite", "table", False, True)
    assert (found.identity, found.mode, found.permit_seconds) == (None, None, 30)


def test_an_empty_variable_is_none_and_no_color_means_no_colour(here: Path) -> None:
    found = load(here, environ={"REXECOP_ROOT": "", "NO_COLOR": "1"})

    assert found.root.name == ".rexecop" and not found.color


def test_a_home_path_is_the_users(here: Path) -> None:
    user(here, 'identity = "~/.ssh/id_ed25519"')

    assert load(here).identity == here / "home" / ".ssh" / "id_ed25519"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("profile = ", SettingsUnreadable),
        ("profle = 'x'", SettingUnknown),
        ("notify = {command = 'x'}", SettingUnknown),
        ("profile = 1", SettingInvalid),
        ("profile = ''", SettingInvalid),
        ("profile = ['x']", SettingInvalid),
        ("quiet = 'perhaps'", SettingInvalid),
        ("output = 'xml'", SettingInvalid),
        ("mode = 'yolo'", SettingInvalid),
        ("# " + "x" * FILE_BYTES_MAX, SettingsUnreadable),
        ("a = " + "[" * 5000, SettingsUnreadable),
    ],
    ids=range(11),
)
def test_a_wrong_file_is_one_clear_error(here: Path, text: str, error: type[RexecopError]) -> None:
    project(here, text)

    with pytest.raises(error) as raised:
        load(here)
    assert len(raised.value.message) < 600 and "rexecop.toml" in raised.value.message


def test_what_is_no_plain_text_file_is_refused_and_holds_nobody_up(here: Path) -> None:
    path = here / "project" / "rexecop.toml"
    os.mkfifo(path)
    with pytest.raises(SettingsUnreadable):
        load(here)
    path.unlink()
    path.mkdir()
    with pytest.raises(SettingsUnreadable):
        load(here)
    path.rmdir()
    path.write_bytes(b"profile = '\xff'")
    with pytest.raises(SettingsUnreadable):
        load(here)


@pytest.mark.parametrize("value", ["0", "61", "-1", "3.5", "ten", "1e1", "٣"])
def test_a_permit_never_lives_longer_than_a_minute(here: Path, value: str) -> None:
    with pytest.raises(SettingInvalid, match="from 1 to 60"):
        load(here, environ={"REXECOP_PERMIT_SECONDS": value})


def test_a_storage_is_never_repeated_in_an_error(here: Path) -> None:
    with pytest.raises(SettingInvalid) as raised:
        load(here, {"storage": "postgresql://me:canary@host/" + "x" * 5000})

    assert "canary" not in raised.value.message


def test_a_secret_is_repeated_neither_in_an_error_nor_where_settings_are_shown(here: Path) -> None:
    with pytest.raises(SettingInvalid) as raised:
        load(here, environ={"REXECOP_KERNEL_GUARD_KEY": "canary" + "x" * 5000})

    assert "canary" not in raised.value.message
    found = load(here, environ={"REXECOP_KERNEL_GUARD_KEY": "canary"})
    assert found.kernel_guard_key == "canary" and "canary" not in repr(found)


@given(st.dictionaries(st.sampled_from([str(s.env) for s in SETTINGS]), st.text(max_size=20)))
def test_no_environment_whatever_raises_anything_but_a_settings_error(environ: dict[str, str]) -> None:
    nowhere = Path("/nonexistent")
    try:
        load_settings({}, environ, nowhere, nowhere)
    except SettingInvalid as error:
        assert error.facts["setting"]


def test_the_project_file_we_write_is_one_we_read(here: Path) -> None:
    project(here, project_file_text({"profile": 'a "quoted" \\ name', "mode": "read_only"}))

    found = load(here)

    assert (found.profile, found.mode, found.env) == ('a "quoted" \\ name', "read_only", None)


def test_every_setting_has_a_default_of_its_own_kind() -> None:
    for setting in SETTINGS:
        if setting.default is not None:
            assert isinstance(setting.default, bool) == (setting.kind is Kind.FLAG), setting.name
