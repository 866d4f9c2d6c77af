"""Policy packs of a root: what another pack would have answered, a candidate beside the live ones, adoption.

A decision is a function of the request that its record holds, so a candidate is asked
afterwards, over the records: it cannot delay, fail or influence what is decided live.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from rexecop.app.contents import POLICY_FOLDER
from rexecop.app.errors import FileMissing, FileRefused, NotYet
from rexecop.app.files import flush_folder, locked, read_folder, reason_of, write_new
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.packs import PackView, check_pack, checked
from rexecop.app.profiles import find_profile
from rexecop.engines.asking import ask
from rexecop.governance.admission import Policy
from rexecop.governance.errors import PackRefused
from rexecop.governance.lint import lint
from rexecop.governance.pack import Pack
from rexecop.governance.replay import change
from rexecop.operations.ports import Journal, Row
from rexecop.proof.call import call_digest
from rexecop.proof.canonical import Digest
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.decision import Decision, PackRef, PolicyRequest, RequestCall, RequestTarget, Terms
from rexecop.proof.records.instance import Note
from rexecop.proof.records.plan import CallStep, Plan, Step
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.request import intents_within, request_of_call, request_target, requested
from rexecop.proof.vocabulary import Gate

ADOPTED: Final = "policy-adopted"
SHADOW: Final = "policy-shadow"
PAGE: Final = 500
# A folder of this name is no pack, so everything is denied while it is there, and afterwards if that fails.
SWAPPING: Final = "adoption-under-way"
ADOPT_AGAIN: Final = "adopt-again-to-finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """One decision that would be another one."""

    operation_id: str
    number: int
    at: datetime
    gate: str
    step: str | None
    requester: str
    asked: str
    kind: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayView:
    """What a candidate answers to `decisions` that were made; `changes` are those it answers otherwise.

    `unread` are operations whose records cannot be read, `since` is when a shadow was set.
    """

    candidate: PackRef
    decisions: int
    same: int
    stricter: int
    wider: int
    both: int
    unread: int
    changes: tuple[ChangeLine, ...]
    since: datetime | None = None
    set_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptView:
    """What adopting a pack changes: rules and people beside those of `replaces`, and decisions."""

    pack: PackRef
    replaces: PackRef | None
    folder: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    people: tuple[str, ...]
    actions: tuple[str, ...]
    warnings: tuple[str, ...]
    replay: ReplayView
    adopted: bool = False


class Policies:
    """The policy packs of one instance's root."""

    def __init__(self, instance: Instance) -> None:
        self._parts = instance.parts
        self._authority = instance.parts.authority
        self._root = instance.parts.settings.root
        self._shadow = self._root / "shadow"

    def replay(self, folder: Path) -> ReplayView:
        """Return what the pack in `folder` would have answered to every stored decision.

        Raises:
            PackRefused, YamlRefused: it cannot be read. FileMissing, FileRefused.
        """
        return self._replay(Pack.parse(read_folder(folder)))

    def _replay(self, candidate: Pack, since: datetime | None = None) -> ReplayView:
        under: dict[Digest, Policy] = {}
        counts: Counter[str] = Counter()
        lines: list[ChangeLine] = []
        for number, row, journal in self._journals():
            counts["unread"] += bool(journal.damaged)
            for request, terms, plan, gate in _decided(journal, since):
                if plan.profile not in under:
                    under[plan.profile] = self._authority.policy_under(candidate, plan.profile)
                found = change(terms, ask(under[plan.profile], request, plan))
                counts["same" if found is None else found.kind] += 1
                if found is not None:
                    lines.append(
                        ChangeLine(
                            operation_id=row.operation,
                            number=number,
                            at=request.now,
                            gate=gate,
                            step=request.step,
                            requester=request.principal.person,
                            asked=f"{request.profile}/{request.intent} in mode {request.mode}"
                            f" on {', '.join(target.id for target in request.targets[:3])}",
                            kind=found.kind,
                            words=found.words,
                        )
                    )
        return ReplayView(
            candidate=candidate.ref,
            decisions=counts.total() - counts["unread"],
            same=counts["same"],
            stricter=counts["stricter"],
            wider=counts["wider"],
            both=counts["both"],
            unread=counts["unread"],
            changes=tuple(sorted(lines, key=lambda line: line.at)),
            since=since,
        )

    def _journals(self) -> Iterator[tuple[int, Row, Journal]]:
        store, after = self._parts.store, 0
        while rows := store.rows(after=after, limit=PAGE):
            for number, row in rows:
                yield number, row, store.journal(row.operation)
            after = rows[-1][0]

    # --- a candidate beside the live packs ---

    async def shadow(self, folder: Path) -> PackView:
        """Set the pack in `folder` as the candidate; the instance's own chain says which, when, by whom.

        Raises:
            PackRefused, YamlRefused: it fails a check. FileMissing, FileRefused.
        """
        files = read_folder(folder)
        pack = checked(files)
        _put(self._root, files, self._shadow, live=False)
        await self._parts.keyring.note(SHADOW, f"{pack.ref.digest} {pack.ref.id}", os_user())
        return check_pack(self._shadow)

    async def shadow_off(self) -> None:
        """Take the candidate away.

        Raises:
            NotYet: there is none.
        """
        if not self._shadow.is_dir():
            raise NotYet("no candidate is set", next_steps=("rexecop policy shadow DIR",))
        await self._parts.keyring.note(SHADOW, "off", os_user())
        shutil.rmtree(self._shadow)

    def shadow_report(self) -> ReplayView:
        """Return what the candidate answers to every decision made since it was set.

        Raises:
            NotYet: there is none. PackRefused: its files are not those that were set.
        """
        if not self._shadow.is_dir():
            raise NotYet("no candidate is set", next_steps=("rexecop policy shadow DIR",))
        pack = Pack.parse(read_folder(self._shadow))
        notes = [sealed.record for sealed in self._authority.trust_records()]
        said = [note for note in notes if isinstance(note, Note) and note.topic == SHADOW]
        if not said or said[-1].text.split(" ")[0] != str(pack.ref.digest):
            what, step = "not the candidate that was set; set it again", "rexecop policy shadow DIR"
            raise PackRefused(what, source=str(self._shadow), step=step)
        return replace(self._replay(pack, said[-1].at), set_by=said[-1].by.person)

    # --- adoption ---

    def source(self, name: str) -> Mapping[str, bytes]:
        """Return the files of the pack at the path `name`, or of the one that the profile `name` proposes.

        Raises:
            FileMissing: the profile proposes none. ProfileUnknown: there is neither.
        """
        if (Path(name) / "pack.yaml").is_file():
            return read_folder(Path(name))
        files = find_profile(name).files
        found = {
            path.removeprefix(POLICY_FOLDER): data
            for path, data in files.items()
            if path.startswith(POLICY_FOLDER)
        }
        if not found:
            raise FileMissing(f"profile `{name}` proposes no policy pack, and `{name}` is no folder with one")
        return found

    def preview(self, files: Mapping[str, bytes]) -> AdoptView:
        """Return what adopting the pack made of `files` would change; nothing is written.

        Raises:
            PackRefused, YamlRefused: it fails a check, or is not signed where it has to be.
        """
        pack = checked(files)
        self._authority.require_signed(pack)
        old = next((one for one in self._authority.packs() if one.ref.id == pack.ref.id), None)
        before, after = ({} if one is None else _rules(one) for one in (old, pack))
        folder = self._authority.folder_of(pack.ref.id)
        others = (one.ref.id for one in self._authority.packs() if one.ref.id != pack.ref.id)
        if folder in (self._authority.folder_of(name) for name in others):
            raise FileRefused(
                f"`{folder}` holds another pack; give its folder another name", path=str(folder)
            )
        return AdoptView(
            pack=pack.ref,
            replaces=None if old is None else old.ref,
            folder=str(folder),
            added=tuple(sorted(after.keys() - before.keys())),
            removed=tuple(sorted(before.keys() - after.keys())),
            changed=tuple(
                sorted(name for name in after.keys() & before.keys() if after[name] != before[name])
            ),
            people=tuple(_differing(old, pack, _who)),
            actions=tuple(_differing(old, pack, _does)),
            warnings=tuple(finding.message for finding in lint(pack)),
            replay=self._replay(pack),
        )

    async def adopt(self, files: Mapping[str, bytes]) -> AdoptView:
        """Put the pack made of `files` in force, in the place of the one of its name; see `preview`.

        While one folder takes the place of another everything is denied: at no time is there less
        than the one or the other in force. Who adopted what is in the instance's own chain.

        Raises:
            FileRefused: it cannot be written.
        """
        view = self.preview(files)
        _put(self._root, files, Path(view.folder), live=True)
        await self._parts.keyring.note(ADOPTED, f"{view.pack.digest} {view.pack.id}", os_user())
        return replace(view, adopted=True)


