"""The one direction of imports, read from the source: nothing is imported, so nothing can hide behind a branch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "harness"

# A module may import only what stands above it. The modules of one line may also import those to their left.
# A package is one name to others; the modules inside it, such as sandbox.values, are for that package alone.
LAYERS = """
errors records terminal versions
files text_files hub search_path strict_yaml interrupts background peak_memory limited tokenizer_probe
name_patterns stored_json stored_arrays memo signature manifest
words repeats
sandbox.values sandbox.environment sandbox.functions sandbox.compiler sandbox
metrics resampling statistics learning_curves seed_samples label_worth
paired power variance prompteval reliability sequential columns rules plan calibrate
tasks arrow_tables row_files split_files hub_data sources targets data templates fingerprint sentence_layout
model_folder stored_parquet score_store
shots.text shots.duplicates shots.seeded shots.bm25 shots.retrieval shots.order shots.drawing shots.listed shots
render segments encode decide companions controls stored_predictions run_store order_choice
cell_results summary row_names notices breakdown ranking sensitivity class_report layout formats tables show
compare compared_item
breakeven.wanted breakeven.costs breakeven.report breakeven.pairs breakeven.stored breakeven.scores_file breakeven
plots
model_checks model_config models pooling tokenizer
scorers.base scorers.head scorers.readout scorers.attention scorers.tail scorers.activation scorers.memory
scorers.rows scorers.expand scorers.tree scorers.probe scorers
processes progress embeddings
options scoring recorder
demo_plan
combinations grid
runner select
baselines.base baselines.choice baselines.logistic baselines.floors baselines.tfidf baselines.embedded
baselines.registry baselines.options baselines.subsets baselines.texts baselines.trained
baselines.grid baselines.encoder baselines.cells baselines.run baselines.apply
baselines predict
listing preview fetch
frames option_signatures api_results api stub
commands.options commands.printing commands.prompts commands.results commands.trained commands.look commands
__init__ cli __main__
"""
ORDER = LAYERS.split()

# They cost a second or more to import (design: --help and list stay quick; only what runs a model loads torch).
HEAVY = {"torch", "transformers", "accelerate", "pandas", "scipy", "datasets", "sklearn", "statsmodels", "matplotlib"}

FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
MODULES = sorted(FILES)


def imports(node: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Dotted names that a module imports; unless ``everywhere``, only those that importing it imports, too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute"
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif not everywhere and (isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) or is_typing_block(child)):
            continue
        else:
            yield from imports(child, everywhere=everywhere)


def is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def own(names: Iterator[str]) -> set[str]:
    """Which modules of the package these names are of."""
    paths = (name.split(".")[1:] for name in names if name.startswith("harness."))
    return {".".join(path[:2]) if ".".join(path[:2]) in FILES else path[0] for path in paths}


def test_every_module_has_its_place() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_above(module: str) -> None:
    used = own(imports(tree(module), everywhere=True))
    inside = module.split(".")[0] + "."
    above = {name for name in ORDER[: ORDER.index(module)] if "." not in name or name.startswith(inside)}
    assert used <= above, f"{module} imports {sorted(used - above)}"


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_heavy_packages_when_it_is_imported(module: str) -> None:
    roots = {name.split(".")[0] for name in imports(tree(module), everywhere=False)}
    assert not roots & HEAVY


def test_only_what_runs_a_model_imports_torch_at_all() -> None:
    found = {
        module.split(".")[0]
        for module in MODULES
        if {name.split(".")[0] for name in imports(tree(module), everywhere=True)} & {"torch", "transformers"}
    }
    assert found == {
        "embeddings", "model_checks", "models", "peak_memory", "pooling", "processes", "runner", "scorers", "scoring",
        "tokenizer",
    }  # fmt: skip


def test_importing_every_module_loads_no_heavy_package() -> None:
    program = (
        f"import importlib, sys\n"
        f"for name in {[f'harness.{module}' for module in MODULES if module not in ('__main__', '__init__')]}:\n"
        f"    importlib.import_module(name)\n"
        f"print(*sorted({HEAVY} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
