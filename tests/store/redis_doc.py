"""`docs/redis.md`: its catalogue of keys and its list of scripts are made from the code.

`python -m tests.store.redis_doc` writes them anew.
"""

import re

from lingua_scheduler.store.keys import key_table_markdown
from tests.tidy import sources

DOCUMENT = sources.ROOT / "docs/redis.md"
SCRIPTS = sources.ROOT / "src/lingua_scheduler/store/scripts"


def script_table() -> str:
    """One row a script: what its first line says, and its replies."""
    rows = ["| script | does | replies |", "|---|---|---|"]
    for path in sorted(SCRIPTS.glob("*.lua")):
        text = path.read_text()
        does = re.match(r"-- \w+: (.*)", text)
        reply = re.search(r"^-- Reply: ((?:.*\n--   )*.*)", text, re.MULTILINE)
        assert does, f"{path.name} has no head"
        assert reply, f"{path.name} does not tell its replies"
        words = re.sub(r"\n--\s+", " ", reply[1])
        told = " · ".join(f"`{one.strip()}`" for one in words.split("|"))
        rows.append(f"| `{path.name}` | {does[1]} | {told} |")
    return "\n".join(rows)


def document(text: str) -> str:
    """The page with its generated parts made anew."""
    for name, content in {"keys": key_table_markdown(), "scripts": script_table()}.items():
        marked = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        text, count = re.subn(marked, lambda found, new=content: f"{found[1]}{new}\n{found[2]}", text, flags=re.DOTALL)
        assert count == 1, f"the page has no place for {name}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(document(DOCUMENT.read_text()))
