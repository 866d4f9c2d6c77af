"""Errors of serving.

RexecopError
└── ServiceError
    ├── DemoExposed          demo mode asks nobody who they are, and would listen beyond this machine
    ├── TenantRefused        what is to be served beside the root is no tenant
    ├── ToolRefused          a tool was called with what it does not take
    ├── TlsRefused           certificate, key or authorities cannot be used
    ├── PeerRefused          what is to be believed about callers is no address
    ├── AddressUnavailable   the address cannot be listened on
    └── Asked                a request that is not one the API takes
        ├── PathUnknown      nothing is there, or nothing that is the caller's business
        ├── MethodRefused    not with that method
        ├── BodyUnfit        a body that is not what the route takes
        ├── QueryRefused     a parameter of the query, or a header, that is not what the route takes
        ├── SiteForeign      a page of another site asks, or another name than this service's
        ├── RateExceeded     more requests of one caller than are answered at a time
        └── FollowersFull    no more can follow operations at one time
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class ServiceError(RexecopError):
    """The service cannot be started, or ends."""

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


class Asked(ServiceError):
    """A request over HTTP is not one that the API takes; `status` is how it is answered."""

    code = "asked-wrongly"
    status = 400


class PathUnknown(Asked):
    """There is nothing there, or nothing that is the caller's business."""

    code = "path-unknown"
    status = 404


class MethodRefused(Asked):
    """What is there does not take that method."""

    code = "method-refused"
    status = 405


class BodyUnfit(Asked):
    """The body is too long, of another type, late, or not what the route takes."""

    code = "body-unfit"
    status = 422


class QueryRefused(Asked):
    """A parameter of the query, or a header, is not what the route takes."""

    code = "query-refused"


class SiteForeign(Asked):
    """A page of another site asks, or for another name than the service answers to."""

    code = "site-foreign"
    status = 403


class RateExceeded(Asked):
    """One caller asks more than is answered at a time; the answer says when to ask again."""

    code = "rate-exceeded"
    status = 429


class FollowersFull(Asked):
    """As many follow operations as can at one time."""

    code = "followers-full"
    status = 503


class ToolRefused(ServiceError):
    """A tool was called with arguments that it does not take, or on what it is not for."""

    code = "tool-refused"


class TlsRefused(ServiceError):
    """Certificate and key do not belong together, or a file is none of theirs."""

    code = "tls-refused"


class PeerRefused(ServiceError):
    """The proxy that is to be believed is named by something that is no address."""

    code = "peer-refused"
