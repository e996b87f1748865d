"""Certificates made for each run, so that none in the repository can expire."""

from __future__ import annotations

from pathlib import Path

import trustme

from postage.testing.rabbitmq import TlsFiles

__all__ = ["Certificates"]


class Certificates:
    """A CA, its certificates for a broker and two clients, and another CA that nobody trusts.

    The certificate of the first client is for the user *user*, that of the second for ``nobody``.
    All are files in *folder*.
    """

    def __init__(self, folder: Path, user: str = "somebody") -> None:
        self._folder = folder
        authority = trustme.CA()
        self.ca = self._write("ca", authority.cert_pem)
        self.stranger = self._write("stranger", trustme.CA().cert_pem)
        broker = authority.issue_cert("localhost", "127.0.0.1")
        self.broker = TlsFiles(
            self.ca,
            self._write("broker", *broker.cert_chain_pems),
            self._write("broker-key", broker.private_key_pem),
        )
        client = authority.issue_cert("client@example.org", common_name=user)
        self.client = self._write("client", *client.cert_chain_pems)
        self.client_key = self._write("client-key", client.private_key_pem)
        self.client_both = self._write("client-both", client.private_key_and_cert_chain_pem)
        nobody = authority.issue_cert("nobody@example.org", common_name="nobody")
        self.nobody_both = self._write("nobody-both", nobody.private_key_and_cert_chain_pem)

    def _write(self, name: str, *blobs: trustme.Blob) -> Path:
        path = self._folder / f"{name}.pem"
        path.write_bytes(b"".join(blob.bytes() for blob in blobs))
        return path
