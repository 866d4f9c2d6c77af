"""A backend as they were written for the seed: built from a configuration, and asked to make a call itself."""

import socket
from pathlib import Path


class DeviceBackend:
    def __init__(self, connector_name, config, secret_resolver):
        self.name = connector_name
        self.config = config
        self.secrets = secret_resolver

    def invoke(self, request):
        Path(self.config["mark"]).write_text(str(request))
        password = self.secrets.resolve(self.config["password_secret_ref"])
        with socket.create_connection((self.config["host"], self.config["port"])) as link:
            link.sendall(f"{password} {request}\n".encode())
            return {"success": True, "data": {"line": link.makefile().readline()}}


def build_device_backend(*, connector_name, config, profile_root, mutating_allowed, secret_resolver):
    Path(config["mark"]).write_text("built")
    return DeviceBackend(connector_name, config, secret_resolver)
