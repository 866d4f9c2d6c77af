"""Stand-ins for Zabbix, AdGuard Home, Portainer, a Docker socket proxy, Proxmox VE and Proxmox Backup Server.

They answer in the shape that the public documentation of these systems shows, keep what is changed in them,
and ask for the credentials the real ones ask for. None of them is the real system.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, urlsplit

from tests.lanes.web import Asked, json_reply, reply

TOKEN: Final = "rig-token-that-opens-nothing"  # Of every system here.
BASIC: Final = base64.b64encode(f"tecrax:{TOKEN}".encode()).decode()
NODE: Final = "pve-01"
POWER: Final = {"101": "running", "102": "stopped", "201": "running", "202": "running", "203": "stopped"}
KINDS: Final = {"101": "qemu", "102": "qemu", "201": "qemu", "202": "qemu", "203": "lxc"}
NEWEST: Final = "pbs:backup/vm/101/2026-11-27T01:00:00Z"
"""The newest backup of guest 101."""
PBS_TASK: Final = "UPID:pbs-01:000001F4:00001A2B:00000000:673F2A1C:verificationjob:main:tecrax@pbs!rig:"

Answer = tuple[int, object]
NOT_FOUND: Final[Answer] = (404, {"message": "not found"})
DENIED: Final[Answer] = (401, {"message": "authentication failure"})


@dataclass(frozen=True)
class Request:
    """What was asked, taken apart."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body or b"{}")
        assert isinstance(found, dict)
        return found

    @property
    def form(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(self.body.decode()).items()}


def taken_apart(asked: Asked) -> Request:
    parts = urlsplit(asked.target)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    return Request(asked.method, parts.path, query, dict(asked.headers), asked.body)