def _decided(journal: Journal, since: datetime | None) -> Iterator[tuple[PolicyRequest, Terms, Plan, str]]:
    """Yield every request that was decided, with the terms that held then, the plan and the gate.

    What a ticket or a change was asked anew is recorded only where the answer got stricter; where
    it did not, ticket and attempt say that and when it was asked.
    """
    plan: Plan | None = None
    terms: Terms | None = None
    asked: PolicyRequest | None = None
    called: Mapping[Digest, RequestCall] = {}
    targets: Mapping[str, RequestTarget] = {}
    steps: Mapping[tuple[str, str], Step] = {}
    for record in (sealed.record for sealed in journal.records):
        again: PolicyRequest | None = None
        match record:
            case Plan():
                plan, called = record, _calls(record)
                targets = {target.id: request_target(target) for target in record.targets}
                steps = {(step.target, step.id): step for step in record.steps}
            case Decision():
                terms, again = record.terms, record.request
                asked = asked or record.request
            case Ticket() if asked is not None:
                again = replace(asked, gate=Gate.TICKET, step=None, now=record.at)
            case Attempt() if asked is not None and record.packs:
                target, call = targets.get(record.target), called.get(record.template)
                due = steps.get((record.target, record.permit.step))
                within = () if plan is None or due is None else intents_within(asked, plan, (due,))
                again = request_of_call(asked, target, record.permit.step, call, record.at, within)
        if (
            again is not None
            and plan is not None
            and terms is not None
            and (since is None or record.at >= since)
        ):
            yield again, terms, plan, str(again.gate)


