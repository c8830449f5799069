"""docs/command-line.md, written from the parser: `python -m lingua_scheduler.cli.reference > docs/command-line.md`."""

import sys
from collections.abc import Iterator

from lingua_scheduler.cli.grammar import Command, Flag, grammar
from lingua_scheduler.cli.main import ERROR_CODES, EXIT_CODES, make_parser

_HEAD = """\
# The command line

<!-- Written by `python -m lingua_scheduler.cli.reference > docs/command-line.md`; a test compares them. -->

`lingua COMMAND --help` says the same as this page. What a command shares with its configuration may stand in a TOML
file, in `LINGUA_…` variables or in flags; the later wins, and `lingua config` shows what holds.

## What every command keeps to

- Results go to stdout, everything else to stderr. Colours, bars and spinners appear on terminals alone;
  `NO_COLOR` takes the colours away, `TERM=dumb` all of it.
- With `--json` stdout holds JSON alone and its last line is the result, one object; what people read goes to stderr.
  An error is an object too: `{"error": {"code": "…", "message": "…"}}`.
- A mistake is told in one sentence with its remedy. `LINGUA_DEBUG=1` shows the traceback of a bug.
- Ctrl-C ends a command in order: a node finishes what it has, an embedded Redis ends. A second one does not wait.
"""
_COMPLETION = """\
## Completion

`lingua completion SHELL` prints a script with all commands and options in it: pressing Tab starts no program.

| shell | once |
|---|---|
| bash | `lingua completion bash > ~/.local/share/bash-completion/completions/lingua` |
| zsh | `lingua completion zsh > ~/.zfunc/_lingua`, a folder of `$fpath` |
| fish | `lingua completion fish > ~/.config/fish/completions/lingua.fish` |

In a shell that runs, `source <(lingua completion bash)` does it until its end.
"""


def reference() -> Iterator[str]:
    """The lines of the page."""
    yield from _HEAD.splitlines()
    yield from ("", "| exit code | means |", "|---|---|")
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    named = ", ".join(f"`{code}`" for code in sorted({*ERROR_CODES, "UNREACHABLE", "REFUSED", "TIMEOUT"}))
    yield from ("", f"Codes of errors: {named}, and those of the [protocol](protocol.md) where a session fails.", "")
    yield from _COMPLETION.splitlines()
    for command in grammar(make_parser()).walk():
        if command.words:
            yield from _section(command)


def _section(command: Command) -> Iterator[str]:
    usage = ["lingua", *command.words, *(flag.shown for flag in command.positionals if flag.is_required)]
    yield from ("", f"{'#' * (1 + len(command.words))} {' '.join(usage)}", "", f"{command.what}.")
    if command.commands:
        yield from ("", ", ".join(f"`{' '.join(one.words)}`" for one in command.commands) + ": see below.")
        return
    yield from ("", "| flag | |", "|---|---|")
    yield from (_row(flag) for flag in command.flags if "--help" not in flag.names)
    yield from ("", "```sh", *command.examples, "```")


def _row(flag: Flag) -> str:
    value = f" {flag.shown}" if flag.names and flag.shown and not flag.choices else ""
    name = " or ".join(f"`{name}{value}`" for name in flag.names) or f"`{flag.shown}`"
    told = [flag.what] if flag.what else []
    told += [" or ".join(f"`{choice}`" for choice in flag.choices)] if flag.choices else []
    told += ["needed"] if flag.is_required and flag.names else []
    return f"| {name} | {'; '.join(told)} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join(reference()) + "\n")
