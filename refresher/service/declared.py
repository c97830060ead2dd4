"""The types that the data of jobs must be of: what functions return, and what dependencies read."""

import json
import logging
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticErrorMixin
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, JsonSchemaWarningKind
from pydantic_core import CoreSchema

from refresher.config import Config, JobPlan
from refresher.config.definition import with_types
from refresher.config.problems import did_you_mean
from refresher.errors import ServiceError
from refresher.service import build
from refresher.values import Annotation, DeclaredType, Values, key_of, returned_type

logger = logging.getLogger("refresher")


@dataclass(frozen=True, slots=True)
class Dependency:
    """What was asked for with `depends()`."""

    job: str
    wanted: Annotation


@dataclass(frozen=True, slots=True)
class Declarations:
    """The types of each job that has any."""

    types: Mapping[str, tuple[DeclaredType, ...]]
    schemas: Mapping[str, tuple[str, ...]]
    """Their JSON schemas."""

    def of(self, job: str) -> tuple[DeclaredType, ...]:
        """The types of a job."""
        return self.types.get(job, ())

    def defined(self, config: Config) -> Config:
        """The configuration with these types as a part of the rules of its jobs."""
        typed = {
            name: replace(plan, definition=with_types(plan.definition, self.schemas[name]))
            for name, plan in config.jobs.items()
            if name in self.schemas
        }
        return replace(config, jobs={**config.jobs, **typed}) if typed else config


def declarations(
    config: Config, dependencies: Iterable[Dependency], values: Values
) -> Declarations:
    """The types of all jobs; `values` is made ready to validate by them.

    Raises:
        ServiceError: a dependency names no job, or what cannot be a type; has every problem.
    """
    found: dict[str, list[DeclaredType]] = {}
    problems = []
    for dependency in dependencies:
        try:
            type_ = type_read(dependency, config, values)
        except ServiceError as error:
            problems.append(str(error))
        else:
            if type_ is not None:
                found.setdefault(dependency.job, []).append(DeclaredType(type_, is_read=True))
    if problems:
        raise ServiceError("; ".join(dict.fromkeys(problems)))
    for plan in config.jobs.values():
        if plan.kind == "python":
            found.setdefault(plan.name, []).extend(returned(plan, values))
    types = {job: tuple(_distinct(each)) for job, each in found.items() if each}
    return Declarations(
        types=types,
        schemas={
            job: tuple(_json_schema(values.adapter(each.annotation)) for each in declared)
            for job, declared in types.items()
        },
    )


def type_read(dependency: Dependency, config: Config, values: Values) -> Any:  # noqa: ANN401
    """The type that a dependency requires; None where it requires none.

    Raises:
        ServiceError: it names no job, or what cannot be a type.
    """
    job = dependency.job
    plan = config.jobs.get(job)
    if plan is None:
        advice = did_you_mean(job, config.jobs)
        raise ServiceError(f"depends({job!r}): no job is called {job!r}; {advice}")
    annotation = dependency.wanted.annotation
    if annotation is not None:
        try:
            type_ = dependency.wanted.type
        except NameError as error:
            raise ServiceError(f"depends({job!r}, {annotation!r}): {error}") from error
    elif callable(plan.config.python):
        type_ = returned_type(job, plan.config.python)
    else:
        return None
    rules = type_ is not None and _is_rule(f"depends({job!r})", type_, values)
    return type_ if rules else None


def returned(plan: JobPlan, values: Values) -> list[DeclaredType]:
    """The type that a job's function returns, as far as that is what is served; none or one.

    With `select`, something else is served. A type that nobody can validate by, such as one that
    only a checker imports, is no rule: what the function returns may be good, and what reads it
    need not be a dependency.
    """
    if plan.kind != "python" or plan.config.select is not None:
        return []
    try:
        type_ = returned_type(plan.name, build.function_of(plan.config))
        if type_ is None or not _is_rule(f"{plan.name} says it returns", type_, values):
            return []
    except ServiceError as error:
        logger.warning("%s; until then, what it returns is not checked", error)
        return []
    return [DeclaredType(type_)]


def _is_rule(who: str, type_: Any, values: Values) -> bool:  # noqa: ANN401  any annotation will do
    """Whether not just anything is of that type.

    Raises:
        ServiceError: pydantic cannot validate by it.
    """
    try:
        return bool(values.adapter(type_).core_schema["type"] != "any")
    except Exception as error:  # the hooks of types that users write raise what they will
        said = error.message if isinstance(error, PydanticErrorMixin) else str(error)
        reason = said.partition("\n")[0]
        raise ServiceError(f"{who}: {type_!r} cannot be validated by: {reason}") from error


def _distinct(types: Iterable[DeclaredType]) -> Iterator[DeclaredType]:
    """Each type once; the first of a kind, which a dependency reads where any does."""
    seen: set[Hashable] = set()
    for each in types:
        key = key_of(each.annotation)
        if key not in seen:
            seen.add(key)
            yield each


class _Fingerprint(GenerateJsonSchema):
    """The JSON schema of any type, the same in every process."""

    def emit_warning(self, kind: JsonSchemaWarningKind, detail: str) -> None:
        """Say nothing: nobody reads this schema."""

    def handle_invalid_for_json_schema(
        self, schema: CoreSchema, error_info: str
    ) -> JsonSchemaValue:
        """What has no JSON schema counts as anything."""
        del schema, error_info
        return {}

    def encode_default(self, dft: Any) -> Any:  # noqa: ANN401  pydantic's signature
        """A default is no rule, and that of a set has another order in each process."""
        del dft
        return None


def _json_schema(adapter: TypeAdapter[Any]) -> str:
    schema = adapter.json_schema(schema_generator=_Fingerprint)
    return json.dumps(schema, sort_keys=True, default=str)
