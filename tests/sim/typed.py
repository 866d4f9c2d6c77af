"""The real command line over a simulated house: the same commands, the same `app`, another root."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from click import ClickException
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from conformance.memory_signer import MemorySigner
from rexecop.app.approving import Approving
from rexecop.app.identity import Identity
from rexecop.app.instance import Instance, Parts
from rexecop.cli.exits import Exit
from rexecop.cli.failures import as_known, exit_of
from rexecop.cli.parsing import program
from rexecop.cli.session import Session
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.signer import Signer
from tests.sim.world import House


class Typed(Session):
    """A session whose instance is that of `house`, and who types is `by`."""

    def __init__(self, house: House, by: Principal) -> None:
        super().__init__()
        self.environ = {"REXECOP_QUIET": "true"}
        self._parts = SimpleNamespace(
            world=house.world,
            lifecycle=house.lifecycle,
            authority=house.authority,
            approving=Approving(house.world, house.authority, {}),  # type: ignore[arg-type]
            evidence=SimpleNamespace(log=house.store),
            observing=SimpleNamespace(identity=lambda: Identity(principal=by, signer=cast(Signer, None))),
            heads=SimpleNamespace(record_daily=_nothing),
            telling=SimpleNamespace(waits=_nothing, assessed=_nothing),
        )

    @contextmanager
    def instance(self) -> Iterator[Instance]:
        yield Instance(cast(Parts, self._parts))


async def _nothing(*_: object) -> None:
    pass


def typed(house: House, by: Principal, *words: str) -> int:
    """Return the exit code of `rexecop` with `words`, as `cli.main` says it; what it prints is dropped."""
    session = Typed(house, by)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            result = program.main(list(words), prog_name="rexecop", standalone_mode=False, obj=session)
        except (RexecopError, ClickException) as error:
            return int(exit_of(as_known(error)))
    return result if isinstance(result, int) else Exit.DONE


def key_file(folder: Path, key: MemorySigner) -> str:
    """Return the path of a file that holds `key`, as `--key` takes it."""
    path = folder / f"key-{key.key_id[-8:].replace('/', '_')}"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(key._private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return str(path)
