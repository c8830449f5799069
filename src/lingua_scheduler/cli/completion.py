"""`lingua completion SHELL`: a script that completes commands and options.

The script holds all that it completes, so that pressing Tab starts nothing: it is printed anew where a shell starts, or
once into a file. Each shell finds the command under the cursor by the same rule: a word goes on the path where the path
so far has such a command.
"""

import argparse
from collections.abc import Callable, Iterator

from lingua_scheduler.cli import arguments
from lingua_scheduler.cli.console import Console
from lingua_scheduler.cli.grammar import Command, Flag, Takes, grammar

_EXAMPLES = """\
  lingua completion bash > ~/.local/share/bash-completion/completions/lingua
  lingua completion zsh > ~/.zfunc/_lingua           # a folder of $fpath
  lingua completion fish > ~/.config/fish/completions/lingua.fish"""


def add_parser(commands: arguments.Commands) -> None:
    parser = arguments.add_command(commands, "completion", "print a shell's completion script", _EXAMPLES)
    parser.add_argument("shell", choices=tuple(_SCRIPTS), help="for which shell")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    from lingua_scheduler.cli.main import make_parser

    console.line("\n".join(_SCRIPTS[args.shell](grammar(make_parser()))))
    return 0


# ------------------------------------------------------------------------------------------- bash


def _bash(root: Command) -> Iterator[str]:
    yield "# bash completion for lingua, made by `lingua completion bash`"
    yield "_lingua() {"
    yield "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} at='' words='' i"
    yield "    COMPREPLY=()"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '        case "$at ${COMP_WORDS[i]}" in'
    yield f'            {_bash_pattern(root)}) at="$at ${{COMP_WORDS[i]}}" ;;'
    yield "        esac"
    yield "    done"
    yield '    case "$at $prev" in'
    for command in root.walk():
        for flag in command.options:
            pattern = "|".join(f'"{_path(command)} {name}"' for name in flag.names)
            if flag.takes is not Takes.NOTHING:
                yield f"        {pattern}) {_bash_values(flag)}; return ;;"
    yield "    esac"
    yield '    case "$at" in'
    for command in root.walk():
        yield f'        "{_path(command)}") words="{" ".join(_words(command))}" ;;'
    yield "    esac"
    yield '    COMPREPLY=($(compgen -W "$words" -- "$cur"))'
    files = [f'"{_path(one)}"' for one in root.walk() if any(flag.takes is Takes.FILE for flag in one.positionals)]
    yield '    case "$at" in'
    yield f'        {"|".join(files)}) [[ $cur == -* ]] || COMPREPLY+=($(compgen -f -- "$cur")) ;;'
    yield "    esac"
    yield "}"
    yield "complete -o filenames -F _lingua lingua"


def _bash_pattern(root: Command) -> str:
    return "|".join(f'"{_path(one)}"' for one in root.walk() if one.words)


def _bash_values(flag: Flag) -> str:
    if flag.choices:
        return f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$cur"))'
    match flag.takes:
        case Takes.FILE:
            return 'COMPREPLY=($(compgen -f -- "$cur"))'
        case Takes.FOLDER:
            return 'COMPREPLY=($(compgen -d -- "$cur"))'
        case _:
            return ":"


# -------------------------------------------------------------------------------------------- zsh


def _zsh(root: Command) -> Iterator[str]:
    yield "#compdef lingua"
    yield "# zsh completion for lingua, made by `lingua completion zsh`"
    for command in root.walk():
        yield f"{_zsh_name(command)}() {{"
        specs = [spec for flag in command.flags for spec in _zsh_specs(flag)]
        if command.commands:
            yield "    local state line curcontext=$curcontext"
            specs += ["'1: :->command'", "'*:: :->rest'"]
        yield "    _arguments -C \\"
        yield "        " + " \\\n        ".join(specs)
        if command.commands:
            yield from _zsh_below(command)
        yield "}"
    # Loaded as a file of $fpath it is the function that is being called; sourced it has to be made known.
    yield 'if [ "$funcstack[1]" = _lingua ]; then _lingua "$@"; else compdef _lingua lingua; fi'


def _zsh_below(command: Command) -> Iterator[str]:
    listed = " ".join(_quoted(f"{one.words[-1]}:{one.what}") for one in command.commands)
    yield "    case $state in"
    yield f"        command) local -a commands=({listed}); _describe command commands ;;"
    yield "        rest) case $words[1] in"
    for one in command.commands:
        yield f"            {one.words[-1]}) {_zsh_name(one)} ;;"
    yield "        esac ;;"
    yield "    esac"


def _zsh_specs(flag: Flag) -> Iterator[str]:
    action = {Takes.FILE: "_files", Takes.FOLDER: "_files -/"}.get(flag.takes, "")
    value = f":{flag.shown}:{action}" if flag.takes is not Takes.NOTHING else ""
    if flag.choices:
        value = f":{flag.shown}:({' '.join(flag.choices)})"
    what = flag.what.replace("[", "(").replace("]", ")").replace(":", "\\:")
    if not flag.names:
        yield _quoted(f"{'' if flag.is_required else ':'}:{value.removeprefix(':')}")
    for name in flag.names:
        yield _quoted(f"{name}[{what}]{value}")


def _zsh_name(command: Command) -> str:
    return "_".join(("_lingua", *command.words))


# ------------------------------------------------------------------------------------------- fish


def _fish(root: Command) -> Iterator[str]:
    yield "# fish completion for lingua, made by `lingua completion fish`"
    yield "function __lingua_at"
    yield "    set -l at ''"
    yield "    for word in (commandline -opc)[2..-1]"
    yield '        switch "$at $word"'
    yield f"            case {' '.join(_quoted(_path(one)) for one in root.walk() if one.words)}"
    yield '                set at "$at $word"'
    yield "        end"
    yield "    end"
    yield '    test "$at" = "$argv[1]"'
    yield "end"
    yield "complete -c lingua -f"
    for command in root.walk():
        here = "complete -c lingua -n " + _quoted(f'__lingua_at "{_path(command)}"')
        for one in command.commands:
            yield f"{here} -a {one.words[-1]} -d {_quoted(one.what)}"
        for flag in command.flags:
            yield f"{here} {_fish_flag(flag)}"


def _fish_flag(flag: Flag) -> str:
    names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in flag.names)
    told = f"{names} -d {_quoted(flag.what)}".strip()
    if flag.choices:
        return f"{told}{' -x' if names else ''} -a {_quoted(' '.join(flag.choices))}"
    match flag.takes:
        case Takes.NOTHING:
            return told
        case Takes.FILE:
            return f"{told} {'-r ' if names else ''}-F"
        case Takes.FOLDER:
            return f"{told} -x -a '(__fish_complete_directories)'"
        case Takes.VALUE:
            return f"{told} -x" if names else told


# ---------------------------------------------------------------------------------------- for all


def _path(command: Command) -> str:
    """The words with a blank before each."""
    return "".join(f" {word}" for word in command.words)


def _words(command: Command) -> Iterator[str]:
    yield from (one.words[-1] for one in command.commands)
    for flag in command.flags:
        yield from flag.names or flag.choices


def _quoted(text: str) -> str:
    """One word of a shell: bash, zsh and fish read a quote that stands apart alike."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


_SCRIPTS: dict[str, Callable[[Command], Iterator[str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
