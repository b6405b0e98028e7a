"""Recurrent backbones: Elman's network, LSTM and GRU over the steps of an observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gymnast.networks.backbones.sequence import SequenceBackbone
from gymnast.networks.layers.cells import Cell, ElmanCell, GRUCell, LSTMCell, Unrolled, VariationalDropout


@dataclass(frozen=True)
class RNNOptions:
    """A simple recurrent network (Elman 1990)."""

    units: int = 128
    """Units of each layer and direction."""
    layers: int = 1
    """Layers on top of each other."""
    bidirectional: bool = False
    """Read the sequence in both directions."""
    dropout: float = 0.0
    """Share of the inputs of each layer that is dropped in training, the same at all steps (Gal & Ghahramani 2016)."""
    zoneout: float = 0.0
    """Share of the state that keeps its value in training (Krueger et al. 2017)."""

    def __post_init__(self) -> None:
        for name in ("units", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("dropout", "zoneout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be >= 0 and < 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class LSTMOptions(RNNOptions):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), its forget gates open at first."""

    peepholes: bool = False
    """Let the gates see the cell (Gers et al. 2002)."""
    cell_clip: float = 0.0
    """Bound of the cell's absolute value; 0 for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.cell_clip < float("inf"):
            raise ValueError(f"cell_clip must be >= 0, got {self.cell_clip}")


@dataclass(frozen=True)
class GRUOptions(RNNOptions):
    """Gated recurrent units (Cho et al. 2014)."""

    reset: Literal["after", "before"] = "after"
    """Whether the reset gate acts after the product with the state (as in torch and cuDNN) or before (the paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reset not in ("after", "before"):
            raise ValueError(f"reset must be after or before, got {self.reset!r}")
        if self.zoneout and self.reset == "after":
            raise ValueError("zoneout needs reset before, got after")


class RNN(SequenceBackbone):
    """Recurrent layers over a sequence; the features are the last output, of both directions if there are two.

    Layers are torch's own where it has what the options ask for.
    """

    name, Options = "rnn", RNNOptions
    options: RNNOptions
    torch_layer: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]] = nn.RNN

    def is_torchs(self) -> bool:
        """Whether torch's layer has all that the options ask for."""
        return not self.options.zoneout

    def cell(self, features: int) -> Cell:
        """One of gymnast's own cells."""
        return ElmanCell(features, self.options.units, zoneout=self.options.zoneout)

    def make(self, features: int) -> tuple[nn.Module, int]:
        options = self.options
        width = options.units * (2 if options.bidirectional else 1)
        layers: list[nn.Module] = []
        for index in range(options.layers):
            size = width if index else features
            layers.append(VariationalDropout(options.dropout))
            if self.is_torchs():
                layer = self.torch_layer(size, options.units, batch_first=True, bidirectional=options.bidirectional)
                layers.append(Outputs(layer))
            else:
                layers.append(Unrolled(self.cell(size), self.cell(size) if options.bidirectional else None))
        return nn.Sequential(*layers), width

    def summary(self, outputs: Tensor) -> Tensor:
        if not self.options.bidirectional:
            return outputs[:, -1]
        ahead, back = outputs.chunk(2, 2)
        return torch.cat([ahead[:, -1], back[:, 0]], 1)


class LSTM(RNN):
    """`RNN` of long short-term memories."""

    name, Options, torch_layer = "lstm", LSTMOptions, nn.LSTM
    options: LSTMOptions

    def is_torchs(self) -> bool:
        return super().is_torchs() and not self.options.peepholes and not self.options.cell_clip

    def cell(self, features: int) -> Cell:
        options = self.options
        return LSTMCell(
            features, options.units, peepholes=options.peepholes, clip=options.cell_clip, zoneout=options.zoneout
        )

    def finish(self) -> None:
        units = self.options.units
        for module in self.body.modules():
            if isinstance(module, LSTMCell):
                module.open_forget_gate()
            elif isinstance(module, nn.LSTM):
                with torch.no_grad():
                    for name, bias in module.named_parameters():
                        if name.startswith("bias_ih"):
                            bias[units : 2 * units] = 1.0
                        elif name.startswith("bias_hh"):
                            bias[units : 2 * units] = 0.0


class GRU(RNN):
    """`RNN` of gated recurrent units."""

    name, Options, torch_layer = "gru", GRUOptions, nn.GRU
    options: GRUOptions

    def is_torchs(self) -> bool:
        return super().is_torchs() and self.options.reset == "after"

    def cell(self, features: int) -> Cell:
        return GRUCell(features, self.options.units, zoneout=self.options.zoneout)


class Outputs(nn.Module):
    """A recurrent layer of torch, its outputs without its state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        outputs: Tensor = self.layer(features)[0]
        return outputs
