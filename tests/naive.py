"""The slow, obvious twin of every scorer: each request is run alone, unpadded, and read off a full log_softmax."""

from __future__ import annotations

import copy
from typing import Any

import torch

from harness.columns import Requests


def score_row(model: Any, tokens: list[int], start: int) -> tuple[list[float], list[bool]]:
    """Log-probability of each token from ``start`` on, and whether it was the most probable one."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([tokens[:-1]], device=model.device)).logits[0]
        logprobs = torch.log_softmax(logits.to(torch.float32), dim=-1)  # [inputs, vocabulary]
    places = range(start, len(tokens))
    values = [float(logprobs[place - 1, tokens[place]]) for place in places]
    return values, [int(logprobs[place - 1].argmax()) == tokens[place] for place in places]


def score_rows(model: Any, requests: Requests, *, copies: bool = False) -> list[tuple[list[float], list[bool]]]:
    """``copies``: each by a copy of the model, since some remember the longest row that they have seen."""
    return [
        score_row(copy.deepcopy(model) if copies else model, requests.row(i).tolist(), int(requests.starts[i]))
        for i in range(len(requests))
    ]
