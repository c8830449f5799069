"""What the site needs beyond the pages in this folder: the files around it that they link to, and drawn states.

Pages link to files of the repository as they lie there. Those that are pages themselves (SECURITY.md …) become pages
of the site, others a page that shows their text; links are rewritten, so that `mkdocs build --strict` follows each.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "bench/RESULTS.md": "measurements.md",
}
"""Where pages that lie elsewhere in the repository stand in the site."""
ICON = ("images/icon.svg", ROOT / "src/lingua_scheduler/web/icon.svg")
LANGUAGES = {".py": "python", ".toml": "toml", ".html": "html", ".lua": "lua", ".yml": "yaml", ".json": "json"}
LINK = re.compile(r"(?<=\[)([^\[\]]*)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCES = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DIAGRAM = "```mermaid\nstateDiagram-v2\n"


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    for origin, uri in PAGES.items():
        if uri not in files.src_uris:
            files.append(File.generated(config, uri, content=(ROOT / origin).read_text("utf-8")))
    files.append(File.generated(config, ICON[0], content=ICON[1].read_text("utf-8")))
    shown: set[str] = set()
    for file in files.documentation_pages():
        for _, target, _ in _links(file.content_string):
            path = _repository_path(file.src_uri, target)
            if _site_uri(path).startswith("files/") and path not in shown and (ROOT / path).exists():
                shown.add(path)
    for path in sorted(shown):
        files.append(File.generated(config, _site_uri(path), content=_shown(path)))
    return files


def on_page_markdown(markdown: str, page: "Page", config: "MkDocsConfig", files: "Files") -> str:
    here = page.file.src_uri

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        uri = _site_uri(_repository_path(here, target))
        linked = files.get_file_from_path(uri)
        if text.endswith(".md") and not anchor and linked is not None:  # a name for people, not for files
            text = linked.content_string.removeprefix("# ").partition("\n")[0]
        return f"{text}]({posixpath.relpath(uri, posixpath.dirname(here) or '.')}{anchor}"

    told: list[str] = []
    for part in _parts(markdown):
        if part.startswith(DIAGRAM):
            told.append(drawn(table=told[-1].rpartition("| state |")[2], source=part))
        else:
            told.append(part if part.startswith("```") else LINK.sub(rewritten, part))
    return "".join(told)


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """All decisions, each under its own title, and at the end what `mkdocs.yml` has given no place yet."""
    pages = sorted(path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    listed = ["decisions/README.md", *(f"decisions/{page}" for page in pages if page != "000-template.md")]
    sections = cast("list[dict[str, list[str]]]", config.nav)
    next(section for section in sections if "Decisions" in section)["Decisions"] = listed
    placed = {page for section in sections for pages in section.values() for page in pages}
    if rest := sorted({path.name for path in (ROOT / "docs").glob("*.md")} - placed):
        sections.append({"More": rest})
    return config


def _parts(markdown: str) -> Iterator[str]:
    """Text and fenced blocks, in turn."""
    at = 0
    for fence in FENCES.finditer(markdown):
        yield markdown[at : fence.start()]
        yield fence[0]
        at = fence.end()
    yield markdown[at:]


def _links(markdown: str) -> list[tuple[str, str, str]]:
    return [link for part in _parts(markdown) if not part.startswith("```") for link in LINK.findall(part)]


def _repository_path(page: str, target: str) -> str:
    """Where a link of a page leads, as a path from the root of the repository."""
    origin = next((path for path, uri in PAGES.items() if uri == page and uri != "index.md"), f"docs/{page}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))


def _site_uri(path: str) -> str:
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"files/{path.replace('.', '_')}.md"


def _shown(path: str) -> str:
    """A page that shows a file, or names what a folder holds."""
    origin = ROOT / path
    head = f"---\nsearch:\n  exclude: true\n---\n# {path}\n\n"
    if origin.is_dir():
        return head + "\n".join(f"- `{one.name}`" for one in sorted(origin.iterdir()) if one.suffix in LANGUAGES) + "\n"
    return f"{head}````{LANGUAGES.get(origin.suffix, 'text')}\n{origin.read_text('utf-8').rstrip()}\n````\n"


# --- diagrams of states: one below the other, ways forward as arcs on the right, ways back on the left ---

WIDTH, HEIGHT, STEP, REACH = 132, 30, 50, 24
ARROWHEAD = """\
<defs><marker id="way" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z"/></marker></defs>"""


def drawn(table: str, source: str) -> str:
    """An SVG of a Mermaid state diagram's transitions, states in the order of their table. No script draws it."""
    edges = [(one, other) for one, other in re.findall(r"(\S+) --> (\S+)", source) if "[*]" not in (one, other)]
    states = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    at = {state: index for index, state in enumerate(states)}
    left = 30 + REACH * max([at[a] - at[b] for a, b in edges if at[a] > at[b]], default=0) / 2
    right = 30 + REACH * max([at[b] - at[a] for a, b in edges], default=0) / 2
    width, height = left + WIDTH + right, STEP * len(states) + 4
    lines = [_arc(at[a], at[b], left) for a, b in edges]
    boxes = [_box(state, index, left) for state, index in at.items()]
    label = f"{len(states)} states and the {len(edges)} ways between them; the table below says when each is taken"
    return "\n".join([
        '<figure class="states">',
        f'<svg viewBox="0 0 {width:g} {height}" width="{width:g}" role="img" aria-label="{label}">',
        ARROWHEAD,
        *lines, *boxes, "</svg>", "</figure>",
    ])  # fmt: skip


def _arc(start: int, end: int, left: float) -> str:
    """Leaves a little below a state's middle and arrives a little above it, so that ways there and back part."""
    down = end >= start
    x = left + WIDTH if down else left
    y1, y2 = (2 + STEP * index + HEIGHT / 2 + shift for index, shift in ((start, 5), (end, -5)))
    if start == end:
        y1, y2 = y2, y1
    bend = (20 + REACH * abs(end - start) / 2) * (1.25 if down else -1.25)
    curve = f"M{x:g} {y1:g}C{x + bend:g} {y1:g} {x + bend:g} {y2:g} {x:g} {y2:g}"
    return f'<path class="{"on" if down else "back"}" d="{curve}"/>'


def _box(state: str, index: int, left: float) -> str:
    y = 2 + STEP * index
    return (
        f'<rect x="{left:g}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>'
        f'<text x="{left + WIDTH / 2:g}" y="{y + HEIGHT / 2 + 5:g}">{state}</text>'
    )
