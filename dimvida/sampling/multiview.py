"""MultiViewModel: views in, missing views out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimvida.data.names import check_view_name
from dimvida.diffusion.solvers import step_table
from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_write, require_writable_folder
from dimvida.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from dimvida.models.hub import CARD, model_card
from dimvida.models.weights import exact_dtype, user_path
from dimvida.remote import is_url
from dimvida.sampling.backends import in_plain_modes, upload
from dimvida.sampling.cameras import CameraAngles, arrange_at, cameras_of, turn
from dimvida.sampling.completion import ViewCompleter
from dimvida.sampling.given import KnownViews, Picture, Views, as_images, gather
from dimvida.sampling.images import arrange, places_of, require_made, require_tensor


class MultiViewModel(ViewCompleter):
    """An autoencoder and a score network that together complete the views of an object."""

    @in_plain_modes
    def generate(
        self,
        views: Views,
        known: KnownViews | None = None,
        *,
        cameras: CameraAngles | None = None,
        steps: int | None = None,
        solver: str | None = None,
        seed: int = 0,
        sample_ids: Tensor | None = None,
        backend: str = "auto",
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Complete the missing views. ``model(views, known)`` is the same.

        Args:
            views: uint8 [B, V, C, H, W] in 0..255; entries of missing views are ignored. With n names for ``known``
                also [B, n, C, H, W], the named views in that order, and with one name [B, C, H, W] or [C, H, W].
                Or images in another form: pictures of Pillow, NumPy arrays with channels last, tensors with channels
                first, of any size, gray, RGB or with alpha, uint8, uint16, or float in [0, 1]; a list of images, of B
                objects by one name or of one object by as many names, a list of such lists, or a dict of them by view
                name. They are converted, padded to a square and resized as the command line does it.
            known: bool [B, V]; each row may have its own set of known views. Or the name of the view that every row
                has, or a sequence of names. To be left out with a dict.
            cameras: Any views in place of the V named ones, for a camera-conditioned model: azimuth and elevation of
                each in degrees, as pairs or float [n, 2] or [B, n, 2]. With a mask they are those of all n views that
                ``views`` and ``known`` speak of. With names they are those of the views to make: what is returned has
                the known views first, and then these.
            steps: Network evaluations, by default the checkpoint's.
            solver: Solver name, by default the checkpoint's.
            seed: From 0 to 2^63 - 1.
            sample_ids: int64 [B], by default 0 .. B-1. A row's noise depends on its id and the seed, and that of its
                views on their places; of a camera-conditioned model on their cameras, so that whoever asks for more
                views has the same noise in the others.
            backend: ``auto``, ``eager`` or ``fused``, see ``dimvida.sampling.sample``.
            dtype: What the fused engine multiplies in, see there.

        Returns:
            uint8 [B, V, C, H, W] on the device of ``views``, or [B, n, C, H, W] of ``cameras``; known views bit for
            bit as given, if they had the model's size.

        Raises:
            TypeError: The views are no images in any of the forms above.
            ValueError: For images whose shape, dtype or range fits nothing above.
            InputError: For a view that the model does not have, an unknown solver or backend, a number out of range,
                or a score network that was never trained.
            NotFinite: Numbers overflow, and nothing of these rows is a picture.

        Example:
            >>> import torch, dimvida
            >>> model = dimvida.load("bundled")
            >>> front = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)  # two objects
            >>> completed = model.generate(front, "front", seed=0)
            >>> completed.shape, model.view_names
            (torch.Size([2, 4, 3, 64, 64]), ('front', 'right', 'back', 'left'))
            >>> known = torch.tensor([[True, False, False, False], [True, True, False, False]])
            >>> again = model(completed, known)  # each row from views of its own
            >>> bool((again[known] == completed[known]).all())
            True
            >>> from PIL import Image
            >>> photographs = {"front": Image.new("RGB", (200, 150), "navy"), "left": Image.new("L", (90, 90), 255)}
            >>> model(photographs).shape  # one object, of two views
            torch.Size([1, 4, 3, 64, 64])
        """
        shape = self.config.autoencoder.image_shape
        views, known = gather(views, known, shape)
        given = views
        if cameras is None:
            views, known = arrange(views, known, self.view_names, shape)
        else:
            views, known, cameras = arrange_at(views, known, cameras, self._named_cameras(), shape)
        if sample_ids is not None:
            require_tensor("sample_ids", sample_ids, f"int64 [{len(views)}]")
        how: dict[str, Any] = {"backend": backend, "dtype": dtype}
        images = views.flatten(0, 1).index_select(0, upload(places_of(known), views.device))
        latents = self.encode_known(images, known, **how)
        latents = self.sample_missing(
            latents, known, cameras=cameras, steps=steps, solver=solver, seed=seed, sample_ids=sample_ids, **how
        )
        made, finite = self.decode_views(latents, ~known, **how)
        completed = views.to(self.device, copy=True, memory_format=torch.contiguous_format)
        completed.flatten(0, 1).index_copy_(0, upload(places_of(~known), self.device), made.permute(0, 3, 1, 2))
        require_made(finite)
        return completed.to(given.device)

    def forward(self, views: Views, known: KnownViews | None = None, **options: Any) -> Tensor:
        """Complete the missing views, as ``generate`` does."""
        return self.generate(views, known, **options)

    def turntable(
        self,
        images: Picture | Sequence[Picture],
        count: int = 24,
        *,
        at: str | Sequence[str] | CameraAngles | None = None,
        elevation: float | None = None,
        **options: Any,
    ) -> Tensor:
        """Views at even distances around one object, by a camera-conditioned model.

        Args:
            images: The known views, uint8 [C, H, W] or [k, C, H, W], or images in any form that ``generate`` takes.
            count: Number of views, at least 1.
            at: Where they were taken: the name of a view of the model or several, or azimuth and elevation of each in
                degrees, [k, 2]. By default the only one is at azimuth 0, at the elevation of the model's first view.
            elevation: Of the views that are made, by default that of the first image.
            options: ``steps``, ``solver``, ``seed``, ``sample_ids``, ``backend`` and ``dtype`` of ``generate``.

        Returns:
            uint8 [count, C, H, W]. The first is at the azimuth of the first image, and each further one the camera
            moved to the viewer's right. A view that was given is as it was given.

        Raises:
            InputError, ValueError, TypeError: The images, places or options do not fit; see ``generate``.
        """
        named, shape = self._named_cameras(), self.config.autoencoder.image_shape
        images = as_images(images, shape, "images").reshape(-1, *shape)
        at = cameras_of([(0.0, self.cameras[0][1])] if at is None else at, named)
        views, known, cameras, order = turn(images, at, count, elevation)
        return self.generate(views, known, cameras=cameras, **options)[0, order]

    def save(self, folder: str | Path) -> None:
        """Write the model as a checkpoint folder, which ``load`` and every command read, also from the Hub.

        Its weights are stored in the narrowest of float16, bfloat16 and float32 that holds them exactly: what is loaded
        again makes the same pictures, and a model saved as it was loaded continues outputs that it began. A
        ``README.md`` for the Hub is put beside them, unless there is one.

        Args:
            folder: Where to; made if need be. The checkpoint in it is replaced.

        Raises:
            InputError: The folder cannot be made or written to, or weights are not finite.
            DimvidaError: The disk is full or fails.

        Example:
            >>> import dimvida, tempfile
            >>> model = dimvida.load("bundled")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save(folder)
            ...     dimvida.load(folder).checkpoint_hash == model.checkpoint_hash
            True
        """
        if is_url(folder):
            raise InputError(f"{folder}: models are saved to folders; upload what is in one")
        folder = user_path(folder)
        dtype = exact_dtype([*self.autoencoder.state_dict().values(), *self.score.state_dict().values()])
        require_writable_folder("folder", folder)
        checkpoint = Checkpoint(self.config, self.autoencoder, self.score, self.latent_mean, self.latent_std)
        try:
            save_checkpoint(folder, checkpoint, dtype)
            if not (folder / CARD).exists():
                atomic_write(folder / CARD, model_card(self.config))
        except OSError as error:
            raise DimvidaError(f"{folder}: cannot be written ({error.strerror or error})") from error

    def _named_cameras(self) -> dict[str, tuple[float, float]]:
        """The model's own views, and where they are.

        Raises:
            InputError: It has no cameras.
        """
        if self.cameras is None:
            raise InputError(
                f"the model has no cameras, so it makes its views {', '.join(self.view_names)} and no others; "
                "train one on data with cameras"
            )
        return dict(zip(self.view_names, self.cameras, strict=True))


