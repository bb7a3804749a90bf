"""The published architectures in plain PyTorch, as a paper's code base would have them.

Sizes are read from our settings, so that both sides are one architecture by construction; what the
timed presets do not use is refused. Submodules and parameters bear our names, so that
`ours(model)` can show them in our layout. Letters as in `slots.types`; pictures are NCHW inside.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from slots.config import ConfigError
from slots.decoders import BroadcastConfig, MLPDecoderConfig
from slots.encoders import CNNConfig, TokenHeadConfig, WindowsConfig
from slots.experiment import ExperimentConfig
from slots.initializers import (
    DictionaryConfig,
    FramesInitializerConfig,
    GaussianConfig,
    LearnedConfig,
    MixtureConfig,
)
from slots.modules import (
    InvariantSlotAttentionConfig,
    MESHConfig,
    SlotAttentionConfig,
    SlotMixtureConfig,
)


class Frames(NamedTuple):
    """Where slots are, [B,K,2] as (y, x), how large, [B,K,2], and how turned, [B,K,2,2]."""

    position: Tensor
    scale: Tensor | None = None
    rotation: Tensor | None = None


class First(NamedTuple):
    """What starts the slots: noise or vectors [B,K,S], and frames where slots have them."""

    vectors: Tensor
    frames: Frames | None = None


class Output(NamedTuple):
    """Mixture [B,C,H,W], masks [B,M,1,H,W], parts [B,M,C,H,W]; M counts a background."""

    mixture: Tensor
    masks: Tensor
    parts: Tensor


def refuse_unless(condition: bool, what: str) -> None:
    if not condition:
        raise ConfigError(f"The PyTorch models of the benchmark do not cover {what}.")


# --- positions -----------------------------------------------------------------------------------


def places(rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """[N,2] (y, x) in [-1, 1] of places in pixels; the middles of the corner pixels are ±1."""
    y, x = (2 * p / (side - 1) - 1 for p, side in zip((rows, columns), size, strict=True))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1).reshape(-1, 2)


def grid(height: int, width: int) -> Tensor:
    return places(torch.arange(height), torch.arange(width), (height, width))


class PositionEmbedding(nn.Module):
    def __init__(self, features: int, kind: str, octaves: int):
        super().__init__()
        self.kind, self.octaves = kind, octaves
        width = {"coordinates": 2, "linear": 4, "fourier": 2 + 4 * octaves}[kind]
        self.projection = nn.Linear(width, features)

    def forward(self, positions: Tensor) -> Tensor:
        code = positions
        if self.kind == "linear":
            unit = (positions + 1) / 2
            code = torch.cat([unit, 1 - unit], dim=-1)
        if self.kind == "fourier":
            waves = [positions * (torch.pi * 2**i) for i in range(self.octaves)]
            code = torch.cat(
                [positions, *(f(w) for w in waves for f in (torch.sin, torch.cos))], -1
            )
        return self.projection(code)


def into_frame(positions: Tensor, rotation: Tensor) -> Tensor:
    """(y, x) turned into the frame whose axes in (x, y) are the columns of `rotation`."""
    return torch.einsum("bknc,bkcd->bknd", positions.flip(-1), rotation).flip(-1)


def relative(positions: Tensor, frames: Frames, scale_factor: float) -> Tensor:
    """[B,K,N,2]: places [N,2] seen from each slot (Biza et al. 2023)."""
    seen = positions - frames.position[:, :, None]
    if frames.rotation is not None:
        seen = into_frame(seen, frames.rotation)
    if frames.scale is not None:
        seen = seen / scale_factor / frames.scale[:, :, None]
    return seen


# --- encoders ------------------------------------------------------------------------------------


class MLP(nn.Sequential):
    def __init__(self, inputs: int, hidden: int, outputs: int, *, bias: bool = True):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x)))


class TokenHead(nn.Module):
    def __init__(self, config: TokenHeadConfig, width: int, positions: Tensor):
        super().__init__()
        refuse_unless(config.norm == "channels" and not config.final_relu, "this encoder.head")
        hidden = width if config.hidden is None else config.hidden
        self.width, self.features = width, config.features or width
        self.register_buffer("positions", positions, persistent=False)
        self.position = None
        if config.position != "none":
            self.position = PositionEmbedding(width, config.position, config.octaves)
        self.norm, self.mlp = None, None
        if hidden:
            self.norm = nn.LayerNorm(width, eps=config.layer_norm_epsilon)
            self.mlp = MLP(width, hidden, self.features)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H',W'] to [B,N,D]; `content` is what there is before places are added."""
        x = self.content = x.flatten(2).transpose(1, 2)
        if self.position is not None:
            x = x + self.position(self.positions)
        return x if self.mlp is None else self.mlp(self.norm(x))


