"""What `rexecop keys` says when it enrols people."""

from __future__ import annotations

from rexecop.cli.session import Session


def note_unknown(session: Session, person: str, role: str) -> None:
    """Say that policy does not know a person who is to ask or approve: it would deny what they ask."""
    if role not in {"approver", "requester"}:
        return
    with session.instance() as instance:
        file = instance.unknown_to_policy(person)
    if file is not None:
        session.note(f"no policy pack names `{person}`, so all they do is denied; add them to `{file}`")
