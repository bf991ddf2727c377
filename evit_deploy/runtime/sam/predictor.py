# SPDX-License-Identifier: Apache-2.0
"""Segment Anything for programs: a frame is embedded once, then prompts are answered in the frame's own pixels."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from evit_deploy.data.masks import LowRes, PromptFrame
from evit_deploy.errors import UsageError
from evit_deploy.manifest import Bundle
from evit_deploy.progress import Progress, silent
from evit_deploy.runtime.engine import Engine
from evit_deploy.runtime.preprocess import check_frame, fit_frame, fitted_size, graph_inputs
from evit_deploy.runtime.sam.decoder import Decoder
from evit_deploy.runtime.sam.embedding import SHAPE, Embedding, Fitted, model_id
from evit_deploy.runtime.sam.everything import generate_masks
from evit_deploy.runtime.sam.grid import EverythingOptions
from evit_deploy.runtime.sam.prompts import Prompts, check_slots, pack_prompts
from evit_deploy.runtime.sam.records import MaskRecord
from evit_deploy.runtime.sam.result import Masks

if TYPE_CHECKING:
    from typing_extensions import Self

UInt8 = npt.NDArray[np.uint8]
_NO_CALL = "set_image(frame), then predict(points=[[x, y]]); or everything(frame)"


class SegmentAnything:
    """An image encoder and mask decoders that belong together.

    Threads may share one: engines run one call at a time, behind a lock for the encoder and one for the decoders. The
    picture of `set_image` is shared as well, so threads with pictures of their own use `embed`, and give `predict` the
    embedding.

    Attributes:
        folder: Where it was loaded from.
        bundle: What it says about itself.
        encoder: The raw engine for pictures.
        decoders: The raw engines for prompts, by rising number of prompts.
    """

    def __init__(self, folder: Path, bundle: Bundle, encoder: Engine, decoders: Sequence[Engine]) -> None:
        self.folder, self.bundle, self.encoder = folder, bundle, encoder
        self._decoder = Decoder(decoders)
        self.decoders = self._decoder.engines
        self._lock = threading.Lock()
        self._model = model_id(bundle)
        self._current: Embedding | None = None

    def set_image(self, frame: UInt8) -> Embedding:
        """Embed a frame and keep it as the one that `predict` is asked about.

        Args:
            frame: uint8 [H, W, 3] RGB, of any size.

        Returns:
            Its embedding, for `predict` of this or another thread.

        Raises:
            UsageError: Not such a frame; the one before stays.
        """
        self._current = embedding = self.embed(frame)
        return embedding

    def embed(self, frame: UInt8) -> Embedding:
        """Embed a frame and keep nothing; as `set_image` otherwise."""
        return self.encode(self.fit(frame))

    def fit(self, frame: UInt8) -> Fitted:
        """Do the part of `embed` that needs no engine, so that one thread fits frames while another one's engine runs.

        Raises:
            UsageError: Not a frame.
        """
        frame = check_frame(frame)
        manifest = self.encoder.manifest
        graph, rules = manifest.graph, manifest.preprocess
        side = graph.resolution[0]
        image = np.ascontiguousarray(fit_frame(frame, rules, side, side))
        images, sizes = image[None], np.array([fitted_size(frame.shape, side)], np.int32)
        if graph.batch[0] > 1:
            images, sizes = np.repeat(images, graph.batch[0], 0), np.repeat(sizes, graph.batch[0], 0)
        return Fitted(graph_inputs(images, sizes, graph, rules), PromptFrame(*frame.shape[:2]))

    def encode(self, fitted: Fitted) -> Embedding:
        """Do the rest of `embed`."""
        with self._lock:
            array = self.encoder.infer(fitted.inputs)["embedding"][:1].astype(self._dtype)  # of the engine's buffer
        return Embedding(array, fitted.frame, self._model)

    def predict(
        self,
        points: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
        labels: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
        box: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        *,
        multimask: bool = True,
        embedding: Embedding | None = None,
    ) -> Masks:
        """Answer a prompt, or a batch of P prompts: points, a box and an earlier mask, or any of them.

        Args:
            points: [N, 2], or [P, N, 2], as (x, y) in pixels of the frame; or a list of P lists of any lengths.
            labels: [N] or [P, N], 1 on the object and 0 on background; None: all 1.
            box: [4], or [P, 4], as (x0, y0, x1, y1) in pixels of the frame. It may stick out of the frame.
            mask: Logits of an earlier answer, [256, 256] or [1, 256, 256], or [P, 1, 256, 256].
            multimask: Three masks for each prompt: whole, part and subpart of what an ambiguous one may mean. False:
                one, which is the better choice for boxes and for many points.
            embedding: What `embed` returned; None: the frame of `set_image`.

        Returns:
            Masks of one prompt, or of a batch where any of the arguments is one.

        Raises:
            UsageError: No picture was set; a prompt that cannot be meant; an embedding of another model; more points
                than an engine for a GPU has slots for. More prompts than an engine takes are no error.
        """
        current = self._require_embedding(embedding)
        prompts = pack_prompts(current.frame, points, labels, box, mask)
        found, pixels = self._decoder.answer(current, prompts, multimask)
        if prompts.batched:
            return Masks(found.masks, found.iou, current.frame, pixels)
        return Masks(found.masks[0], found.iou[0], current.frame, None if pixels is None else pixels[0])

    def decode(self, embedding: Embedding, coords: npt.ArrayLike, labels: npt.ArrayLike) -> Iterator[LowRes]:
        """Stream many prompts through the decoder in full batches, three masks each.

        Args:
            embedding: What `embed` returned.
            coords: [P, N, 2], (x, y) in pixels of the frame.
            labels: [P, N]: 1 object, 0 background, 2 and 3 the corners of a box, behind the points; -2 an empty slot.

        Yields:
            float32 [b, 3, 256, 256], valid until the next batch, and [b, 3], in the order of the prompts.

        Raises:
            UsageError: Other shapes, an unknown label, NaN, or an embedding of another model.
        """
        current = self._require_embedding(embedding)
        places, kinds = check_slots(coords, labels)
        return self._decoder.stream(current, Prompts(current.frame.to_frame(places), kinds))

    def everything(
        self, frame: UInt8, options: EverythingOptions | None = None, progress: Progress = silent
    ) -> list[MaskRecord]:
        """Find the masks of all objects of a frame; see `evit_deploy.runtime.sam.everything.generate_masks`."""
        return generate_masks(self, frame, options, progress)

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: a frame alone is no question.

        Raises:
            UsageError: Always; it names what there is.
        """
        raise UsageError("a model that segments anything has to be asked for something", fix=_NO_CALL)

    def close(self) -> None:
        """Free the engines."""
        self.encoder.close()
        self._decoder.close()

    def __enter__(self) -> Self:
        """Return the predictor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the engines."""
        self.close()

    @property
    def _dtype(self) -> str:
        """Type of the decoder's embedding, so that it is converted once."""
        return next(tensor.dtype for tensor in self.decoders[0].inputs if tensor.name == "embedding")

    def _require_embedding(self, embedding: Embedding | None) -> Embedding:
        current = self._current if embedding is None else embedding
        if current is None:
            raise UsageError("no picture was set", fix="set_image(frame) first, or pass embedding=embed(frame)")
        if not isinstance(current, Embedding) or current.array.shape != SHAPE:
            raise UsageError(
                "this is no embedding", found=type(current).__name__, expected="what set_image or embed returned"
            )
        if current.model != self._model:
            raise UsageError(
                "the embedding was made by another model's encoder",
                found=current.model, expected=self._model, fix="embed the frame with this model",
            )  # fmt: skip
        return current
