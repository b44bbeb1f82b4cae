"""The commands of the command line, each of which imports what it needs when it runs.

options     options that several commands share, and how they are read
printing    tables, documents and notes
prompts     run, select
results     leaderboard, compare
trained     baseline, breakeven, predict
look        list, show, fetch
"""

from __future__ import annotations

from harness.commands.look import fetch_command, list_command, show_command
from harness.commands.prompts import run_command, select_command
from harness.commands.results import compare_command, leaderboard_command
from harness.commands.trained import baseline_command, breakeven_command, predict_command

COMMANDS = (
    run_command,
    select_command,
    leaderboard_command,
    compare_command,
    baseline_command,
    breakeven_command,
    predict_command,
    list_command,
    show_command,
    fetch_command,
)

__all__ = ["COMMANDS"]
