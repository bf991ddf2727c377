# SPDX-License-Identifier: Apache-2.0
"""Pages as a program sees them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

from evit_deploy.profiles.pages.page import render_page
from evit_deploy.profiles.pages.pictures import Pictures
from evit_deploy.profiles.reading import Recorded, Report

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("src", "href", "srcset", "data", "action") if found.get(name)]
        self.ids += [found["id"]] if "id" in found else []
        self.labels += [found["aria-labelledby"]] if "aria-labelledby" in found else []
        if tag == "img":
            self.alts.append(found.get("alt", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page_of(report: Report, pictures: Pictures | None = None, **recorded: object) -> str:
    """The page of a report that is not written."""
    found = Recorded(Path(report.engine), report, None, recorded.pop("evaluations", ()))  # type: ignore[arg-type]
    return render_page(found, pictures or Pictures(), **recorded)  # type: ignore[arg-type]
