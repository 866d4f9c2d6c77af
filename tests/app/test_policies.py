"""Packs of a root: replayed, kept beside the live ones, adopted, signed; and hostile folders."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rexecop.app import policies as policies_module
from rexecop.app.build import open_instance
from rexecop.app.files import flush_folder, read_folder
from rexecop.app.packs import check_pack, new_pack, sign_pack
from rexecop.app.policies import ADOPT_AGAIN, SWAPPING, Policies
from rexecop.governance.errors import CasesFailed, LintFailed, PackRefused, PackUnsigned
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.instance import Note
from tests.app.support import asked, bob, change, made, opened, scratch, settings

FORBID = (
    '\n@id("no-greetings") @reason("not today")\n'
    'forbid (principal, action == Action::"change", resource)\n'
    'when { context.intent == "hello/set_greeting" };\n'
)
SILENCED = FORBID.replace(
    "when { ", 'when { context has step && context.step == "x" || context.risk == "no" && '
)
AT_THE_CALL = FORBID.replace("};", '&& context.gate == "call" };').replace("no-greetings", "no-calls")


def starter(folder: Path) -> Path:
    return folder / "root" / "policy" / "starter"


def candidate(folder: Path, more: str = "") -> Path:
    """Return a copy of the starter pack with further rules."""
    copied = folder / "candidate"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(starter(folder), copied)
    with (copied / "rules.cedar").open("a") as rules:
        rules.write(more)
    return copied


def denied(folder: Path) -> str | None:
    """Return why everything is denied in the root, or None."""
    with opened(folder) as instance:
        return instance.parts.authority.policy().problem_at(datetime.now(UTC))


def verdict(folder: Path) -> str:
    with opened(folder) as instance:
        return str(instance.why_before(change(folder)).lines[0].partition(":")[0])


async def changed(folder: Path) -> str:
    with opened(folder) as instance:
        operation = (await instance.plan(change(folder))).operation_id
        await instance.approve(operation, key=bob(folder))
        await instance.start(operation)
        return operation


def test_replay_decides_everything_again_and_says_what_would_change() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            operation = await changed(folder)
            with opened(folder) as instance:
                packs = Policies(instance)
                same, other = packs.replay(candidate(folder)), packs.replay(candidate(folder, FORBID))
                calls = packs.replay(candidate(folder, AT_THE_CALL))
        # The read before the change, the same again, and the change, each at plan and ticket; and the call.
        assert (same.decisions, same.same, same.changes) == (7, 7, ())
        assert (other.stricter, other.wider) == (3, 0)
        assert [(line.gate, line.operation_id) for line in other.changes] == [
            (gate, operation) for gate in ("plan", "ticket", "call")
        ]
        assert "not today" in other.changes[0].words
        assert [line.gate for line in calls.changes] == ["call"]

    asyncio.run(story())


def test_a_candidate_beside_the_live_packs_reports_and_decides_nothing() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            await changed(folder)
            with opened(folder) as instance:
                await Policies(instance).shadow(candidate(folder, FORBID))
            with opened(folder) as instance:
                before = Policies(instance).shadow_report()
                assert (await instance.plan(change(folder, "two"))).state == "waiting_for_approval"
                after = Policies(instance).shadow_report()
            assert (before.decisions, len(after.changes)) == (0, 1)
            assert after.since is not None and after.set_by is not None
            (folder / "root" / "shadow" / "rules.cedar").write_text("// nothing\n")
            with opened(folder) as instance:
                with pytest.raises(PackRefused, match="not the candidate that was set"):
                    Policies(instance).shadow_report()
                await Policies(instance).shadow_off()
                with pytest.raises(RexecopError, match="no candidate"):
                    Policies(instance).shadow_report()
                await Policies(instance).shadow(candidate(folder))
                assert Policies(instance).shadow_report().decisions == 0

    asyncio.run(story())


def test_adopting_shows_what_changes_puts_the_pack_in_force_and_is_recorded() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                packs = Policies(instance)
                files = packs.source(str(candidate(folder, FORBID)))
                seen = packs.preview(files)
                assert verdict(folder) == "approval_required"
                view = await packs.adopt(files)
                notes = [sealed.record for sealed in instance.parts.authority.trust_records()]
            assert (seen.added, seen.removed, seen.changed, seen.adopted) == (
                ("no-greetings",),
                (),
                (),
                False,
            )
            assert view == replace(seen, adopted=True)
            assert verdict(folder) == "blocked"
            assert isinstance(notes[-1], Note) and str(view.pack.digest) in notes[-1].text
            assert {path.name for path in (folder / "root" / "policy").iterdir()} == {"starter"}

    asyncio.run(story())


def test_adopting_shows_which_actions_are_listed_anew_no_more_or_as_something_else() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                packs, seen = Policies(instance), []
                for listed in ("intent:a/b: read, intent:a/c: read", "intent:a/b: change, call:a/x/y: read"):
                    pack = candidate(folder)
                    entities = pack / "entities.yaml"
                    text = entities.read_text().split("\nactions:")[0]
                    entities.write_text(f"{text}\nactions: {{{listed}}}\n")
                    files = packs.source(str(pack))
                    seen.append(packs.preview(files).actions)
                    await packs.adopt(files)
            assert seen == [
                ("+ intent:a/b: read", "+ intent:a/c: read"),
                ("+ call:a/x/y: read", "- intent:a/c: read", "intent:a/b: read, now change"),
            ]

    asyncio.run(story())


def test_what_fails_a_check_is_not_adopted_and_nothing_changes() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            silenced = SILENCED
            failing = candidate(folder)
            (failing / "tests").mkdir()
            (failing / "tests" / "a.yaml").write_text(
                "cases:\n  one:\n    verdict: blocked\n"
                "    request: {person: alice, effect: read, mode: read_only}\n"
            )
            with opened(folder) as instance:
                packs = Policies(instance)
                with pytest.raises(CasesFailed, match=r"tests/a.yaml:2: .*`one`"):
                    await packs.adopt(packs.source(str(failing)))
                with pytest.raises(LintFailed, match="rules"):
                    await packs.adopt(packs.source(str(candidate(folder, silenced))))
                with pytest.raises(LintFailed):
                    await packs.shadow(folder / "candidate")
                with pytest.raises(RexecopError, match="proposes no policy pack"):
                    packs.source("hello")
            assert verdict(folder) == "approval_required"
            assert not (folder / "root" / "shadow").exists()

    asyncio.run(story())


@pytest.mark.parametrize("at", [1, 3, 5])
def test_an_adoption_cut_short_denies_everything_or_is_done(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            steps: list[Path] = []
            rename = Path.rename

            def cut(path: Path) -> None:
                steps.append(path)
                if len(steps) == at:
                    raise KeyboardInterrupt

            def renaming(path: Path, target: Path) -> Path:
                if path in (starter(folder), folder / "root" / "policy.new"):
                    cut(path)
                return rename(path, target)

            def flushing(path: Path) -> None:
                cut(path)
                flush_folder(path)

            with opened(folder) as instance:
                packs = Policies(instance)
                files = packs.source(str(candidate(folder, FORBID)))
                with monkeypatch.context() as patched:
                    patched.setattr(Path, "rename", renaming)
                    patched.setattr("rexecop.app.policies.flush_folder", flushing)
                    with pytest.raises(KeyboardInterrupt):
                        await packs.adopt(files)
            problem = denied(folder)
            # The last of them comes after the new pack is in force alone.
            assert (problem is None) == (at == 5)
            assert problem is None or f"`{SWAPPING}`: {ADOPT_AGAIN}" in problem
            assert verdict(folder) == "blocked"
            with opened(folder) as instance:
                await Policies(instance).adopt(files)
            assert denied(folder) is None
            assert verdict(folder) == "blocked"

    asyncio.run(story())


def test_the_pack_of_a_profile_grants_nothing_before_it_is_adopted() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            profile = folder / "mine"
            shutil.copytree(Path(policies_module.__file__).parent / "data" / "hello", profile)
            (profile / "policy").mkdir()
            (profile / "policy" / "pack.yaml").write_text("id: mine\nversion: '1'\n")
            (profile / "policy" / "entities.yaml").write_text(
                "agents: {bot: {sponsor: alice}}\npeople: {alice: {}}\n"
            )
            (profile / "policy" / "r.cedar").write_text(
                '@id("bots") permit (principal is Agent, action == Action::"read", resource);'
            )

            def answer() -> str:
                read = replace(asked(folder, "show_greeting", "read_only"), profile=str(profile))
                as_bot = replace(settings(folder), as_label="bot")
                with open_instance(as_bot) as other:
                    return str(other.why_before(read).lines[0])

            with opened(folder) as instance:
                assert "blocked: `bot` is in none of the policy packs" in answer()
                packs = Policies(instance)
                await packs.adopt(packs.source(str(profile)))
                assert answer().startswith("allowed: by `mine/bots`")

    asyncio.run(story())


def test_where_packs_have_to_be_signed_every_other_one_denies_everything() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            rule = folder / "root" / "policy" / "signing.yaml"
            rule.write_text("signatures: required\n")
            rule.chmod(0o600)
            assert "pack.sig: it is missing" in str(denied(folder))
            with opened(folder) as instance:
                key = await instance.key_new("ina", "issuer", folder / "ina")
                sign_pack(starter(folder), folder / "alice")
                assert "nobody who issues packs" in str(
                    instance.parts.authority.policy().problem_at(datetime.now(UTC))
                )
                with pytest.raises(PackUnsigned):
                    await Policies(instance).adopt(Policies(instance).source(str(starter(folder))))
                sign_pack(starter(folder), folder / "ina")
                assert denied(folder) is None
                signed = (starter(folder) / "pack.sig").read_bytes()
                (starter(folder) / "README.md").write_text("more\n")
                (starter(folder) / "README.md").chmod(0o600)
                assert "no signature of" in str(denied(folder))
                (starter(folder) / "README.md").unlink()
                assert (starter(folder) / "pack.sig").read_bytes() == signed and denied(folder) is None
                await instance.key_revoke(key.fingerprint)
                assert "revoked" in str(instance.parts.authority.policy().problem_at(datetime.now(UTC)))
            for said in ("signatures: maybe", "signature: required", "- x", "\t"):
                rule.write_text(said)
                assert "signing.yaml" in str(denied(folder))
            rule.write_text("signatures: optional\n")
            assert denied(folder) is None
            rule.chmod(0o666)
            assert "can be written by others" in str(denied(folder))

    asyncio.run(story())


def test_a_pack_that_expired_or_is_not_valid_yet_denies_everything() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            manifest = starter(folder) / "pack.yaml"
            before = manifest.read_text()
            for validity, words in (
                ("{not_after: 2020-01-01}", "has expired"),
                ("{not_before: 2999-01-01}", "not valid"),
            ):
                manifest.write_text(f"{before}validity: {validity}\n")
                assert words in str(denied(folder))
                assert verdict(folder) == "blocked"

    asyncio.run(story())


def test_an_error_of_lint_in_a_pack_in_force_is_a_warning_and_stops_nothing() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with (starter(folder) / "rules.cedar").open("a") as rules:
                rules.write(SILENCED)
            with opened(folder) as instance:
                (found,) = (check for check in instance.check().checks if check.name == "policy")
            assert (found.status, "finds 1 errors" in found.message) == ("warning", True)
            assert verdict(folder) == "approval_required"

    asyncio.run(story())


def test_a_pack_that_others_could_write_into_or_that_changes_while_it_is_read_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            (starter(folder) / "requirements").chmod(0o777)
            assert "can be written by others" in str(denied(folder))
            (starter(folder) / "requirements").chmod(0o700)
            late = iter([FORBID])

            def reading(path: Path) -> dict[str, bytes]:
                found = read_folder(path)
                if (rule := next(late, None)) is not None:
                    (path / "late.cedar").write_text(rule)
                    (path / "late.cedar").chmod(0o600)
                return found

            monkeypatch.setattr("rexecop.app.authority.read_folder", reading)
            with opened(folder) as instance:
                assert "starter/no-greetings" in instance.parts.authority.policy().rule_ids

    asyncio.run(story())


def test_a_blocked_operation_says_what_would_have_to_differ() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with (starter(folder) / "rules.cedar").open("a") as rules:
                rules.write(FORBID.replace("};", '&& context.mode == "apply" };'))
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                assert "it would be `allowed` in mode `dry_run`" in instance.why(operation).lines

    asyncio.run(story())


def fifo(pack: Path) -> None:
    os.mkfifo(pack / "more.cedar")


def linked_folder(pack: Path) -> None:
    (pack / "requirements").rename(pack.parent / "elsewhere")
    (pack / "requirements").symlink_to(pack.parent / "elsewhere")


HOSTILE: Mapping[str, Callable[[Path], object]] = {
    "a file that never ends": fifo,
    "a folder that leads elsewhere": linked_folder,
    "a link out of it": lambda pack: (pack / "more.cedar").symlink_to("/etc/passwd"),
    "a link to itself": lambda pack: (pack / "more.cedar").symlink_to("more.cedar"),
    "a link to nothing": lambda pack: (pack / "more.cedar").symlink_to("nothing.cedar"),
    "a giant": lambda pack: (pack / "more.cedar").write_bytes(b" " * (1 << 21)),
    "other bytes than text": lambda pack: (pack / "more.cedar").write_bytes(b"\xff\xfe"),
    "a name that is none": lambda pack: (pack / "mo\nre.cedar").write_text(""),
    "a deep list": lambda pack: (pack / "entities.yaml").write_text("groups: " + "[" * 9000),
    "an alias": lambda pack: (pack / "entities.yaml").write_text("groups: &a [x]\npeople: *a"),
    "an unknown annotation": lambda pack: (pack / "more.cedar").write_text(
        '@id("x") @free("yes") permit (principal, action, resource);'
    ),
    "a chain without end": lambda pack: (pack / "more.cedar").write_text(
        '@id("x") permit (principal, action, resource) when { context' + ".a" * 7000 + " };"
    ),
    "cases without end": lambda pack: (pack / "tests" / "more.yaml").write_text(
        "cases: {a: " + "{b: " * 3000
    ),
    "more files than a pack has": lambda pack: [(pack / f"f{n}.cedar").write_text("") for n in range(300)],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_ends_in_one_line_with_code_and_place(what: str, tmp_path: Path) -> None:
    pack = tmp_path / "house"
    new_pack(pack, "alice")
    assert [found.severity for found in check_pack(pack).findings] == ["warning"]

    HOSTILE[what](pack)

    (found,) = check_pack(pack).findings
    assert found.severity == "error"
    assert found.code in {
        *("file-refused", "file-missing", "yaml-refused", "pack-too-large", "pack-file-unknown"),
        *("policy-malformed", "policy-annotation-wrong"),
    }
    assert found.file and found.line >= 1 and "\n" not in found.message
