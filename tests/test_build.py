import dataclasses

from refresher.build import rules_of
from refresher.config.models import GuardConfig
from refresher.pipeline import GuardRules, Rules
from tests.config.configs import job


def test_every_rule_of_a_job_reaches_the_pipeline() -> None:
    guard = {
        "min_items": 1,
        "max_items": 9,
        "max_shrink": "50%",
        "max_growth": "200%",
        "required": ["a"],
        "allow_empty": True,
        "duplicate_keys": "reject",
    }
    assert rules_of(job(format="csv", raw=True, guard=guard)) == Rules(
        format="csv",
        raw=True,
        guard=GuardRules(
            min_items=1,
            max_items=9,
            max_shrink=0.5,
            max_growth=2.0,
            required=("a",),
            allow_empty=True,
            duplicate_keys="reject",
        ),
    )
    assert rules_of(job(select="a")) == Rules(select="a")


def test_what_is_not_written_rules_nothing() -> None:
    assert rules_of(job()) == Rules()
    fields = {field.name for field in dataclasses.fields(GuardRules)}
    assert fields <= {field.name for field in dataclasses.fields(GuardConfig)}
