# SPDX-License-Identifier: Apache-2.0
"""Charts for the pages: each file draws one kind, as inline SVG."""
