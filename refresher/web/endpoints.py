"""What each endpoint answers, but for `/data` (reads) and `/admin` (admin): status and health."""

from refresher.service import Service
from refresher.web.answer import UNAUTHORIZED, Answer, RawHeaders, json_answer, problem
from refresher.web.cors import PREFLIGHT_VARY, Cors
from refresher.web.reads import Reads
from refresher.web.status import job_status


class Endpoints:
    """The HTTP face of a running service."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self._cors = Cors(service.config.server.cors_origins)
        self.reads = Reads(
            service.states,
            access=service.access,
            cors=self._cors,
            clock=service.clock,
            codes=service.metrics.reads,
        )

    def jobs(self) -> Answer:
        """`GET /jobs`: every job."""
        now = self.service.clock.now()
        plans = self.service.config.jobs
        jobs = [job_status(entry, plans[entry.record.job], now) for entry in self.service.states]
        return json_answer({"jobs": jobs, "next": None})

    def job(self, name: str) -> Answer:
        """`GET /jobs/{job}`: one job."""
        entry = self.service.states.get(name)
        if entry is None:
            return problem(
                404, "unknown-job", f"no job is called {name!r}; GET /jobs has all names"
            )
        return json_answer(
            job_status(entry, self.service.config.jobs[name], self.service.clock.now())
        )

    def livez(self, authorization: bytes | None) -> Answer:
        """`GET /livez`: whether the scheduler runs; a job that broke is named, not fatal."""
        if not self.service.is_alive():
            return problem(503, "not-alive", "the scheduler has not run for more than 10 s")
        crashed = self.service.crashed()
        known = self.service.access.may_read(authorization)
        return json_answer({"status": "ok", "crashed": crashed if known else len(crashed)})

    def readyz(self, authorization: bytes | None) -> Answer:
        """`GET /readyz`: whether every required job has had its first snapshot."""
        if self.service.closing.is_set():
            return problem(503, "closing", "the service is shutting down")
        missing = self.service.missing()
        if not missing:
            return json_answer({"status": "ready"})
        detail = f"{len(missing)} of the required jobs have no snapshot yet"
        if self.service.access.may_read(authorization):
            return problem(503, "not-ready", f"{detail}: {', '.join(missing)}", missing=missing)
        return problem(503, "not-ready", detail)

    def metrics(self) -> Answer:
        """`GET /metrics`: the Prometheus text format."""
        body = self.service.metrics.exposition(self.service.states, self.service.clock.now())
        headers = [
            (b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        return Answer(200, headers, body)

    def locked(self, authorization: bytes | None) -> Answer | None:
        """The refusal of a read without a token that needs one; None where it may go on."""
        if self.service.access.may_read(authorization):
            return None
        detail = "reading needs a token: Authorization: Bearer …"
        return problem(401, "unauthorized", detail, headers=UNAUTHORIZED)

    def cross_origin(self, answer: Answer, origin: bytes | None) -> Answer:
        """The answer with what a page of another origin needs to read it."""
        if self._cors.enabled:
            answer.headers.extend([(b"vary", b"Origin"), *self._cors.fields(origin)])
        return answer

    def preflight(self, origin: bytes | None, method: bytes | None) -> Answer | None:
        """The answer to a CORS preflight; None where it is none, or no origin is let in."""
        if not self._cors.enabled or origin is None or method is None:
            return None
        headers: RawHeaders = [*self._cors.preflight(origin), (b"vary", PREFLIGHT_VARY)]
        return Answer(204, headers, b"")
