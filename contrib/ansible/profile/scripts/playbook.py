"""Run one Ansible playbook and say as JSON what it did to which host; nothing a task put out is repeated.

Arguments: `content`, the folder of playbooks, the inventory, and the digest they have to have, or nothing.
Or run | check | list, the program, the folder, the inventory, the playbook, the limit, tags, tags to skip,
variables as a JSON object, where the password of the vault is (`stdin` or `none`); and, but for a list, the
digest of what is to run.
Where a host was lost in the middle of a task, or there are no final figures, nobody knows what happened:
this ends itself with a signal then, which whoever called it reads as an unknown outcome.
"""

import hashlib
import json
import os
import pwd
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

CALLBACK = """
import json, os
from ansible.plugins.callback import CallbackBase

READS = ("setup", "gather_facts", "ansible.builtin.setup", "ansible.builtin.gather_facts",
         "ansible.legacy.setup", "ansible.legacy.gather_facts")
MOST = 200

class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "rexecop"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.said = {"began": False, "complete": False, "changed": [], "failed": [], "lost": [], "stats": {}}

    def _write(self):
        path = os.environ["REXECOP_STATS"]
        with open(path + ".part", "w", encoding="utf-8") as file:
            json.dump(self.said, file)
        os.replace(path + ".part", path)

    def _note(self, kind, result):
        name = getattr(result, "host", None) or result._host
        task = getattr(result, "task", None) or result._task
        if len(self.said[kind]) < MOST:
            self.said[kind].append(str(name) + ": " + str(task.get_name())[:200])

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.said["began"] = self.said["began"] or str(task.action) not in READS
        self._write()

    v2_playbook_on_handler_task_start = lambda self, task: self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_ok(self, result):
        if (getattr(result, "result", None) or result._result).get("changed"):
            self._note("changed", result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._note("failed", result)

    def v2_runner_on_unreachable(self, result):
        task = getattr(result, "task", None) or result._task
        self._note("failed" if str(task.action) in READS else "lost", result)
        self._write()

    def v2_playbook_on_stats(self, stats):
        self.said["stats"] = {host: stats.summarize(host) for host in sorted(stats.processed)}
        self.said["complete"] = True
        self._write()
"""
CHANGES = ("run", "check")
KEYS = ("ok", "changed", "failures", "unreachable", "skipped", "rescued", "ignored")
ENTRIES_MAX = 10_000  # Files, folders and links; more is no folder of playbooks.
BYTES_MAX = 256 * 1024 * 1024  # Read within seconds, and read three times for one run.
BLOCK = 1024 * 1024
# What Ansible and its connections go by is not for who asks to set, and a template could run programs.
NAME = re.compile(
    r"(?!ansible|inventory_|role_|(?:hostvars|groups|group_names|vars|omit|play_hosts|playbook_dir)\Z)"
    r"[A-Za-z][A-Za-z0-9_]{0,63}"
)
TEMPLATE = re.compile(r"\{[{%#]|\A#jinja2")


class Refused(Exception):
    """Nothing was begun; the message says in one line why."""


def main(how: str, *given: str) -> int:
    try:
        if how == "content":
            return looked(*given)
        return play(how, *given) if how in CHANGES else listed(*given)
    except Refused as error:
        print(error, file=sys.stderr)
        return 1


def looked(folder: str, inventory: str, wanted: str) -> int:
    found = content(folder, inventory)
    print(json.dumps(found, sort_keys=True))
    same(found["digest"], wanted or found["digest"])
    return 0


def same(digest: str, wanted: str) -> None:
    if digest != wanted:
        raise Refused(f"playbooks and inventory are {digest}, not {wanted}: nothing was run")


def play(how: str, program: str, *given: str) -> int:
    *words, wanted = given
    folder, inventory, here = words[0], words[1], os.getcwd()
    stats = os.path.join(here, "stats.json")
    argv = command(program, *words, private=here)
    argv[1:1] = ["--check"] if how == "check" else []
    os.mkdir(os.path.join(here, "callbacks"))
    with open(os.path.join(here, "callbacks", "rexecop.py"), "w", encoding="utf-8") as file:
        file.write(CALLBACK)
    environ = surroundings(program) | {
        "ANSIBLE_LOCAL_TEMP": os.path.join(here, "temporary"),
        "REXECOP_STATS": stats,
        "ANSIBLE_CALLBACK_PLUGINS": os.path.join(here, "callbacks"),
        "ANSIBLE_STDOUT_CALLBACK": "rexecop",
    }
    same(content(folder, inventory)["digest"], wanted)
    ended = started(argv, environ, folder)
    try:
        altered = content(folder, inventory)["digest"] != wanted
    except Refused:
        altered = True
    return told(stats, ended.returncode, ended.stderr, altered)


