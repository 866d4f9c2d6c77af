"""What a request of the `/execute` contract is planned as: one call of one handler, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final

from rexecop.app.files import read_file, read_folder
from rexecop.lanes.registry import HANDLERS
from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.pinned_files import environment_snapshot, profile_snapshot
from rexecop.operations.ports import PinnedInput
from rexecop.operations.profile import load_profile
from rexecop.proof.call import Call, HandlerRequest, Limits
from rexecop.proof.canonical import Digest
from rexecop.proof.records.intent import EnvironmentRef, ProfileRef
from rexecop.proof.records.plan import CallStep, PlannedTarget
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode

NAME: Final = "execute-demo"
STEP: Final = "call"
CONNECTOR: Final = "registry"
NORMALIZER: Final = "answer"
LIMITS: Final = Limits(timeout_ms=10_000, output_bytes=64 * 1024)  # As the demo pack obliges.


class DemoPlans:
    """The built-in profile and environment, and the plans made from them."""

    mode: Final = Mode.READ_ONLY
    effect: Final = Effect.READ
    risk: Final = "low"

    def __init__(self) -> None:
        profile_files, environment_file = _built_in()
        profile = load_profile(profile_files)
        environment = load_environment(environment_file)
        self.profile = ProfileRef(name=profile.name, version=profile.version, digest=profile.digest)
        self.environment = EnvironmentRef(id=environment.id, digest=environment.digest)
        self.target = _target(environment)
        self._inputs = (
            PinnedInput(digest=profile.digest, role="profile", data=profile_snapshot(profile_files)),
            PinnedInput(
                digest=environment.digest, role="environment", data=environment_snapshot(environment_file)
            ),
        )
        self._kept: set[Digest] = set()

    def steps(self, action: str, text: str) -> tuple[CallStep, ...]:
        """Return the one call of `action`; none where there is no such handler."""
        handler = HANDLERS.get(action)
        if handler is None:
            return ()
        call = Call(
            target=self.target.id,
            connector=CONNECTOR,
            action=action,
            effect=handler.effect,
            request=HandlerRequest(action=action, payload=text),
        )
        return (
            CallStep(
                id=STEP,
                target=self.target.id,
                call=call,
                limits=LIMITS,
                isolation=Isolation.NONE,
                idempotent=True,
                grade=Grade.SHAPE,
                normalizer=NORMALIZER,
            ),
        )

    def inputs(self, packs: Iterable[PinnedInput]) -> tuple[PinnedInput, ...]:
        """Return what the records name and this process has not seen stored yet."""
        return tuple(item for item in (*self._inputs, *packs) if item.digest not in self._kept)

    def keep(self, inputs: Iterable[PinnedInput]) -> None:
        """Remember that `inputs` are stored."""
        self._kept.update(item.digest for item in inputs)


def _built_in() -> tuple[dict[str, bytes], dict[str, bytes]]:
    folder = Path(str(files("rexecop.app") / "data"))
    file = folder / f"{NAME}.environment.yaml"
    return read_folder(folder / NAME), {file.name: read_file(file)}


def _target(environment: Environment) -> PlannedTarget:
    ((name, target),) = environment.targets.items()
    return PlannedTarget(id=name, type=target.type, criticality=target.criticality or "low")
