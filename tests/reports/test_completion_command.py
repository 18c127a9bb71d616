"""Shells complete commands, options, and the names of experiments, notebooks and runs."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from faceworkbook import cli
from faceworkbook.reports import completion_command as completion


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A project whose folder bears a space and a quotation mark, with an experiment, a notebook and a run of its own."""
    home = tmp_path / "my 'own' faces"
    for place in (
        "notebooks/experiments/mine.yaml",
        "notebooks/20_mine.ipynb",
        "results/first run/s/environment.json",
    ):
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text("")
    (home / "results" / "mine.seed-1" / "03_classifier").mkdir(parents=True)
    (home / "results" / "mine.seed-1" / "03_classifier" / "environment.json").write_text("{}")
    (home / "results" / "descriptors").mkdir()
    monkeypatch.setenv("FACEWORKBOOK_HOME", str(home))
    return home


def ask(script, *words):
    """Return what bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in ("workbook", *words))
    program = f"source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words)}; _shtab_workbook; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "-c", program],
        capture_output=True,
        text=True,
        cwd=script.parent,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash on this machine")
def test_bash_completes_commands_options_and_names(home, tmp_path, capsys):
    assert cli.main(["completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    (tmp_path / "mine_too.yaml").write_text("")
    assert ask(script, "comp") == ["completion"]
    assert ask(script, "run", "min") == ["mine", "mine_too.yaml"]  # a file of the working directory too
    assert "demo" in ask(script, "run", "de")  # those that come with the package
    assert ask(script, "params", "20") == ["20_mine"]
    assert ask(script, "show", "mine.") == ask(script, "diff", "x", "mine.") == ["mine.seed-1"]
    assert ask(script, "run", "--dry") == ["--dry-run"] and ask(script, "completion", "f") == ["fish"]
    assert ask(script, "run", "x", "--cluster", "") == ["ray"]


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_each_shell_has_a_script_with_every_command_and_where_it_belongs(home, shell, capsys):
    assert cli.main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    for command in completion._commands(cli._parser()):
        assert command in printed
    assert f"Kept by: workbook completion {shell}" in printed.splitlines()[1]
    assert printed.startswith("#compdef workbook\n") is (shell == "zsh")
    for what in (completion.EXPERIMENTS, completion.NOTEBOOKS, completion.RUNS):
        assert f"_workbook_names {what}" in printed
    assert shell == "zsh" or "{root}" not in printed


def test_what_is_completed_by_names_and_files_are_arguments_that_there_are():
    commands = completion._commands(cli._parser())
    for command, name in [*completion.NAMES, *completion.FILES]:
        assert name in {action.dest for action in commands[command]._actions}, (command, name)
