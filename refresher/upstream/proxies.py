"""Which proxy a request goes through, as the environment or the configuration names it."""

import ipaddress
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

import httpx

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    url: str
    """Without userinfo."""
    headers: Mapping[str, str] = field(repr=False)
    """What it is asked with: Proxy-Authorization, where there are credentials."""


def proxy_for(url: httpx.URL, proxies: Mapping[str, str]) -> Proxy | None:
    """The proxy that is named for a URL, or for all; None for no proxy.

    Raises:
        httpx.UnsupportedProtocol: it is no http or https proxy.
    """
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_exempt(url, proxies.get("no", "")):
        return None
    proxy = named if "://" in named else f"http://{named}"
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https"}:
        raise httpx.UnsupportedProtocol(
            f"the environment's proxy for {url.scheme} is a {scheme} one; "
            "only http and https proxies are supported"
        )
    return _parsed(proxy)


@lru_cache(maxsize=64)
def _parsed(proxy: str) -> Proxy:
    parts = urlsplit(proxy)
    userinfo, _, host = parts.netloc.rpartition("@")
    url = parts._replace(netloc=host).geturl()
    if not userinfo:
        return Proxy(url, {})
    # What is written out is UTF-8 (RFC 7617, section 2.1), what is escaped is any bytes.
    user, _, password = userinfo.partition(":")
    login = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return Proxy(url, {"Proxy-Authorization": f"Basic {b64encode(login).decode()}"})


def _is_exempt(url: httpx.URL, exempt: str) -> bool:
    """Whether $NO_PROXY exempts the URL, as curl and Go read it.

    Its entries are separated by commas or spaces: a host, with or without a leading dot, stands for
    itself and the hosts below it, `*.host` for those below it alone, `*` for all; an address or a
    network (`10.0.0.0/8`) for the addresses that URLs name. With a port it is for that port alone.
    No name is looked up.
    """
    exemptions = _exemptions(exempt)
    if not exemptions:
        return False
    # As people write it, and as DNS has it (RFC 5890, section 2.3.2.1).
    names = {name.lower().rstrip(".") for name in (url.host, url.raw_host.decode("ascii"))}
    addresses, port = _addresses(url.host), url.port or _PORTS.get(url.scheme)
    return any(each.covers(names, addresses, port) for each in exemptions)


@dataclass(frozen=True, slots=True)
class _Exemption:
    host: str
    """The name of a host, or `*`."""
    network: _Network | None
    port: int | None
    below_only: bool

    def covers(
        self, names: Iterable[str], addresses: Collection[_Address], port: int | None
    ) -> bool:
        if self.port not in {None, port}:
            return False
        if self.host == "*":
            return True
        if addresses:
            return self.network is not None and any(each in self.network for each in addresses)
        below = f".{self.host}"
        return any(
            name.endswith(below) or (name == self.host and not self.below_only) for name in names
        )


@lru_cache(maxsize=64)
def _exemptions(text: str) -> tuple[_Exemption, ...]:
    return tuple(_exemption(entry) for entry in re.split(r"[,\s]+", text.lower()) if entry)


def _exemption(entry: str) -> _Exemption:
    network, port = _network(entry), None
    if network is None and (parts := _WITH_PORT.fullmatch(entry)):
        entry, port = parts[1], int(parts[2])
        network = _network(entry)
    name = entry.removeprefix("*") if entry != "*" else entry
    return _Exemption(name.strip("."), network, port, below_only=name != entry)


def _network(text: str) -> _Network | None:
    with suppress(ValueError):
        return ipaddress.ip_network(_BRACKETS.sub(r"\1\2", text), strict=False)
    return None


def _addresses(host: str) -> tuple[_Address, ...]:
    """The address that a host is written as, if it is one; also as IPv4 where it is mapped."""
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        mapped = getattr(address, "ipv4_mapped", None)
        return (address,) if mapped is None else (address, mapped)
    return ()


_BRACKETS = re.compile(r"^\[(.*)\](/[0-9]+)?$")
_WITH_PORT = re.compile(r"(.+):([0-9]{1,5})")
_PORTS = {"http": 80, "https": 443}