@dataclass
class Zabbix:
    """The JSON-RPC API of Zabbix: counts, and maintenance windows by id."""

    problems: dict[int, int] = field(default_factory=dict)
    interfaces: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 12, 2: 0})
    maintenance: dict[str, dict[str, object]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    wrong_token: bool = False
    blind: bool = False

    def answer(self, asked: Request) -> Answer:
        if (asked.method, asked.path) != ("POST", "/api_jsonrpc.php"):
            return NOT_FOUND
        call = asked.json
        method, params = call["method"], call["params"]
        head = {"jsonrpc": "2.0", "id": call["id"]}
        if method == "apiinfo.version":
            return 200, {**head, "result": "7.0.4"}
        if self.wrong_token or asked.headers.get("authorization") != f"Bearer {TOKEN}":
            told = {"code": -32602, "message": "Invalid params.", "data": "Not authorized."}
            return 200, {**head, "error": told}
        return 200, {**head, "result": self._result(str(method), params)}

    def _result(self, method: str, params: object) -> object:
        if method == "maintenance.delete":
            assert isinstance(params, list)
            return {"maintenanceids": [name for name in params if self.maintenance.pop(name, None)]}
        assert isinstance(params, dict)
        if method in ("item.get", "proxy.get", "event.get", "event.acknowledge") or "acknowledged" in params:
            return self._seen(method, params)
        if method == "problem.get":
            return str(sum(self.problems.get(level, 0) for level in params["severities"]))
        if method == "hostinterface.get":
            return str(self.interfaces[int(params["filter"]["available"])])
        if method == "host.get":
            if "active_available" in params["filter"]:
                return "3" if self.blind else "0"
            return str(12 if params["filter"]["status"] == 0 else 1)
        if method == "maintenance.create":
            made = str(len(self.maintenance) + 1)
            self.maintenance[made] = params
            return {"maintenanceids": [made]}
        if method == "maintenance.update":
            self.maintenance[params["maintenanceid"]]["description"] = params["description"]
            return {"maintenanceids": [params["maintenanceid"]]}
        assert method == "maintenance.get", method
        names = params["filter"]["name"]
        found = [(key, one) for key, one in self.maintenance.items() if one["name"] in names]
        return [
            {"maintenanceid": key, "name": one["name"], "active_till": str(one["active_till"])}
            for key, one in found
        ]

    def _seen(self, method: str, params: dict[str, object]) -> object:
        match method:
            case "item.get":
                unsupported = "180" if self.blind else "0"
                return unsupported if "filter" in params else "1200"
            case "proxy.get":
                heard = int(time.time()) - (3600 if self.blind else 5)
                return [{"proxyid": "10401", "lastaccess": str(heard)}]
            case "problem.get":
                return "30" if self.blind else "1"
        events = [str(one) for one in params["eventids"]]  # type: ignore[attr-defined]
        if method == "event.get":
            return [
                {"eventid": one, "acknowledged": str(int(one in self.acknowledged)), "value": "1"}
                for one in events
            ]
        # A sum: 2 acknowledges, 16 takes that back.
        if int(str(params["action"])) & 2:
            self.acknowledged |= set(events)
        else:
            self.acknowledged -= set(events)
        return {"eventids": events}


@dataclass
class AdGuard:
    """The web page and the control API of AdGuard Home."""

    protection: bool = True
    paused_ms: int = 0
    fetched: float = field(default_factory=lambda: time.time() - 3 * 3600)
    old: bool = False

    def answer(self, asked: Request) -> Answer:
        if (asked.method, asked.path) == ("GET", "/login.html"):
            return 200, "<!doctype html><title>Login</title>"
        if asked.headers.get("authorization") != f"Basic {BASIC}":
            return DENIED
        match asked.method, asked.path:
            case "GET", "/control/status":
                told = {"protection_enabled": self.protection, "protection_disabled_duration": self.paused_ms}
                return 200, {"version": "v0.107.53", "running": True, **told}
            case "GET", "/control/filtering/status":
                at = datetime.fromtimestamp(self.fetched - (30 * 86400 if self.old else 0), UTC)
                made = {"id": 1, "enabled": True, "name": "base", "rules_count": 52000}
                return 200, {"enabled": True, "filters": [{**made, "last_updated": at.isoformat()}]}
            case "POST", "/control/filtering/refresh":
                self.fetched = time.time()
                return 200, {"updated": 1}
            case "POST", "/control/protection":
                self.protection = bool(asked.json["enabled"])
                self.paused_ms = 0 if self.protection else int(str(asked.json.get("duration", 0)))
                return 200, ""
        return NOT_FOUND


@dataclass
class Portainer:
    """The public status of Portainer, and containers behind a key."""

    def answer(self, asked: Request) -> Answer:
        if (asked.method, asked.path) == ("GET", "/api/system/status"):
            return 200, {"Version": "2.21.4", "InstanceID": "299ab403-70a8-4c05-92f7-bf7a994d50df"}
        return DENIED if asked.headers.get("x-api-key") != TOKEN else NOT_FOUND


@dataclass
class Proxmox:
    """Guests of one node of Proxmox VE: power, snapshots, backups, and a task for each change.

    A task is seen to run `task_looks` times before it ended. `moved` hears of guests that start or stop.
    `restored` has the configuration of every guest that was made from a backup. `fault` is `task-fails`,
    `task-hangs`, or of such a guest `restore-fails`, `keeps-card`, `start-refused`, `other-file`,
    `destroy-refused-once`.
    """

    power: dict[str, str] = field(default_factory=lambda: dict(POWER))
    uptime: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, list[str]] = field(default_factory=lambda: {guest: [] for guest in POWER})
    restored: dict[str, dict[str, str]] = field(default_factory=dict)
    tasks: list[str] = field(default_factory=list)
    task_looks: int = 0
    looks: int = 0
    refused: int = 0
    fault: str = ""
    moved: Callable[[str, str], None] = lambda guest, move: None

    def reset(self) -> None:
        """Stand as at the beginning, but for the tasks that were."""
        self.power, self.uptime, self.task_looks = dict(POWER), {}, 0
        self.snapshots = {guest: [] for guest in POWER}
        self.restored, self.refused = {}, 0

    def answer(self, asked: Request) -> Answer:
        if asked.headers.get("authorization") != f"PVEAPIToken=tecrax@pve!rig={TOKEN}":
            return DENIED
        if (asked.method, asked.path) == ("GET", "/api2/json/cluster/nextid"):
            number = asked.query["vmid"]
            taken = {"data": None, "errors": {"vmid": f"VM {number} already exists"}}
            return (400, taken) if number in self.power else (200, {"data": number})
        parts = asked.path.removeprefix(f"/api2/json/nodes/{NODE}/").split("/")
        match asked.method, parts:
            case "POST", ["qemu"]:
                return self._restore(asked.json)
            case "GET", ["storage", "pbs", "content"] if "vmid" in asked.query:
                return 200, {"data": _backups_of(asked.query["vmid"])}
            case _, ["qemu", guest, *rest] if guest in self.restored:
                return self._of_restored(asked, guest, rest)
            case "GET", ["tasks", task, "status"] if task in self.tasks:
                return 200, {"data": {"upid": task, **self._end(task)}}
            case "POST", ["vzdump"]:
                return self._task("vzdump", str(asked.json["vmid"]))
            case method, [kind, guest, *rest] if kind == KINDS.get(guest):
                return self._guest(method, guest, rest, asked)
        return NOT_FOUND

    def _guest(self, method: str, guest: str, rest: list[str], asked: Request) -> Answer:
        names = self.snapshots[guest]
        match method, rest:
            case "GET", ["status", "current"]:
                up = self.uptime.get(guest, 864_000) if self.power[guest] == "running" else 0
                told = {"vmid": int(guest), "status": self.power[guest], "name": f"vm-{guest}", "uptime": up}
                return 200, {"data": told}
            case "POST", ["status", "start" | "shutdown" | "reboot" as move]:
                if not self.fault.startswith("task-"):
                    self._move(guest, move)
                return self._task(f"qm{move}", guest)
            case "GET", ["snapshot"]:
                return 200, {"data": [{"name": name} for name in [*names, "current"]]}
            case "POST", ["snapshot"]:
                names.append(asked.form.get("snapname") or str(asked.json["snapname"]))
                return self._task("qmsnapshot", guest)
            case "GET", ["snapshot", name, "config"] if name in names:
                return 200, {"data": {"snapname": name}}
            case "POST", ["snapshot", name, "rollback"] if name in names:
                self._move(guest, "rollback")
                return self._task("qmrollback", guest)
            case "DELETE", ["snapshot", name] if name in names:
                names.remove(name)
                return self._task("qmdelsnapshot", guest)
        return NOT_FOUND

    def _move(self, guest: str, move: str) -> None:
        self.power[guest] = "stopped" if move == "shutdown" else "running"
        self.uptime[guest] = 12
        self.moved(guest, move)

    def _end(self, task: str) -> dict[str, str]:
        if self.fault == "task-hangs" or self.looks < self.task_looks:
            self.looks += 1
            return {"status": "running"}
        if self.fault == "restore-fails" and ":qmrestore:" in task:
            return {"status": "stopped", "exitstatus": "unable to restore - no space left on device"}
        failed = "can't lock file - got timeout" if self.fault == "task-fails" else "OK"
        return {"status": "stopped", "exitstatus": failed}

    def _restore(self, body: dict[str, object]) -> Answer:
        number, archive = str(body["vmid"]), str(body["archive"])
        if number in self.power:
            return _died(f"unable to restore VM {number} - VM {number} already exists on node '{NODE}'")
        assert (archive, body["storage"], body["unique"]) == (NEWEST, "scratch", 1), body
        if self.fault != "restore-fails":
            self.power[number] = "stopped"
            self.restored[number] = {
                "name": "db-01",
                "onboot": "1",
                "net0": "virtio=00:00:5E:00:53:01,bridge=vmbr0",
                "net1": "virtio=00:00:5E:00:53:02,bridge=vmbr1",
            }
        return self._task("qmrestore", number)

    def _of_restored(self, asked: Request, guest: str, rest: list[str]) -> Answer:
        running = self.power[guest] == "running"
        match asked.method, rest:
            case "PUT", ["config"]:
                body, config = asked.json, self.restored[guest]
                for name in str(body["delete"]).split(","):
                    if self.fault != "keeps-card":
                        config.pop(name, None)
                model, _, more = str(body["net0"]).partition(",")
                config |= {"net0": f"{model}=00:00:5E:00:53:07,{more}", "onboot": str(body["onboot"])}
                return 200, {"data": None}
            case "GET", ["config"]:
                return 200, {"data": {**self.restored[guest], "digest": "d" * 40}}
            case "GET", ["status", "current"]:
                return 200, {"data": {"vmid": int(guest), "status": self.power[guest], "uptime": 0}}
            case "POST", ["status", "start"]:
                if self.fault == "start-refused":
                    return _died("bridge 'vmbr9' does not exist")
                assert (
                    self.restored[guest]["net0"].endswith(",bridge=vmbr9")
                    and "net1" not in self.restored[guest]
                )
                self.power[guest] = "running"
                return self._task("qmstart", guest)
            case "POST", ["agent", "ping"] if running:
                return 200, {"data": {"result": {}}}
            case "GET", ["agent", "file-read"] if running and asked.query["file"] == "/etc/hostname":
                text = "localhost\n" if self.fault == "other-file" else "db-01\n"
                return 200, {"data": {"content": text, "bytes-read": len(text)}}
            case "POST", ["status", "stop"]:
                self.power[guest] = "stopped"
                return self._task("qmstop", guest)
            case "DELETE", [] if running:
                return _died(f"VM {guest} is running - destroy failed")
            case "DELETE", []:
                if self.fault == "destroy-refused-once" and not self.refused:
                    self.refused += 1
                    return _died(f"can't lock file '/var/lock/qemu-server/lock-{guest}.conf' - got timeout")
                assert asked.query == {"purge": "1", "destroy-unreferenced-disks": "1"}
                del self.power[guest], self.restored[guest]
                return self._task("qmdestroy", guest)
        return NOT_FOUND

    def _task(self, kind: str, guest: str) -> Answer:
        self.looks = 0
        number = f"{len(self.tasks):08X}"
        self.tasks.append(f"UPID:{NODE}:{number}:0A1B2C3D:673F2A1C:{kind}:{guest}:tecrax@pve!rig:")
        return 200, {"data": self.tasks[-1]}


