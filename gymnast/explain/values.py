"""Values and preferences along an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from gymnast.agents.base import ConfiguredAgent, DiscountedConfig
from gymnast.explain import view
from gymnast.explain.context import Context, Section
from gymnast.explain.scores import greedy

LINES = 18
"""Preferences that are drawn, at most."""
EVENTS = 60
"""Rewards that are drawn, at most: of more, none."""


def values(context: Context) -> Section:
    """The part `values`."""
    context.told("values along an episode")
    played, episode = context.played, context.played.longest
    assert played.preference is not None
    assert context.subject.agent is not None
    returns = discounted(context)
    figure, axes = view.grid(2, 1, aspect=0.3, side=9.0)
    top, bottom = axes[:, 0]
    steps = np.arange(episode.stop - episode.start)
    value = None if played.value is None else played.value[episode].cpu().numpy()
    if value is not None:
        top.plot(steps, value, color="C0", label="value")
    if returns is not None:
        top.plot(steps, returns, color="C7", linestyle="--", label="discounted return to come")
    reward = played.reward[episode].numpy()
    events = np.flatnonzero(reward)
    for step in events if len(events) <= EVENTS else ():
        top.axvline(step, color="C2" if reward[step] > 0 else "C3", linewidth=0.6, alpha=0.6)
    preference = played.preference[episode].masked_fill(~context.allowed(played.preference[episode]), torch.nan)
    for choice in range(min(LINES, preference.shape[1])):
        bottom.plot(steps, preference[:, choice].cpu().numpy(), linewidth=0.9, label=str(choice))
    _label(top, "value")
    _label(bottom, context.subject.agent.preferences)
    bottom.set_xlabel("step", fontsize=8)
    caption = (
        "Above: the value of the state, and the rewards that came, if they are few (green lines gains, red ones "
        "losses). Below: the preference for each choice; the agent takes the highest."
    )
    shown = context.save(figure, "values.png", caption)
    numbers = _numbers(context, value, returns)
    rows = tuple((name.replace("_", " "), _shown(number)) for name, number in numbers.items())
    return Section(
        "Values along an episode", _text(context, returns), (shown,), numbers, (("of the episode", "value"), *rows)
    )


def _text(context: Context, returns: Any) -> str:
    episode = context.played.longest
    said = f"The longest of the episodes played, {episode.stop - episode.start:,} steps."
    if returns is None:
        return said
    return (
        f"{said} The return to come is that of the true rewards; a value learned from clipped or scaled rewards has "
        "another scale. It leaves out what comes after the last step played."
    )


def discounted(context: Context) -> np.ndarray | None:
    """The discounted sum of the rewards from each step of the longest episode on; None without a discount."""
    agent: object = context.subject.agent
    config = agent.config if isinstance(agent, ConfiguredAgent) else None
    if not isinstance(config, DiscountedConfig):
        return None
    rewards = context.played.reward[context.played.longest].tolist()
    found, total = np.zeros(len(rewards)), 0.0
    for step in reversed(range(len(rewards))):
        total = rewards[step] + config.gamma * total
        found[step] = total
    return found


def _label(panel: Any, name: str) -> None:
    from matplotlib.ticker import MaxNLocator

    panel.set_ylabel(name, fontsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(5))
    panel.tick_params(labelsize=7)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=7, ncols=6, loc="best")


def _numbers(context: Context, value: Any, returns: Any) -> dict[str, Any]:
    played, episode = context.played, context.played.longest
    assert played.preference is not None
    numbers: dict[str, Any] = {
        "steps": episode.stop - episode.start,
        "return": float(played.reward[episode].double().sum()),
    }
    if value is not None:
        numbers |= {"value_mean": float(value.mean()), "value_std": float(value.std())}
        if returns is not None and len(value) > 2 and value.std() > 0 and returns.std() > 0:
            numbers["correlation_with_return"] = float(np.corrcoef(value, returns)[0, 1])
    if isinstance(context.action_space, spaces.Discrete):
        best = greedy(context.action_space, played.preference)[:, 0] + int(context.action_space.start)
        numbers["greedy_share_of_all_steps"] = float((best == played.action).double().mean())
    return numbers


def _shown(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:.4g}"
