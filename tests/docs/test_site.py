"""The documentation as a site: whole, without a broken link, and without anything from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOADED = re.compile(r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="?([^">\s]+)|<link\b[^>]*\bhref="?([^">\s]+)""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `dev.py docs` does it: every page in the navigation, every link and anchor followed."""
    folder = tmp_path_factory.mktemp("site")
    program = Path(sys.executable).with_name("mkdocs")
    command = ["env", "NO_MKDOCS_2_WARNING=1", program, "build", "--strict", "--quiet", "--site-dir", folder]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_is_there(site: Path):
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    pages = {page.with_name("index.html") if page.name == "README.html" else page for page in pages}
    assert {page for page in pages if not (site / page).exists()} == set()


def test_nothing_is_loaded_from_elsewhere(site: Path):
    found = {
        address
        for page in site.rglob("*.html")
        for pair in LOADED.findall(page.read_text("utf-8"))
        for address in pair
        if re.match(r"\w+:|//", address)
    }
    sheets = {
        name for name in site.rglob("*.css") if re.search(r"url\(\W?(https?:|//)|@import", name.read_text("utf-8"))
    }
    assert (found, sheets) == (set(), set())


def test_what_a_page_loads_is_seen():
    assert LOADED.findall('<script async src="https://a/b.js"><link rel=icon href=//c/d>') == [
        ("https://a/b.js", ""), ("", "//c/d"),
    ]  # fmt: skip


def test_states_are_drawn(site: Path):
    page = (site / "states.html").read_text("utf-8")
    assert page.count('<figure class="states">') == 4
    assert "stateDiagram" not in page


def test_links_to_files_of_the_repository_show_them(site: Path):
    page = (site / "node-guide.html").read_text("utf-8")
    assert 'href="files/examples/node_py.html"' in page
    assert "node_register" in (site / "files/examples/node_py.html").read_text("utf-8")
