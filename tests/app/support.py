"""Real roots for tests: `alice` asks with a key, `bob` approves, whoever runs the tests is the operator."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rexecop.app.build import init_root, open_instance
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings
from rexecop.proof.canonical import Json
from rexecop.proof.chain import Sealed
from rexecop.proof.verify import Report, verify
from rexecop.proof.verify.trusted import trust_of


def settings(folder: Path, identity: Path | None = None) -> Settings:
    return Settings(
        root=folder / "root",
        storage="",
        output="json",
        quiet=True,
        color=False,
        as_label=None,
        identity=identity,
        profile=None,
        env=None,
        mode=None,
        target=None,
        permit_seconds=30,
        reconcile_margin_ms=2000,
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that calls in a sandbox can see; the usual one for temporary files they cannot."""
    folder = Path(tempfile.mkdtemp(prefix="rexecop-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


async def made(folder: Path) -> None:
    """Make a root below `folder`, with keys for alice and bob."""
    await init_root(settings(folder), others=("alice", "carol"), approver="bob")
    with open_instance(settings(folder)) as instance:
        await instance.key_new("alice", "requester", folder / "alice")


def bob(folder: Path) -> Path:
    return folder / "root" / "keys" / "approver"


@contextmanager
def opened(folder: Path, identity: str | None = "alice") -> Iterator[Instance]:
    with open_instance(settings(folder, folder / identity if identity else None)) as instance:
        yield instance


def change(folder: Path, greeting: str = "good evening", **more: str) -> PlanInput:
    return asked(folder, "set_greeting", "apply", {"greeting": greeting}, **more)


def asked(
    folder: Path, intent: str, mode: str, parameters: dict[str, Json] | None = None, **more: str
) -> PlanInput:
    return PlanInput(
        profile="hello",
        env=str(folder / "root" / "hello.environment.yaml"),
        intent=intent,
        target="localhost",
        mode=mode,
        parameters=parameters,
        **more,  # type: ignore[arg-type]
    )


def greeting(folder: Path) -> str:
    return (folder / "rexecop-hello" / "greeting.txt").read_text()


def records(instance: Instance, operation: str) -> tuple[Sealed, ...]:
    return instance.parts.world.store.journal(operation).records


def verified(instance: Instance, operation: str) -> Report:
    """Return what a verifier says who trusts the keys of this instance."""
    data = instance.parts.evidence.bundle(operation, with_outputs=True)
    return verify(data, trust_of(instance.parts.authority.enrolments()))
