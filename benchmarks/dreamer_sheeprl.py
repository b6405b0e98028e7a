"""SheepRL's DreamerV3 of the Nature paper (`dreamer_v3_5`): its trainer, with the sizes that its package brings."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from contest import Profiler, Result
from dreamer_task import (
    BATCH,
    ENVIRONMENTS,
    LEARNING_RATE,
    LENGTH,
    TRAIN_RATIO,
    Clock,
    Finished,
    Task,
    register,
)


def run(task: Task, profiler: Profiler) -> Result:
    """`sheeprl exp=dreamer_v3_5`, from its beginning to the last timed update."""
    import lightning
    import sheeprl
    from hydra import compose, initialize_config_module
    from sheeprl.algos.dreamer_v3_5 import dreamer_v3_5 as trainer
    from sheeprl.cli import run as start

    register()
    clock, built, losses = Clock(task, profiler), [], []
    build, world_model_loss = trainer.build_agent, trainer.world_model_loss

    def kept(*args: Any, **kwargs: Any) -> Any:
        built.extend(build(*args, **kwargs))
        return tuple(built)

    def noted(*args: Any, **kwargs: Any) -> Any:
        """An update does not return its losses."""
        found = world_model_loss(*args, **kwargs)
        losses.append(sum(found[4][f"Loss/{name}_loss"] for name in ("observation", "reward", "continue")))
        return found

    trainer.build_agent, trainer.world_model_loss = kept, noted
    trainer.train = clock.around(trainer.train, lambda _: float(losses.pop()))
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        config = compose("config", _overrides(task, torch.get_num_threads()))
    with suppress(Finished):
        start(config)
    world_model, actor, critic = built[:3]
    parameters = sum(part.numel() for module in (world_model, actor, critic) for part in module.parameters())
    versions = f"sheeprl {sheeprl.__version__}, lightning {lightning.__version__}, torch {torch.__version__}"
    return clock.finished(parameters=parameters, versions=versions)


def _overrides(task: Task, threads: int) -> list[str]:
    """What differs from its own settings."""
    images = task.obs == "images"
    return [
        "exp=dreamer_v3_5",
        f"algo=dreamer_v3_5_{task.size.upper()}",
        "env=gym",
        f"env.id={ENVIRONMENTS[task.obs]}",
        f"env.num_envs={task.envs}",
        "env.sync_env=True",
        "env.capture_video=False",
        f"algo.cnn_keys.encoder={'[rgb]' if images else '[]'}",
        f"algo.mlp_keys.encoder={'[]' if images else '[state]'}",
        f"algo.total_steps={task.steps}",
        f"algo.learning_starts={task.learning_starts}",
        f"algo.replay_ratio={TRAIN_RATIO / (BATCH * LENGTH)}",
        f"algo.per_rank_batch_size={BATCH}",
        f"algo.per_rank_sequence_length={LENGTH}",
        f"algo.optimizer.lr={LEARNING_RATE}",
        "algo.optimizer.warmup=0",
        "algo.run_test=False",
        f"algo.compile.enabled={task.compile}",
        "buffer.size=10000",
        "buffer.memmap=False",
        "buffer.checkpoint=False",
        "checkpoint.every=0",
        "checkpoint.save_last=False",
        "metric.log_level=0",
        "fabric.accelerator=cpu",
        f"fabric.precision={'bf16-mixed' if task.bf16 else '32-true'}",
        f"num_threads={threads}",
        f"log_root={task.folder}",
    ]