def load(path_or_name: str | Path, device: str | torch.device = "cpu") -> MultiViewModel:
    """Load a model for generation.

    It computes in float32, wherever it is called: inside ``torch.autocast`` and under another default dtype too.
    After ``.half()``, ``.bfloat16()`` or ``.double()`` its autoencoder computes in that, and its score network, with
    those weights, in float32 or in what ``generate`` is asked for. What it takes and returns stays as documented.

    Args:
        path_or_name: A checkpoint folder, a training run, ``"bundled"`` for the one in the package, or
            ``"hf://owner/name"`` or ``"hf://owner/name@revision"`` for one on the Hugging Face Hub.
        device: The device that the model is put on.

    Raises:
        InputError: If it is not a usable checkpoint.

    Example:
        >>> import dimvida
        >>> model = dimvida.load("bundled")
        >>> model.view_names, model.image_size
        (('front', 'right', 'back', 'left'), 64)
    """
    # Inference mode would leave weights that can never be changed; another default device, those of no file.
    with torch.inference_mode(False), torch.device("cpu"):
        model = MultiViewModel(load_checkpoint(path_or_name)).to(device)
    for view in model.view_names:
        check_view_name(view, f"checkpoint {path_or_name}")
    defaults = model.config.sampling
    try:
        step_table(defaults.solver, defaults.steps)
    except InputError as error:
        raise InputError(f"checkpoint {path_or_name}: its defaults for sampling: {error}") from None
    return model
