"""Variance components, against hand arithmetic, statsmodels and simulated truth."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats
from statsmodels.stats.anova import anova_lm

from harness.metrics import Floats, Ints
from harness.variance import VarianceComponents, variance_components

Columns = tuple[Ints, Ints, Ints, Ints]


def crossed(templates: int, seeds: int, orders: int, items: int) -> Columns:
    """Every combination, in long form."""
    found = np.meshgrid(range(templates), range(seeds), range(orders), range(items), indexing="ij")
    template, seed, order, item = (column.ravel() for column in found)
    return template, seed, order, item


def by_name(found: VarianceComponents) -> dict[str, float]:
    return {component.name: component.variance for component in found.components}


def test_templates_by_items() -> None:
    """SS of templates .1667, of items 1.0, residual .3333."""
    found = variance_components(*crossed(2, 1, 1, 3), np.array([1.0, 1, 0, 1, 0, 0]))
    assert by_name(found) == pytest.approx({"template": 0, "item": 0.1667, "residual": 0.1667}, abs=1e-4)
    assert found.variance_of_mean == pytest.approx(0.08333, abs=1e-5)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 12), abs=1e-6)
    assert (found.n, found.mean, found.method) == (6, 0.5, "anova")


def test_the_interval_of_templates_alone_is_students() -> None:
    """Of two templates and three items, V = (MS of templates + MS of items - residual MS) / 6 = (1 + 3 - 1) / 36."""
    found = variance_components(*crossed(2, 1, 1, 3), np.array([1.0, 1, 0, 1, 0, 0]))
    squares, freedom = np.array([1 / 6, 1 / 2, -1 / 6]) / 6, np.array([1, 2, 2])
    assert found.freedom == pytest.approx(found.variance_of_mean**2 / (squares**2 / freedom).sum())
    alone = np.array([0.6, 0.7, 0.75, 0.9])
    found = variance_components(*crossed(4, 1, 1, 1), alone)
    expected = stats.ttest_1samp(alone, 0).confidence_interval(0.95)
    assert (found.freedom, found.half_width) == (3, pytest.approx((expected.high - expected.low) / 2))


def test_items_alone_give_the_plain_standard_error() -> None:
    found = variance_components(*crossed(1, 1, 1, 4), np.array([1.0, 1, 1, 0]))
    assert by_name(found) == pytest.approx({"item": 0.25})
    assert found.standard_error == pytest.approx(0.25)


def test_orders_are_nested_in_their_seeds() -> None:
    """Seeds of [1, 3] and [5, 7]: mean squares 16 and 2, so (16 - 2) / 2 and 2; Var(mean) = 7 / 2 + 2 / 4."""
    found = variance_components(*crossed(1, 2, 2, 1), np.array([1.0, 3, 5, 7]))
    assert by_name(found) == pytest.approx({"seed": 7, "residual": 2})
    assert found.variance_of_mean == pytest.approx(4)


def test_the_labels_of_orders_matter_only_within_their_seed() -> None:
    template, seed, order, item = crossed(2, 3, 2, 5)
    score = np.random.default_rng(0).random(len(item))
    expected = variance_components(template, seed, order, item, score)
    assert variance_components(template, seed, order + 10 * seed, item, score) == expected
    mixed = np.random.default_rng(1).permutation(len(item))
    shuffled = variance_components(template[mixed], seed[mixed] * -3, order[mixed], item[mixed] + 7, score[mixed])
    assert by_name(shuffled) == pytest.approx(by_name(expected), abs=1e-12)


def test_three_crossed_factors_against_the_mean_squares_of_statsmodels() -> None:
    """Their expectations solved by hand (Searle et al. 1992, chapter 4)."""
    template, seed, order, item = crossed(3, 4, 1, 5)
    generator = np.random.default_rng(2)
    score = (
        generator.normal(0, 1, 3)[template]
        + generator.normal(0, 1, 4)[seed]
        + generator.normal(0, 2, 5)[item]
        + generator.normal(0, 1, (3, 4))[template, seed]
        + generator.normal(0, 1, (3, 5))[template, item]
        + generator.normal(0, 1, (4, 5))[seed, item]
        + generator.normal(0, 0.5, len(item))
    )
    frame = pd.DataFrame({"t": template, "s": seed, "i": item, "y": score})
    # without the finest interaction, which is the residual
    table = anova_lm(smf.ols("y ~ (C(t) + C(s) + C(i))**2", frame).fit())
    square = (table["sum_sq"] / table["df"]).to_dict()
    rest = square["Residual"]
    t, s, i = square["C(t)"], square["C(s)"], square["C(i)"]
    ts, ti, si = square["C(t):C(s)"], square["C(t):C(i)"], square["C(s):C(i)"]
    expected = {
        "template": (t - ts - ti + rest) / 20,
        "seed": (s - ts - si + rest) / 15,
        "item": (i - ti - si + rest) / 12,
        "template x seed": (ts - rest) / 5,
        "template x item": (ti - rest) / 4,
        "seed x item": (si - rest) / 3,
        "residual": rest,
    }
    found = variance_components(template, seed, order, item, score)
    assert by_name(found) == pytest.approx({name: max(0.0, value) for name, value in expected.items()}, abs=1e-9)
    sizes = {"template": 3, "seed": 4, "item": 5, "template x seed": 12, "template x item": 15, "seed x item": 20}
    parts = [max(0.0, value) / sizes.get(name, 60) for name, value in expected.items()]
    assert found.variance_of_mean == pytest.approx(sum(parts), abs=1e-9)


def simulated(generator: np.random.Generator, columns: Columns) -> Floats:
    """Scores with variances .04 (template), .09 (seed), .01 (order), .25 (item), .02 (template x seed), .16 (rest)."""
    template, seed, order, item = columns
    return np.asarray(
        0.5
        + generator.normal(0, 0.2, template.max() + 1)[template]
        + generator.normal(0, 0.3, seed.max() + 1)[seed]
        + generator.normal(0, 0.1, (seed.max() + 1, order.max() + 1))[seed, order]
        + generator.normal(0, 0.5, item.max() + 1)[item]
        + generator.normal(0, 0.02**0.5, (template.max() + 1, seed.max() + 1))[template, seed]
        + generator.normal(0, 0.4, len(item))
    )


def test_simulated_components_are_found_on_average() -> None:
    """300 designs of 8 templates, 8 seeds of 2 orders and 20 items; truncation at 0 matters little there."""
    generator, columns = np.random.default_rng(3), crossed(8, 8, 2, 20)
    found = [variance_components(*columns, simulated(generator, columns)) for _ in range(300)]
    means = pd.DataFrame([by_name(one) for one in found]).mean()
    expected = {"template": 0.04, "seed": 0.09, "order": 0.01, "item": 0.25, "template x seed": 0.02, "residual": 0.16}
    assert means[[*expected]].to_dict() == pytest.approx(expected, rel=0.12)
    assert means.drop([*expected]).max() < 0.004
    # .04 / 8 + .09 / 8 + .01 / 16 + .25 / 20 + .02 / 64 + .16 / 2560
    assert np.mean([one.variance_of_mean for one in found]) == pytest.approx(0.0297500, rel=0.08)
    assert np.var([one.mean for one in found]) == pytest.approx(0.0297500, rel=0.2)


def by_statsmodels(frame: pd.DataFrame, effects: dict[str, str]) -> dict[str, float]:
    """REML by the formula interface: each effect's dummies, in one group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = smf.mixedlm("y ~ 1", frame, groups=np.zeros(len(frame)), vc_formula=effects).fit()
    return {**dict(zip(sorted(effects), fit.vcomp, strict=True)), "residual": float(fit.scale)}


