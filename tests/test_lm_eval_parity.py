"""The same strings give the same log-likelihoods as lm-eval's HFLM, the field's reference, except where it is wrong.

Ours go the whole way: template file, prompt, tokens, scores. Theirs are requests of (context, continuation), cut from
the same prompts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import Project, build_gpt2, made_up_text, train_bpe
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from naive import score_row
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.encode import Encoder
from harness.models import ModelSpec, load_model, locate_model
from harness.records import Answer, Example, Prompt, Segment
from harness.render import Renderer
from harness.scorers import RowScorer
from harness.tasks import load_task
from harness.templates import load_template
from harness.tokenizer import PretrainedTokenizer

OPTIONS_TASK = """\
name: pick
family: commonsense
source: {folder: pick}
splits: {report: test}
fields: [text, chinese]
target: label
options: "{{ choices }}"
"""
LABELS_TASK = OPTIONS_TASK.replace("name: pick", "name: mood").replace(
    'options: "{{ choices }}"', "labels: [low, high]"
)

TEMPLATES = {
    "label words": ("mood", 0, "answers: [bad, good]", "Text: {{ text }}\nMood: {{ answer }}"),
    "label words, 2 shots": ("mood", 2, "answers: [bad, good]", "{{ text }} It was {{ answer }}"),
    "label words with a description": (
        "mood",
        1,
        'answers: [no, yes]\ndescription: "Is it good?"\nseparator: "\\n"',
        "{{ text }} {{ answer }}",
    ),
    "several words": ("mood", 0, "answers: [rather dull and weak, quite lovely]", "{{ text }}\nIn short: {{ answer }}"),
    "options": ("pick", 0, 'answers: "{{ options }}"', "{{ text }} And then {{ answer }}"),
    "Chinese": ("mood", 0, "answers: [不好, 很好看]", "评论：{{ chinese }}\n看法：{{ answer }}"),
    "completion": ("mood", 0, "answers: [bad, good]\nscore: completion", "{{ text }} A {{ answer }} one, I felt."),
    "completion of nothing": ("mood", 0, "answers: [Bad, Good]\nscore: completion", "{{ answer }}: {{ text }}"),
    "rest": ("mood", 0, "answers: [bad, good]\nscore: rest", "It felt {{ answer }}, as {{ text }}"),
    "channel": ("mood", 0, "answers: [bad, good]\nscore: text", "Mood: {{ answer }}\nText: {{ text }}\nEnd."),
    "channel, 1 shot": ("mood", 1, "answers: [bad, good]\nscore: text", "{{ answer }}: {{ text }}"),
    "Chinese channel": (
        "mood",
        0,
        "answers: [不好, 很好看]\nscore: chinese",
        "看法：{{ answer }}\n评论：{{ chinese }}",
    ),
}
# Another of their kind is tested anyway.
SLOW = {"label words", "label words with a description", "channel, 1 shot", "Chinese channel"}


@dataclass(frozen=True)
class Subject:
    """A model under both tools."""

    path: Path
    bos: Any = "auto"

    def ours(self, prompts: Sequence[Prompt]) -> list[tuple[float, bool]]:
        """Log-likelihood of each answer of each prompt, and whether it is what the model would say."""
        files = locate_model(ModelSpec(str(self.path), device="cpu", bos=self.bos))
        encoder = Encoder(PretrainedTokenizer(files), scope=files.fingerprint, max_inputs=files.max_inputs)
        cell, requests = encoder.cell(prompts)
        assert not cell.too_long
        assert cell.shots == tuple(len(prompt.demo_ids) for prompt in prompts)
        found = {}
        for scores, _ in RowScorer(load_model(files)).score(requests):
            for i, (key, total) in enumerate(zip(map(bytes, scores.keys), scores.sums.tolist(), strict=True)):
                found[key] = (total, bool(scores.greedy[scores.offsets[i] : scores.offsets[i + 1]].all()))
        return [found[key] for key in map(bytes, cell.keys)]

    def theirs(self, prompts: Sequence[Prompt], **settings: Any) -> list[tuple[float, bool]]:
        pairs = strings(prompts)
        instances = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        return list(self.lm(**settings).loglikelihood(instances, disable_tqdm=True))

    def lm(self, **settings: Any) -> Any:
        tokenizer, model = reference(self.path)
        defaults = {"batch_size": 1, "dtype": "float32", "logits_cache": False, "device": "cpu"}
        return HFLM(pretrained=model, tokenizer=tokenizer, **{**defaults, **settings})


@cache
def reference(path: Path) -> tuple[Any, Any]:
    """Tokenizer and model as transformers loads them."""
    return AutoTokenizer.from_pretrained(path), AutoModelForCausalLM.from_pretrained(path).eval()


def next_text(path: Path, context: str) -> str:
    """The most probable token after a context, as text."""
    tokenizer, model = reference(path)
    logits = model(**tokenizer(context, return_tensors="pt")).logits[0, -1]
    return str(tokenizer.decode([int(logits.argmax())]))


def strings(prompts: Sequence[Prompt]) -> list[tuple[str, str]]:
    return [(prompt.text + answer.given, answer.scored) for prompt in prompts for answer in prompt.answers]


def prompts_of(project: Project, name: str, count: int) -> list[Prompt]:
    task_name, shots, front, body = TEMPLATES[name]
    project.write("tasks/pick.yaml", OPTIONS_TASK)
    project.write("tasks/mood.yaml", LABELS_TASK)
    path = project.write(f"prompts/{task_name}/tried.jinja", f"---\n{front}\n---\n{body}\n")
    renderer = Renderer(load_template(path, load_task(project.root / "tasks" / f"{task_name}.yaml")))
    items = examples(count, per_item=task_name == "pick")
    pool = examples(shots, per_item=task_name == "pick", seed=9)
    return [renderer.prompt(item, pool) for item in items]


def examples(count: int, *, per_item: bool, seed: int = 0) -> list[Example]:
    rng = random.Random(seed)
    texts = made_up_text(count, seed)
    words = " ".join(made_up_text(40, seed + 1)).lower().split()

    def ending() -> str:
        start, length = rng.randrange(len(words) - 8), rng.randint(2, 7)
        return " ".join(words[start : start + length])

    return [
        Example(
            item_id=f"{seed}-{i}",
            fields={
                "text": text,
                "chinese": f"{rng.choice(['房间', '电影', '歌'])}真{rng.choice('好坏大小')}，第{i}次。",
            },
            options=tuple(ending() for _ in range(4)) if per_item else ("low", "high"),
            gold=i % 2,
            cluster=None,
            place=f"row {i}",
        )
        for i, text in enumerate(texts)
    ]


def assert_equal(ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]]) -> None:
    assert [total for total, _ in ours] == pytest.approx([total for total, _ in theirs], rel=0, abs=1e-4)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def assert_same_as_lm_eval(subject: Subject, prompts: list[Prompt]) -> None:
    assert len(set(strings(prompts))) >= 200
    assert_equal(subject.ours(prompts), subject.theirs(prompts))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in TEMPLATES]
)
def test_a_random_model_gives_lm_evals_numbers(name: str, tiny_gpt2: Path, project: Project) -> None:
    assert_same_as_lm_eval(Subject(tiny_gpt2), prompts_of(project, name, 101))


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_trained_model_gives_lm_evals_numbers(name: str, stories_model: Path, project: Project) -> None:
    assert_same_as_lm_eval(Subject(stories_model), prompts_of(project, name, 101))


def test_what_the_model_would_say_is_marked_alike(tiny_gpt2: Path) -> None:
    subject = Subject(tiny_gpt2)
    prompts = [prompt(text, next_text(tiny_gpt2, text), " dull") for text in made_up_text(60)]
    ours = subject.ours(prompts)
    assert sum(greedy for _, greedy in ours) >= 20
    assert_equal(ours, subject.theirs(prompts))


def test_without_bos_both_leave_it_out(stories_model: Path, project: Project) -> None:
    prompts = prompts_of(project, "label words", 10)
    ours = Subject(stories_model, bos="never").ours(prompts)
    assert_equal(ours, Subject(stories_model).theirs(prompts, add_bos_token=False))
    assert ours != Subject(stories_model).ours(prompts)


def test_a_text_that_begins_with_bos_gets_no_second_from_either(stories_model: Path) -> None:
    prompts = [prompt(f"<s>{text} It was", " good", " bad") for text in made_up_text(10)]
    assert_equal(Subject(stories_model).ours(prompts), Subject(stories_model).theirs(prompts))


# Where lm-eval is wrong, ours are compared with the naive twin


def prompt(context: str, *scored: str, given: Sequence[str] = ()) -> Prompt:
    rows = zip(given or [""] * len(scored), scored, strict=True)
    answers = tuple(Answer(label, word, before, word) for label, (before, word) in enumerate(rows))
    return Prompt(context, (Segment("query", "prefix", context),), answers, ())


def naive(path: Path, ids: list[int], start: int) -> tuple[float, bool]:
    values, greedy = score_row(reference(path)[1], ids, start)
    return sum(values), all(greedy)


def test_one_text_split_at_two_points_in_a_batch_is_scored_from_each(tiny_gpt2: Path) -> None:
    """lm-eval's cache of logits, on by default, looks the shorter span up at the places of the longer."""
    subject = Subject(tiny_gpt2)
    asked = [prompt("The film", " was bad", " bad", given=("", " was"))]
    ids = reference(tiny_gpt2)[0]("The film was bad")["input_ids"]
    first, second = (len(subject.lm().tok_encode(text)) for text in ("The film", "The film was"))
    expected = [naive(tiny_gpt2, ids, first), naive(tiny_gpt2, ids, second)]
    assert_equal(subject.ours(asked), expected)
    assert_equal(subject.theirs(asked), expected)
    wrong = subject.theirs(asked, logits_cache=True)
    assert wrong[1][0] != pytest.approx(expected[1][0], abs=0.1)


