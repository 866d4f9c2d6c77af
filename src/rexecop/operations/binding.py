"""Connectors as an environment reaches them, and what every builder of a call is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rexecop.operations.environment import BACKENDS, Backend, ConnectorConfig, Environment, keys_of
from rexecop.operations.errors import ConnectorRefused, LaneUnavailable
from rexecop.operations.placeholders import Values
from rexecop.operations.ports import Configuration
from rexecop.operations.process_spec import Observed
from rexecop.operations.profile_model import ActionSpec, ConnectorSpec, Profile
from rexecop.operations.reading import close_to, listed, unknown
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A connector of the profile, bound to its configuration in the environment."""

    spec: ConnectorSpec
    config: ConnectorConfig

    def action(self, name: str) -> ActionSpec:
        """Return the action `name`.

        Raises:
            ConnectorRefused: the connector does not declare it.
        """
        found = self.spec.actions.get(name)
        if found is None:
            message = f"connector `{self.spec.name}` has no action `{name:.60}`"
            raise unknown(ConnectorRefused, message, name, self.spec.actions)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What the call of `action` on one target is made from.

    `connection` is how the environment reaches the target: what the target says of itself
    goes before what the connector says for all; what it refers to is read from `configuration`.
    `observed` looks at files of this machine.
    """

    action: ActionSpec
    bound: Bound
    profile: Profile
    effect: Effect
    values: Values
    connection: Mapping[str, Json]
    observed: Observed
    configuration: Configuration

    @property
    def where(self) -> str:
        """Return what names the action in errors."""
        return f"{self.bound.spec.name}.{self.action.name}"


def connection_of(config: ConnectorConfig, own: Mapping[str, Json]) -> dict[str, Json]:
    """Return the connection of a target that says `own` of itself, under the connector's name or for all."""
    named = own.get(config.name)
    known = keys_of(config.backend)
    mine = named if isinstance(named, dict) else {key: value for key, value in own.items() if key in known}
    return {**config.connection, **mine}


def bind(profile: Profile, environment: Environment, name: str) -> Bound:
    """Return connector `name` as the environment configures it.

    Raises:
        ConnectorRefused: not declared, not configured, switched off, or another backend than declared.
        LaneUnavailable: nothing here makes the calls of its backend.
    """
    spec, config = profile.connectors.get(name), environment.connectors.get(name)
    if spec is None:
        message = f"profile `{profile.name}` has no connector `{name:.60}`"
        raise unknown(ConnectorRefused, message, name, profile.connectors)
    if config is None:
        message = f"environment `{environment.id}` does not configure connector `{name}`"
        raise unknown(ConnectorRefused, message, name, environment.connectors)
    if not config.enabled:
        raise ConnectorRefused(
            f"connector `{name}` is switched off in environment `{environment.id}`", found=name
        )
    check_backend(spec, config)
    if config.backend is Backend.OTHER:
        raise no_lane(config)
    return Bound(spec=spec, config=config)


def no_lane(config: ConnectorConfig) -> LaneUnavailable:
    """Return that nothing here makes the calls of a connector."""
    return LaneUnavailable(
        f"connector `{config.name}` needs a lane for `{config.declared:.60}`, and there is none here"
        f"{close_to(config.declared, BACKENDS)}",
        connector=config.name,
        found=config.declared[:60],
        allowed=listed(BACKENDS),
    )


def check_backend(spec: ConnectorSpec, config: ConnectorConfig) -> None:
    """Return only if the environment reaches the connector as the profile allows.

    Raises:
        ConnectorRefused: another backend. A scripted one may stand in for any: it cannot do anything.
    """
    if spec.backends and config.backend is not Backend.SCRIPTED and config.declared not in spec.backends:
        raise ConnectorRefused(
            f"connector `{spec.name}` is `{config.declared}` in the environment; "
            f"the profile allows {listed(spec.backends)}",
            found=config.declared,
            allowed=listed(spec.backends),
        )
