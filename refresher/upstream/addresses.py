"""Which addresses an attempt may connect to: no upstream steers it into our own network."""

import ipaddress
from functools import lru_cache

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

EXTENSION = "refresher.upstream.addresses"
"""Where a request carries its `AddressRule` to the transport that connects for it."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_V4_COMPATIBLE = ipaddress.ip_network("::/96")


class ForbiddenAddress(OSError):
    """Nothing was sent: the address is one that this attempt must not reach."""


class AddressRule:
    """The addresses one attempt may connect to, as its redirects lead it from host to host.

    Link-local, multicast and unspecified addresses are forbidden, unless the configured URL
    itself names the address. Where the configured URL led to a public address, so are private and
    loopback ones. What counts is the address connected to, whatever name or notation stood for it.
    """

    __slots__ = ("_named", "_public", "peer", "refused")

    def __init__(self, host: str) -> None:
        self._named = _literal(host)
        self._public = None if self._named is None else _is_public(self._named)
        self.peer: str | None = None
        """The address last connected to."""
        self.refused: ForbiddenAddress | None = None
        """The last address that was refused."""

    def check(self, address: str) -> None:
        """Check an address before anything connects to it.

        Raises:
            ForbiddenAddress: this attempt must not connect to it.
        """
        kind = self._forbidden_kind(address)
        if kind is not None:
            self.refused = ForbiddenAddress(f"{address} is {kind}")
            raise self.refused

    def check_host(self, host: str) -> None:
        """Check a URL's host: a literal address is judged now, a name when it is resolved."""
        if _literal(host) is not None:
            self.check(host)

    def connected(self, address: str) -> None:
        """Note which address answers; the first one decides whether the start was public."""
        self.check(address)
        self.peer = address
        if self._public is None:
            self._public = _is_public(_parse(address))

    def redirected(self) -> None:
        """Note that the attempt goes on to a redirect's target.

        A start whose address is unknown, as behind a proxy, counts as public.
        """
        if self._public is None:
            self._public = True
        self.peer = self.refused = None

    def _forbidden_kind(self, address: str) -> str | None:
        ip = _parse(address)
        if ip == self._named:
            return None
        if ip.is_link_local:
            return "a link-local address, which only a url that names it may reach"
        if ip.is_multicast:
            return "a multicast address, which only a url that names it may reach"
        if ip.is_unspecified:
            return "the unspecified address, which only a url that names it may reach"
        if self._public and not _is_public(ip):
            kind = "a loopback" if ip.is_loopback else "a private"
            return f"{kind} address, out of reach from a public one"
        return None


# The same few addresses are judged several times an attempt, which took a twentieth of its time.
@lru_cache(maxsize=1024)
def _literal(host: str) -> _Address | None:
    try:
        return _parse(host)
    except ValueError:
        return None


@lru_cache(maxsize=1024)
def _parse(text: str) -> _Address:
    """The address that packets end up at: IPv4 inside of IPv6 taken out, the zone left off."""
    ip = ipaddress.ip_address(text.replace("%25", "%"))  # a URL writes a zone's sign like that
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    embedded = ip.ipv4_mapped or ip.sixtofour
    if embedded is not None:
        return embedded
    if ip in _NAT64 or (ip in _V4_COMPATIBLE and int(ip) > 1):
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ipaddress.IPv6Address(int(ip))


@lru_cache(maxsize=1024)
def _is_public(ip: _Address) -> bool:
    # `ipaddress` counts site-local (RFC 3879) as global, and shared space (RFC 6598) as neither
    # global nor private; neither is out in the open.
    return ip.is_global and not (isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local)