class CNN(nn.Module):
    def __init__(self, config: CNNConfig, image_shape: tuple[int, int, int]):
        super().__init__()
        height, width, channels = image_shape
        refuse_unless(set(config.strides) == {1} and config.kernel_size % 2 == 1, "encoder.strides")
        refuse_unless(config.final_relu, "encoder.final_relu=false")
        sizes = itertools.pairwise((channels, *config.channels))
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, config.kernel_size, padding="same") for i, o in sizes
        )
        self.head = TokenHead(config.head, config.channels[-1], grid(height, width))

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.head(x)


class Windows(nn.Module):
    """A perceptron of overlapping windows; its first layer is a strided convolution."""

    def __init__(self, config: WindowsConfig, image_shape: tuple[int, int, int]):
        super().__init__()
        *size, channels = image_shape
        counts = [-(-side // config.stride) for side in size]
        pads = [
            (n - 1) * config.stride + config.window - side
            for n, side in zip(counts, size, strict=True)
        ]
        refuse_unless(all(p >= 0 and p % 2 == 0 for p in pads), "windows that pad unevenly")
        before = [p // 2 for p in pads]
        self.mlp = nn.Module()
        self.mlp.first = nn.Conv2d(
            channels, config.hidden, config.window, stride=config.stride, padding=tuple(before)
        )
        self.mlp.second = nn.Conv2d(config.hidden, config.features, 1)
        middles = [
            torch.arange(n) * config.stride + (config.window - 1) / 2 - b
            for n, b in zip(counts, before, strict=True)
        ]
        self.head = TokenHead(config.head, config.features, places(*middles, tuple(size)))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mlp.second(F.relu(self.mlp.first(x))))


# --- slots ---------------------------------------------------------------------------------------


class Gaussian(nn.Module):
    def __init__(self, config: GaussianConfig, num_slots: int, slot_dim: int):
        super().__init__()
        self.shape = (num_slots, slot_dim)
        shape = (1 if config.shared else num_slots, slot_dim)
        self.mean = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        self.log_scale = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))

    def forward(self, tokens: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            noise = torch.randn(len(tokens), *self.shape, device=tokens.device, dtype=tokens.dtype)
        return self.mean + self.log_scale.exp() * noise


class Learned(nn.Module):
    def __init__(self, config: LearnedConfig, num_slots: int, slot_dim: int):
        super().__init__()
        self.vectors = nn.Parameter(config.scale * torch.randn(num_slots, slot_dim))

    def forward(self, tokens: Tensor, noise: Tensor | None) -> Tensor:
        return self.vectors.expand(len(tokens), -1, -1)


class MixtureInitializer(nn.Module):
    """First means and spreads side by side."""

    def __init__(self, config: MixtureConfig, num_slots: int, slot_dim: int):
        super().__init__()
        self.shape = (num_slots, 2 * slot_dim)
        limit = (6 / (4 * slot_dim)) ** 0.5
        self.mean = nn.Parameter(torch.randn(2 * slot_dim))
        self.log_scale = nn.Parameter(torch.empty(2 * slot_dim).uniform_(-limit, limit))

    def forward(self, tokens: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            noise = torch.randn(len(tokens), *self.shape, device=tokens.device, dtype=tokens.dtype)
        return self.mean + self.log_scale.exp() * noise


class Dictionary(nn.Module):
    """Kori et al. 2024: Gaussians looked up by what the picture is made of; `loss` is its term.

    Its buffers are our variables; keys follow moving averages while it trains.
    """

    def __init__(self, config: DictionaryConfig, num_slots: int, slot_dim: int, content: int):
        super().__init__()
        refuse_unless(
            (config.lookup, config.values, config.count, config.estimate)
            == ("cosine", "gaussian", "all", "picture")
            and not config.restart_below,
            "this model.initializer",
        )
        self.config, self.num_slots, self.loss = config, num_slots, torch.zeros(())
        self.project_in = MLP(content, content, config.key_dim)
        self.norm_in = nn.LayerNorm(config.key_dim)
        self.project_out = MLP(config.key_dim, content, content)
        self.norm_out = nn.LayerNorm(content)
        self.mean = nn.Parameter(F.normalize(torch.randn(config.size, slot_dim), dim=-1))
        limit = (6 / slot_dim) ** 0.5
        self.log_variance = nn.Parameter(torch.empty(config.size, slot_dim).uniform_(-limit, limit))
        self.register_buffer("keys", F.normalize(torch.randn(config.size, config.key_dim), dim=-1))
        self.register_buffer("counts", torch.ones(config.size))
        self.register_buffer("sums", self.keys.clone())

    @torch.no_grad()
    def properties(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of tokens by the leading eigenvectors, and all eigenvalues, rounded."""
        x = F.normalize(content, dim=-1)
        wide = x.shape[1] <= x.shape[2]
        values, vectors = torch.linalg.eigh(x @ x.mT if wide else x.mT @ x)
        values, vectors = values.flip(-1), vectors.flip(-1).mT[:, : self.num_slots]
        if not wide:
            vectors = F.normalize(vectors @ x.mT, dim=-1, eps=1e-6)
        largest = vectors.abs().argmax(dim=-1, keepdim=True)
        sign = torch.where(vectors.gather(-1, largest) < 0, -1.0, 1.0).to(vectors.dtype)
        return (vectors * sign) @ content, values.round()

    def entries(self, sizes: Tensor, count: int) -> list[int]:
        """Which property each slot takes, of one picture."""
        found, level = list(range(count)), 1
        while len(found) < self.num_slots:
            larger = int((sizes > level).sum())
            found += range(1 if larger > 1 else 0, larger) if larger else range(count)
            level += 1
        return found[: self.num_slots]

    @torch.no_grad()
    def follow(self, features: Tensor, codes: Tensor, present: Tensor) -> None:
        config, size = self.config, self.config.size
        chosen = F.one_hot(codes, size) * present[..., None]
        chosen = chosen.flatten(0, 1).to(features.dtype)
        self.counts.mul_(config.decay).add_((1 - config.decay) * chosen.sum(dim=0))
        total = self.counts.sum()
        even = (self.counts + config.decay_epsilon) / (total + size * config.decay_epsilon)
        self.counts.copy_(even * total)
        moved = (1 - config.decay) * chosen.T @ features.flatten(0, 1)
        self.sums.mul_(config.decay).add_(moved)
        self.keys.copy_(self.sums / self.counts[:, None])

    def forward(self, content: Tensor, noise: Tensor | None) -> Tensor:
        found, sizes = self.properties(content)
        count = (sizes > 0).sum(dim=-1).clamp(self.config.least, found.shape[1])
        present = torch.arange(found.shape[1], device=found.device) < count[:, None]
        features = self.norm_in(self.project_in(found))
        cosine = F.normalize(features, dim=-1) @ F.normalize(self.keys, dim=-1).T
        codes = cosine.abs().argmax(dim=-1)
        read = self.norm_out(self.project_out(self.keys[codes]))
        apart = 2 * (1 - F.cosine_similarity(read, found, dim=-1))
        self.loss = ((apart * present).sum(dim=1) / present.sum(dim=1)).mean()
        if self.training:
            self.follow(features, codes, present)
        rows = zip(sizes, count.tolist(), strict=True)
        entries = torch.tensor([self.entries(*row) for row in rows], device=codes.device)
        codes = codes.gather(1, entries)
        if noise is None:
            noise = torch.randn(*codes.shape, self.mean.shape[1], device=codes.device)
        return self.mean[codes] + (self.log_variance[codes] / 2).exp() * noise


class FramesInitializer(nn.Module):
    """Vectors of another initializer; frames are drawn by `draw_frames`."""

    def __init__(self, config: FramesInitializerConfig, num_slots: int, slot_dim: int):
        super().__init__()
        refuse_unless(
            {config.position, config.scale, config.rotation} == {"random"}
            and (config.scale_mean, config.scale_std or 0.1, config.one_noise) == (0.1, 0.1, False)
            and type(config.content) in (GaussianConfig, LearnedConfig),
            "this model.initializer",
        )
        self.content = INITIALIZERS[type(config.content)](config.content, num_slots, slot_dim)

    def forward(self, tokens: Tensor, noise: Tensor | None) -> Tensor:
        return self.content(tokens, noise)


class SlotModule(nn.Module):
    """What Slot Attention and its invariant form share: maps, norms, GRU and perceptron."""

    def __init__(self, config: Any, features: int, slot_dim: int):
        super().__init__()
        epsilon = config.layer_norm_epsilon
        self.config = config
        self.norm_inputs = nn.LayerNorm(features, eps=epsilon)
        self.norm_slots = nn.LayerNorm(slot_dim, eps=epsilon)
        self.norm_mlp = nn.LayerNorm(slot_dim, eps=epsilon)
        self.query = nn.Linear(slot_dim, slot_dim, bias=False)
        self.key = nn.Linear(features, slot_dim, bias=False)
        self.value = nn.Linear(features, slot_dim, bias=False)
        self.gru = nn.GRUCell(slot_dim, slot_dim)
        nn.init.zeros_(self.gru.bias_hh)  # ours has its last third alone
        self.mlp = MLP(slot_dim, config.mlp_hidden, slot_dim)

    def update(self, slots: Tensor, read: Tensor) -> Tensor:
        new = self.gru(read.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return new + self.mlp(self.norm_mlp(new))


class SlotAttention(SlotModule):
    """Locatello et al. 2020, Algorithm 1; `bilevel` after Jia et al. 2023."""

    def __init__(self, config: SlotAttentionConfig, features: int, slot_dim: int):
        refuse_unless(
            config.attention_dim is None
            and config.num_heads == 1
            and not config.use_bias
            and config.mlp_hidden > 0
            and not config.mlp_final_relu
            and config.epsilon_on == "entries"
            and config.gradient in ("full", "bilevel"),
            "this model.module",
        )
        super().__init__(config, features, slot_dim)
        self.scale = slot_dim**-0.5 / config.temperature

    def forward(
        self, tokens: Tensor, slots: Tensor, frames: Frames | None, positions: Tensor
    ) -> tuple[Tensor, Frames | None]:
        tokens = self.norm_inputs(tokens)
        k, v = self.key(tokens), self.value(tokens)
        first = slots
        for i in range(self.config.num_iterations):
            if i == self.config.num_iterations - 1 and self.config.gradient == "bilevel":
                slots = slots.detach() + first - first.detach()
            q = self.query(self.norm_slots(slots)) * self.scale
            attention = torch.einsum("bkd,bnd->bkn", q, k).softmax(dim=1) + self.config.epsilon
            attention = attention / attention.sum(dim=-1, keepdim=True)
            slots = self.update(slots, torch.einsum("bkn,bnd->bkd", attention, v))
        return slots, frames


class SlotMixture(SlotModule):
    """Kirilenko et al. 2024: expectation and maximisation with [B,K,N,D] differences."""

    def __init__(self, config: SlotMixtureConfig, features: int, slot_dim: int):
        refuse_unless(
            config.density == "released"
            and config.first == "given"
            and not config.tie_values
            and (config.update, config.output) == ("gru", "projected")
            and config.gradient in ("full", "bilevel")
            and config.cut_prior,
            "this model.module",
        )
        super().__init__(config, features, slot_dim)
        hidden = max(slot_dim, config.mlp_hidden)
        self.norm_slots = nn.LayerNorm(2 * slot_dim, eps=config.layer_norm_epsilon)
        self.mlp = MLP(slot_dim, hidden, slot_dim)
        self.project = MLP(2 * slot_dim, 2 * hidden, slot_dim)
        self.scale = slot_dim**-0.5 if config.distance_scale == "width" else 1.0

    def forward(
        self, tokens: Tensor, slots: Tensor, frames: Frames | None, positions: Tensor
    ) -> tuple[Tensor, Frames | None]:
        tokens = self.norm_inputs(tokens)
        k, v = self.key(tokens), self.value(tokens)
        mean, log_scale = slots.chunk(2, dim=-1)
        first = mean, log_scale
        prior = mean.new_full((*mean.shape[:2], 1), 1 / mean.shape[1])
        epsilon = self.config.epsilon
        for i in range(self.config.num_iterations):
            if i == self.config.num_iterations - 1 and self.config.gradient == "bilevel":
                mean, log_scale = (
                    x.detach() + y - y.detach()
                    for x, y in zip((mean, log_scale), first, strict=True)
                )
                prior = prior.detach()
            mean, log_scale = self.norm_slots(torch.cat([mean, log_scale], -1)).chunk(2, dim=-1)
            q, r = self.query(mean), self.query(log_scale)
            gaps = (k[:, None] - q[:, :, None]) ** 2 / (2 * r).exp()[:, :, None]
            density = ((-self.scale * gaps.sum(-1)).exp() + epsilon) * prior
            attention = density / density.sum(dim=1, keepdim=True)
            if self.config.prior == "counts":
                prior = attention.mean(dim=-1, keepdim=True)
            weights = attention / attention.sum(dim=-1, keepdim=True)
            mean = self.update(mean, torch.einsum("bkn,bnd->bkd", weights, v))
            gaps = (v[:, None] - mean[:, :, None]) ** 2 + epsilon
            log_scale = 0.5 * (weights[..., None] * gaps).sum(dim=2).log()
        return self.project(torch.cat([mean, log_scale], -1)), frames


class MESH(SlotModule):
    """Zhang et al. 2023: Sinkhorn in logarithms; automatic gradients, of the entropy too."""

    def __init__(self, config: MESHConfig, features: int, slot_dim: int):
        refuse_unless(
            (config.plan == "sinkhorn" or (config.plan == "mesh" and config.noise_scale == 0))
            and config.distance == "euclidean"
            and config.mlp_hidden > 0
            and config.warm_start
            and not config.learn_rate
            and config.gradient == "full",
            "this model.module",
        )
        super().__init__(config, features, slot_dim)

        def mass(inputs: int) -> MLP:
            return MLP(inputs, config.marginal_hidden, 1, bias=False)

        self.slot_mass, self.token_mass = mass(slot_dim), mass(features)

    def sinkhorn(
        self, cost: Tensor, a: Tensor, b: Tensor, sweeps: int, v: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        a, b = (x.clamp_min(1e-30).log() for x in (a, b))
        v = torch.zeros_like(b) if v is None else v
        for _ in range(sweeps):
            u = a - (v[..., None] - cost).logsumexp(dim=1)
            v = b - (u[:, None] - cost).logsumexp(dim=2)
        return (u[:, None] + v[..., None] - cost).exp(), v

    def sharpen(self, cost: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor | None]:
        config, v = self.config, None
        for _ in range(config.mesh_steps):
            with torch.enable_grad():
                leaf = cost.detach().requires_grad_()
                held = None if v is None else v.detach()
                plan, _ = self.sinkhorn(leaf, a.detach(), b.detach(), config.mesh_sweeps, held)
                plan = plan.clamp(1e-20, 1)
                entropy = -(plan * plan.log()).mean(dim=(1, 2)).sum()
                (gradient,) = torch.autograd.grad(entropy, leaf)
            _, v = self.sinkhorn(cost, a, b, config.mesh_sweeps, v)
            length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)[:, None, None]
            cost = cost - config.mesh_rate * gradient / length
        return cost, v

    def forward(
        self, tokens: Tensor, slots: Tensor, frames: Frames | None, positions: Tensor
    ) -> tuple[Tensor, Frames | None]:
        config = self.config
        tokens = self.norm_inputs(tokens)
        k, v = self.key(tokens), self.value(tokens)
        mass = config.mass or slots.shape[1]
        a = mass * self.token_mass(tokens)[..., 0].softmax(dim=-1)
        for _ in range(config.num_iterations):
            normed = self.norm_slots(slots)
            cost = config.cost_scale * torch.cdist(self.query(normed), k)
            b = mass * self.slot_mass(normed)[..., 0].softmax(dim=-1)
            start = None
            if config.plan == "mesh":
                cost, start = self.sharpen(cost, a, b)
            plan, _ = self.sinkhorn(cost / config.temperature, a, b, config.sweeps, start)
            slots = self.update(slots, torch.einsum("bkn,bnd->bkd", plan, v))
        return slots, frames


class GridEncoder(nn.Module):
    """E(x + r W + b): features with the code of a place, through a pre-norm perceptron."""

    def __init__(self, features: int, hidden: int, epsilon: float):
        super().__init__()
        self.projection = nn.Linear(2, features)
        self.norm = nn.LayerNorm(features, eps=epsilon)
        self.mlp = MLP(features, hidden, features)

    def forward(self, features: Tensor, code: Tensor) -> Tensor:
        return self.mlp(self.norm(features + code))


class InvariantSlotAttention(SlotModule):
    """Biza et al. 2023 as written: keys and values of each slot, [B,K,N,D], in every round.

    One round more than updates: the last one only refreshes the frames. The frame's rotation is
    ½ atan2(2 c_xy, c_xx - c_yy), wrapped into ±45°.
    """

    def __init__(
        self,
        config: InvariantSlotAttentionConfig,
        features: int,
        slot_dim: int,
        scale_factor: float,
    ):
        refuse_unless(
            config.variant != "none"
            and config.mlp_hidden > 0
            and config.temperature == 1
            and config.position_in_values
            and config.init_with_fixed_scale is None
            and not (config.absolute or config.zero_position_init or config.stop_gradient)
            and not (config.append_statistics or config.mix_slots or config.grid_in_features)
            and config.rotation_limit == 45
            and config.gradient == "full",
            "this model.module",
        )
        super().__init__(config, features, slot_dim)
        self.scale_factor = scale_factor
        self.grid_encoder = GridEncoder(slot_dim, config.grid_hidden, config.layer_norm_epsilon)

    def forward(
        self, tokens: Tensor, slots: Tensor, frames: Frames | None, positions: Tensor
    ) -> tuple[Tensor, Frames | None]:
        assert frames is not None
        tokens = self.norm_inputs(tokens)
        k, v = self.key(tokens)[:, None], self.value(tokens)[:, None]
        frames = frames._replace(position=frames.position.clamp(-1, 1))
        if frames.scale is not None:
            frames = frames._replace(scale=self.clip(frames.scale))
        rounds = self.config.num_iterations + 1
        for i in range(rounds):
            seen = relative(positions, frames, self.scale_factor)
            code = self.grid_encoder.projection(seen)
            keys, values = self.grid_encoder(k, code), self.grid_encoder(v, code)
            q = self.query(self.norm_slots(slots)) * slots.shape[-1] ** -0.5
            attention = torch.einsum("bkd,bknd->bkn", q, keys).softmax(dim=1)
            weights = attention / (attention.sum(dim=-1, keepdim=True) + self.config.epsilon)
            frames = self.measure(weights, positions, frames)
            if i < rounds - 1:
                slots = self.update(slots, torch.einsum("bkn,bknd->bkd", weights, values))
        return slots, frames

    def measure(self, weights: Tensor, positions: Tensor, old: Frames) -> Frames:
        """Frames of what each slot attends to: weighted mean, axes and spread."""
        position = weights @ positions
        away = positions - position[:, :, None]
        rotation = scale = None
        if old.rotation is not None:
            y, x = away.unbind(-1)
            xx, yy, xy = ((weights * p).sum(-1) for p in (x * x, y * y, x * y))
            round_ = xy.abs() < 1e-6
            angle = torch.atan2(2 * xy.masked_fill(round_, 0.0), (xx - yy).masked_fill(round_, 1.0))
            angle = angle / 2
            angle = angle - (torch.pi / 2) * torch.round(angle / (torch.pi / 2)).detach()
            cos, sin = angle.cos(), angle.sin()
            rotation = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
            away = into_frame(away, rotation)
        if old.scale is not None:
            spread = ((weights + self.config.epsilon)[..., None] * away.square()).sum(dim=2)
            scale = self.clip(spread.sqrt())
        return Frames(position, scale, rotation)

    def clip(self, scale: Tensor) -> Tensor:
        return scale.clamp(self.config.min_scale, self.config.max_scale)


def draw_frames(kind: str, like: Tensor) -> Frames | None:
    """Frames of the published initialisers for slots [B,K,S]; `kind` is "", "t", "ts" or "tsr"."""
    if not kind:
        return None
    shape, options = like.shape[:2], {"device": like.device, "dtype": like.dtype}
    position = 2 * torch.rand(*shape, 2, **options) - 1
    scale = 0.1 + 0.1 * torch.randn(*shape, 2, **options) if "s" in kind else None
    rotation = None
    if "r" in kind:
        angle = (torch.rand(*shape, **options) - 0.5) * (torch.pi / 2)
        cos, sin = angle.cos(), angle.sin()
        rotation = torch.stack([cos, sin, -sin, cos], dim=-1).unflatten(-1, (2, 2))
    return Frames(position, scale, rotation)


# --- decoders ------------------------------------------------------------------------------------


class Mixture(nn.Module):
    """Softmax over what the slots drew, with a constant background where there is one."""

    def __init__(self, channels: int, background: bool):
        super().__init__()
        self.color = nn.Parameter(torch.zeros(channels)) if background else None
        self.logit = nn.Parameter(torch.full((1,), -2.0)) if background else None

    def forward(self, drawn: Tensor) -> Output:
        """[B,K,C+1,H,W]: colours, and last the mask's logit."""
        parts, logits = drawn[:, :, :-1], drawn[:, :, -1:]
        if self.color is not None and self.logit is not None:
            color = self.color[:, None, None].expand_as(parts[:, :1])
            parts = torch.cat([parts, color], dim=1)
            logits = torch.cat([logits, self.logit.expand_as(logits[:, :1])], dim=1)
        masks = logits.softmax(dim=1)
        return Output((masks * parts).sum(dim=1), masks, parts)


class Broadcast(nn.Module):
    """Spatial broadcast decoder at full resolution (Watters et al. 2019)."""

    def __init__(
        self,
        config: BroadcastConfig,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
    ):
        super().__init__()
        height, width, channels = image_shape
        refuse_unless(set(config.strides) == {1} and config.kernel_size % 2 == 1, "decoder.strides")
        refuse_unless(config.output_kernel_size % 2 == 1, "decoder.output_kernel_size")
        self.size, self.scale_factor = (height, width), scale_factor
        self.register_buffer("positions", grid(height, width), persistent=False)
        self.position = PositionEmbedding(slot_dim, config.position, config.octaves)
        sizes = itertools.pairwise((slot_dim, *config.channels))
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, config.kernel_size, padding="same") for i, o in sizes
        )
        self.output = nn.Conv2d(
            config.channels[-1], channels + 1, config.output_kernel_size, padding="same"
        )
        self.mixture = Mixture(channels, config.background)

    def forward(self, slots: Tensor, frames: Frames | None) -> Output:
        seen = self.positions
        if frames is not None:
            seen = relative(seen, frames, self.scale_factor)
        x = slots[:, :, None] + self.position(seen)  # [B,K,N,S]
        x = x.flatten(0, 1).transpose(1, 2).unflatten(-1, self.size)
        for conv in self.convs:
            x = F.relu(conv(x))
        return self.mixture(self.output(x).unflatten(0, slots.shape[:2]))


class MLPDecoder(nn.Module):
    """slot + position → ReLU layers → a patch of pixels at each place."""

    def __init__(
        self,
        config: MLPDecoderConfig,
        slot_dim: int,
        image_shape: tuple[int, int, int],
        scale_factor: float,
    ):
        super().__init__()
        *size, channels = image_shape
        self.patch, self.scale_factor = config.patch_size, scale_factor
        self.counts = tuple(side // self.patch for side in size)
        refuse_unless(all(s % self.patch == 0 for s in size), "a decoder.patch_size that crops")
        middle = (self.patch - 1) / 2
        middles = [torch.arange(n) * self.patch + middle for n in self.counts]
        self.register_buffer("positions", places(*middles, tuple(size)), persistent=False)
        self.position = PositionEmbedding(slot_dim, config.position, config.octaves)
        widths = (slot_dim, *config.hidden)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(widths))
        self.slot_gate, self.position_gate = None, None
        if config.product:
            self.slot_gate = nn.Linear(slot_dim, widths[1])
            self.position_gate = PositionEmbedding(widths[1], config.position, config.octaves)
        self.output = nn.Linear(widths[-1], (channels + 1) * self.patch**2)
        self.mixture = Mixture(channels, config.background)

    def forward(self, slots: Tensor, frames: Frames | None) -> Output:
        seen = self.positions
        if frames is not None:
            seen = relative(seen, frames, self.scale_factor)
        x = self.layers[0](slots[:, :, None] + self.position(seen))
        if self.slot_gate is not None and self.position_gate is not None:
            x = x + self.slot_gate(slots)[:, :, None] * self.position_gate(seen)
        x = F.relu(x)
        for layer in self.layers[1:]:
            x = F.relu(layer(x))
        x = self.output(x).unflatten(-1, (self.patch, self.patch, -1))
        x = x.unflatten(2, self.counts)  # B K h w p q C+1
        x = x.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
        return self.mixture(x)


# --- the autoencoder -----------------------------------------------------------------------------

ENCODERS: dict[type, type[nn.Module]] = {CNNConfig: CNN, WindowsConfig: Windows}
INITIALIZERS: dict[type, type[nn.Module]] = {
    DictionaryConfig: Dictionary,
    FramesInitializerConfig: FramesInitializer,
    GaussianConfig: Gaussian,
    LearnedConfig: Learned,
    MixtureConfig: MixtureInitializer,
}
MODULES: dict[type, type[nn.Module]] = {
    MESHConfig: MESH,
    SlotAttentionConfig: SlotAttention,
    SlotMixtureConfig: SlotMixture,
}
DECODERS: dict[type, type[nn.Module]] = {BroadcastConfig: Broadcast, MLPDecoderConfig: MLPDecoder}


class Autoencoder(nn.Module):
    """Parameters: `encoder`, `initializer`, `module`, `decoder`, as in `slots.models.ImageModel`.

    Args:
        config: our experiment.
        image_shape: (H, W, C).
    """

    def __init__(self, config: ExperimentConfig, image_shape: tuple[int, int, int]):
        super().__init__()
        model: Any = config.model
        self.symmetric = model.pixel_range == "symmetric"
        self.frames = ""
        self.weights = {term.kind: term.weight for term in config.objectives}
        refuse_unless(
            set(self.weights) <= {"reconstruction", "component_error", "part_losses"}
            and all(getattr(t, "reduce", "mean") == "mean" for t in config.objectives),
            "these objectives",
        )
        refuse_unless(type(model.encoder) in ENCODERS, f"model.encoder={model.encoder.kind}")
        refuse_unless(type(model.decoder) in DECODERS, f"model.decoder={model.decoder.kind}")
        self.encoder = ENCODERS[type(model.encoder)](model.encoder, image_shape)
        own = type(model.initializer)
        refuse_unless(own in INITIALIZERS, f"model.initializer={model.initializer.kind}")
        content = (self.encoder.head.width,) if own is DictionaryConfig else ()
        self.initializer = INITIALIZERS[own](
            model.initializer, model.num_slots, model.slot_dim, *content
        )
        features = self.encoder.head.features
        if isinstance(model.module, InvariantSlotAttentionConfig):
            self.frames = model.module.variant
            self.module = InvariantSlotAttention(
                model.module, features, model.slot_dim, model.scale_factor
            )
        else:
            kind = type(model.module)
            refuse_unless(kind in MODULES, f"model.module={model.module.kind}")
            self.module = MODULES[kind](model.module, features, model.slot_dim)
        self.decoder = DECODERS[type(model.decoder)](
            model.decoder, model.slot_dim, image_shape, model.scale_factor
        )

    def forward(self, image: Tensor, first: First | None = None) -> Output:
        """Draws pictures [B,C,H,W] in the model's range; draws its own noise without `first`."""
        tokens = self.encoder(image)
        noise = None if first is None else first.vectors
        slots = self.initializer(self.encoder.head.content, noise)
        frames = draw_frames(self.frames, slots) if first is None else first.frames
        slots, frames = self.module(tokens, slots, frames, self.encoder.head.positions)
        return self.decoder(slots, frames)

    def loss(self, pixels: Tensor, first: First | None = None) -> tuple[Tensor, Output]:
        """The objective of pictures [B,C,H,W] in [0, 1], and what was drawn."""
        target = 2 * pixels - 1 if self.symmetric else pixels
        drawn = self(target, first)
        loss = self.weights.get("reconstruction", 0.0) * F.mse_loss(drawn.mixture, target)
        if "component_error" in self.weights:
            error = (drawn.parts - target[:, None]).square().mean(dim=2, keepdim=True)
            mean = (drawn.masks * error).sum(dim=1).mean()
            loss = loss + self.weights["component_error"] * mean
        if isinstance(self.initializer, Dictionary):
            loss = loss + self.weights.get("part_losses", 0.0) * self.initializer.loss
        return loss, drawn


def views(module: nn.Module, read: Callable[[nn.Parameter], Tensor]) -> dict[Any, Any]:
    """What `read` gives for each parameter (value, gradient), as views in our layout and names."""

    def leaves(layer: nn.Module) -> dict[str, Tensor]:
        own = {name: read(p) for name, p in layer.named_parameters(recurse=False)}
        if isinstance(layer, nn.Linear | nn.Conv2d):
            weight = own.pop("weight")
            return own | {"kernel": weight.T if weight.ndim == 2 else weight.permute(2, 3, 1, 0)}
        if isinstance(layer, nn.LayerNorm):
            return {"scale": own["weight"], "bias": own["bias"]}
        if isinstance(layer, nn.GRUCell):  # gates r, z, n side by side on both sides
            return {
                "input_kernel": own["weight_ih"].T,
                "input_bias": own["bias_ih"],
                "hidden_kernel": own["weight_hh"].T,
                "hidden_bias": own["bias_hh"][2 * layer.hidden_size :],
            }
        return own

    children = {
        int(name) if name.isdigit() else name: views(child, read)
        for name, child in module.named_children()
    }
    return leaves(module) | children
