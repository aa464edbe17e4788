"""TLS contexts from their configuration."""

from __future__ import annotations

import ssl

import grpc

from serving.client.tls import ClientTls
from serving.gateway.config import GatewayConfigError, TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Makes the context of a listening socket, TLS 1.2 or newer (the BCP 195 profiles of DICOM PS3.15 B.9 to B.12).

    Raises:
        GatewayConfigError: A file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca is not None:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise _unusable(error) from error
    return context


def peer_context(tls: ClientTls) -> ssl.SSLContext:
    """Makes the context towards a peer.

    Raises:
        GatewayConfigError: A file cannot be used.
    """
    try:
        return tls.context()
    except OSError as error:
        raise _unusable(error) from error


def peer_credentials(tls: ClientTls) -> grpc.ChannelCredentials:
    """Makes gRPC's credentials towards a model server.

    Raises:
        GatewayConfigError: A file cannot be used.
    """
    try:
        return tls.credentials()
    except OSError as error:
        raise _unusable(error) from error


def _unusable(error: OSError) -> GatewayConfigError:
    return GatewayConfigError(
        f"A file of the TLS configuration cannot be used ({error.strerror}): name PEM files that this user may read."
    )
