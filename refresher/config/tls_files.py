"""The TLS settings of an upstream, and the certificate files that they name."""

import ssl
from pathlib import Path
from typing import NoReturn

from refresher.config.models import TlsConfig
from refresher.config.problems import Problems
from refresher.config.tree import KeyPath
from refresher.config.units import InvalidValue


def apply_tls(context: ssl.SSLContext, tls: TlsConfig) -> None:
    """Set up a client's context: verification, trusted authorities, the client's certificate.

    Raises:
        InvalidValue: a file is no longer what it was when the configuration was read.
    """
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.ca is not None:
        _trust(context, tls.ca)
    if tls.cert is not None:
        _identify(context, tls.cert, tls.key)


def check_tls(tls: TlsConfig, place: KeyPath, problems: Problems) -> None:
    """Note problems with the settings at `place`, and with the files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is not None and not tls.verify:
        advice = "take one of the two out: nothing is verified"
        problems.add((*place, "ca"), "cannot stand beside verify = false", advice, got=str(tls.ca))
    if tls.key is not None and tls.cert is None:
        wrong, advice = "is the key of no certificate", "write the certificate's file as cert"
        problems.add((*place, "key"), wrong, advice, got=str(tls.key))
    key = "ca"
    try:
        if tls.ca is not None:
            _trust(context, tls.ca)
        key = "cert"
        if tls.cert is not None:
            _trust(context, tls.cert)
            key = "cert" if tls.key is None else "key"
            _identify(context, tls.cert, tls.key)
    except InvalidValue as invalid:
        problems.add_invalid((*place, key), invalid)


def _trust(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise InvalidValue("has no certificate in PEM form", f"look at {file}") from None
    except OSError as error:
        raise _unreadable(error, file) from None


def _identify(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    file = key or cert
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidValue(f"is not the key of {cert}", f"look at {file}") from None
        raise InvalidValue("has no private key in PEM form", f"look at {file}") from None
    except OSError as error:
        raise _unreadable(error, file) from None


def _unreadable(error: OSError, file: Path) -> InvalidValue:
    return InvalidValue(f"cannot be read ({error.strerror})", f"look at {file}")


def _refuse_password() -> NoReturn:  # without it, OpenSSL would ask on the terminal
    raise InvalidValue("is a private key with a passphrase", "save it without: openssl pkey -in …")
