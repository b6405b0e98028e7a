"""Atari against plain emulators: no frame, action or reward is lost, and every option does what it says."""

import math
import sys
import types

import ale_py
import gymnasium as gym
import numpy as np
import pytest
import torch
from ale_py import roms
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation

from gymnast.atari.protocols import PROTOCOLS
from gymnast.envs.atari import base
from gymnast.envs.atari.games import AtariOptions, atari_games, atari_id, is_atari, make_atari
from gymnast.envs.atari.history import History
from gymnast.envs.atari.names import atari_name


@pytest.fixture(params=["ours", "ale"])
def make(request):
    """`make_atari` with each emulator."""

    def made(id, num_envs, *, options=None, **settings):
        return make_atari(id, num_envs, options={"emulator": request.param, **(options or {})}, **settings)

    return made


def make_ale(id, num_envs, *, options=None, **settings):
    """`make_atari` with ale-py, whose history tells the seeds and no-ops of its episodes."""
    return make_atari(id, num_envs, options={"emulator": "ale", **(options or {})}, **settings)


def area_resize(picture, size):
    """Average areas in float64 and round: what OpenCV's INTER_AREA computes in float32. `size` is (width, height)."""
    for axis, target in enumerate(size[::-1]):
        common = math.gcd(picture.shape[axis], target)
        fine = np.repeat(picture.astype(np.float64), target // common, axis)  # pixels cut into whole parts of both
        shape = (*picture.shape[:axis], target, picture.shape[axis] // common, *picture.shape[axis + 1 :])
        picture = fine.reshape(shape).mean(axis + 1)
    return np.rint(picture).astype(np.uint8)


def assert_same_picture(one, other):
    difference = np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))
    assert difference.max() <= 1  # a half may be rounded either way
    assert difference.mean() < 0.01


class PlainGame:
    """One emulator and the rules in their plainest form: the oracle."""

    def __init__(self, rom, *, sticky=0.25, frame_skip=4, stack=4, limit=10**9, full=False):
        self.ale = ale_py.ALEInterface()
        self.ale.setLoggerMode(ale_py.LoggerMode.Error)
        self.ale.setFloat("repeat_action_probability", sticky)
        self.rom, self.frame_skip, self.stack, self.limit = roms.get_rom_path(rom), frame_skip, stack, limit
        self.ale.loadROM(self.rom)
        self.actions = self.ale.getLegalActionSet() if full else self.ale.getMinimalActionSet()

    def begin(self, seed=None, noops=0):
        if seed is not None:
            self.ale.setInt("random_seed", seed)
            self.ale.loadROM(self.rom)
        self.ale.reset_game()
        for _ in range(noops):
            self.ale.act(ale_py.Action.NOOP)
        self.frames = [np.zeros((84, 84), np.uint8)] * self.stack
        self.pooled = self.ale.getScreenGrayscale()
        self.length = 0
        return self.show()

    def show(self):
        self.frames = [*self.frames[1:], area_resize(self.pooled, (84, 84))]
        return np.stack(self.frames)

    def step(self, action):
        before, reward, screens = self.ale.getEpisodeFrameNumber(), 0, []
        for _ in range(self.frame_skip):
            reward += self.ale.act(self.actions[action])
            if self.ale.game_over():
                break
            screens.append(self.ale.getScreenGrayscale())
        if not self.ale.game_over():
            self.pooled = np.maximum.reduce(screens[-2:])
            assert self.ale.getEpisodeFrameNumber() - before == self.frame_skip
        self.length += 1
        terminated = self.ale.game_over()
        return self.show(), reward, terminated, self.length >= self.limit and not terminated


def seeds_of(env):
    return [begins[0].seed for begins in env._history.begins]


def reset_frames(env):
    return [begins[-1].frames for begins in env._history.begins]


