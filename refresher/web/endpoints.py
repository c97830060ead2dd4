"""What the endpoints for status and health answer, and the `Reads` of `/data`."""

import io
from collections.abc import Callable, Iterable

import anyio.to_thread

from refresher.observers.exposition import CONTENT_TYPE
from refresher.offload.cooperative import cooperatively
from refresher.offload.pool import WorkerPool
from refresher.service.service import Service
from refresher.web.answer import Answer, json_answer
from refresher.web.cors import Cors
from refresher.web.data.compression import Compression
from refresher.web.data.lookups import Lookups
from refresher.web.data.reads import Reads
from refresher.web.data.versions import VersionReads
from refresher.web.listing import list_jobs, read_listing
from refresher.web.problems import problem, unauthorized, unknown_job
from refresher.web.status import history, job_status


class Endpoints:
    """What a running service answers over HTTP."""

    def __init__(self, service: Service) -> None:
        self.service = service
        # Not the service's, whose refreshes must not wait for readers. One worker, so that a text
        # is parsed once.
        self._pool = WorkerPool(workers=1)
        lookups = Lookups(self._pool.look_up)
        self.cors = Cors(service.config.server.cors_origins)
        self.reads = Reads(
            service.states,
            access=service.access,
            cors=self.cors,
            versions=VersionReads(
                service.jobs.get,
                access=service.access,
                lookups=lookups,
            ),
            clock=service.clock,
            codes=service.metrics.reads,
            lookups=lookups,
            compression=Compression(),
        )

    async def aclose(self) -> None:
        """End the worker process; no more requests may be made."""
        await self._pool.__aexit__(None, None, None)

    async def jobs(self, params: Iterable[tuple[str, str]] = ()) -> Answer:
        """`GET /jobs`: every job, or those that the query asks for."""
        listing = read_listing(params)
        if isinstance(listing, Answer):
            return listing
        service = self.service
        return await list_jobs(listing, list(service.states), service.config, service.clock.now())

    def job(self, name: str) -> Answer:
        """`GET /jobs/{job}`: one job."""
        entry = self.service.states.get(name)
        if entry is None:
            return unknown_job(name)
        plan, now = self.service.config.jobs[name], self.service.clock.now()
        return json_answer(job_status(entry, plan, now))

    def history(self, name: str) -> Answer:
        """`GET /jobs/{job}/history`: the versions that are kept, the newest first."""
        job = self.service.jobs.get(name)
        return unknown_job(name) if job is None else json_answer(history(job.ledger.versions))

    def livez(self, authorization: bytes | None) -> Answer:
        """`GET /livez`: 200 while the scheduler runs; jobs that broke are only named."""
        if not self.service.is_alive():
            return problem(503, "not-alive", "the scheduler has not run for more than 10 s")
        if not self.service.access.may_read(authorization):
            return json_answer({"status": "ok"})
        found: dict[str, object] = {"status": "ok", "crashed": self.service.crashed()}
        if self.service.store.detached:
            found["store"] = "detached"
        return json_answer(found)

    def readyz(self, authorization: bytes | None) -> Answer:
        """`GET /readyz`: whether every required job has had its first snapshot."""
        if self.service.closing.is_set():
            return problem(503, "closing", "the service is shutting down")
        missing = self.service.missing()
        if not missing:
            return json_answer({"status": "ready"})
        detail = f"{len(missing)} of the required jobs have no snapshot yet"
        if not self.service.access.may_read(authorization):
            return problem(503, "not-ready", detail)
        return problem(503, "not-ready", f"{detail}: {', '.join(missing)}", missing=missing)

    def freshz(self, authorization: bytes | None) -> Answer:
        """`GET /freshz`: whether every required job is fresh, and none of them late."""
        reasons = self.service.not_fresh()
        if not reasons:
            return json_answer({"status": "fresh"})
        detail = f"{len(reasons)} of the required jobs are not fresh, or late"
        if not self.service.access.may_read(authorization):
            return problem(503, "not-fresh", detail)
        named = ", ".join(f"{job} ({reason})" for job, reason in reasons.items())
        return problem(503, "not-fresh", f"{detail}: {named}", jobs=reasons)

    async def metrics(self) -> Answer:
        """`GET /metrics`: the Prometheus text format."""
        metrics, text = self.service.metrics, io.BytesIO()
        lines = metrics.of_jobs(list(self.service.states), self.service.clock.now())
        async for line in cooperatively(lines):
            text.write(b"%b\n" % line.encode())
        # In a thread: the process metrics take dozens of system calls.
        of_processes = await anyio.to_thread.run_sync(metrics.of_processes)
        text.write("".join(f"{line}\n" for line in of_processes).encode())
        body = text.getvalue()
        headers = [
            (b"content-type", CONTENT_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        return Answer(200, headers, body)

    def refusal(self, authorization: bytes | None) -> Answer | None:
        """The answer to a read without the token that it needs; None where it may be answered."""
        may_read = self.service.access.may_read(authorization)
        return None if may_read else unauthorized("reading")


Running = Callable[[], Endpoints]
"""Gives the endpoints of the running service; raises while none runs."""
