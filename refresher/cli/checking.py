"""`refresher check`: what will run and when, or everything that is wrong with it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import assert_never

from refresher.cli.table import counted, table
from refresher.config import Config, JobPlan, load, state_directory, written_duration
from refresher.errors import ConfigError
from refresher.jobs.schedule import Cron, Interval, Schedule, due_from, seed_of
from refresher.security.redaction import Redactor
from refresher.service import build

_MOMENTS = 3
_CLOSE = 10.0
"""Seconds; due moments that are closer together are printed with milliseconds."""
_HEAD = ("JOB", "SCHEDULE", "TIMEOUT", "NEXT DUE (UTC)", "SOURCE")


def checked(path: Path, environ: Mapping[str, str]) -> Config:
    """A configuration, and the functions of its jobs imported.

    Raises:
        ConfigError: with every problem of the files, else of the functions.
    """
    config = load(path, environ=environ)
    build.import_functions(config)
    return config


def checked_job(path: Path, job: str, environ: Mapping[str, str]) -> tuple[Config, JobPlan]:
    """The same, for one job of it.

    Raises:
        ConfigError: with every problem of the files, else of the job; or no job has that name.
    """
    config = load(path, environ=environ)
    plan = config.jobs.get(job)
    if plan is None:
        near = get_close_matches(job, config.jobs, n=1)
        advice = f'did you mean "{near[0]}"?' if near else "`refresher check` lists them"
        raise ConfigError([f'{path}: no job is called "{job}", {advice}'])
    build.import_functions(replace(config, jobs={job: plan}))
    return config, plan


def overview(config: Config, environ: Mapping[str, str], *, now: float) -> str:
    """A table of the jobs, and in a sentence what holds for all of them."""
    server, count = config.server, len(config.jobs)
    summary = (
        f"{config.path}: {counted(count, 'job')}, to be served on {server.host} "
        f"port {server.port}; state directory {state_directory(config, environ)}"
    )
    jobs = table(_HEAD, (_row(plan, server.seed, now) for plan in config.jobs.values()))
    besides = "Besides, a job without data, or whose data is past due, is attempted at the start."
    text = f"{summary}\n\n{jobs}\n\n{besides}"
    return Redactor(config.secrets).redact(text)


def _row(plan: JobPlan, seed: str | None, now: float) -> tuple[str, ...]:
    schedule = build.schedule_of(plan.config)
    due = _due(plan.name, schedule, seed, now) if plan.config.enabled else "disabled"
    return (
        plan.name,
        _schedule_text(schedule),
        written_duration(plan.config.timeout),
        due,
        plan.shown,
    )


def _schedule_text(schedule: Schedule) -> str:
    match schedule:
        case Interval(seconds, jitter):
            when = f"every {written_duration(seconds)}"
        case Cron(expression, timezone, jitter):
            when = f"{expression} ({timezone})"
        case _:
            assert_never(schedule)
    return f"{when} + up to {written_duration(jitter)}" if jitter else when


def _due(name: str, schedule: Schedule, seed: str | None, now: float) -> str:
    """When it is due; without a seed as exactly as can be said before the store has been asked."""
    match schedule:
        case _ if seed is not None:
            return _moments(seed_of(name, seed), schedule, now)
        case Interval(seconds, jitter):
            return f"within {written_duration(seconds + jitter)}"
        case Cron():
            return _moments(name, replace(schedule, jitter=0.0), now)
        case _:
            assert_never(schedule)


def _moments(seed: str, schedule: Schedule, now: float) -> str:
    """The next due moments, the date where it differs from the one before."""
    exact = isinstance(schedule, Interval) and schedule.seconds < _CLOSE
    shown, day, at = [], None, now
    for _ in range(_MOMENTS):
        at = due_from(schedule, seed, at)
        if math.isinf(at):
            break
        moment = datetime.fromtimestamp(at, UTC)
        text = moment.time().isoformat("milliseconds" if exact else "seconds")
        shown.append(text if moment.date() == day else f"{moment.date()} {text}")
        day, at = moment.date(), math.nextafter(at, math.inf)
    return ", ".join(shown) or "never again"