def _died(message: str) -> Answer:
    """Return how Proxmox VE says that it did not begin."""
    return 500, {"data": None, "message": f"{message}\n"}


def _backups_of(guest: str) -> list[dict[str, object]]:
    """Return two backups of one guest, the newest of them first in time and last in name."""
    if guest != "101":
        return []
    now = int(time.time())
    kept = {"format": "pbs-vm", "content": "backup", "vmid": 101, "size": 4294967296}
    return [
        {**kept, "volid": NEWEST, "ctime": now - 5 * 3600},
        {**kept, "volid": "pbs:backup/vm/101/a-day-before", "ctime": now - 29 * 3600},
    ]


@dataclass
class BackupServer:
    """Snapshots, usage and verification of one datastore of Proxmox Backup Server."""

    verified: int = 0

    def answer(self, asked: Request) -> Answer:
        if asked.headers.get("authorization") != f"PBSAPIToken=tecrax@pbs!rig:{TOKEN}":
            return DENIED
        match asked.method, asked.path:
            case "GET", "/api2/json/admin/datastore/main/snapshots":
                made = {
                    "backup-type": "vm",
                    "backup-id": "101",
                    "backup-time": 1764201600,
                    "size": 4294967296,
                }
                return 200, {"data": [{**made, "verification": {"state": "ok", "upid": "UPID:pbs:1"}}]}
            case "POST", "/api2/json/admin/datastore/main/verify":
                self.verified += 1
                return 200, {"data": PBS_TASK}
            case "GET", path if path == f"/api2/json/nodes/localhost/tasks/{PBS_TASK}/status":
                return 200, {"data": {"status": "stopped", "exitstatus": "OK", "upid": PBS_TASK}}
            case "GET", "/api2/json/status/datastore-usage":
                return 200, {"data": [{"store": "main", "total": 1000000, "used": 400000, "avail": 600000}]}
        return NOT_FOUND


