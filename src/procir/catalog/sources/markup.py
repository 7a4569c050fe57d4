"""The words of a text with HTML in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SILENT = frozenset({"script", "style"})
_INLINE = frozenset({"b", "i", "em", "strong", "span", "a", "u", "sup", "sub", "small"})


def plain_text(html: str) -> str:
    """The words, between them one space; scripts and styles are left out."""
    reader = _Reader()
    try:
        reader.feed(html)
        reader.close()
    except AssertionError:  # the parser's word for declarations that it does not know, such as "<![x"
        return " ".join(re.sub("<[^>]*>?", " ", html).split())
    return " ".join("".join(reader.words).split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - as inherited
        self._silent += tag in _SILENT
        self._space(tag)

    def handle_endtag(self, tag: str) -> None:
        self._silent = max(0, self._silent - (tag in _SILENT))
        self._space(tag)

    def _space(self, tag: str) -> None:
        if tag not in _INLINE:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)
