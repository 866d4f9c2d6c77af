"""TLS: the certificate that is shown, whose clients are let in, and a renewed one without a restart."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from rexecop.service.errors import TlsRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM: the chain that is shown and its key, and the authorities that a client's must be of."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what connections are made by.

        Raises:
            TlsRefused: a file cannot be read, or certificate and key do not belong together.
        """
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            found.load_cert_chain(self.cert, self.key, password=_none)
        except (OSError, ValueError) as error:
            raise TlsRefused(
                f"`{self.cert}` and `{self.key}` are no certificate with its key: {_words(error)}"
            ) from error
        if self.client_ca is not None:
            try:
                found.load_verify_locations(self.client_ca)
            except (OSError, ValueError) as error:
                raise TlsRefused(f"`{self.client_ca}` holds no certificates: {_words(error)}") from error
            found.verify_mode = ssl.CERT_REQUIRED
        return found

    def renew(self, context: ssl.SSLContext) -> None:
        """Show what the files hold now to whoever connects from here on.

        Raises:
            TlsRefused: as `context`; what was shown goes on being shown.
        """
        self.context()
        context.load_cert_chain(self.cert, self.key, password=_none)


def _none() -> str:
    """Give no passphrase: nobody is there to be asked for one."""
    return ""


def _words(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
    return str(reason).lower().replace("_", " ")
