"""The tasks of a worker process: what can be made of a body, as values that can be pickled."""

from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from refresher import pipeline
from refresher.errors import GuardRefused
from refresher.jsontext import patch
from refresher.jsontext.pointer import NotThere, Path
from refresher.model import Content
from refresher.offload.parsed import ParsedCache, ParsedText
from refresher.pipeline import representation
from refresher.pipeline.pages import Page, PageRule, read_page
from refresher.pipeline.representation import Servable

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class SameAsServed:
    """The content has the ETag of what is served, which passed every rule, or was accepted."""


@dataclass(frozen=True, slots=True)
class RefusedByGuard:
    """Content that passed every rule but the guard; a candidate for quarantine."""

    content: Content
    etag: str
    reason: str


Verdict: TypeAlias = Servable | SameAsServed | RefusedByGuard
"""What the rules say of an answer's content; where another rule refuses it, they raise."""


class Task(Protocol[T_co]):
    """What is to be made of a body."""

    def run(self, body: bytes) -> T_co:
        """Make it; this may take long.

        Raises:
            RefreshFailed: it cannot be made of this body.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineTask:
    """Make content fit to serve of a body."""

    content_type: str | None
    rules: pipeline.Rules
    served: pipeline.Served | None
    etag: str | None
    """The ETag of what is served."""

    def run(self, body: bytes) -> Verdict:
        """Refine the body, and prepare it to be sent where it is new and passes the guard.

        Raises:
            RefreshFailed: another rule than the guard refused it.
        """
        try:
            content = pipeline.refine(body, self.content_type, self.rules, self.served)
        except GuardRefused as refusal:
            content = refusal.content
            etag = representation.etag_of(content.body, content.content_type)
            if etag == self.etag:  # a person has accepted it, or `accept_after`
                return SameAsServed()
            return RefusedByGuard(content, etag, refusal.failure.message)
        if representation.etag_of(content.body, content.content_type) == self.etag:
            return SameAsServed()
        return Servable(content, representation.prepare(content.body, content.content_type))


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTask:
    """Read a body as one page of a paginated answer."""

    content_type: str | None
    rule: PageRule

    def run(self, body: bytes) -> Page:
        """Read the page.

        Raises:
            RefreshFailed: it is not a page by the rule.
        """
        return read_page(body, self.content_type, self.rule)


@dataclass(frozen=True, slots=True)
class CompareTask:
    """Say how a body differs from the one `before`."""

    before: bytes

    def run(self, body: bytes) -> bytes:
        """Write the difference as a JSON Patch; both are JSON."""
        return patch.patch(self.before, body)


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The values that were found in a text, and which texts a worker has in its cache now."""

    values: list[bytes | NotThere]
    cached: frozenset[str]
    """The ETags of those texts, which need not be sent again."""


@dataclass(frozen=True, slots=True)
class LookupTask:
    """Find in a body that is JSON the values at some pointers."""

    etag: str
    """The body's, by which a worker finds it in its cache."""
    paths: tuple[Path, ...]

    def run(self, body: bytes) -> LookupResult:
        """Find them, in their order, without a cache."""
        return LookupResult(ParsedText(body).find(self.paths), frozenset())

    def run_with_cache(self, cache: ParsedCache, body: bytes | None) -> LookupResult:
        """Find them, in their order; `body` is None where the text is known to be in the cache."""
        parsed = cache.take(self.etag)
        if parsed is None:
            assert body is not None  # noqa: S101  the sender knows what is cached
            parsed = ParsedText(body)
        values = parsed.find(self.paths)
        cache.put(self.etag, parsed)
        return LookupResult(values, frozenset(cache))
