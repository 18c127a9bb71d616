"""``workbook plan``: how many people and faces show a difference, a gap or a figure with so wide an interval."""

from __future__ import annotations

import argparse
from pathlib import Path

GOALS = ("difference", "gap", "width")


def add(commands) -> None:
    """Add the command to the sub-parsers of ``workbook``."""
    plan = commands.add_parser(
        "plan",
        help="count the people and faces that a question needs, before there are data",
        description=__doc__.split(": ", 1)[1],
    )
    plan.add_argument(
        "goal", choices=GOALS, help="difference of two models, gap between groups, width of an interval"
    )
    plan.add_argument(
        "size", type=float, help="the difference or gap that matters, or how far the interval reaches"
    )
    plan.add_argument(
        "--accuracy", type=float, default=0.9, help="that is expected (gap: of the others; default .9)"
    )
    plan.add_argument(
        "--discordant",
        type=float,
        default=0.08,
        help="share of faces that only one model gets right (default .08)",
    )
    plan.add_argument(
        "--share", type=float, default=0.2, help="share of people who are of the group (default .2)"
    )
    plan.add_argument(
        "--noise", type=float, default=0.0, help="standard deviation of one face's value, for numbers"
    )
    plan.add_argument(
        "--correlation", type=float, default=0.2, help="of the values of two faces of a person (default .2)"
    )
    plan.add_argument("--faces-a-person", type=float, default=5.0, help="on average (default 5)")
    plan.add_argument(
        "--variation",
        type=float,
        default=1.0,
        help="standard deviation over mean of faces a person (default 1)",
    )
    plan.add_argument("--power", type=float, default=0.8, help="share of trials that show it (default .8)")
    plan.add_argument(
        "--pilot", type=Path, nargs="+", default=[], metavar="RUN",
        help="run folder or file of predictions, two for a difference: noise, correlation and faces a person from there",
    )  # fmt: skip
    plan.add_argument(
        "--picture", type=Path, help="file for the picture of people against size (PNG, PDF, SVG)"
    )
    plan.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Print the plan; return the exit code."""
    from faceworkbook import project
    from faceworkbook.evaluation import pilot, planning
    from faceworkbook.evaluation.comparison import read_runs

    assumed = planning.Assumptions(options.accuracy, options.discordant, options.share, options.noise)
    faces = planning.FacesOfPeople(options.faces_a_person, options.variation, options.correlation)
    if options.pilot:
        measured = pilot.read_pilot(*read_runs([project.resolve(place) for place in options.pilot]).values())
        print(pilot.describe(measured))
        assumed, faces = pilot.assume(measured, options.goal, assumed), measured.faces
    goal = planning.make_goal(options.goal, options.size, assumed, power=options.power)
    print(planning.describe(goal, faces, planning.people_needed(goal, faces)))
    print("\nwith other numbers of faces a person:")
    print(
        planning.alternatives(goal, faces).to_string(index=False, float_format=lambda value: f"{value:,.2f}")
    )
    if options.picture:
        from faceworkbook.plots.plan import PlanDisplay

        PlanDisplay.from_goal(goal, faces).plot().figure_.savefig(options.picture)
        print(f"picture: {options.picture}")
    return 0
