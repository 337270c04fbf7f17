"""What a browser would find in a report."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """Asserts that elements nest, and collects texts, tables and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        """Their labels."""
        self.feed(text)
        self.close()
        assert not self.open

    @property
    def cells(self) -> set[str]:
        return {cell for row in self.rows for cell in row}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        attributes = {name: value or "" for name, value in attrs}
        self.ids += [value for name, value in attributes.items() if name == "id"]
        self.links += [value for name, value in attributes.items() if name.endswith(("href", "src"))]
        if tag == "svg":
            self.pictures.append(attributes.get("aria-label", ""))
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if self.open and tag != "meta":
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
