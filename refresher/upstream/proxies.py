"""Which proxy a request goes through, as the environment or the configuration names it."""

from collections.abc import Mapping

import httpx


def proxy_for(url: httpx.URL, proxies: Mapping[str, str]) -> str | None:
    """The URL of the proxy that is named for a URL, or for all; None for no proxy.

    Raises:
        httpx.UnsupportedProtocol: it is no http or https proxy.
    """
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or _is_exempt(url.host.lower(), proxies.get("no", "")):
        return None
    proxy = named if "://" in named else f"http://{named}"
    scheme = proxy.partition(":")[0].lower()
    if scheme not in {"http", "https"}:
        raise httpx.UnsupportedProtocol(
            f"the environment's proxy for {url.scheme} is a {scheme} one; "
            "only http and https proxies are supported"
        )
    return proxy


def _is_exempt(host: str, exempt: str) -> bool:
    """Whether $NO_PROXY lists the host, a domain above it, or `*`."""
    names = [name.strip().lstrip(".").lower() for name in exempt.split(",")]
    return "*" in names or any(host == name or host.endswith(f".{name}") for name in names if name)
