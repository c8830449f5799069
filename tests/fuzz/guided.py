"""All parsers under atheris, which is guided by what each input reaches: `python -m tests.fuzz.guided SECONDS FOLDER`.

The first byte of an input picks the parser. What it found stays in FOLDER, and is where the next run begins.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lingua_scheduler"]):  # pyright: ignore[reportAttributeAccessIssue]
    from tests.fuzz.parsers import PARSERS, parse

NAMES = list(PARSERS)


def one(data: bytes) -> None:
    if data:
        parse(NAMES[data[0] % len(NAMES)], data[1:])


def main() -> None:
    seconds, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    for at, name in enumerate(NAMES):
        for count, seed in enumerate(PARSERS[name][2]):
            (folder / f"seed-{at}-{count}").write_bytes(bytes([at]) + seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={folder}/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, str(folder)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
