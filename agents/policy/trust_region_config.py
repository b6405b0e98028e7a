"""Settings of natural-gradient steps: NPG and TRPO."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrustRegionConfig:
    """The settings of every agent whose policy can take natural-gradient steps."""

    max_kl: float = 0.01
    """Mean KL divergence of a policy from the one before, in nats: the size of a natural step, the bound of a trust
    region."""
    cg_steps: int = 10
    """Conjugate-gradient steps of each update of the policy, each a product with the Fisher matrix."""
    cg_damping: float = 0.1
    """Multiple of the identity added to the Fisher matrix."""
    cg_tolerance: float = 1e-5
    """End the conjugate gradients once the residual's norm is within this share of the gradient's."""
    fisher_share: float = 1.0
    """Share of a rollout's samples, drawn at random, in the products with the Fisher matrix."""
    line_search_steps: int = 10
    """Tries to improve within the trust region, each with a shorter step; if all fail, the policy stays."""
    line_search_shrink: float = 0.8
    """Factor of the step from one try to the next."""

    def check_trust_region(self) -> None:
        """Raise ValueError for settings that are not allowed."""
        for name in ("cg_steps", "line_search_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if not 0.0 < self.max_kl < float("inf"):
            raise ValueError(f"max_kl must be > 0, got {self.max_kl}")
        for name in ("cg_damping", "cg_tolerance"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0.0 < self.fisher_share <= 1.0:
            raise ValueError(f"fisher_share must be > 0 and <= 1, got {self.fisher_share}")
        if not 0.0 < self.line_search_shrink < 1.0:
            raise ValueError(f"line_search_shrink must be between 0 and 1, got {self.line_search_shrink}")
