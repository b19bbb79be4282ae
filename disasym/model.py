"""DisAsymNet (arXiv 2307.02935, section 2): the classifier AsyC and the disentangler AsyD.

Read top-down: presets, the whole network, its two halves, their parts. B = pairs, N = (H/32)·(W/32) tokens of width D.
What the paper leaves open and how it was filled in stands in docs/adr/0002 and 0003.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disasym.blocks import AsymmetricBlock, DecoderStage
from disasym.contrast import Contrast, scaled
from disasym.encoder import ENCODERS
from disasym.errors import InputError
from disasym.spec import STRIDE


@dataclass(frozen=True)
class ModelConfig:
    """Everything that shapes the network; stored in every checkpoint.

    What has a default came later: a file without that entry means the default.
    """

    encoder: str  # a name in ENCODERS
    height: int  # H, pixels, a multiple of 32
    width: int  # W, pixels, a multiple of 32
    widths: tuple[int, int, int, int]  # channels of the encoder's stages at stride 4, 8, 16, 32; the last is D
    blocks: int  # transformer blocks; 0 in the ablations without an asymmetric transformer
    heads: int  # attention heads; D is a multiple of it
    decoder: tuple[int, int, int, int, int] | tuple[()]  # channels at stride 16, 8, 4, 2, 1; (): no AsyD, no images
    classifier: str = "asyc"  # AsyC, or what `disasym.comparisons` puts into its place
    upsampling: str = "nearest"  # or "bilinear", between the decoder's stages
    x_ab: str = "sigmoid"  # x_ab = σ(g), or "masked": x_ab = x·σ(g)
    head: str = "mean"  # of AsyC: the paper's, or "contrast" for small data (`disasym.contrast`)
    upside_down: bool = False  # classify the views and the views upside down, and take the mean (docs/adr/0030)
    x_n: str = "change"  # x_n = σ(logit(x) + δ), or "filled": x_n = x + m·(b − x) with m, b = σ(g) (docs/adr/0029)
    skips: str = "raw"  # or "standardised": AsyD sees the encoder's features at one scale (docs/adr/0029)

    def __post_init__(self) -> None:
        for name, given, known in (
            ("encoder", self.encoder, ENCODERS),
            ("upsampling", self.upsampling, UPSAMPLING),
            ("x_ab", self.x_ab, X_AB),
            ("head", self.head, HEADS),
            ("x_n", self.x_n, X_N),
            ("skips", self.skips, SKIPS),
        ):
            if given not in known:
                raise InputError(f"unknown {name} {given!r}: choose one of {', '.join(known)}")
        if self.height % STRIDE or self.width % STRIDE:
            raise InputError(f"height and width must be multiples of {STRIDE}, got {self.height}×{self.width}")
        if self.widths[-1] % self.heads:
            raise InputError(f"{self.widths[-1]} channels do not divide into {self.heads} heads")
        ENCODERS[self.encoder].channels(self.widths)  # refuses widths that this encoder cannot have


UPSAMPLING = ("nearest", "bilinear")
HEADS = ("mean", "contrast")
SKIPS = ("raw", "standardised")
X_N = {"change": (0.0,), "filled": (-3.0, 0.0)}  # with δ, or m and b, at the start: x_n = x, or nearly so
X_AB = {"sigmoid": -3.0, "masked": 0.0}  # with g at the start: x_ab ≈ 0, and x_ab = x / 2, where σ is steep

PRESETS = {
    "paper": ModelConfig(
        encoder="resnet18",
        height=1024,
        width=512,
        widths=(64, 128, 256, 512),
        blocks=12,
        heads=8,
        decoder=(256, 128, 64, 32, 16),
    ),
    "small": ModelConfig(
        encoder="resnet18",
        height=256,
        width=128,
        widths=(24, 48, 96, 192),
        blocks=4,
        heads=6,
        decoder=(96, 48, 24, 12, 8),
    ),
    "lite": ModelConfig(  # for some hundred pairs: docs/adr/0024
        encoder="efficientnet-lite0",
        height=256,
        width=128,
        widths=(24, 40, 112, 320),
        blocks=1,
        heads=5,
        decoder=(64, 32, 16, 8, 8),
        upsampling="bilinear",
        x_ab="masked",
        head="contrast",
        upside_down=True,
        x_n="filled",
        skips="standardised",
    ),
}


class ModelOutputs(NamedTuple):
    """The five outputs of `disasym.spec`, as tensors; None where the model has no decoder."""

    asymmetry: Tensor  # [B]
    abnormal: Tensor  # [B, 2]
    cam: Tensor  # [B, 2, H/32, W/32]
    normal: Tensor | None  # [B, 2, H, W]
    abnormality: Tensor | None  # [B, 2, H, W]


class DisAsymNet(nn.Module):
    """AsyC and AsyD together: views in, scores, CAM and both disentangled images out.

    `attention` is a backend of `disasym.kernels.bilateral_attention`; "auto" is the fused kernel on a GPU. A comparison
    is the same network with another `classifier` in the place of AsyC (`disasym.comparisons.build` makes it).
    """

    asyc: "AsyC"  # or a comparison's classifier, which is called alike
    asyd: "AsyD"  # absent where the configuration has no decoder

    def __init__(self, config: ModelConfig, attention: str = "auto", classifier: nn.Module | None = None) -> None:
        super().__init__()
        if classifier is None and config.classifier != "asyc":
            raise InputError(f"classifier {config.classifier!r} is a comparison's: call disasym.comparisons.build")
        self.config = config
        self.attention = attention
        self.temperatures: tuple[float, float] | None = None  # of asymmetry and abnormal: see `disasym.temperature`
        self.asyc = AsyC(config, attention) if classifier is None else cast("AsyC", classifier)
        if config.decoder:
            self.asyd = AsyD(config)

    def forward(self, views: Tensor) -> ModelOutputs:
        """views [B, 2, H, W] in [0, 1] → the outputs of `disasym.spec`, probabilities and images in [0, 1]."""
        found = self.classify(views)
        normal, abnormality = self.asyd(views, found) if self.config.decoder else (None, None)
        asymmetry, abnormal = self._probabilities(found)
        return ModelOutputs(
            asymmetry=asymmetry,
            abnormal=abnormal,
            cam=found.cam * abnormal[..., None, None],  # a normal side stays cold
            normal=normal,
            abnormality=abnormality,
        )

    def classify(self, views: Tensor) -> "Classified":
        """AsyC on views [B, 2, H, W]; with `upside_down` logits and CAM are means over both ways up.

        What AsyD reads, `features` and `f_out`, is of the views as they are. Training runs `asyc` alone.
        """
        if not self.config.upside_down:
            alone: Classified = self.asyc(views)
            return alone
        both = self.asyc(torch.cat([views, views.flip(-2)]))  # [2B, …], one pass
        upright, turned = halves(both.cam)
        cam = (upright + turned.flip(-2)).flatten(2)
        return Classified(
            asymmetry=torch.stack(halves(both.asymmetry)).mean(0),
            abnormal=torch.stack(halves(both.abnormal)).mean(0),
            cam=scaled(cam).reshape(upright.shape),
            features=[halves(maps)[0] for maps in both.features],
            f_out=halves(both.f_out)[0],
        )

    def _probabilities(self, found: "Classified") -> tuple[Tensor, Tensor]:
        """Of asymmetry [B] and abnormal [B, 2]; without temperatures nothing is divided, so no bit changes."""
        if self.temperatures is None:
            return found.asymmetry.sigmoid(), found.abnormal.sigmoid()
        asymmetry, abnormal = self.temperatures
        return (found.asymmetry / asymmetry).sigmoid(), (found.abnormal / abnormal).sigmoid()


class Classified(NamedTuple):
    """What AsyC, or a comparison in its place, hands on."""

    asymmetry: Tensor  # [B] logits
    abnormal: Tensor  # [B, 2] logits
    cam: Tensor  # [B, 2, H/32, W/32] in [0, 1], min–max scaled per side, not gated
    features: list[Tensor]  # encoder features at stride 2, 4, 8, 16: [2B, C, ·, ·]
    f_out: Tensor  # [2B, D, H/32, W/32]
    disorder: Tensor | None = None  # [B, 2] in [0, 1]: how far HAM's attention maps break their order


class AsyC(nn.Module):
    """Encoder ψ_e, asymmetric transformer ψ_asyt and the two classifiers; weights shared by both sides."""

    def __init__(self, config: ModelConfig, attention: str) -> None:
        super().__init__()
        dim = config.widths[-1]
        self.encoder = ENCODERS[config.encoder](config.widths)
        self.blocks = nn.ModuleList(AsymmetricBlock(dim, config.heads, attention) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(dim)
        self.contrast: Contrast | None = None
        if config.head == "contrast":
            for block in self.blocks:  # each begins as the identity: pretrained features pass unspoilt
                nn.init.zeros_(block.get_submodule("out").get_parameter("weight"))
                nn.init.zeros_(block.get_submodule("out").get_parameter("bias"))
            self.contrast = Contrast(dim + ENCODERS[config.encoder].channels(config.widths)[3])
        else:
            self.abnormality = nn.Linear(dim, 1)
            self.asymmetry = nn.Linear(dim, 1)

    def forward(self, views: Tensor) -> Classified:
        *features, f = self.encoder(views.flatten(0, 1)[:, None])  # [2B, D, H/32, W/32]
        tokens = tokens_of(f)  # [B, 2, N, D]
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)  # [B, 2, N, D]

        if self.contrast is None:
            asymmetry, abnormal, cam = self.mean(tokens)
        else:
            asymmetry, abnormal, cam = self.contrast(tokens, tokens_of(F.avg_pool2d(features[-1], 2)), views)
        return Classified(
            asymmetry=asymmetry,
            abnormal=abnormal,
            cam=cam.reshape(-1, 2, *f.shape[-2:]),
            features=features,
            f_out=tokens.flatten(0, 1).transpose(1, 2).reshape(f.shape),
        )

    def mean(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The paper's classifiers on mean tokens [B, 2, N, D] → logits [B], logits [B, 2], CAM [B, 2, N]."""
        difference = (tokens[:, 0] - tokens[:, 1]).abs().mean(1)  # [B, D]
        abnormal = self.abnormality(tokens.mean(2))[..., 0]
        return self.asymmetry(difference)[..., 0], abnormal, class_activation(tokens, self.abnormality.weight[0])