@pytest.mark.parametrize(("id", "limit", "steps"), [("Breakout", None, 420), ("PongNoFrameskip-v4", 9, 40)])
def test_every_transition_is_that_of_a_plain_emulator(id, limit, steps):
    """Rows 7, 18, 19: rewards, ends, lives and frames over several episodes; an ignored action would shift them all."""
    env = make_ale(id, 2, seed=1, max_episode_steps=limit, render=True)
    obs = env.reset()
    name = atari_name(id)
    games = [PlainGame(name.rom, sticky=name.sticky, limit=limit or 10**9) for _ in range(2)]
    shown = [game.begin(seed, noops) for game, seed, noops in zip(games, seeds_of(env), reset_frames(env), strict=True)]
    assert_same_picture(obs, np.stack(shown))
    rng, returns, lengths, ends, lives_lost = np.random.default_rng(0), np.zeros(2), np.zeros(2), 0, 0
    for time in range(steps):
        actions = rng.integers(env.single_action_space.n, size=2)
        step = env.step(torch.from_numpy(actions))
        lengths += 1
        for row, game in enumerate(games):
            shown, reward, terminated, truncated = game.step(actions[row])
            assert (step.reward[row], step.terminated[row], step.truncated[row]) == (reward, terminated, truncated)
            assert step.lives[row] == game.ale.lives()
            lives_lost += bool(game.ale.lives() < 5) and not terminated
            if time % 10 == 0 or terminated or truncated:
                assert np.array_equal(env.render(row), game.ale.getScreenRGB())  # the final frame where it ended
                assert_same_picture(step.next_obs[row], shown)
            returns[row] += reward
            assert step.start[row] == (terminated or truncated)
            if terminated or truncated:
                ends += 1
                assert step.episode_return[row] == returns[row]
                assert step.episode_length[row] == lengths[row]
                shown = game.begin(None, reset_frames(env)[row])
                returns[row] = lengths[row] = 0
                assert not step.obs[row, :-1].any()  # no frame from before the reset: the padding is black
            if step.num_ended:
                assert_same_picture(step.obs[row], shown)
        assert step.num_active == 2
        assert step.active is None
    assert ends >= 2
    if id == "Breakout":
        assert lives_lost > 100  # most of a game of several lives is played after the first was lost: it is one episode
    env.close()


@pytest.mark.parametrize(("frame_skip", "full"), [(1, False), (2, False), (3, True), (5, True)])
def test_an_action_lasts_exactly_frame_skip_frames(frame_skip, full):
    """Row 19, for every skip and both action sets: a frame too many or too few changes the pictures that follow."""
    options = {"frame_skip": frame_skip, "full_action_space": full, "noop_max": 0}
    env = make_ale("Breakout", 2, seed=3, options=options)
    shown = env.reset()
    games = [PlainGame("breakout", frame_skip=frame_skip, full=full) for _ in range(2)]
    assert_same_picture(shown, np.stack([game.begin(seed) for game, seed in zip(games, seeds_of(env), strict=True)]))
    assert env.single_action_space.n == (18 if full else 4)
    rng = np.random.default_rng(0)
    for time in range(1, 43):
        actions = rng.integers(env.single_action_space.n, size=2)
        step = env.step(torch.from_numpy(actions))
        for row, game in enumerate(games):
            picture, reward, terminated, _ = game.step(actions[row])
            assert (step.reward[row], bool(step.terminated[row])) == (reward, terminated)
            assert not terminated
            if time % 6 == 0:
                assert_same_picture(step.next_obs[row], picture)
        assert [game.ale.getEpisodeFrameNumber() for game in games] == [time * frame_skip] * 2
    env.close()


