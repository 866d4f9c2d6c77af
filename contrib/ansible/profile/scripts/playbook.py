"""Run one Ansible playbook and say as JSON what it did to which host; nothing a task put out is repeated.

Arguments: run | check | list, the program, the folder of playbooks, the playbook, the inventory, the limit.
Where a host was lost in the middle of a task, or there are no final figures, nobody knows what happened:
this ends itself with a signal then, which whoever called it reads as an unknown outcome.
"""

import json
import os
import pwd
import signal
import subprocess
import sys
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


def main(how: str, program: str, folder: str, playbook: str, inventory: str, limit: str) -> int:
    here = os.getcwd()
    stats = os.path.join(here, "stats.json")
    words = [program, "--inventory", inventory, "--limit", limit]
    words += {"run": [], "check": ["--check"], "list": ["--list-hosts", "--list-tasks"]}[how]
    environ = {
        "PATH": f"{os.path.dirname(program)}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": pwd.getpwuid(os.getuid()).pw_dir,
        "LANG": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_LOCAL_TEMP": os.path.join(here, "temporary"),
    }
    if how in CHANGES:
        os.mkdir(os.path.join(here, "callbacks"))
        with open(os.path.join(here, "callbacks", "rexecop.py"), "w", encoding="utf-8") as file:
            file.write(CALLBACK)
        environ |= {
            "REXECOP_STATS": stats,
            "ANSIBLE_CALLBACK_PLUGINS": os.path.join(here, "callbacks"),
            "ANSIBLE_STDOUT_CALLBACK": "rexecop",
        }
    else:
        # The one place that is writable in the sandbox, and private to it.
        environ["ANSIBLE_LOCAL_TEMP"] = environ["ANSIBLE_HOME"] = "/dev/shm/ansible"
    words += ["--", os.path.join(folder, playbook)]
    ended = subprocess.run(
        words,
        check=False,
        env=environ,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if how not in CHANGES:
        sys.stdout.write(ended.stdout)
        sys.stderr.write(ended.stderr[-2000:])
        return ended.returncode
    return told(stats, ended.returncode, ended.stderr)


def told(stats: str, code: int, errors: str) -> int:
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
    said["code"] = code
    said["hosts"] = len(said["stats"])
    said["totals"] = {key: sum(host.get(key, 0) for host in said["stats"].values()) for key in KEYS}
    if not said["began"]:
        sys.stderr.write(errors[-2000:])  # No task ran yet, so there is no output of one in it.
    print(json.dumps(said, sort_keys=True))
    sys.stdout.flush()
    if said["lost"] or (said["began"] and not said["complete"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return code if code else (0 if said["complete"] else 1)


sys.exit(main(*sys.argv[1:7]))
