# SPDX-License-Identifier: Apache-2.0
"""Where weights come from, and how they get into a model: strictly, or not at all.

Four sources: ``official`` (the authors' checkpoint on the Hugging Face Hub, cached by ``huggingface_hub``, which
honours ``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_HOME``), ``demo`` (shipped with this package), ``random``
(seeded), or a path. A ``.pt`` file is unpickled with ``weights_only=True``, so it cannot run code.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evit_deploy.errors import ArtifactError, MissingExtraError, UnavailableError, UsageError, first_line
from evit_deploy.manifest import sha256_of
from evit_deploy.models.zoo import Checkpoint, ModelSpec

DEMO_FOLDER = Path(__file__).parent / "demo"
HUB_TIMEOUT_S = 10.0
DEMO_WARNING = (
    "These are the demo weights: trained on procedural street scenes drawn by this project, not on real photos. "
    "They prove the toolchain, not the model; use --weights official for real work."
)
RANDOM_WARNING = "The weights are random: outputs mean nothing. Only agreement and speed can be judged."

_LEARNED_VECTOR = re.compile(r"(gaussian_matrix|embed\.weight|tokens?\.weight|point_embeddings\.\d\.weight)$")


@dataclass(frozen=True)
class Weights:
    """Weights that were found, and their origin.

    Attributes:
        source: "official", "demo", "random" or "path".
        location: Where they came from: Hub file, path or seed.
        sha256: SHA-256 of the file (of the seed's text for "random").
        load: Reads the state dict.
        warning: What the user must know about them, or None.
    """

    source: str
    location: str
    sha256: str
    load: Callable[[nn.Module], Mapping[str, Tensor]]
    warning: str | None = None


def resolve_weights(
    spec: ModelSpec, weights: str | None = None, *, seed: int = 0, resolution: tuple[int, int] | None = None
) -> Weights:
    """Find the weights a user asked for.

    Args:
        spec: The model.
        weights: "official", "demo", "random", a path, or None: official where they can be had, else demo.
        seed: Seed of "random".
        resolution: Input (height, width), to choose among checkpoints trained at several sizes.

    Raises:
        UsageError: Nothing of that name exists.
        UnavailableError: The official checkpoint cannot be reached and nothing else was asked for.
    """
    if weights == "official":
        return official_weights(spec, resolution)
    if weights == "demo":
        return demo_weights(spec)
    if weights == "random":
        return random_weights(spec, seed)
    if weights is not None:
        return weights_from_file(Path(weights))
    try:
        return official_weights(spec, resolution)
    except (UnavailableError, UsageError) as error:
        if spec.has_demo_weights:
            demo = demo_weights(spec)
            return replace(demo, warning=f"{error.what}. {demo.warning}")
        raise type(error)(
            error.what, fix=f"evit-deploy export {spec.name} --weights random, or --weights PATH"
        ) from error


def official_weights(spec: ModelSpec, resolution: tuple[int, int] | None = None) -> Weights:
    """The authors' checkpoint, from the Hub's cache or over the network."""
    if not spec.checkpoints:
        raise UsageError(
            f"the authors link no checkpoint for {spec.name}",
            fix="pass --weights PATH with your own checkpoint, or --weights random",
        )
    checkpoint = choose_checkpoint(spec, resolution or spec.resolution)
    path = download(checkpoint)
    return Weights("official", f"{checkpoint.repo}/{checkpoint.file}", sha256_of(path), _reader(path))


def choose_checkpoint(spec: ModelSpec, resolution: tuple[int, int]) -> Checkpoint:
    """The checkpoint trained at the size nearest to the one asked for (the smaller of two equally near)."""
    side = max(resolution)
    return min(spec.checkpoints, key=lambda c: (abs((c.side or side) - side), c.side or 0))


def download(checkpoint: Checkpoint) -> Path:
    """Fetch a checkpoint into the Hub cache, or find it there.

    Raises:
        UnavailableError: Neither cached nor reachable.
    """
    try:
        import huggingface_hub as hub
    except ImportError:
        raise MissingExtraError("huggingface_hub", "export", "Downloading official weights") from None
    try:
        if not isinstance(hub.try_to_load_from_cache(checkpoint.repo, checkpoint.file), str):
            # Ask once: hf_hub_download itself tries for half a minute before it says that there is no network.
            hub.get_hf_file_metadata(hub.hf_hub_url(checkpoint.repo, checkpoint.file), timeout=HUB_TIMEOUT_S)
        return Path(hub.hf_hub_download(checkpoint.repo, checkpoint.file))
    except Exception as error:  # the Hub's client passes on what its HTTP library raises; that changed with versions
        raise UnavailableError(
            f"the checkpoint {checkpoint.repo}/{checkpoint.file} is not in the Hugging Face cache and cannot be "
            "downloaded",
            found=first_line(error),
            fix="check the network, HF_ENDPOINT and HF_HUB_OFFLINE; or download the file elsewhere and pass "
            "--weights PATH",
        ) from error


def demo_weights(spec: ModelSpec) -> Weights:
    """Weights trained by this project and shipped with it."""
    path = DEMO_FOLDER / f"{spec.name}.safetensors"
    if not (spec.has_demo_weights and path.is_file()):
        raise UsageError(
            f"no demo weights are shipped for {spec.name}",
            expected="b0-seg or b1-seg",
            fix="--weights official, random or PATH",
        )
    return Weights("demo", f"evit_deploy/models/demo/{path.name}", sha256_of(path), _reader(path), DEMO_WARNING)


def random_weights(spec: ModelSpec, seed: int = 0) -> Weights:
    """Seeded random weights that keep activations of the order of one."""
    digest = hashlib.sha256(f"{spec.name} seed {seed}".encode()).hexdigest()
    return Weights("random", f"seed {seed}", digest, lambda model: initial_state(model, seed), RANDOM_WARNING)


def weights_from_file(path: Path) -> Weights:
    """A checkpoint of the user's, ``.pt``/``.pth`` or ``.safetensors``."""
    if not path.is_file():
        raise UsageError(
            f"there is no checkpoint {path}", expected="a .pt or .safetensors file, or official, demo, random"
        )
    return Weights("path", str(path.resolve()), sha256_of(path), _reader(path))


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Fill a model; every key and every shape must match.

    Raises:
        ArtifactError: The file cannot be read, or does not fit; the message lists the differences.
    """
    state = weights.load(model)
    expected = model.state_dict()
    # Some tools drop BatchNorm's step counter. It plays no part in inference.
    counters = {key: torch.zeros_like(value) for key, value in expected.items() if key.endswith("num_batches_tracked")}
    state = {**{key: value for key, value in counters.items() if key not in state}, **state}
    _require_match(weights.location, expected, state)
    model.load_state_dict(dict(state), strict=True)


def _require_match(location: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    misshapen = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {title} ({', '.join(keys[:4])}{', …' if len(keys) > 4 else ''})"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", misshapen))
        if keys
    ]
    if problems:
        raise ArtifactError(
            f"the checkpoint {location} does not belong to this model",
            found="; ".join(problems),
            expected=f"the {len(expected)} tensors of the official checkpoint",
            fix="check that model name and checkpoint go together",
        )


def _reader(path: Path) -> Callable[[nn.Module], Mapping[str, Tensor]]:
    return lambda _model: read_state(path)


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict as FP32; a ``state_dict`` entry inside is unwrapped.

    Raises:
        ArtifactError: Damaged file, or one that holds something else.
    """
    try:
        state: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except MissingExtraError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds on damaged files
        raise ArtifactError(
            f"the checkpoint {path} cannot be read",
            found=first_line(error)[:200],
            expected="a PyTorch state dict (.pt) or a .safetensors file",
            fix="download the file again and compare its size and hash",
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ArtifactError(f"the checkpoint {path} holds no state dict", found=type(state).__name__)
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def _read_safetensors(path: Path) -> Any:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtraError("safetensors", "export", "Reading .safetensors") from None
    return load_file(path)


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols, which nobody at a terminal can change
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:
            # PyTorch's own text proposes to switch this protection off.
            raise ValueError("damaged, or it holds more than tensors, which could run code") from None


def initial_state(model: nn.Module, seed: int) -> Mapping[str, Tensor]:
    """Draw weights that keep the variance of activations near one (He initialisation), from one seed.

    Norms that close a residual branch start at 0.5, so that a deep stack of sums stays in the range of a trained
    network. Learned vectors and position encodings of Segment Anything have variance one.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in model.state_dict().items():
        if key.endswith(("running_mean", "num_batches_tracked", ".bias")):
            state[key] = torch.zeros_like(value)
        elif value.ndim > 1:
            spread = 1.0 if _LEARNED_VECTOR.search(key) else (2.0 / value[0].numel()) ** 0.5
            state[key] = torch.empty_like(value).normal_(0.0, spread, generator=generator)
        else:
            closes_branch = ".main." in key and key.endswith(("point_conv.norm.weight", "proj.norm.weight"))
            state[key] = torch.full_like(value, 0.5 if closes_branch else 1.0)
    return state
