"""``workbook completion``: a script by which bash, zsh or fish complete commands, options and names.

Names of experiments, notebooks and runs are listed by the shell itself, each time anew: Python takes a second to start.
"""

from __future__ import annotations

import argparse
import shlex

from faceworkbook import project

SHELLS = ("bash", "zsh", "fish")
EXPERIMENTS, NOTEBOOKS, RUNS = "experiments", "notebooks", "runs"
# Whose values are names; other arguments without choices are files.
NAMES = {
    ("run", "experiment"): EXPERIMENTS,
    ("params", "notebook"): NOTEBOOKS,
    **dict.fromkeys((("show", "run"), ("diff", "first"), ("diff", "second"), ("note", "run")), RUNS),
    **dict.fromkeys((("bundle", "run"), ("pdf", "page"), ("export-runs", "runs")), RUNS),
}
FILES = {
    *(("run", "parameters"), ("inspect", "place"), ("evaluate", "predictions"), ("evaluate", "against")),
    *(("predict", "source"), ("predict", "weights"), ("predict", "csv"), ("predict", "model")),
    *(("serve", "model"), ("serve", "weights"), ("export", "model"), ("export", "weights")),
    *(
        ("verify", "bundle"),
        ("html", "notebook"),
        ("html", "output"),
        ("pdf", "output"),
        ("schema", "output"),
    ),
}
FOLDERS = ("root", "results", "draw", "out")
_HOW = {
    "bash": "workbook completion bash > ~/.local/share/bash-completion/completions/workbook",
    "zsh": 'workbook completion zsh > "${fpath[1]}/_workbook"',
    "fish": "workbook completion fish > ~/.config/fish/completions/workbook.fish",
}
# Of bash and zsh alike.
_POSIX = """
_workbook_names() {{
  local home="${{FACEWORKBOOK_HOME:-}}" place
  [ -n "$home" ] || home={root}
  case "$1" in
    experiments) for place in "$home"/notebooks/experiments/*.yaml {shipped}/notebooks/experiments/*.yaml; do
        [ -e "$place" ] && basename "$place" .yaml; done ;;
    notebooks) for place in "$home"/notebooks/*.ipynb {shipped}/notebooks/*.ipynb; do
        [ -e "$place" ] && basename "$place" .ipynb; done ;;
    runs) for place in "$home"/results/*/*/environment.json; do
        [ -e "$place" ] && basename "$(dirname "$(dirname "$place")")"; done ;;
  esac | sort -u
}}
"""
_PREAMBLES = {
    "bash": _POSIX
    + "".join(
        f"""_workbook_{what}() {{{{
  compgen -W "$(_workbook_names {what})" -- "$1"
  compgen -f -- "$1"
}}}}
"""
        for what in (EXPERIMENTS, NOTEBOOKS, RUNS)
    ),
    "zsh": _POSIX.replace("  local home", "  emulate -L sh\n  local home", 1)
    + "".join(
        f"""_workbook_{what}() {{{{
  local -a names
  names=(${{{{(f)"$(_workbook_names {what})"}}}})
  compadd -a names
  _files
}}}}
"""
        for what in (EXPERIMENTS, NOTEBOOKS, RUNS)
    ),
    "fish": """
function _workbook_names
  set -l home $FACEWORKBOOK_HOME
  test -n "$home"; or set home {root}
  begin
    switch $argv[1]
      case experiments
        for place in $home/notebooks/experiments/*.yaml {shipped}/notebooks/experiments/*.yaml; basename $place .yaml; end
      case notebooks
        for place in $home/notebooks/*.ipynb {shipped}/notebooks/*.ipynb; basename $place .ipynb; end
      case runs
        for place in $home/results/*/*/environment.json; basename (dirname (dirname $place)); end
    end
  end | sort -u
end
""",
}


def add(commands, parser: argparse.ArgumentParser) -> None:
    """Add the command to the sub-parsers of ``workbook``, whose whole parser it describes."""
    completion = commands.add_parser(
        "completion",
        help="print a script by which bash, zsh or fish complete commands, options, and names of experiments and runs",
    )
    completion.add_argument("shell", choices=SHELLS)
    completion.set_defaults(command=lambda options: _print(parser, options.shell))


def _print(parser: argparse.ArgumentParser, shell: str) -> int:
    first, _, rest = script(parser, shell).partition("\n")
    print(
        f"{first}\n# Kept by: {_HOW[shell]}\n{rest}", end=""
    )  # zsh reads what the script is for in the first line
    return 0


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script for a shell."""
    import shtab

    for name, command in _commands(parser).items():
        for action in command._actions:
            how = _completer(name, action)
            if how is not None:
                action.complete = how
    quoted = {"root": _quote(project.root()), "shipped": _quote(project.SHIPPED)}
    return shtab.complete(parser, shell=shell, preamble=_PREAMBLES[shell].format(**quoted))


def _quote(path) -> str:
    return shlex.quote(str(path))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(groups[0].choices)


def _completer(command: str, action: argparse.Action) -> dict | None:
    import shtab

    what = NAMES.get((command, action.dest))
    if what is not None:
        names = f"(_workbook_names {what}; __fish_complete_path (commandline -ct))"
        return {"bash": f"_workbook_{what}", "zsh": f"_workbook_{what}", "fish": names}
    if action.dest in FOLDERS and action.option_strings:
        return shtab.DIRECTORY
    return shtab.FILE if (command, action.dest) in FILES else None