@pytest.mark.filterwarnings("ignore:.*")
@pytest.mark.parametrize("options", [{"sticky": 0.0, "noop_max": 0}, "dopamine", "machado"], ids=str)
def test_frames_equal_those_of_gymnasiums_wrappers(options, monkeypatch):
    """Row 20: AtariPreprocessing and FrameStackObservation, without no-ops and with their zero padding."""
    if "cv2" not in sys.modules:  # gymnasium resizes through OpenCV, which is not needed for anything else here
        stub = types.SimpleNamespace(INTER_AREA=3, resize=lambda image, size, interpolation: area_resize(image, size))
        monkeypatch.setitem(sys.modules, "cv2", stub)
    gym.register_envs(ale_py)
    chosen = PROTOCOLS[options].env_options if isinstance(options, str) else options
    skip, full = chosen.get("frame_skip", 4), chosen.get("full_action_space", False)
    single = gym.make(
        "ALE/Breakout-v5", frameskip=1, repeat_action_probability=chosen["sticky"], full_action_space=full
    )
    wrapped = AtariPreprocessing(single, noop_max=0, frame_skip=skip)
    theirs = FrameStackObservation(wrapped, 4, padding_type="zero")
    mine = make_ale("ALE/Breakout-v5", 1, seed=3, options=chosen)
    assert mine.single_action_space.n == single.action_space.n
    obs = mine.reset()
    single.unwrapped.ale.setInt("random_seed", seeds_of(mine)[0])
    single.unwrapped.load_game()
    assert_same_picture(obs[0], theirs.reset()[0])
    rng, ends, rewards = np.random.default_rng(0), 0, 0
    for _ in range(300):
        action = int(rng.integers(single.action_space.n))
        step = mine.step(torch.tensor([action]))
        shown, reward, terminated, truncated, _ = theirs.step(action)
        assert_same_picture(step.next_obs[0], shown)
        assert (step.reward[0], step.terminated[0], step.truncated[0]) == (reward, terminated, truncated)
        rewards += reward
        if terminated:
            ends += 1
            assert_same_picture(step.obs[0], theirs.reset()[0])
    assert ends >= 1
    assert rewards >= 1


@pytest.mark.parametrize("fire", [False, True])
def test_screens_in_colour_are_what_the_observations_show(fire):
    """The rendering emulator against the vector environment's own RGB, one frame a step, after no-ops and FIRE."""
    options = {"frame_skip": 1, "stack": 1, "grayscale": False, "fire_reset": fire}
    env = make_ale("Breakout", 2, seed=5, options=options, max_episode_steps=30, render=True)
    assert env.reset().shape == (2, 3, 84, 84)
    assert env.single_observation_space.shape == (3, 84, 84)
    rng = np.random.default_rng(0)
    for _ in range(70):
        step = env.step(torch.from_numpy(rng.integers(4, size=2)))
        for row in range(2):
            frame = env.render(row)
            assert frame.shape == (210, 160, 3)
            assert_same_picture(step.next_obs[row], area_resize(frame, (84, 84)).transpose(2, 0, 1))
    frames = [begin.frames for begins in env._history.begins for begin in begins]
    assert len(frames) == 6
    assert min(frames) >= fire


def test_the_number_of_no_ops_is_uniform_from_none_to_the_maximum():
    env = make_ale("Pong", 8, seed=0, options={"noop_max": 3}, max_episode_steps=1)
    env.reset()
    for _ in range(24):
        env.step(torch.zeros(8, dtype=torch.int64))
    frames = [begin.frames for begins in env._history.begins for begin in begins]
    counts = np.bincount(frames, minlength=4)
    assert len(counts) == 4
    assert counts.min() > len(frames) / 4 * 0.5


def test_the_cap_is_in_frames_and_lengths_are_in_steps(make):
    """Rows 19 and 26: 10 frames are three steps of 4; a three-step episode has length 3."""
    five = {"frame_skip": 5, "max_frames": 15}
    for options, limit in (
        ({"max_frames": 10}, None),
        ({}, 3),
        ({"max_frames": 10}, 50),
        ({"frame_skip": 2}, 3),
        (five, None),
        ({**five, "max_frames": 11}, 4),
    ):
        env = make("Pong", 1, options=options, max_episode_steps=limit)
        env.reset()
        steps = [env.step(torch.tensor([0])) for _ in range(6)]
        assert [bool(step.truncated) for step in steps] == [False, False, True] * 2
        assert not any(bool(step.terminated) for step in steps)
        assert steps[2].episode_length.item() == steps[5].episode_length.item() == 3
        assert [step.num_ended for step in steps] == [0, 0, 1] * 2
        assert env.frame_skip == options.get("frame_skip", 4)


