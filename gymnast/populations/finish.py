"""The end of a population's run: its kept members on their test seeds."""

from __future__ import annotations

from collections.abc import Mapping

from gymnast.populations.session import PopulationSession, plain, summary


def evaluate_kept(session: PopulationSession) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Evaluate each member's kept weights on seeds that had no part in choosing them: mean returns, and the table."""
    if not session.evaluated:
        session.evaluate()
    members, population = session.members, session.population
    returns, lengths = session.played(session.kept, [stream.test for stream in session.seeds])
    means, spread, length = returns.mean(1), returns.std(1, correction=0), lengths.double().mean(1)
    best = int(session.scores.argmax())
    numbers = summary(means.numpy())
    columns = {"mean_return": means, "std_return": spread, "mean_length": length}
    session.save(**{name: plain(column.numpy()) for name, column in columns.items()})
    session.records.final(
        population.member_step,
        {
            "env": session.loop.env.id,
            "agent": members.agent,
            "members": population.members,
            "episodes": returns.shape[1],
            **{f"{name}_return": value for name, value in numbers.items()},
            "best_seed": members.seeds[best],
        },
    )
    return tuple(means.tolist()), _table(session, numbers, score=float(means[best]), episodes=returns.shape[1])


def _table(session: PopulationSession, numbers: Mapping[str, float], *, score: float, episodes: int) -> tuple[str, ...]:
    members, population, best = session.members, session.population, int(session.scores.argmax())
    own = "".join(f", {name} {values[best]:.4g}" for name, values in population.vary.items())
    return (
        f"{members.agent} on {session.loop.env.id}, {population.members:,} members after {population.member_step:,} "
        f"env steps each: return of a member, the mean over {episodes} episodes",
        *(f"  {'IQM' if name == 'iqm' else name:<8}{value:>10.2f}" for name, value in numbers.items()),
        f"best member in evaluations: seed {members.seeds[best]}{own}, here {score:.2f}",
    )