def test_balanced_components_above_0_are_those_of_reml() -> None:
    template, seed, order, item = crossed(5, 1, 1, 12)
    generator = np.random.default_rng(4)
    score = generator.normal(0, 1, 5)[template] + generator.normal(0, 2, 12)[item] + generator.normal(0, 1, 60)
    found = by_name(variance_components(template, seed, order, item, score))
    frame = pd.DataFrame({"t": template, "i": item, "y": score})
    expected = by_statsmodels(frame, {"template": "0 + C(t)", "item": "0 + C(i)"})
    assert min(found.values()) > 0
    assert found == pytest.approx(expected, rel=2e-3)


def test_an_unbalanced_design_is_fitted_by_reml() -> None:
    columns = crossed(4, 4, 2, 15)
    score = simulated(np.random.default_rng(5), columns)
    kept = np.random.default_rng(6).random(len(score)) < 0.8
    template, seed, order, item = (column[kept] for column in columns)
    found = variance_components(template, seed, order, item, score[kept])
    frame = pd.DataFrame({"t": template, "s": seed, "o": order, "i": item, "y": score[kept]})
    expected = by_statsmodels(
        frame,
        {
            "template": "0 + C(t)",
            "seed": "0 + C(s)",
            "order": "0 + C(s):C(o)",
            "item": "0 + C(i)",
            "template x seed": "0 + C(t):C(s)",
            "template x order": "0 + C(t):C(s):C(o)",
        },
    )
    assert found.method == "reml"
    assert found.mean == pytest.approx(score[kept].mean())
    assert by_name(found) == pytest.approx(expected, abs=3e-3)


