"""A program with a shell beside somebody's SSH agent: what it can ask for, and what it cannot say yes to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rexecop.app.instance import Instance
from rexecop.proof.errors import RexecopError
from tests.app.support import change, greeting, made, opened, scratch
from tests.needs import needs
from tests.proof.processes import run, ssh_agent

pytestmark = needs("ssh-agent", "ssh-keygen")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root, and an SSH agent whose questions are answered with no, as nobody sits there."""
    # The agent takes its socket away when it ends, which may be later than its folder goes.
    with scratch() as found, TemporaryDirectory(ignore_cleanup_errors=True) as short:
        monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
        monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setenv("SSH_AUTH_SOCK", f"{short}/agent")
        with ssh_agent(Path(short) / "agent"):
            yield found


async def carol_approves(folder: Path, *options: str) -> None:
    """Enrol a key of carol's, by the operator, and put it into the agent."""
    await made(folder)
    key = folder / "carol"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    with opened(folder, None) as instance:
        await instance.key_new("carol", "requester", folder / "carol-asks")
        await instance.key_trust(str(folder / "carol.pub"), "carol", "approver")
    run("ssh-add", "-q", *options, str(key))


async def refused(instance: Instance, operation: str) -> str:
    with pytest.raises(RexecopError) as no:
        await instance.approve(operation, key=None, agent=True)
    assert instance.status(operation).state == "waiting_for_approval"
    return no.value.code


def test_what_it_asks_for_as_its_owner_is_not_approved_by_the_key_in_the_owners_agent(folder: Path) -> None:
    async def story() -> None:
        await carol_approves(folder)
        with opened(folder, "carol-asks") as instance:
            operation = (await instance.plan(change(folder))).operation_id
            assert await refused(instance, operation) == "self-approval"
        assert not (folder / "rexecop-hello" / "greeting.txt").read_text().startswith("good evening")

    asyncio.run(story())


def test_a_key_that_asks_before_it_signs_says_yes_for_nobody_who_only_holds_the_socket(folder: Path) -> None:
    async def story() -> None:
        await carol_approves(folder, "-c")
        with opened(folder) as instance:  # Alice asks; the program sits in carol's shell.
            operation = (await instance.plan(change(folder))).operation_id
            assert await refused(instance, operation) == "agent-refused"

    asyncio.run(story())


def test_a_key_that_signs_unasked_is_the_yes_of_whoever_holds_the_socket(folder: Path) -> None:
    """This is not prevented, as the page of threats says: such a key belongs beside no agent."""

    async def story() -> None:
        await carol_approves(folder)
        with opened(folder) as instance:
            operation = (await instance.plan(change(folder))).operation_id
            await instance.approve(operation, key=None, agent=True)
            ended = await instance.start(operation)
            assert (ended.state, ended.approved_by) == ("completed", ("carol",))
        assert greeting(folder) == "good evening\n"

    asyncio.run(story())
