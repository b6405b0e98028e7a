"""A Dreamer's recurrent state-space model over a replayed sequence, with its backward pass written out.

Autograd keeps some thirty nodes for each of 64 steps, and adds a gradient of every weight at each of them. Here the
loop backwards carries only the gradients by the states; whatever does not depend on them is computed for all steps at
once, before it (the slopes of the layers) or after it (the gradients of the weights: one product for each). Tests
compare it with `RSSM.step_by_step`. Gain, forward and backward pass, `python benchmarks/fast.py`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gymnast.networks.fast.draws import draw

EPS = 1e-4
"""Of the root-mean-square normalisations."""


class Weights(NamedTuple):
    """Of a recurrent state-space model: D recurrent units in G blocks of d, U hidden ones, S latents of C classes."""

    of_deter: Tensor  # [U, D]
    of_deter_bias: Tensor  # [U]
    of_deter_scale: Tensor  # [U]
    of_stoch: Tensor  # [U, S * C]
    of_stoch_bias: Tensor  # [U]
    of_stoch_scale: Tensor  # [U]
    mix_of_deter: Tensor  # [D, U]
    mix_of_stoch: Tensor  # [D, U]
    mix_deter: Tensor  # [G, d, d]
    mix_deter_bias: Tensor  # [G, 1, d]
    mix_scale: Tensor  # [D]
    gates: Tensor  # [G, d, 3 d]
    gates_bias: Tensor  # [G, 1, 3 d]
    posterior_deter: Tensor  # [U, D]
    posterior_deter_bias: Tensor  # [U]
    posterior_scale: Tensor  # [U]
    posterior: Tensor  # [S * C, U]
    posterior_bias: Tensor  # [S * C]


class Shape(NamedTuple):
    """What is not a tensor."""

    stoch: int
    classes: int
    unimix: float
    begins: list[bool]
    """[T], whether an episode begins in any row."""
    dtype: torch.dtype
    """In which products are computed."""


class ObservedSequence(torch.autograd.Function):
    """given [T, B, D], tokens [T, B, U], keep [T, B, 1], the state before (deter [B, D], stoch [B, S * C]), uniform
    [T, B, S] and weights to the states' deter [T, B, D], stoch [T, B, S * C] and posterior probabilities like stoch.
    """

    @staticmethod
    def forward(
        ctx: Any,
        shape: Shape,
        given: Tensor,
        tokens: Tensor,
        keep: Tensor,
        deter: Tensor,
        stoch: Tensor,
        uniform: Tensor,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        w, dtype = Weights(*weights), shape.dtype
        steps, rows, width = given.shape
        blocks = len(w.gates)

        def kept(size: int) -> Tensor:
            return torch.empty((steps, rows, size))

        units, classes = tokens.shape[2], stoch.shape[1]
        read_deter, read_stoch, mixed, read_posterior = kept(units), kept(units), kept(width), kept(units)
        before_deter, before_stoch, probs, drawn, deters = (
            kept(width),
            kept(classes),
            kept(classes),
            kept(classes),
            kept(width),
        )
        gates = torch.empty((steps, blocks, rows, 3 * width // blocks))
        to = {name: getattr(w, name).to(dtype) for name in ("mix_deter", "gates")}
        to |= {
            name: getattr(w, name).to(dtype).t() for name in ("of_deter", "of_stoch", "mix_of_deter", "mix_of_stoch")
        }
        to |= {name: getattr(w, name).to(dtype).t() for name in ("posterior_deter", "posterior")}
        for t, begun in enumerate(shape.begins):
            if begun:
                deter, stoch = deter * keep[t], stoch * keep[t]
            before_deter[t], before_stoch[t] = deter, stoch
            own = deter.to(dtype)
            torch.add(own @ to["of_deter"], w.of_deter_bias, out=read_deter[t])
            torch.add(stoch.to(dtype) @ to["of_stoch"], w.of_stoch_bias, out=read_stoch[t])
            one = _silu_norm(read_deter[t], w.of_deter_scale).to(dtype) @ to["mix_of_deter"]
            two = _silu_norm(read_stoch[t], w.of_stoch_scale).to(dtype) @ to["mix_of_stoch"]
            mix = torch.bmm(own.view(rows, blocks, -1).transpose(0, 1), to["mix_deter"]).float() + w.mix_deter_bias
            mixed[t] = mix.transpose(0, 1).reshape(rows, width) + given[t] + one + two
            blocked = _silu_norm(mixed[t], w.mix_scale).to(dtype).view(rows, blocks, -1).transpose(0, 1)
            gates[t] = torch.bmm(blocked, to["gates"]) + w.gates_bias
            reset, candidate, update = gates[t].chunk(3, -1)
            candidate = 2.0 * (2.0 * reset.sigmoid() * candidate).sigmoid() - 1.0
            carried = deter.view(rows, blocks, -1).transpose(0, 1)
            deter = torch.lerp(carried, candidate, (update - 1.0).sigmoid()).transpose(0, 1).reshape(rows, width)
            deters[t] = deter
            torch.add(
                deter.to(dtype) @ to["posterior_deter"] + w.posterior_deter_bias, tokens[t], out=read_posterior[t]
            )
            logits = _silu_norm(read_posterior[t], w.posterior_scale).to(dtype) @ to["posterior"] + w.posterior_bias
            probs[t] = logits.float().view(rows, shape.stoch, -1).softmax(-1).view(rows, -1)
            mixture = torch.add(shape.unimix / shape.classes, probs[t], alpha=1.0 - shape.unimix)
            stoch = draw(mixture.view(rows, shape.stoch, -1), uniform[t]).view(rows, -1)
            drawn[t] = stoch
        ctx.shape = shape
        ctx.save_for_backward(
            keep,
            read_deter,
            read_stoch,
            mixed,
            read_posterior,
            before_deter,
            before_stoch,
            gates,
            probs,
            deters,
            *weights,
        )
        return deters, drawn, torch.add(shape.unimix / shape.classes, probs, alpha=1.0 - shape.unimix)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        shape, (of_deters, of_drawn, of_probs) = ctx.shape, grads
        keep, read_deter, read_stoch, mixed, read_posterior, before_deter, before_stoch, gates, probs, deters = (
            ctx.saved_tensors[:10]
        )
        w, dtype = Weights(*ctx.saved_tensors[10:]), shape.dtype
        steps, rows, width = mixed.shape
        blocks, size = len(w.gates), width // len(w.gates)
        layers = {
            "deter": _Layer(read_deter, w.of_deter_scale),
            "stoch": _Layer(read_stoch, w.of_stoch_scale),
            "mix": _Layer(mixed, w.mix_scale),
            "posterior": _Layer(read_posterior, w.posterior_scale),
        }
        slopes, stays = _gate_slopes(gates, before_deter, blocks)
        of_gates, of_logits = torch.empty_like(gates), torch.empty_like(probs)
        to = {name: getattr(w, name).to(dtype).transpose(1, 2) for name in ("mix_deter", "gates")}
        names = ("of_deter", "of_stoch", "mix_of_deter", "mix_of_stoch", "posterior_deter", "posterior")
        to |= {name: getattr(w, name).to(dtype) for name in names}
        of_deter, of_stoch = torch.zeros(rows, width), torch.zeros_like(before_stoch[0])
        for t in range(steps - 1, -1, -1):
            by_stoch = of_drawn[t] + of_stoch
            by_probs = ((of_probs[t] + by_stoch) * (1.0 - shape.unimix)).view(rows, shape.stoch, -1)
            chance = probs[t].view(rows, shape.stoch, -1)
            of_logits[t] = torch._softmax_backward_data(by_probs, chance, -1, torch.float32).view(rows, -1)
            by_read = layers["posterior"].back(t, of_logits[t].to(dtype) @ to["posterior"])
            by_deter = of_deters[t] + of_deter + by_read.to(dtype) @ to["posterior_deter"]
            blocked = by_deter.view(rows, blocks, 1, size).transpose(0, 1)  # [G, B, 1, d]
            of_gates[t] = (slopes[t] * blocked).flatten(2)
            by_mix = torch.bmm(of_gates[t].to(dtype), to["gates"]).transpose(0, 1).reshape(rows, width)
            by_mixed = layers["mix"].back(t, by_mix)
            own = by_mixed.to(dtype)
            by_one = layers["deter"].back(t, own @ to["mix_of_deter"])
            by_two = layers["stoch"].back(t, own @ to["mix_of_stoch"])
            through = torch.bmm(own.view(rows, blocks, -1).transpose(0, 1), to["mix_deter"])
            of_deter = by_deter * stays[t] + through.transpose(0, 1).reshape(rows, width)
            of_deter += by_one.to(dtype) @ to["of_deter"]
            of_stoch = (by_two.to(dtype) @ to["of_stoch"]).float()
            if shape.begins[t]:
                of_deter, of_stoch = of_deter * keep[t], of_stoch * keep[t]
        by = {name: layer.of_inputs.flatten(0, 1) for name, layer in layers.items()}  # [T * B, F]
        out = {name: layer.output.flatten(0, 1) for name, layer in layers.items()}
        of_blocks = by["mix"].view(-1, blocks, size).transpose(0, 1)
        by_gates = of_gates.transpose(0, 1).flatten(1, 2)  # [G, T * B, 3 d]
        flat_deter, flat_stoch = before_deter.flatten(0, 1), before_stoch.flatten(0, 1)

        def product(left: Tensor, right: Tensor) -> Tensor:
            return (left.to(dtype).transpose(-1, -2) @ right.to(dtype)).float()

        of_weights = Weights(
            of_deter=product(by["deter"], flat_deter),
            of_deter_bias=by["deter"].sum(0),
            of_deter_scale=layers["deter"].of_scale,
            of_stoch=product(by["stoch"], flat_stoch),
            of_stoch_bias=by["stoch"].sum(0),
            of_stoch_scale=layers["stoch"].of_scale,
            mix_of_deter=product(by["mix"], out["deter"]),
            mix_of_stoch=product(by["mix"], out["stoch"]),
            mix_deter=product(flat_deter.view(-1, blocks, size).transpose(0, 1), of_blocks),
            mix_deter_bias=of_blocks.sum(1, keepdim=True),
            mix_scale=layers["mix"].of_scale,
            gates=product(out["mix"].view(-1, blocks, size).transpose(0, 1), by_gates),
            gates_bias=by_gates.sum(1, keepdim=True),
            posterior_deter=product(by["posterior"], deters.flatten(0, 1)),
            posterior_deter_bias=by["posterior"].sum(0),
            posterior_scale=layers["posterior"].of_scale,
            posterior=product(of_logits.flatten(0, 1), out["posterior"]),
            posterior_bias=of_logits.flatten(0, 1).sum(0),
        )
        inputs = (layers["mix"].of_inputs, layers["posterior"].of_inputs, None, of_deter, of_stoch, None)
        return (None, *inputs, *of_weights)


class _Layer:
    """silu(x / rms(x) * scale) of all steps, x [T, B, F], and its backward pass step by step."""

    def __init__(self, x: Tensor, scale: Tensor) -> None:
        self.inverse = (x.square().mean(-1, keepdim=True) + EPS).rsqrt()  # [T, B, 1]
        self.normal = x * self.inverse
        scaled = self.normal * scale
        gate = scaled.sigmoid()
        self.output = scaled * gate
        self._slope = gate * (1.0 + scaled * (1.0 - gate))  # silu'
        self._by_normal = self._slope * scale
        self.of_inputs, self._of_outputs = torch.empty_like(x), torch.empty_like(x)

    def back(self, t: int, grad: Tensor) -> Tensor:
        """The gradient [B, F] by the inputs of step t from that by its outputs."""
        self._of_outputs[t] = grad
        by_normal, normal = self._by_normal[t] * self._of_outputs[t], self.normal[t]
        along = (by_normal * normal).mean(-1, keepdim=True)
        return torch.mul(torch.addcmul(by_normal, normal, along, value=-1.0), self.inverse[t], out=self.of_inputs[t])

    @property
    def of_scale(self) -> Tensor:
        return (self._of_outputs * self._slope * self.normal).flatten(0, 1).sum(0)


def _silu_norm(x: Tensor, scale: Tensor) -> Tensor:
    return torch.nn.functional.silu(torch.nn.functional.rms_norm(x, scale.shape, scale, EPS))


def _gate_slopes(gates: Tensor, before: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Derivatives of the next state by the gates [T, G, B, 3, d], and by the state before [T, B, D]."""
    steps, _, rows, _ = gates.shape
    reset, candidate, update = gates.chunk(3, -1)
    reset, update = reset.sigmoid(), (update - 1.0).sigmoid()
    new = 2.0 * (2.0 * reset * candidate).sigmoid() - 1.0
    carried = before.view(steps, rows, blocks, -1).transpose(1, 2)
    by_candidate = update * (1.0 - new * new)
    parts = (
        by_candidate * candidate * reset * (1.0 - reset),
        by_candidate * reset,
        (new - carried) * update * (1.0 - update),
    )
    return torch.stack(parts, 3), (1.0 - update).transpose(1, 2).reshape(steps, rows, -1)