def test_scores_are_never_clipped(make):
    """Row 26: rewards above 1 arrive as they are, and the episode's return is their sum."""
    env = make("MsPacman", 2, seed=2, max_episode_steps=150)
    env.reset()
    rng, total, seen = np.random.default_rng(0), np.zeros(2), set()
    for _ in range(150):
        step = env.step(torch.from_numpy(rng.integers(9, size=2)))
        total += step.reward.numpy()
        seen |= set(step.reward.tolist())
    assert max(seen) >= 10.0
    assert step.episode_return.tolist() == total.tolist()
    assert total.min() >= 50


def test_what_was_handed_out_is_never_written_again(make):
    """Row 6."""
    env = make("Pong", 2, seed=0, max_episode_steps=7)
    kept = [(env.obs, env.obs.clone()) for _ in [env.reset()]]
    for time in range(30):
        step = env.step(torch.full((2,), time % 6))
        for tensor in (step.obs, step.next_obs, step.reward, step.lives, step.start, step.episode_return):
            if tensor is not None:
                kept.append((tensor, tensor.clone()))
    assert all(torch.equal(tensor, copy) for tensor, copy in kept)


def play(env, steps, seed=0):
    rng = np.random.default_rng(seed)
    return [env.step(torch.from_numpy(rng.integers(6, size=env.num_envs))) for _ in range(steps)]


def same(one, other):
    names = ("obs", "next_obs", "start", "reward", "terminated", "truncated", "lives")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_one_seed_one_run_whatever_the_threads(make):
    runs = []
    for threads in (1, 2):
        env = make("Pong", 3, seed=7, options={"threads": threads}, max_episode_steps=20)
        env.reset()
        runs.append(play(env, 50))
    assert all(same(one, other) for one, other in zip(*runs, strict=True))
    assert not torch.equal(runs[0][-1].obs[0], runs[0][-1].obs[1])


def test_resume_is_exact(tmp_path, monkeypatch):
    """Rows seeded at different times, with ends in between, come back bit for bit, later seeds included."""
    monkeypatch.setattr(base, "RESEED_AFTER", 30)
    env = make_ale("ALE/Pong-v5", 3, seed=0, max_episode_steps=25)
    env.reset()
    play(env, 13)
    env._length[1] += 5  # rows do not end together
    env._length[2] += 11
    before = play(env, 90)
    assert any(step.num_ended for step in before)
    snapshot = env.snapshot()
    assert len(set(snapshot["seeded_at"])) > 1
    assert snapshot["actions"].shape[0] < 103
    torch.save(snapshot, tmp_path / "snapshot.pt")
    copy = make_ale("ALE/Pong-v5", 3, seed=123, max_episode_steps=25)
    copy.restore(torch.load(tmp_path / "snapshot.pt", weights_only=True))
    assert torch.equal(copy.obs, env.obs)
    assert torch.equal(copy.start, env.start)
    assert copy.episode == env.episode
    first, second = play(env, 70, seed=1), play(copy, 70, seed=1)
    assert all(same(one, other) for one, other in zip(first, second, strict=True))
    ended = [(one, other) for one, other in zip(first, second, strict=True) if one.num_ended]
    assert len(ended) >= 6
    for one, other in ended:
        assert torch.equal(one.episode_return, other.episode_return)
        assert torch.equal(one.episode_length, other.episode_length)
    assert seeds_of(env) == seeds_of(copy)
    assert copy.episode == env.episode


def test_a_snapshot_of_another_setup_is_refused(make):
    env = make("Pong", 2, seed=0)
    env.reset()
    play(env, 20)
    with pytest.raises(ValueError, match="holds 2 environments, not 1"):
        make("Pong", 1).restore(env.snapshot())
    with pytest.raises(ValueError, match="the snapshot of ALE/Pong-v5 has frame_skip 4, not 3"):
        make("Pong", 2, options={"frame_skip": 3}).restore(env.snapshot())


