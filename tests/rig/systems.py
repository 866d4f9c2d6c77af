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
    """Guests of one node of Proxmox VE: power, snapshots, and a task for each change."""

    power: dict[str, str] = field(default_factory=lambda: {"101": "running", "102": "stopped"})
    snapshots: dict[str, list[str]] = field(default_factory=lambda: {"101": [], "102": []})
    tasks: list[str] = field(default_factory=list)
    failing: bool = False

    def answer(self, asked: Request) -> Answer:
        if asked.headers.get("authorization") != f"PVEAPIToken=tecrax@pve!rig={TOKEN}":
            return DENIED
        parts = asked.path.removeprefix(f"/api2/json/nodes/{NODE}/").split("/")
        match asked.method, parts:
            case "GET", ["tasks", task, "status"]:
                return 200, {"data": {"status": "stopped", "exitstatus": self._end(), "upid": task}}
            case "GET", ["qemu", guest, "status", "current"] if guest in self.power:
                return 200, {"data": {"vmid": int(guest), "status": self.power[guest], "name": f"vm-{guest}"}}
            case "POST", ["qemu", guest, "status", "start" | "shutdown" | "reboot" as move] if (
                guest in self.power
            ):
                if not self.failing:
                    self.power[guest] = "stopped" if move == "shutdown" else "running"
                return self._task(f"qm{move}", guest)
            case "GET", ["qemu", guest, "snapshot"] if guest in self.snapshots:
                return 200, {"data": [{"name": name} for name in [*self.snapshots[guest], "current"]]}
            case "POST", ["qemu", guest, "snapshot"] if guest in self.snapshots:
                self.snapshots[guest].append(asked.form.get("snapname") or str(asked.json["snapname"]))
                return self._task("qmsnapshot", guest)
            case "GET", ["qemu", guest, "snapshot", name, "config"] if name in self.snapshots.get(guest, ()):
                return 200, {"data": {"snapname": name}}
            case "POST", ["vzdump"]:
                return self._task("vzdump", str(asked.json["vmid"]))
            case "POST", ["qemu", guest, "snapshot", name, "rollback"] if name in self.snapshots.get(
                guest, ()
            ):
                return self._task("qmrollback", guest)
            case "DELETE", ["qemu", guest, "snapshot", name] if name in self.snapshots.get(guest, ()):
                self.snapshots[guest].remove(name)
                return self._task("qmdelsnapshot", guest)
        return NOT_FOUND

    def _end(self) -> str:
        return "can't lock file - got timeout" if self.failing else "OK"

    def _task(self, kind: str, guest: str) -> Answer:
        self.tasks.append(f"UPID:{NODE}:000C8A1F:0A1B2C3D:673F2A1C:{kind}:{guest}:tecrax@pve!rig:")
        return 200, {"data": self.tasks[-1]}


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
            system.failing = word == "task-fails"
        request = taken_apart(asked)
        status, body = system.answer(request)
        file = kept(request.path) if request.method == "GET" and status in (200, 404) else ""
        if file:
            return json_reply(file, Connection="close")
        if isinstance(body, str):
            return reply(body.encode(), status, Content_Type="text/html", Connection="close")
        return json_reply(json.dumps(body), status, Connection="close")

    return answer
