# SPDX-License-Identifier: Apache-2.0
"""What was recorded, for people: one HTML page per profile, and an index over all of them."""

from evit_deploy.profiles.pages.forecast import write_prediction_page
from evit_deploy.profiles.pages.page import write_page
from evit_deploy.profiles.pages.pictures import Pictures, frame_pictures, write_pictures
from evit_deploy.profiles.pages.remake import Remade, remake
from evit_deploy.profiles.pages.template import require_page_packages

__all__ = [
    "Pictures",
    "Remade",
    "frame_pictures",
    "remake",
    "require_page_packages",
    "write_page",
    "write_pictures",
    "write_prediction_page",
]
