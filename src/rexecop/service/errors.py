"""Errors of serving.

RexecopError
└── ServiceError
    ├── DemoExposed          demo mode asks nobody who they are, and would listen beyond this machine
    ├── AddressUnavailable   the address cannot be listened on
    ├── TlsRefused           certificate, key or authorities cannot be used
    └── PeerRefused          what is to be believed about callers is no address
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


class TlsRefused(ServiceError):
    """Certificate and key do not belong together, or a file is none of theirs."""

    code = "tls-refused"


class PeerRefused(ServiceError):
    """The proxy that is to be believed is named by something that is no address."""

    code = "peer-refused"
