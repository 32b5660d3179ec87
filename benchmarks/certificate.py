"""A self-signed certificate for the TLS servers that are measured, made by the openssl command.

It is made once per benchmark and stays in a folder as long as the benchmark runs: one loop reads
the files again when it serves, so they must outlive the making of the context.
"""

import functools
import ssl
import subprocess
import tempfile
from pathlib import Path


@functools.cache
def certificate_folder() -> "tempfile.TemporaryDirectory[str]":
    """The folder with cert.pem and key.pem, removed when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="bench-tls-")
    certificate, key = (str(Path(folder.name) / name) for name in ("cert.pem", "key.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        + ["-nodes", "-subj", "/CN=localhost", "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
    )
    return folder


def server_context(folder: str) -> ssl.SSLContext:
    """A server's context with the certificate of `folder`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(Path(folder) / "cert.pem", Path(folder) / "key.pem")
    return context
