"""Errors of settings.

SettingsError
├── SettingsUnreadable   a settings file that cannot be read or is no TOML
├── SettingUnknown       a key that no setting has
├── SettingNotHere       a key that this file may not set
└── SettingInvalid       a value that the setting does not take
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class SettingsError(RexecopError):
    """The settings cannot be used."""

    code = "settings-error"


class SettingsUnreadable(SettingsError):
    """A settings file cannot be read, is too long, or is no TOML."""

    code = "settings-unreadable"


class SettingUnknown(SettingsError):
    """A settings file has a key that no setting has."""

    code = "setting-unknown"


class SettingNotHere(SettingsError):
    """A settings file sets what only a flag, the environment or the user's own file may set."""

    code = "setting-not-here"


class SettingInvalid(SettingsError):
    """A setting has a value that it does not take."""

    code = "setting-invalid"
