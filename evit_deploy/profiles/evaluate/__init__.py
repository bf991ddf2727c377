# SPDX-License-Identifier: Apache-2.0
"""Accuracy of an engine on a data set, by the reference's own metrics.

from evit_deploy.profiles.evaluate import evaluate_engine, parse_dataset

evaluation, path = evaluate_engine(Path("engines/b1-seg.cpu.fp32"), parse_dataset("cityscapes:DIR"), Path("profiles"))
"""

from evit_deploy.profiles.evaluate.engine import evaluate_engine
from evit_deploy.profiles.evaluate.kinds import KINDS, parse_dataset
from evit_deploy.profiles.evaluate.record import Evaluation
from evit_deploy.profiles.evaluate.run import Options
from evit_deploy.profiles.evaluate.task import Request

__all__ = ["KINDS", "Evaluation", "Options", "Request", "evaluate_engine", "parse_dataset"]
