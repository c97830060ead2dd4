"""Declared types as a rule: content that one of them does not validate is refused."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from refresher.errors import RefreshFailed
from refresher.jobs.candidate import SameAsCandidate
from refresher.jobs.context import Context
from refresher.jobs.environment import Environment
from refresher.jobs.plan import Plan
from refresher.model import Content, Stage
from refresher.offload.tasks import RefusedByGuard, SameAsServed, Verdict
from refresher.pipeline.representation import Servable
from refresher.security.excerpts import clipped
from refresher.values import DeclaredType, Values

_ERRORS_TOLD = 3
_SHOWN = 160


async def check(
    verdict: Verdict | SameAsCandidate,
    sent_as: str | None,
    context: Context,
    plan: Plan,
    environment: Environment,
) -> None:
    """Check content that passed the other rules, or the guard alone refused; once for its ETag.

    What is served is checked too where the source confirms it: it may have been restored, and then
    it was another process that checked it.

    Raises:
        RefreshFailed: it is not of a type that is declared, at stage `schema`.
    """
    match verdict:
        case SameAsCandidate():  # it was checked before it became one
            return
        case SameAsServed():
            if context.served is None:
                return
            content, etag = context.served.content, context.served.etag
        case Servable(content, representation):
            etag = representation.identity_etag
        case RefusedByGuard(content, etag):
            pass

    def checked() -> None:
        for declared in plan.types:
            check_content(
                plan.name,
                content,
                etag,
                declared,
                sent_as=sent_as,
                values=environment.values,
                redact=environment.redact,
            )

    await environment.pool.call(checked, len(content.body))


def check_content(
    job: str,
    content: Content,
    etag: str,
    declared: DeclaredType,
    *,
    sent_as: str | None,
    values: Values,
    redact: Callable[[str], str] = str,
) -> None:
    """Check content by a type; `values` keeps what that makes of it.

    Raises:
        RefreshFailed: it is not of that type, at stage `schema`, with the first few reasons.
    """
    try:
        values.check(job, content, etag, declared, sent_as=sent_as)
    except Exception as error:  # noqa: BLE001  validators that users write raise what they will
        said = _said(error, redact)
    else:
        return
    # Outside of the handler: the error holds the content.
    message = f"the content is not of the type {name_of(declared.annotation)}: {said}"
    raise RefreshFailed(Stage.SCHEMA, message)


def name_of(annotation: Any) -> str:  # noqa: ANN401  any annotation will do
    """A type as a person would write it, or nearly so."""
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return clipped(annotation.__qualname__ if plain else str(annotation), _SHOWN)


def _said(error: Exception, redact: Callable[[str], str]) -> str:
    """What is wrong, without secrets: a part of one that was clipped would not be known as such."""
    if not isinstance(error, ValidationError):
        return clipped(redact(f"{type(error).__name__}: {error}"), _SHOWN)
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    told = "; ".join(clipped(redact(_sentence(each)), _SHOWN) for each in errors[:_ERRORS_TOLD])
    return f"{told}; and more" if len(errors) > _ERRORS_TOLD else told


def _sentence(error: ErrorDetails) -> str:
    place = "".join(f"/{step}" for step in error["loc"]) or "the root"
    return f"at {place}: {error['msg']}"