def halves(both: Tensor) -> tuple[Tensor, Tensor]:
    """[2B, …] → the first and the second B."""
    first, second = both.reshape(2, -1, *both.shape[1:]).unbind(0)
    return first, second


def tokens_of(maps: Tensor) -> Tensor:
    """[2B, D, h, w], sides of a pair next to each other → [B, 2, N, D]."""
    tokens = maps.flatten(2).transpose(1, 2)  # [2B, N, D]
    return tokens.reshape(-1, 2, *tokens.shape[1:])


def class_activation(tokens: Tensor, weight: Tensor) -> Tensor:
    """CAM of the abnormality classifier: M = minmax(ReLU(f_out · w)) over the tokens of each side.

    tokens [B, 2, N, D], weight [D] → [B, 2, N] in [0, 1]; a side without positive evidence is all 0.
    """
    return scaled(tokens @ weight)


class AsyD(nn.Module):
    """U-Net decoder ψ_g: f_out and the encoder's skips → x_n and x_ab; weights shared by both sides."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.upsampling, self.masked = config.upsampling, config.x_ab == "masked"
        *shallow, deepest = ENCODERS[config.encoder].channels(config.widths)
        skips = (*reversed(shallow), 1)  # stride 16, 8, 4, 2, 1
        inputs = [deepest, *config.decoder][:-1]
        self.stages = nn.ModuleList(
            DecoderStage(below + skip, out) for below, skip, out in zip(inputs, skips, config.decoder, strict=True)
        )
        # A pretrained encoder's features may be ten times f_out: they would drown what comes from below.
        self.scales = nn.ModuleList(
            nn.BatchNorm2d(skip, affine=False) if config.skips == "standardised" else nn.Identity() for skip in skips
        )
        self.filled = config.x_n == "filled"
        start = [*X_N[config.x_n], X_AB[config.x_ab]]
        self.head = nn.Conv2d(list(config.decoder)[-1], len(start), kernel_size=1)
        nn.init.zeros_(self.head.weight)
        self.head.bias = nn.Parameter(torch.tensor(start))

    def forward(self, views: Tensor, found: Classified) -> tuple[Tensor, Tensor]:
        x = views.flatten(0, 1)[:, None]  # [2B, 1, H, W]
        y = found.f_out
        for stage, scale, skip in zip(self.stages, self.scales, (*reversed(found.features), x), strict=True):
            y = stage(F.interpolate(y, scale_factor=2.0, mode=self.upsampling), scale(skip))
        *change, abnormality = self.head(y).split(1, dim=1)  # [2B, 1, H, W] each
        breast = (x > 0).to(x.dtype)  # the background of both images is exactly 0
        if self.filled:
            where, tissue = (g.sigmoid() for g in change)
            normal = (x + where * (tissue - x)) * breast
        else:
            normal = (logit(x) + change[0]).sigmoid() * breast
        abnormality = abnormality.sigmoid() * (x if self.masked else breast)
        return normal.reshape(views.shape), abnormality.reshape(views.shape)


def logit(x: Tensor) -> Tensor:
    """ln(x / (1 − x)), with x kept 1/1024 away from 0 and 1 so that float16 holds it."""
    x = x.clamp(1 / 1024, 1 - 1 / 1024)
    return x.log() - (1 - x).log()
