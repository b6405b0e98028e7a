"""The headings under which the help of `gymnast train AGENT` lists its options."""

from __future__ import annotations

from collections.abc import Iterable

GROUPS: dict[str, tuple[str, ...]] = {
    "run": (
        *("env", "steps", "seed", "preset", "reference", "protocol", "emulator", "name", "out", "device"),
        *("env_options", "wrapper", "max_episode_steps", "stop_return", "exact_resume"),
    ),
    "many seeds": ("seeds", "vary", "vary_zip", "cpus_per_run", "gpus_per_run", "send_code"),
    "evaluation": (
        *("eval_every", "eval_episodes", "eval_envs", "eval_epsilon", "eval_sample"),
        *("video", "reevaluate", "elite_candidates", "elite_episodes"),
    ),
    "logs and checkpoints": (
        *("log_every", "track", "checkpoint_every", "keep_checkpoints", "wandb_project", "wandb_mode"),
        *("wandb_entity", "wandb_group", "wandb_tags"),
    ),
    "exploration": (
        *("exploration", "epsilon", "temperature", "ties", "bootstrap_bonus", "initial_q", "c", "posterior"),
        *("reward_std", "prior_std", "noisy", "noise", "noisy_sigma", "noisy_epsilon", "entropy_coef"),
        *("bootstrap_heads", "bootstrap_probability", "bootstrap_vote", "prior_scale"),
        *("actor_epsilon", "actor_alpha", "intrinsic", "intrinsic_coef", "intrinsic_gamma", "sigma", "noise_scale"),
        *("min_noise_scale", "max_noise_scale", "noise_shrink", "noise_growth"),
    ),
    "replay": (
        *("replay_size", "replay_path", "batch_size", "frame_stack", "learning_starts", "prioritized", "priority"),
        *("priority_alpha", "priority_beta", "priority_eta"),
    ),
    "network": (
        *("encoder", "freeze_encoder", "encoder_learning_rate"),
        *("network", "hidden_sizes", "activation", "init", "layer_norm", "trunk", "recurrent", "memory_size"),
        *("recurrent_steps", "recurrent_layers", "recurrent_heads"),
        *("auxiliary", "auxiliary_weight"),
        *("dueling", "dueling_aggregation", "shared_bias", "values", "atoms", "v_min", "v_max", "quantiles", "squash"),
        *("log_std_init", "normalise_obs", "output_scale", "bins", "low", "high", "init_from"),
    ),
    "imitation and learned rewards": (
        *("gail", "gail_episodes", "gail_reward", "gail_absorbing", "gail_updates", "gail_batch_size"),
        *("gail_learning_rate", "gail_regulariser", "gail_penalty", "gail_network", "gail_hidden_sizes"),
        "reward_model",
    ),
    "speed": (
        *("num_envs", "vectorization", "native", "threads", "learners", "workers", "actors", "actor_sync", "ray"),
        *("compile", "cuda_graphs", "bf16", "overlap", "profile"),
    ),
}
"""Names of options by heading. All others are under "learning"."""
LEARNING = "learning"
ORDER = (
    *("run", "many seeds", "evaluation", "logs and checkpoints"),
    *("exploration", "replay", "network", LEARNING, "imitation and learned rewards", "speed"),
)


def grouped(names: Iterable[str]) -> dict[str, list[str]]:
    """The options under their headings, in the order of `GROUPS`; headings without an option are left out."""
    names = list(names)
    placed = {name: heading for heading, those in GROUPS.items() for name in those}
    found: dict[str, list[str]] = {heading: [] for heading in ORDER}
    for heading, those in GROUPS.items():
        found[heading] = [name for name in those if name in names]
    found[LEARNING] = [name for name in names if name not in placed]
    return {heading: those for heading, those in found.items() if those}
