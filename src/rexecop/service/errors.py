"""Errors of serving.

RexecopError
└── ServiceError
    ├── DemoExposed          demo mode asks nobody who they are, and would listen beyond this machine
    ├── TenantRefused        what is to be served beside the root is no tenant
    └── AddressUnavailable   the address cannot be listened on
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class ServiceError(RexecopError):
    """The service cannot be started."""

    code = "service-error"


class DemoExposed(ServiceError):
    """Demo mode would answer on an address that others can reach."""

    code = "demo-exposed"


class AddressUnavailable(ServiceError):
    """The address is in use, not of this machine, or needs rights the caller lacks."""

    code = "address-unavailable"


class TenantRefused(ServiceError):
    """What is to be served beside the root is not a name and a root of its own."""

    code = "tenant-refused"
