"""Pages read back: their tags, their text, and the bundle in them; and evidence that says hostile things."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Final

from conformance.worlds import INSTANCE, Book, cut, instance_chain, judged
from rexecop.app.offline import packaged
from rexecop.app.report.page import page
from rexecop.app.report.story import Dossier, Told
from rexecop.proof.canonical import Digest, Json, digest_of, is_digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode, from_json, to_json
from rexecop.proof.errors import ProofError
from rexecop.proof.verify import Report

STYLE: Final = packaged("report.css")
VOID: Final = frozenset({"br", "meta"})


class Read(HTMLParser):
    """A page as a reader gets it: its `tags` with the names of their attributes, its text and links."""

    def __init__(self, data: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self._text: list[str] = []
        self.feed(data.decode())
        self.close()

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # Whether something is folded or odd follows from what the evidence says, not from how it says it.
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in {"href", "src"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self._text.append(f" {data}")

    def bundle(self) -> bytes:
        (link,) = [link for link in self.links if link.startswith("data:")]
        return b64decode(link.removeprefix("data:application/zip;base64,"), validate=True)


def told(book: Book, outputs: bool = True) -> Told:
    kept = {name: blob.data for name, blob in book.blobs.items()} if outputs else {}
    return Told(operation=book.operation, records=tuple(book.records), outputs=kept)


def dossier(*books: Book, instance: Sequence[Sealed] = (), **more: object) -> Dossier:
    """Evidence of `books`; the bundle is cut from the first."""
    made = cut(books[0])
    fields: dict[str, object] = {
        "instance": INSTANCE,
        "operations": tuple(told(book) for book in books),
        "instance_records": tuple(instance or instance_chain()),
        "report": judged(made),
        "bundle": made.bundle(),
        "bundle_name": f"{books[0].operation}.rxb",
    }
    return Dossier(**(fields | more))  # type: ignore[arg-type]


def shown(*books: Book, **more: object) -> Read:
    return Read(page(dossier(*books, **more), STYLE))  # type: ignore[arg-type]


def hostile(book: Book, text: str) -> Dossier:
    """Evidence like that of `book` in which everything that may be any text is `text`."""
    renamed: dict[str, Digest] = {}
    records = []
    for sealed in book.records:
        kind = type(sealed.record)
        body: Json = _each(to_json(sealed.record), lambda leaf: renamed.get(leaf, leaf))
        for path in list(_leaves(body)):
            changed = _put(body, path, text)
            try:
                from_json(kind, changed)
            except ProofError:
                continue
            body = changed
        record = from_json(kind, body)
        data = encode(record)
        renamed[sealed.digest] = digest_of(data)
        records.append(Sealed(record, data, digest_of(data)))
    plain = dossier(book)
    outputs = {name: text.encode() for name in plain.operations[0].outputs}
    one = Told(operation=text, records=tuple(records), outputs=outputs)
    report = poisoned(plain.report, text)
    return replace(plain, instance=text, operations=(one,), report=report, bundle_name=text)


def poisoned(report: Report, text: str) -> Report:
    claims = replace(report.claims, attestations=(text,), witnesses=(text,), instance_keys=(text,))
    not_checked = tuple(replace(item, what=text, why=text) for item in report.not_checked[:1])
    return replace(report, signer=text, claims=claims, not_checked=not_checked)


Path = tuple[str | int, ...]


def _leaves(value: Json, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, str):
        # Digests tie records to one another; `kind` says which class reads them.
        if not is_digest(value) and path[-1] not in {"kind", "step", "id", "target", "established"}:
            yield path
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index))


def _put(value: Json, path: Path, text: str) -> Json:
    if not path:
        return text
    if isinstance(value, Mapping):
        return {key: _put(item, path[1:], text) if key == path[0] else item for key, item in value.items()}
    assert isinstance(value, Sequence)
    return [_put(item, path[1:], text) if n == path[0] else item for n, item in enumerate(value)]


def _each(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _each(item, change) for key, item in value.items()}
    return [_each(item, change) for item in value] if isinstance(value, Sequence) else value
