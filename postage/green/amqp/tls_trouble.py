"""What to do where TLS was wanted and did not come about.  Pure."""

from __future__ import annotations

import ssl

__all__ = ["tls_trouble"]

# X509_V_ERR_... of OpenSSL's x509_vfy.h
_EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 10, 62, 64


def tls_trouble(exc: BaseException, *, tls: bool) -> str | None:
    """Return what is wrong and what to do, or None where *exc* is no matter of TLS.

    *tls*: whether we wanted TLS at all; a plain connection that a TLS port drops tells nothing.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _distrust(exc)
    if isinstance(exc, ssl.SSLError) or (tls and isinstance(exc, ConnectionResetError)):
        return (
            f"what listens there does not speak it, or refused our certificate ({exc}); TLS is "
            f"mostly on port 5671"
        )
    if tls and "CERTIFICATE_REQUIRED" in str(exc):  # TLS 1.3 says so only after the handshake
        return "the broker wants a certificate of ours: give certfile and keyfile"
    return None


def _distrust(exc: ssl.SSLCertVerificationError) -> str:
    if exc.verify_code in (_OTHER_HOST, _OTHER_ADDRESS):
        return (
            "the certificate there is made out to another name; use that name in the URL, or give "
            "it as server_name_indication"
        )
    if exc.verify_code == _EXPIRED:
        return "the certificate there has expired, or the clock of this machine is wrong"
    return (
        f"the certificate there comes from an authority that is unknown here "
        f"({exc.verify_message}); name the authority's certificate in cacertfile"
    )
