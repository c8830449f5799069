"""Nothing in the repository names the machine it was written on, or the address of a package index."""

import os
import re

from tests.tidy import sources

# Pieces are joined here so that this file does not find itself.
INDEX_HOSTS = [
    "pypi" + ".org",
    "pythonhosted" + ".org",
    "npmjs" + ".org",
    "deb.debian" + ".org",
    "crates" + ".io",
    "proxy.golang" + ".org",
    "repo.maven" + ".apache.org",
]
HOMES = [rf"/{folder}/[a-z]" for folder in ("root", "home", "Users")]


def configured_hosts() -> list[str]:
    """Hosts that this machine's own settings name as package indexes."""
    settings = " ".join(value for name, value in os.environ.items() if re.search(r"INDEX|REGISTRY|PROXY", name.upper()))
    hosts = set(re.findall(r"https?://(?:[^/@\s]*@)?([A-Za-z0-9.-]+)", settings))
    return sorted(hosts - {"localhost", "127.0.0.1"})


def traces(text: str) -> list[str]:
    words = [re.escape(word) for word in [*INDEX_HOSTS, *configured_hosts(), f"{sources.ROOT}/"]]
    return [match[0] for match in re.finditer("|".join(words + HOMES), text)]


def test_no_file_names_a_machine_or_an_index():
    found = {sources.name(path): traces(sources.text(path)) for path in sources.files()}
    assert not {name: words for name, words in found.items() if words}


def test_a_trace_is_found():
    text = f"see {sources.ROOT}/x, files.{INDEX_HOSTS[1]}, /{'home'}/someone and /rooted/things"
    assert traces(text) == [f"{sources.ROOT}/", INDEX_HOSTS[1], f"/{'home'}/s"]
