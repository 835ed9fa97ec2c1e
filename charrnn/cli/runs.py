"""``charrnn runs``: what runs there are, and all that is known of one."""

from datetime import UTC, datetime

from charrnn.cli import options
from charrnn.cli.shell import end_with_clean_up, named_errors, write
from charrnn.cli.threads import set_threads
from charrnn.config import RUNS
from charrnn.display.console import note
from charrnn.display.progress import Bar
from charrnn.errors import OptionError
from charrnn.store.folder import find_folder


@named_errors("close other programs")
def list_runs(
    name: options.RunName = None,
    as_json: options.RunsJson = False,
    as_card: options.Card = False,
    runs: options.Runs = RUNS,
) -> None:
    """List the runs; or show all that is known of one, every setting included.

    Examples: charrnn runs; charrnn runs demo; charrnn runs demo --card > MODEL_CARD.md
    """
    if as_card and (as_json or name is None):
        raise OptionError("--card: it is of one run, and no JSON: charrnn runs NAME --card")
    set_threads(1)
    from charrnn.display.card import card
    from charrnn.display.runs import run_json, run_lines, runs_json, runs_table
    from charrnn.store.runs import all_runs, look_at

    end_with_clean_up()
    if name is not None:
        run = look_at(find_folder(runs, name))
        render = card if as_card else run_json if as_json else run_lines
        write(render(run).rstrip("\n") + "\n")
        return
    with Bar() as bar:
        found = all_runs(runs, lambda count: bar.show(str(runs), count, lambda: None, ""))
    if as_json:
        write(runs_json(found) + "\n")
    elif found:
        write(runs_table(found, datetime.now(UTC)) + "\n")
    else:
        note(f"{runs}: no run there: train one first, or name another --runs")
