"""How a node meets a `wss://` scheduler: whom it trusts, and the certificate that it shows where it has one."""

import ssl
from pathlib import Path

from lingua_scheduler.protocol.ids import NodeId, valid_id
from lingua_scheduler.runtime import tls
from lingua_scheduler.runtime.config import ConfigError, NodeConfig


class NodeTls:
    """Of all its connections."""

    def __init__(self, config: NodeConfig) -> None:
        """ConfigError where a file cannot be used."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if config.tls_ca_file:
            tls.trust(self._context, config.tls_ca_file, "node.tls_ca_file")
        else:
            self._context.load_default_certs()
        shown = config.tls_cert_file, config.tls_key_file, "node.tls_cert_file"
        self._certificate = tls.Certificate(self._context, *shown) if config.tls_cert_file else None

    def context(self) -> ssl.SSLContext:
        """For the next connection; a certificate that was renewed is read again."""
        if self._certificate is not None:
            self._certificate.refresh()
        return self._context


def certified_id(cert_file: str) -> NodeId:
    """The node id that a certificate is for. ConfigError where it is for none."""
    from cryptography import x509  # noqa: PLC0415 - loaded in a tenth of a second, and only where it is asked for

    try:
        subject = x509.load_pem_x509_certificate(Path(cert_file).read_bytes()).subject
    except (OSError, ValueError):
        raise ConfigError(f"node.tls_cert_file: {cert_file} is no certificate") from None
    names = [str(one.value) for one in subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if not names or not valid_id(names[0]):
        raise ConfigError(f"node.tls_cert_file: the common name of {cert_file} is no node id")
    return NodeId(names[0])
