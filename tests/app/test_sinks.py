"""Checkpoint sinks: what leaves, what a rewound ledger may not do, and that a lost sink stops nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from rexecop.app.build import init_root, open_instance
from rexecop.app.instance import Instance
from rexecop.keys import create_key
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import RexecopError
from rexecop.proof.verify.trusted import trust_of
from tests.app.support import asked, bob, change, greeting, made, opened, scratch, settings
from tests.needs import needs
from tests.proof.logs import STRANGER

Story = Callable[[Path], Coroutine[None, None, None]]


def told(story: Story) -> None:
    """Run `story` in a folder with a root."""

    async def begin() -> None:
        with scratch() as folder:
            await made(folder)
            await story(folder)

    asyncio.run(begin())


def name_sinks(folder: Path, *sinks: dict[str, object]) -> None:
    lines = [f"- {json.dumps(sink)[1:-1]}\n" for sink in sinks]
    (folder / "root" / "sinks.yaml").write_text("".join(lines))


async def ran(instance: Instance, folder: Path) -> str:
    view = await instance.plan(asked(folder, "host_facts", "dry_run"))
    await instance.start(view.operation_id)
    return view.operation_id


async def grew(folder: Path) -> tuple[str, ...]:
    """Let one operation run; return what was not published at the end."""
    with opened(folder) as instance:
        await ran(instance, folder)
    return instance.unpublished


def kept(path: Path) -> list[Checkpoint]:
    return [checkpoints.parse(note.parse(data).text) for data in note.split(path.read_bytes())]


def size_of(folder: Path) -> int:
    with opened(folder) as instance:
        return instance.parts.store.size()


async def tried(folder: Path) -> tuple[str | None, str]:
    """Plan, approve and start a change; return the code of the refusal, and the state it is left in."""
    with opened(folder) as instance:
        operation = (await instance.plan(change(folder))).operation_id
        await instance.approve(operation, key=bob(folder))
        try:
            return None, (await instance.start(operation)).state
        except RexecopError as error:
            return error.code, instance.status(operation).state


def test_checkpoints_go_to_a_file_when_something_was_recorded_and_only_then() -> None:
    async def story(folder: Path) -> None:
        name_sinks(folder, {"file": str(folder / "kept")})
        assert await grew(folder) == ()
        first = size_of(folder)
        with opened(folder) as instance:
            instance.list()
            instance.log_verify()
        assert [checkpoint.size for checkpoint in kept(folder / "kept")] == [first]
        await grew(folder)
        with opened(folder) as instance:
            (view,) = instance.log_publish()
            (again,) = instance.log_publish()
            trust = trust_of(instance.parts.authority.enrolments())
            held = (folder / "kept").read_bytes()
            for data in note.split(held):
                assert instance.log_verify(trust=trust, held=data)["bad"] is None

        assert [checkpoint.size for checkpoint in kept(folder / "kept")] == [first, size_of(folder)]
        assert view == again and view.status == "ok"
        assert (folder / "kept").read_bytes() == held

    told(story)


def put_back(old: Path, root: Path) -> None:
    """Write every file of `old` over that of `root`, so that nothing in `root` tells that it was done."""
    for file in [one for one in root.rglob("*") if one.is_file()]:
        kept = old / file.relative_to(root)
        if kept.is_file():
            shutil.copyfile(kept, file)
        else:
            file.unlink()


def test_a_rewound_ledger_begins_no_change_and_reads_go_on() -> None:
    async def story(folder: Path) -> None:
        name_sinks(folder, {"file": str(folder / "kept")})
        shutil.copytree(folder / "root", folder / "old")
        assert (await tried(folder))[1] == "completed"
        before, said = greeting(folder), kept(folder / "kept")[-1].size
        put_back(folder / "old", folder / "root")

        assert await tried(folder) == ("ledger-rewound", "approved")
        assert greeting(folder) == before
        with opened(folder) as instance:
            assert "approved" in {line.state for line in instance.list()}
            dry = await ran(instance, folder)
            assert instance.status(dry).state == "completed"
            sinks = next(check for check in instance.check().checks if check.name == "sinks")
            assert sinks.status == "failed" and "disagrees with this ledger" in sinks.message
        assert any("disagrees" in reason for reason in instance.unpublished)
        assert kept(folder / "kept")[-1].size == said
        # However much is recorded meanwhile, what was lost stays lost.
        while size_of(folder) <= said:
            await grew(folder)
        assert (await tried(folder))[0] == "ledger-rewound"

    told(story)


def test_a_ledger_of_the_same_size_that_says_something_else_is_forked() -> None:
    async def story(folder: Path) -> None:
        with opened(folder) as instance:
            operation = (await instance.plan(change(folder))).operation_id
            await instance.approve(operation, key=bob(folder))
            origin = checkpoints.parse(note.parse(instance.log_checkpoint().encode()).text).origin
            signer, size = instance.parts.world.signer, instance.parts.store.size()
            forged = Checkpoint(origin=origin, size=size, root=bytes(32))
            stranger = checkpoints.sign(forged, STRANGER)
            other = checkpoints.sign(Checkpoint(origin="rexecop/x/1", size=9999, root=bytes(32)), signer)
            name_sinks(folder, {"file": str(folder / "kept")})
            (folder / "kept").write_bytes(note.join([checkpoints.sign(forged, signer), stranger, other]))
            with pytest.raises(RexecopError) as refused:
                await instance.start(operation)
            assert refused.value.code == "ledger-forked"
            # What the instance's own key did not sign says nothing about it.
            (folder / "kept").write_bytes(note.join([stranger, other]) + b"torn off in the mid")
            assert (await instance.start(operation)).state == "completed"
        assert kept(folder / "kept")[-1].size == size_of(folder)
        assert instance.unpublished == ()

    told(story)


@pytest.mark.parametrize(
    "sink",
    [
        {"file": "/nowhere/at/all/kept"},
        {"git": "/nowhere/at/all/kept"},
        {"command": ["/nowhere/at-all"]},
        {"command": [sys.executable, "-c", "raise SystemExit('not today')"]},
        {"witness": [sys.executable, "-c", "raise SystemExit('not today')"]},
        {"witness": [sys.executable, "-c", "print('7'); raise SystemExit('not today')"]},
        {"witness": [sys.executable, "-c", "print('nonsense')"]},
        {"command": [sys.executable, "-c", "print('\\u2014 w1 AAAA')"]},
    ],
    ids="-".join,
)
def test_a_sink_that_fails_stops_no_work_and_is_named(sink: dict[str, object]) -> None:
    async def story(folder: Path) -> None:
        name_sinks(folder, sink, {"file": str(folder / "kept")})
        assert (await tried(folder)) == (None, "completed")
        (reason,) = await grew(folder)
        with opened(folder) as instance:
            views = instance.log_publish()
            check = next(check for check in instance.check().checks if check.name == "sinks")

        assert reason.startswith(next(iter(sink)))
        assert [view.status for view in views] == ["failed", "ok"]
        assert check.status == "warning" and check.message.startswith(reason[:20])
        assert kept(folder / "kept")[-1].size == size_of(folder)

    told(story)


@pytest.mark.parametrize(
    "text",
    [
        "file: /kept\n",
        "- file: kept\n",
        "- file: [/kept]\n",
        "- command: ssh host\n",
        "- command: []\n",
        "- command: [ssh, 1]\n",
        "- witness: ['']\n",
        "- mail: /kept\n",
        "- {file: /kept, git: /kept}\n",
        "- {}\n",
        "- /kept\n",
        "- file: /kept\n" * 17,
        "- file: &a /kept\n",
        "",
        "\t",
    ],
)
def test_sinks_that_cannot_be_read_are_refused_and_nothing_changing_begins(text: str) -> None:
    async def story(folder: Path) -> None:
        (folder / "root" / "sinks.yaml").write_text(text)
        code, state = await tried(folder)
        (reason,) = await grew(folder)

        assert code in {"sinks-refused", "yaml-refused"} and state == "approved"
        assert "\n" not in reason

    told(story)


def test_sinks_that_others_could_write_are_no_authority() -> None:
    async def story(folder: Path) -> None:
        name_sinks(folder, {"command": ["touch", str(folder / "ran")]})
        (folder / "root" / "sinks.yaml").chmod(0o666)
        assert (await tried(folder))[0] == "root-unsafe"
        assert not (folder / "ran").exists()
        (folder / "root" / "sinks.yaml").chmod(0o600)
        assert (await tried(folder))[0] is None
        assert (folder / "ran").exists()

    told(story)


@needs("git")
def test_checkpoints_are_committed_and_nothing_else_of_the_working_tree(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        ran = subprocess.run(["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True)
        return ran.stdout

    git("init", "--quiet", "--initial-branch=main")
    (tmp_path / ".git/hooks/pre-commit").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / ".git/hooks/pre-commit").chmod(0o755)
    (tmp_path / "staged").write_text("somebody's work")
    git("add", "staged")

    async def story(folder: Path) -> None:
        name_sinks(folder, {"git": str(tmp_path / "lab.checkpoints")})
        for _ in range(2):
            assert await grew(folder) == ()
        with opened(folder) as instance:
            instance.log_publish()
        # A commit that failed is made up for.
        (tmp_path / ".git/index.lock").touch()
        (reason,) = await grew(folder)
        assert "git" in reason
        (tmp_path / ".git/index.lock").unlink()
        with opened(folder) as instance:
            assert [view.status for view in instance.log_publish()] == ["ok"]

        sizes = [checkpoint.size for checkpoint in kept(tmp_path / "lab.checkpoints")]
        assert sizes[-1] == size_of(folder) and len(sizes) == 3
        log = git("log", "--format=%an <%ae> %s", "--name-only").split("\n")
        subjects = [line for line in log if line.startswith("rexecop <rexecop@localhost> Checkpoint of ")]
        assert len(subjects) == 3 and set(log) - set(subjects) == {"", "lab.checkpoints"}
        assert git("status", "--porcelain") == "A  staged\n"
        assert git("show", "HEAD:lab.checkpoints") == (tmp_path / "lab.checkpoints").read_text()

    told(story)


def test_a_command_gets_the_checkpoint_and_a_witness_the_request_and_its_lines_are_kept() -> None:
    async def story(folder: Path) -> None:
        create_key(folder / "w1.key", "w1")
        (folder / "logs").mkdir()
        shutil.copy(folder / "root/keys/instance.pub", folder / "logs/instance.pub")
        with opened(folder) as instance:
            await instance.key_trust(str(folder / "w1.key.pub"), "w1", "witness")
        witness = [sys.executable, "-m", "rexecop", "log", "witness", "sign", "-", "--name", "w1"]
        witness += ["--key", str(folder / "w1.key"), "--state", str(folder / "seen")]
        name_sinks(
            folder,
            {"command": ["tee", str(folder / "copy")]},
            {"witness": [*witness, "--trust", str(folder / "logs")]},
        )
        for _ in range(2):
            assert await grew(folder) == ()
        with opened(folder) as instance:
            text = instance.log_checkpoint()
            assert [line.name for line in note.parse(text.encode()).signatures][1:] == ["w1"]
            assert text.startswith((folder / "copy").read_text())
            # The witness has seen more than this ledger knows of: it says so, and is asked from there.
            stored = instance.parts.store.kept_checkpoint()
            assert stored is not None
            instance.parts.store._writing.run(
                lambda applier: applier.connection.execute("DELETE FROM checkpoints WHERE given")
            )
            views = instance.log_publish()
        assert [view.status for view in views] == ["ok", "ok"]
        assert views[1].message == f"checkpoint of {stored.size} records, cosigned by w1"

    told(story)


def test_init_names_sinks_or_says_what_is_missing() -> None:
    async def story(folder: Path) -> None:
        bare = await init_root(settings(folder))
        assert bare.sinks is not None and "nobody would see it" in bare.sinks
        assert "rexecop init --sink file:/mnt/elsewhere/checkpoints" in bare.next
        named = await init_root(settings(folder), sinks=(f"file:{folder}/kept", f"git:{folder}/tree/x y"))
        assert named.sinks is None and "root/sinks.yaml" in named.created
        with open_instance(settings(folder)) as instance:
            assert [view.name for view in instance.log_publish()] == [
                f"file {folder}/kept",
                f"git {folder}/tree/x y",
            ]
        kept_as_it_is = await init_root(settings(folder), sinks=("file:/elsewhere",))
        assert "root/sinks.yaml" in kept_as_it_is.existing
        for wrong in ("kept", "file:", "mail:x", "command:x"):
            with pytest.raises(RexecopError) as refused:
                await init_root(settings(folder), sinks=(wrong,))
            assert refused.value.code == "sinks-refused"

    told(story)