@dataclass
class DockerProxy:
    """A proxy of the Docker socket that lets only GET through; it asks for nothing."""

    def answer(self, asked: Request) -> Answer:
        return NOT_FOUND if asked.method == "GET" else (403, {"message": "forbidden"})


System = Zabbix | AdGuard | Portainer | Proxmox | BackupServer | DockerProxy


def answering(
    system: System, fault: Callable[[], str], kept: Callable[[str], str]
) -> Callable[[Asked], bytes]:
    """Return what answers for `system`, which fails as `fault` says.

    Other reads are answered from files of the scenarios: `kept` returns that of a path, or nothing.
    """

    def answer(asked: Asked) -> bytes:
        word = fault()  # Every request has a connection of its own: a scenario holds from the next one on.
        if word.isdigit():
            return json_reply('{"message": "as the scenario says"}', int(word), Connection="close")
        if word == "redirect":
            return reply(b"", 302, Location="https://198.51.100.7/login", Connection="close")
        if isinstance(system, Zabbix):
            system.wrong_token, system.blind = word == "wrong-token", word == "blind"
        if isinstance(system, AdGuard):
            system.old = word == "filters-old"
        if isinstance(system, Proxmox):
            system.fault = word
        request = taken_apart(asked)
        status, body = system.answer(request)
        # What is asked of one guest's backups is known here; a file has those of all guests.
        reads = request.method == "GET" and status in (200, 404) and "vmid" not in request.query
        file = kept(request.path) if reads else ""
        if file:
            return json_reply(file, Connection="close")
        if isinstance(body, str):
            return reply(body.encode(), status, Content_Type="text/html", Connection="close")
        return json_reply(json.dumps(body), status, Connection="close")

    return answer