def test_a_few_missing_scores_change_little() -> None:
    columns = crossed(6, 1, 1, 30)
    generator = np.random.default_rng(7)
    score = (
        generator.normal(0, 0.3, 6)[columns[0]]
        + generator.normal(0, 0.5, 30)[columns[3]]
        + generator.normal(0, 0.4, 180)
    )
    full = variance_components(*columns, score)
    kept = np.arange(180) % 60 != 7
    found = variance_components(*(column[kept] for column in columns), score[kept])
    assert (full.method, found.method) == ("anova", "reml")
    assert by_name(found) == pytest.approx(by_name(full), abs=0.03)
    assert found.standard_error == pytest.approx(full.standard_error, rel=0.05)


def test_the_share_of_a_mean_of_unequal_levels() -> None:
    """Template 0 has three of four scores: its component counts (3/4)^2 + (1/4)^2 times."""
    found = variance_components(
        np.array([0, 0, 0, 1]),
        np.zeros(4, np.int64),
        np.zeros(4, np.int64),
        np.array([0, 1, 2, 0]),
        np.array([1.0, 0, 1, 0]),
    )
    template = found.components[0]
    assert template.name == "template"
    assert template.variance_of_mean == pytest.approx(template.variance * 0.625)


@pytest.mark.parametrize("kept", [slice(None), slice(1, None)])
def test_equal_scores_have_no_variance(kept: slice) -> None:
    columns = crossed(2, 2, 1, 3)
    found = variance_components(*(column[kept] for column in columns), np.full(12, 0.5)[kept])
    assert all(value == 0 for value in by_name(found).values())
    assert found.standard_error == 0


def test_scores_that_share_no_level_have_a_residual_only() -> None:
    """Each template on an item of its own: nothing tells them apart."""
    labels, same = np.arange(4), np.zeros(4, np.int64)
    found = variance_components(labels, same, same, labels, np.array([1.0, 1, 1, 0]))
    assert found.standard_error == pytest.approx(0.25)


def test_what_has_no_components_is_refused() -> None:
    one = np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="at least two scores"):
        variance_components(one, one, one, one, np.ones(1))
    with pytest.raises(ValueError, match="all finite"):
        variance_components(*crossed(2, 1, 1, 1), np.array([1.0, math.nan]))
    twice = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="two scores of the same"):
        variance_components(twice, twice, twice, twice, np.ones(2))


def test_too_many_unbalanced_scores_are_refused() -> None:
    columns = crossed(5, 1, 1, 1000)
    score = np.random.default_rng(8).random(5000)
    with pytest.raises(ValueError, match="4999 unbalanced scores with 1005 levels are too many"):
        variance_components(*(column[1:] for column in columns), score[1:])