def test_seeded_episodes_do_not_depend_on_the_number_of_rows(make):
    """Row 23: seeds belong to episodes."""
    seeds = [3, 2**40, 0, 11, 5]
    results = []
    for num_envs in (1, 2, 3):
        env = make("Pong", num_envs, seed=num_envs, max_episode_steps=12)
        first = env.reset(episode_seeds=seeds)
        assert env.episode == list(range(num_envs))
        sums = {}
        starts = {row: first[row] for row in range(num_envs)}
        while len(sums) < len(seeds):
            playing = env.episode
            action = torch.tensor([(int(env._length[row]) + 2 * playing[row]) % 6 for row in range(num_envs)])
            step = env.step(action)
            for row in range(num_envs):
                if step.ended[row]:
                    pair = torch.stack([starts[row], step.next_obs[row]])
                    if playing[row] < len(seeds):
                        sums[playing[row]] = pair
                    starts[row] = step.obs[row]
        results.append(sums)
    for other in results[1:]:
        assert all(torch.equal(results[0][number], other[number]) for number in range(len(seeds)))
    assert not torch.equal(results[0][0], results[0][1])


def test_history_keeps_what_a_replay_needs_and_no_more():
    rng = np.random.default_rng(0)
    history, told, seeded = History(2), [], [0, 0]
    for row in range(2):
        history.begin(row, seed=row, frames=0)
    for time in range(9000):
        for row in range(2):
            if rng.random() < 0.002:
                history.begin(row, seed=5, frames=1)
                seeded[row] = time
        told.append(rng.integers(18, size=2))
        history.append(told[-1])
        assert history.oldest == min(seeded)
        if time % 97 == 0:
            assert np.array_equal(history.since(history.oldest), told[history.oldest :])
    assert history._actions.shape[0] <= 8192


@pytest.mark.parametrize(
    ("id", "full", "sticky"),
    [
        ("Pong", "ALE/Pong-v5", 0.25),
        ("ALE/Pong-v5", "ALE/Pong-v5", 0.25),
        ("ale_py:ALE/Pong-v5", "ALE/Pong-v5", 0.25),
        ("PongNoFrameskip-v4", "PongNoFrameskip-v4", 0.0),
        ("PongNoFrameskip-v0", "PongNoFrameskip-v0", 0.25),
        ("MsPacman", "ALE/MsPacman-v5", 0.25),
    ],
)
def test_ids_resolve(id, full, sticky):
    """Row 22."""
    assert is_atari(id)
    assert atari_id(id) == atari_id(full) == full
    env = make_atari(id, 1)
    assert (env.id, env.options.sticky) == (full, sticky)
    assert make_atari(id, 1, options={"sticky": 0.1}).options.sticky == 0.1


def test_every_registered_single_player_game_has_a_name():
    gym.register_envs(ale_py)
    registered = {id for id in gym.registry if id.startswith("ALE/")}
    assert registered == {atari_id(game) for game in atari_games()}


