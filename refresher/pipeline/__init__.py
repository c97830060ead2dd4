"""The pipeline: from the body of an answer to content fit to serve, or the reason why it is not.

Every step is a pure function of values that can be pickled: a worker process can run it as well.
"""

from refresher.model import GuardRules
from refresher.pipeline.decode import FormatRule, Reading
from refresher.pipeline.guard import Served
from refresher.pipeline.steps import Rules, refine, refine_telling

__all__ = ["FormatRule", "GuardRules", "Reading", "Rules", "Served", "refine", "refine_telling"]
