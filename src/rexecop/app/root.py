"""The runtime root: where an instance keeps its ledger, keys, policy and settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rexecop.app.errors import RootMissing
from rexecop.app.files import require_private


@dataclass(frozen=True, slots=True)
class Root:
    """The paths of one runtime root."""

    path: Path

    @property
    def ledger(self) -> Path:
        """The ledger, its index and blobs: one SQLite file."""
        return self.path / "ledger.sqlite"

    @property
    def place(self) -> Path:
        """Where the ledger is, of a root that does not keep it in a file of its own."""
        return self.path / "ledger.url"

    @property
    def anchor(self) -> Path:
        """The file that makes this a root, and that a copy has another of: the ledger, or where it is."""
        return self.place if self.place.exists() else self.ledger

    @property
    def newest_checkpoint(self) -> Path:
        """The newest checkpoint signed here: an older ledger in its place is noticed by it."""
        return self.path / "newest.checkpoint"

    @property
    def instance_key(self) -> Path:
        """The private key that signs checkpoints and receipts."""
        return self.path / "keys" / "instance"

    @property
    def keys(self) -> Path:
        """Private keys made by this instance."""
        return self.path / "keys"

    @property
    def policy(self) -> Path:
        """The policy packs in force, one folder each."""
        return self.path / "policy"

    @property
    def sinks(self) -> Path:
        """Where checkpoints go; a root without the file has no sinks."""
        return self.path / "sinks.yaml"

    @property
    def authzen(self) -> Path:
        """Who may ask for decisions over HTTP, and whom outside we ask; without the file nobody."""
        return self.path / "authzen.yaml"

    @property
    def service(self) -> Path:
        """Whom the service lets in besides those with tokens; without the file nobody."""
        return self.path / "service.yaml"

    @property
    def tokens(self) -> Path:
        """The API tokens of the service, by their digests."""
        return self.path / "tokens.json"

    @property
    def notify(self) -> Path:
        """Who is told how; without the file nobody is."""
        return self.path / "notify.yaml"

    @property
    def undelivered(self) -> Path:
        """Notices that a sender did not take, one file each; removing a file gives one up."""
        return self.path / "notices"

    @property
    def secrets(self) -> Path:
        """Where secret references resolve; it holds no secret, and without it the environment says it."""
        return self.path / "secrets.yaml"

    @property
    def schedules(self) -> Path:
        """What is planned by the clock; without the file nothing is."""
        return self.path / "schedules.yaml"

    @property
    def webhooks(self) -> Path:
        """Who may send events over HTTP; without the file nobody."""
        return self.path / "webhooks.yaml"

    @property
    def execute(self) -> Path:
        """Which intents `/execute` runs under which names; without the file none."""
        return self.path / "execute.yaml"

    @property
    def environment(self) -> Path:
        """The environment of the built-in `hello` profile."""
        return self.path / "hello.environment.yaml"

    @property
    def nodes(self) -> Path:
        """Where lanes find the nodes that are connected to this root's service."""
        return self.path / "nodes.sock"

    @property
    def quota(self) -> Path:
        """Where the calls under way are counted, by locks on empty files."""
        return self.path / "quota"

    @property
    def late(self) -> Path:
        """What nodes said of calls whose end nobody waited for any more."""
        return self.path / "nodes-late.jsonl"

    def require(self) -> None:
        """Return only if this is a root and nobody else can write it.

        Raises:
            RootMissing, RootUnsafe.
        """
        if not self.anchor.exists():
            raise RootMissing(
                f"no runtime root at `{self.path}`", path=str(self.path), next_steps=("rexecop init",)
            )
        require_private(self.path)
