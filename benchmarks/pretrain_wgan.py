"""WGAN-GP of `pretrain.py`: ours, and a bare loop."""

from __future__ import annotations

from pretrain_task import VALIDATION, Clock, Result, Setting, session, timed
from pretrain_vae import layers

LATENT, LEARNING_RATE, CRITIC_STEPS, PENALTY = 64, 1e-4, 5, 10.0


def ours(setting: Setting) -> Result:
    """Our session; an update is one of the critic, and every fifth one of the generator too."""
    from gymnast.agents.supervised.table import config_class

    task = "gan-wgan-gp"
    config = config_class(task)(
        network="nature-cnn",
        latent_size=LATENT,
        generator_channels=32,
        critic_steps=CRITIC_STEPS,
        gradient_penalty=PENALTY,
        batch_size=setting.batch,
        learning_rate=LEARNING_RATE,
    )
    return timed(session(setting, task, config, epochs=2), setting)


def bare(setting: Setting) -> Result:
    """A plain loop."""
    import torch

    torch.set_num_threads(setting.threads)
    torch.manual_seed(0)
    images = torch.from_numpy(setting.images()[:-VALIDATION])
    encoder, _, generator = layers(LATENT)
    critic = torch.nn.Sequential(encoder, torch.nn.Linear(512, 1))
    rates = {"lr": LEARNING_RATE, "betas": (0.0, 0.9)}
    of_critic = torch.optim.Adam(critic.parameters(), **rates)
    of_generator = torch.optim.Adam(generator.parameters(), **rates)
    clock, updates = Clock(), 0
    for _ in range(2):
        clock.start()
        for index in torch.randperm(len(images)).split(setting.batch):
            real = images[index].float() / 255
            with torch.no_grad():
                fake = generator(torch.randn(len(real), LATENT)).sigmoid()
            share = torch.rand(len(real), 1, 1, 1)
            between = (share * real + (1 - share) * fake).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
            loss = critic(fake).mean() - critic(real).mean() + PENALTY * penalty
            of_critic.zero_grad()
            loss.backward()
            of_critic.step()
            updates += 1
            if updates % CRITIC_STEPS == 0:
                loss = -critic(generator(torch.randn(len(real), LATENT)).sigmoid()).mean()
                of_generator.zero_grad()
                loss.backward()
                of_generator.step()
    return clock.stop(setting.steps)