def test_an_eos_that_the_tokenizer_appends_is_not_scored(tmp_path: Path) -> None:
    """lm-eval scores it, and loses as many tokens of the answer's beginning."""
    subject = Subject(with_eos(build_gpt2(tmp_path)))
    asked = [prompt("The film was", " good to number", " bad")]
    tokenizer, bare = reference(tmp_path)[0], train_bpe()
    context, whole = bare("The film was")["input_ids"], bare("The film was good to number")["input_ids"]
    assert tokenizer("The film was")["input_ids"] == [*context, bare.eos_token_id]
    assert subject.lm()._encode_pair("The film was", " good to number") == (
        [*context, bare.eos_token_id],
        [*whole[len(context) + 1 :], bare.eos_token_id],
    )
    expected = [naive(tmp_path, bare(text)["input_ids"], len(context)) for text in both(asked)]
    assert_equal(subject.ours(asked), expected)


def test_an_answer_that_merges_into_the_context_is_scored_with_what_it_merges_with(tiny_gpt2: Path) -> None:
    """lm-eval cuts off as many tokens as the context has by itself, and so loses what merged of the answer."""
    subject = Subject(tiny_gpt2)
    asked = [prompt("The fi", "lm was good", "ne was good")]
    tokenizer, _ = reference(tiny_gpt2)
    assert tokenizer.tokenize("The fi") == ["The", "Ġfi"]
    assert tokenizer.tokenize("The film was good") == ["The", "Ġfilm", "Ġwas", "Ġgood"]
    assert tokenizer.tokenize("The fine was good") == ["The", "Ġfine", "Ġwas", "Ġgood"]
    theirs = [
        [tokenizer.convert_ids_to_tokens(part) for part in subject.lm()._encode_pair(*pair)] for pair in strings(asked)
    ]
    assert theirs == [[["The", "Ġfi"], ["Ġwas", "Ġgood"]]] * 2, "two answers, one request"
    assert_equal(subject.ours(asked), [naive(tiny_gpt2, tokenizer(text)["input_ids"], 1) for text in both(asked)])


def both(prompts: Sequence[Prompt]) -> list[str]:
    """Context and continuation as one text."""
    return ["".join(pair) for pair in strings(prompts)]


def with_eos(folder: Path) -> Path:
    """Let the tokenizer in a folder append EOS, as some do."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {tokenizer.eos_token}", special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    return folder