def listed(program: str, *given: str) -> int:
    # The one place that is writable in the sandbox, and private to it.
    here = "/dev/shm/ansible"
    os.mkdir(here, 0o700)
    argv = command(program, *given, private=here)
    argv[1:1] = ["--list-hosts", "--list-tasks"]
    environ = surroundings(program) | {"ANSIBLE_LOCAL_TEMP": here, "ANSIBLE_HOME": here}
    ended = started(argv, environ, given[0])
    if ended.returncode:
        sys.stderr.write(ended.stderr[-2000:])
        return ended.returncode
    print(json.dumps(plays(ended.stdout), sort_keys=True))
    return 0


def command(
    program: str,
    folder: str,
    inventory: str,
    playbook: str,
    limit: str,
    tags: str,
    skip_tags: str,
    extra: str,
    vault: str,
    *,
    private: str,
) -> list[str]:
    """Return the words to start; a password is in a file of `private` then, which `started` removes."""
    words = [program, "--inventory", inventory, "--limit", limit]
    words += ["--tags", tags] if tags != "all" else []
    words += ["--skip-tags", skip_tags] if skip_tags else []
    if found := variables(extra):
        words += ["--extra-vars", json.dumps(found, sort_keys=True)]
    if vault == "stdin":
        path = os.path.join(private, "vault")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(sys.stdin.buffer.read())
        words += ["--vault-password-file", path]
    return [*words, "--", os.path.join(folder, playbook)]


def variables(text: str) -> dict[str, Any]:
    """Return the variables that `text` holds as a JSON object; no template, and nothing Ansible goes by."""
    try:
        pairs = json.loads(text, object_pairs_hook=lambda found: found)
    except ValueError as error:
        raise Refused(f"extra_vars is no JSON: {error}") from None
    if not isinstance(pairs, list) or not text.lstrip().startswith("{"):
        raise Refused("extra_vars is no JSON object")
    names = [name for name, _ in pairs]
    for name, value in pairs:
        if not NAME.fullmatch(name) or names.count(name) > 1:
            raise Refused(f"extra_vars names {name[:64]!r}, which may not be set, or twice")
        if not isinstance(value, str | int) or (isinstance(value, str) and TEMPLATE.search(value)):
            raise Refused(f"extra_vars: {name} is no integer, no boolean and no text without templates")
    return dict(pairs)


