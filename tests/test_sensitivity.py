"""What a row's cells tell beyond their mean, against numpy and scikit-learn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import Commands
from conftest import Project
from scipy import stats
from sklearn.metrics import brier_score_loss

from harness.cell_results import read_cells
from harness.run_store import stored_runs
from harness.sensitivity import sensitivity
from harness.statistics import standard_error
from harness.summary import Row, summarise

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def stored(harness: Commands, project: Project, tiny_gpt2: Path) -> Commands:
    """A run of two templates, two seeds and 20 items."""
    options = ("--shots", "0,2", "--demo-seeds", "0,1")
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, *options)
    return harness


def test_a_full_grid_gives_quantiles_of_the_prompts_own_accuracies(stored: Commands) -> None:
    for row in summarise(read_cells(stored_runs(Path("results")))):
        own = [float(np.mean(cell.prediction == cell.gold)) for cell in row.cells]
        assert sensitivity(row).quantiles == pytest.approx(np.quantile(own, (0.05, 0.5, 0.95)).tolist())


def test_the_grand_mean_and_its_error_are_those_of_the_grid(stored: Commands) -> None:
    for row in summarise(read_cells(stored_runs(Path("results")))):
        found = sensitivity(row)
        assert found.variance is not None
        assert found.variance.mean == pytest.approx(row.item_accuracy.mean())
        assert sum(found.shares.values()) == pytest.approx(1)
        limit = float(stats.t.ppf(0.975, found.variance.freedom))
        assert found.half_width == pytest.approx(limit * found.variance.standard_error)
        assert limit > 2


def test_what_template_and_item_do_together_is_a_share_of_its_own(stored: Commands) -> None:
    rows = {row.signature.shots: row for row in summarise(read_cells(stored_runs(Path("results"))))}
    few, none = sensitivity(rows[2]), sensitivity(rows[0])
    assert few.shares.keys() == {"template", "seed", "item", "template x item", "rest"}
    assert none.shares.keys() == {"template", "item", "template x item"}, "with one draw, the residual is that of both"
    for one in (few, none):
        assert one.variance is not None
        by_name = {part.factors: part.variance_of_mean for part in one.variance.components}
        for part in ("template", "item", "template x item"):
            assert one.shares[part] == pytest.approx(by_name[part] / one.variance.variance_of_mean)
    document = json.loads(stored.ok("leaderboard", "--sensitivity", "--json").out)
    for row in document["rows"]:
        assert sum(row["sensitivity"]["shares_of_variance"].values()) == pytest.approx(1)


def test_what_one_seed_leaves_out_is_said(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--shots", "0,2")
    done = harness.ok("leaderboard", "--sensitivity")
    assert "1 of the rows with demonstrations have one seed: what another would change is in no share" in done.out
    assert "have one template" not in done.out


def test_probabilities_are_the_softmax_of_the_label_scores(stored: Commands) -> None:
    row = summarise(read_cells(stored_runs(Path("results"))))[0]
    expected = [brier_score_loss(cell.gold, cell.probabilities[:, 1], scale_by_half=False) for cell in row.cells]
    assert sensitivity(row).brier == pytest.approx(float(np.mean(expected)))


def test_a_single_prompt_has_no_components(harness: Commands, project: Project, tiny_gpt2: Path) -> None:
    harness.ok("run", "--tasks", "mood", "--data-dir", "data", "--model", tiny_gpt2, "--prompts", "plain")
    (row,) = summarise(read_cells(stored_runs(Path("results"))))
    found = sensitivity(row)
    assert (found.variance, found.prompts) == (None, 1)


def test_the_command_prints_a_line_for_each_row(stored: Commands) -> None:
    done = stored.ok("leaderboard", "--sensitivity")
    _, first, second, *below = done.out.splitlines()
    assert all(line.split()[0] == "mood" for line in (first, second))
    assert below == [
        "template, seed, item, template x item, rest: shares of the variance of the mean; +-: 95% over new ones"
        " of all that vary, by Student's t",
        "all rows: split test",
    ]
    assert done.out.splitlines()[0].split()[:3] == ["task", "model", "k"]
    document = json.loads(stored.ok("leaderboard", "--sensitivity", "--json").out)
    assert [row["sensitivity"]["prompts"] for row in document["rows"]] in ([4, 2], [2, 4])


def test_what_is_trained_is_not_said_to_have_one_template(harness: Commands, project: Project) -> None:
    harness.ok(
        "baseline", "--tasks", "mood", "--data-dir", "data", "--methods", "tfidf", "--sizes", "8", "--seeds", "0,1"
    )
    below = harness.ok("leaderboard", "--sensitivity").out
    assert "have one template" not in below
    assert "template" not in below.splitlines()[0]


# Clusters


def row_of_mood(folder: Path, harness: Commands, clusters: int) -> Row:
    """Two templates on items of which each cluster has copies, so that its items are right or wrong together."""
    texts = ("the sun is out", "it rains again", "we won the game", "my tea is cold", "a fine day", "the bus is late")
    lines = [
        {"text": f"{text} {copy}", "label": place % 2, "film": f"f{place % clusters}"}
        for place, text in enumerate(texts)
        for copy in range(1 + place % 3)
    ]
    (folder / "data" / "mood" / "test.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    task = folder / "tasks" / "mood.yaml"
    task.write_text(task.read_text(encoding="utf-8") + "cluster: film\n", encoding="utf-8")
    harness.ok("run", "--tasks", "mood", "--data-dir", "data")
    (row,) = summarise(read_cells(stored_runs(Path("results"))))
    return row


def test_items_in_clusters_count_by_cluster(harness: Commands, project: Project) -> None:
    """The part of items has the standard error that tables give clustered items; a single prompt has no other part."""
    row = row_of_mood(Path(), harness, 6)
    assert row.clusters is not None
    assert len(set(row.clusters.tolist())) == 6
    found = sensitivity(row)
    assert found.variance is not None
    assert found.variance.mean == pytest.approx(row.item_accuracy.mean())
    items = next(one for one in found.variance.components if one.factors == "item")
    assert items.levels == 6
    # Mean squares of two-way cells of clusters, by hand: those of their means are twice the squared clustered error.
    scores = np.stack([(cell.prediction == cell.gold).astype(float) for cell in row.cells])
    means = scores.mean(axis=1, keepdims=True)
    of_cluster = [row.clusters == cluster for cluster in np.unique(row.clusters)]
    table = np.stack([means[:, 0] + 6 / row.n * (scores - means)[:, one].sum(axis=1) for one in of_cluster], axis=1)
    square = len(scores) * table.mean(axis=0).var(ddof=1)
    assert square / len(scores) / 6 == pytest.approx(standard_error(row.item_accuracy, row.clusters) ** 2)
    rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    left = (rest**2).sum() / (len(scores) - 1) / 5
    assert items.variance == pytest.approx(max(0.0, (square - left) / len(scores)))
    done = harness.ok("leaderboard", "--sensitivity")
    assert "mood: items come in clusters, so that item is what clusters differ by" in done.out


def test_a_single_cluster_tells_nothing_of_others(harness: Commands, project: Project) -> None:
    row = row_of_mood(Path(), harness, 1)
    found = sensitivity(row)
    assert (found.variance, found.shares, math.isnan(found.half_width)) == (None, {}, True)