@pytest.mark.parametrize("id", ["CartPole-v1", "Blackjack-v1", "gymnast/Catch-v0", "Taxi", "Pong-v1", "Pong/v5", ""])
def test_other_ids_are_not_atari(id):
    assert not is_atari(id)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("ALE/Pnog-v5", "unknown Atari game 'Pnog' in 'ALE/Pnog-v5'; did you mean ALE/Pong-v5?"),
        ("ALE/ms_pacman-v5", "unknown Atari game 'ms_pacman' in 'ALE/ms_pacman-v5'; did you mean ALE/MsPacman-v5?"),
        ("BreakotNoFrameskip-v4", "did you mean ALE/Breakout-v5?"),
        ("ALE/Qqqqqqqq-v5", "unknown Atari game 'Qqqqqqqq' in 'ALE/Qqqqqqqq-v5'$"),
        ("ALE/Pong-v4", "unknown Atari id 'ALE/Pong-v4'; use Pong, ALE/Pong-v5 or PongNoFrameskip-v4"),
        ("Pong-v5", "unknown Atari id 'Pong-v5'; use Pong, ALE/Pong-v5 or PongNoFrameskip-v4"),
        ("PongNoFrameskip", "unknown Atari id 'PongNoFrameskip'; use Pong"),
        ("Pong-v4", "Pong-v4 already skips 2 to 4 frames at random, and the frame_skip option would"),
        ("PongDeterministic-v4", "PongDeterministic-v4 already skips 4 frames, and the frame_skip option would"),
    ],
)
def test_wrong_ids_fail_in_one_line(id, message):
    """Rows 19 and 22: a second frame skip is refused, an unknown game names the nearest."""
    with pytest.raises(ValueError, match=message) as error:
        atari_id(id)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frameskip": 4}, "Atari has no option frameskip; did you mean frame_skip?"),
        ({"repeat_action_probability": 0.0}, "did you mean sticky?"),
        ({"stik": 0.0}, "Atari has no option stik; did you mean sticky?"),
        ({"colour": 3}, r"Atari has no option colour \(allowed: frame_skip, sticky"),
        ({"reward_clipping": True}, "no option reward_clipping: rewards are never clipped by the environment"),
        ({"episodic_life": True}, "no option episodic_life: an episode is a whole game"),
        ({"frame_skip": 0}, "frame_skip must be an integer >= 1, got 0"),
        ({"frame_skip": True}, "frame_skip must be an integer >= 1, got True"),
        ({"stack": 1.5}, "stack must be an integer >= 1, got 1.5"),
        ({"mode": -1}, "mode must be an integer >= 0, got -1"),
        ({"difficulty": True}, "difficulty must be an integer >= 0, got True"),
        ({"mode": 7}, "mode of pong must be one of 0, 1, got 7"),
        ({"mode": 1, "emulator": "ale"}, "emulator ale has neither mode nor difficulty; use ours"),
        ({"noop_max": -1}, "noop_max must be an integer >= 0, got -1"),
        ({"sticky": 1.0}, "sticky must be at least 0 and below 1, got 1.0"),
        ({"sticky": float("nan")}, "sticky must be at least 0 and below 1, got nan"),
        ({"grayscale": 1}, "grayscale must be true or false, got 1"),
    ],
)
def test_wrong_options_fail_in_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        make_atari("Pong", 1, options=options)


def test_every_option_reaches_the_emulators(make):
    env = make("Pong", 1, options={"screen": 42, "stack": 2, "full_action_space": True})
    assert env.reset().shape == (1, 2, 42, 42)
    assert env.single_action_space.n == 18
    assert make("Pong", 1).single_action_space.n == 6
    assert AtariOptions.from_dict({"max_frames": 18_000}).max_frames == 18_000


def test_misuse_is_told_instead_of_hanging(make):
    env = make("Pong", 2)
    env.reset()
    for bad in ([0, 6], [-1, 0]):
        with pytest.raises(ValueError, match=r"actions of ALE/Pong-v5 must be in 0\.\.5, got"):
            env.step(torch.tensor(bad))
    env.step(torch.tensor([0, 5]))
    with pytest.raises(ValueError, match="was not made with render=True"):
        env.render()
    with pytest.raises(ValueError, match="num_envs must be >= 1, got 0"):
        make("Pong", 0)
    env.close()
    env.close()


@pytest.mark.slow
def test_whole_games_are_those_of_a_plain_emulator():
    """Pong to the end, twice in each row: rewards, lengths, returns; the emulator's generator runs through resets."""
    env = make_ale("Pong", 2, seed=4)
    env.reset()
    games = [PlainGame("pong") for _ in range(2)]
    for game, seed, noops in zip(games, seeds_of(env), reset_frames(env), strict=True):
        game.begin(seed, noops)
    rng, ends = np.random.default_rng(0), 0
    while ends < 4:
        actions = rng.integers(6, size=2)
        step = env.step(torch.from_numpy(actions))
        for row, game in enumerate(games):
            _, reward, terminated, _ = game.step(actions[row])
            assert (step.reward[row], step.terminated[row]) == (reward, terminated)
            if terminated:
                ends += 1
                assert step.episode_length[row] == game.length
                game.begin(None, reset_frames(env)[row])
