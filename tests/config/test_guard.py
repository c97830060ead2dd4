from dataclasses import fields

from refresher.config.guard import KEYS
from refresher.model import GuardRules


def test_the_keys_of_the_table_are_those_of_the_rules() -> None:
    assert list(KEYS) == [key.name for key in fields(GuardRules)]
