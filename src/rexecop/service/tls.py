"""TLS: the certificate that is shown, whose clients are let in, and a renewed one without a restart."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from rexecop.service.errors import TlsRefused


class Tls:
    """A certificate with its key, and the authorities that clients must be of, from files in PEM.

    Connections are made by `context`. Making one raises TlsRefused where the files are not that.
    """

    def __init__(self, *, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._files = (cert, key, client_ca)
        self.context: Final = _context(*self._files)

    def renew(self) -> None:
        """Show what the files hold now to whoever connects from here on.

        Raises:
            TlsRefused: they cannot be used; what was shown goes on being shown.
        """
        _context(*self._files)
        cert, key, _ = self._files
        self.context.load_cert_chain(cert, key, password=_none)


def _context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    about = f"`{cert}` and `{key}` are no certificate with its key"
    try:
        found.load_cert_chain(cert, key, password=_none)
        if client_ca is not None:
            about = f"`{client_ca}` holds no certificates"
            found.load_verify_locations(client_ca)
            found.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise TlsRefused(f"{about}: {str(reason).lower().replace('_', ' ')}") from error
    return found


def _none() -> str:
    """Give no passphrase: nobody is there to be asked for one."""
    return ""
