# SPDX-License-Identifier: Apache-2.0
"""The page of ``evit-deploy demo-sam`` and the small server behind it. Needs the extra ``web``."""
