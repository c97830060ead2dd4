"""Secrets that are rotated while a service runs: noticed, and put into the configuration in use."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import httpx

from refresher.clock import Clock, sleep_until
from refresher.config import Config, JobPlan, UpstreamConfig
from refresher.config.references import Stamp, stamp_of

_POLL_INTERVAL = 2.0
"""Seconds between two looks at the files that secrets come from."""


async def watch(
    files: Mapping[Path, Stamp | None], clock: Clock, reload: Callable[[], Awaitable[object]]
) -> None:
    """Call `reload` whenever one of the files is another than it was, for ever."""
    before = dict(files)
    while True:
        await sleep_until(clock, clock.now() + _POLL_INTERVAL)
        now = await anyio.to_thread.run_sync(_stamps, before)
        if now != before:
            before = now
            await reload()


def renewed(old: Config, reread: Config) -> Config:
    """The configuration in use with the secrets as read again.

    What else has been edited since the start waits for the next one.
    """
    return replace(
        old,
        admin=reread.admin,
        server=replace(old.server, read_tokens=reread.server.read_tokens),
        upstreams={**old.upstreams, **reread.upstreams},
        jobs={name: _rotated(plan, reread.jobs.get(name)) for name, plan in old.jobs.items()},
        secrets=reread.secrets,
        secret_files=reread.secret_files,
    )


def renewed_upstreams(old: Config, new: Config) -> frozenset[str]:
    """The upstreams with another certificate or proxy password, whose connections are of no use."""
    files = {path for path, _ in new.secret_files.items() - old.secret_files.items()}
    return frozenset(
        name
        for name, table in new.upstreams.items()
        if _has_new_password(old.upstreams.get(name), table) or _names_any(table, files)
    )


def _has_new_password(before: UpstreamConfig | None, now: UpstreamConfig) -> bool:
    """Whether the password of an upstream's proxy, and nothing else of the proxy, is another."""
    if before is None or before.proxy == now.proxy:
        return False
    proxies = (httpx.URL(table.proxy).copy_with(userinfo=b"") for table in (before, now))
    return len(set(proxies)) == 1


def _names_any(table: UpstreamConfig, files: Collection[Path]) -> bool:
    """Whether one of the files is a certificate or key of the upstream's TLS."""
    return not {table.tls.ca, table.tls.cert, table.tls.key}.isdisjoint(files)


def _rotated(plan: JobPlan, reread: JobPlan | None) -> JobPlan:
    """The plan as read again, unless more of it has been edited than the secrets in it."""
    return plan if reread is None or reread.definition != plan.definition else reread


def _stamps(files: Iterable[Path]) -> dict[Path, Stamp | None]:
    return {file: stamp_of(file) for file in files}
