"""Pinned inputs, parsed once per digest."""

from __future__ import annotations

from collections.abc import Mapping

from rexecop.governance.windows import Schedule
from rexecop.operations.environment import Environment, load_environment, pack_of
from rexecop.operations.gathering import Site
from rexecop.operations.pinned_files import files_of_snapshot
from rexecop.operations.ports import Store
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Digest

KEPT_MAX = 64  # Parsed profiles kept in memory; a site uses a handful at a time.
POLICY_FOLDER = "policy/"


class PinnedContents:
    """Profiles as they were when plans were made from them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._profiles: dict[Digest, Profile] = {}
        self._proposed: dict[Digest, Mapping[str, bytes]] = {}
        self._environments: dict[Digest, Environment] = {}

    def profile(self, digest: Digest) -> Profile:
        """Return the profile pinned under `digest`.

        Raises:
            InputMissing: it is not stored. ProfileRefused: its bytes are no profile.
        """
        if digest not in self._profiles:
            files = files_of_snapshot(self._store.pinned(digest), "profile-snapshot/1")
            self.remember(digest, load_profile(files), files)
        return self._profiles[digest]

    def proposed_files(self, profile: Digest) -> Mapping[str, bytes]:
        """Return the policy files a pinned profile proposes, by their path within the pack."""
        if profile not in self._proposed:
            self.profile(profile)
        return self._proposed[profile]

    def narrowing_files(self, environment: Digest, profile: Digest) -> Mapping[str, bytes]:
        """Return the policy files that the rules of a pinned environment come to; usually none.

        Raises:
            PackRefused: they say what cannot be said here.
        """
        return pack_of(self.environment(environment), self.profile(profile))

    def redactions(self, profile: Digest) -> frozenset[str]:
        """Return the names of the redaction rules of a pinned profile."""
        return frozenset(self.profile(profile).redactions)

    def schedule(self, environment: Digest) -> Schedule:
        """Return the windows and freezes of the environment pinned under `environment`.

        Raises:
            InputMissing: it is not stored. EnvironmentRefused: its bytes are no environment.
        """
        return self.environment(environment).safety.schedule

    def concurrent_max(self, environment: Digest) -> int | None:
        """Return how many changing operations that environment lets run at one time; raises as `schedule`."""
        return self.environment(environment).safety.concurrent_max

    def site(self, environment: Digest, target: str) -> Site:
        """Return what that environment says of `target`: its limits and expected names."""
        return self.environment(environment).site(target)

    def environment(self, digest: Digest) -> Environment:
        """Return the environment pinned as `digest`; raises as `schedule`."""
        if digest not in self._environments:
            files = files_of_snapshot(self._store.pinned(digest), "environment-snapshot/1")
            self.remember_environment(load_environment(files))
        return self._environments[digest]

    def remember_environment(self, environment: Environment) -> None:
        """Keep an environment that was read."""
        if len(self._environments) >= KEPT_MAX:
            self._environments.clear()
        self._environments[environment.digest] = environment

    def remember(self, digest: Digest, profile: Profile, files: Mapping[str, bytes]) -> None:
        """Keep a parsed profile and the policy it proposes."""
        if len(self._profiles) >= KEPT_MAX:
            self._profiles.clear()
            self._proposed.clear()
        self._profiles[digest] = profile
        self._proposed[digest] = {
            path.removeprefix(POLICY_FOLDER): data
            for path, data in files.items()
            if path.startswith(POLICY_FOLDER)
        }