def _calls(plan: Plan) -> dict[Digest, RequestCall]:
    """Return the calls of `plan` as policy is asked about them, by the digest of their template."""
    steps = [step for step in plan.steps if isinstance(step, CallStep)]
    calls = [call for step in steps for call in (step.call, step.undo) if call is not None]
    return {call_digest(call): requested(call) for call in calls}


def _rules(pack: Pack) -> dict[str, str]:
    return {rule.id: str(rule.digest) for rule in (*pack.rules, *pack.requirements)}


def _differing(old: Pack | None, new: Pack, of: Callable[[Pack], Mapping[str, str]]) -> Iterator[str]:
    """Yield in words what comes, goes, or is something else in `new` of what `of` finds there."""
    before, after = ({} if pack is None else of(pack) for pack in (old, new))
    yield from (f"+ {name}: {who}" for name, who in after.items() if name not in before)
    yield from (f"- {name}: {who}" for name, who in before.items() if name not in after)
    both = ((name, before[name], who) for name, who in after.items() if name in before)
    yield from (f"{name}: {was}, now {who}" for name, was, who in both if was != who)


def _who(pack: Pack) -> dict[str, str]:
    named = pack.entities
    return {
        **{name: ", ".join(sorted(groups)) or "in no group" for name, groups in sorted(named.people.items())},
        **{name: f"agent of {sponsor}" for name, sponsor in sorted(named.agents.items())},
        **dict.fromkeys(sorted(named.services), "service"),
    }


def _does(pack: Pack) -> dict[str, str]:
    """Return the actions listed, each with the most that it does."""
    listed = sorted(pack.entities.actions.items())
    return {f"{scope}/{name}": str(most) for scope, of in listed for name, most in sorted(of.items())}


def _put(root: Path, files: Mapping[str, bytes], place: Path, *, live: bool) -> None:
    """Make `place` hold `files`, whole or not at all, also after a power cut.

    Where packs are `live` a folder that is no pack lies beside them meanwhile, so that everything is denied.

    Raises:
        FileRefused: it cannot be written.
    """
    made, old, marker = root / "policy.new", root / "policy.old", place.parent / SWAPPING
    try:
        with locked(root / "policy.lock"):
            for left in (made, old):
                if left.exists():
                    shutil.rmtree(left)
            for name, data in files.items():
                write_new(made / name, data)
            made.chmod(0o700)
            if live:
                marker.mkdir(exist_ok=True)
                (marker / ADOPT_AGAIN).touch()
                flush_folder(place.parent)
            if place.is_dir():
                place.rename(old)
            made.rename(place)
            flush_folder(place.parent)
            if live:
                shutil.rmtree(marker)
                flush_folder(place.parent)
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FileRefused(f"`{place}` cannot be written: {reason_of(error)}", path=str(place)) from error
