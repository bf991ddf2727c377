# SPDX-License-Identifier: Apache-2.0
"""Latency on a machine that is not at hand, from a plan made ahead of time.

from evit_deploy.profiles.predict import Asked, predict

whole = predict("b1-seg", Path(), Asked("orin"))
"""

from evit_deploy.profiles.predict.ask import CHANGES, Asked, WhatIf, Whole, predict, predict_changes
from evit_deploy.profiles.predict.machine import conditions, predictable
from evit_deploy.profiles.predict.predict import predict_plan
from evit_deploy.profiles.predict.prediction import PREDICTED, Conditions, KernelTime, Prediction, Terms
from evit_deploy.profiles.predict.published import Published, published
from evit_deploy.profiles.predict.subject import FALLBACK, Subject

__all__ = [
    "CHANGES", "FALLBACK", "PREDICTED", "Asked", "Conditions", "KernelTime", "Prediction", "Published", "Subject",
    "Terms", "WhatIf", "Whole", "conditions", "predict", "predict_changes", "predict_plan", "predictable", "published",
]  # fmt: skip