def surroundings(program: str) -> dict[str, str]:
    return {
        "PATH": f"{os.path.dirname(program)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": pwd.getpwuid(os.getuid()).pw_dir,
        "LANG": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        # A plug-in of the folder would otherwise leave its compiled form there.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def started(argv: list[str], environ: dict[str, str], folder: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            check=False,
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    finally:
        if "--vault-password-file" in argv:
            os.unlink(argv[argv.index("--vault-password-file") + 1])


def content(folder: str, inventory: str) -> dict[str, Any]:
    """Return the digest over everything a run reads of folder and inventory, and how much there is of it."""
    lines: list[str] = []
    size = 0
    for place, top in places(folder, inventory):
        try:
            for path in walked(top):
                if len(lines) == ENTRIES_MAX:
                    raise Refused(f"{folder} and its inventory have more than {ENTRIES_MAX} entries")
                entry, read = entry_of(top, path, BYTES_MAX - size)
                size += read
                lines.append(json.dumps([place, os.path.relpath(path, top), *entry]))
        except OSError as error:
            raise Refused(f"{error.filename or top} cannot be read: {error.strerror}") from None
    digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    return {"digest": f"sha256:{digest}", "entries": len(lines), "bytes": size}


def places(folder: str, inventory: str) -> Iterator[tuple[str, str]]:
    """Yield by name what is looked at: the folder, what of the inventory is elsewhere, and configuration."""
    top = os.path.realpath(folder)
    yield "playbooks", top
    found = os.path.realpath(inventory)
    beside = os.path.dirname(os.path.abspath(inventory))
    listed_here = "," in inventory  # It names hosts then, and no file.
    if not listed_here and not within(found, top):
        yield "inventory", found
    if not listed_here and not os.path.isdir(found) and not within(os.path.realpath(beside), top):
        for name in ("group_vars", "host_vars"):
            if os.path.lexists(os.path.join(beside, name)):
                yield name, os.path.realpath(os.path.join(beside, name))
    home = pwd.getpwuid(os.getuid()).pw_dir
    for name, path in (("own", os.path.join(home, ".ansible.cfg")), ("system", "/etc/ansible/ansible.cfg")):
        if os.path.isfile(path):
            yield f"configuration/{name}", os.path.realpath(path)


def within(path: str, top: str) -> bool:
    """Return whether `path` lies in what is looked at of `top`: its history in Git is not."""
    inside = path == top or path.startswith(top + os.sep)
    return inside and not (path + os.sep).startswith(os.path.join(top, ".git") + os.sep)


def walked(top: str) -> Iterator[str]:
    yield top
    with_errors = os.walk(top, onerror=_raise) if os.path.isdir(top) else ()
    for here, folders, files in with_errors:
        folders[:] = [name for name in folders if within(os.path.join(here, name), top)]
        yield from (os.path.join(here, name) for name in (*folders, *files))


def _raise(error: OSError) -> None:
    raise error


def entry_of(top: str, path: str, left: int) -> tuple[tuple[str, str, str], int]:
    """Return type, mode and content of what lies at `path`, and how many of the `left` bytes it has."""
    found = os.lstat(path)
    mode = f"{stat.S_IMODE(found.st_mode):04o}"
    if stat.S_ISLNK(found.st_mode):
        if not within(os.path.realpath(path), top):
            raise Refused(f"{path} is a symbolic link that leads out of {top}")
        return ("link", "", os.readlink(path)), 0
    if stat.S_ISDIR(found.st_mode):
        return ("folder", mode, ""), 0
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{path} is neither file, folder nor symbolic link")
    digest, read = hashlib.sha256(), 0
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            read += len(block)
            if read > left:
                raise Refused(f"{top} and its inventory have more than {BYTES_MAX} bytes")
    return ("file", mode, digest.hexdigest()), read


def plays(text: str) -> dict[str, Any]:
    """Return what Ansible says there is: plays with their hosts and tasks, and every host once."""
    found: list[dict[str, Any]] = []
    part: list[str] = []
    for line in text.split("\n"):
        if began := re.match(r" {2}play #[0-9]+ \(.*?\): ([^\t]*)", line):
            found.append({"play": began[1], "hosts": [], "tasks": []})
            part = []
        elif found and (named := re.match(r" {4}(hosts|tasks)\b", line)):
            part = found[-1][named[1]]
        elif found and re.match(r" {6}\S", line):
            part.append(line.strip().replace("\t", " "))
    for one in found:
        one["hosts"].sort()
    return {
        "plays": found,
        "hosts": sorted({host for one in found for host in one["hosts"]}),
        "tasks": sum(len(one["tasks"]) for one in found),
    }


def told(stats: str, code: int, errors: str, altered: bool) -> int:
    """Print what the callback wrote, and return how this ends."""
    said: dict[str, Any] = {
        "began": False,
        "complete": False,
        "changed": [],
        "failed": [],
        "lost": [],
        "stats": {},
    }
    if os.path.exists(stats):
        with open(stats, encoding="utf-8") as file:
            said = json.load(file)
    said |= {"code": code, "altered": altered}
    said["hosts"] = len(said["stats"])
    said["totals"] = {key: sum(host.get(key, 0) for host in said["stats"].values()) for key in KEYS}
    if not said["began"]:
        sys.stderr.write(errors[-2000:])  # No task ran yet, so there is no output of one in it.
    print(json.dumps(said, sort_keys=True))
    sys.stdout.flush()
    if said["lost"] or (said["began"] and not said["complete"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return code if code else (0 if said["complete"] else 1)


sys.exit(main(*sys.argv[1:]))
