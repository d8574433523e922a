"""The convolutional autoencoder."""

from typing import Annotated, Any

from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.model import Autoencoder
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.errors import require_choice
from rnnae_bench.models.dense import ACTIVATIONS, Activation, activation_of, gain_of, initialized
from rnnae_bench.models.flat_autoencoder import code_size_of, inputs_of, require_sizes


class ConvAutoencoder(Autoencoder):
    """Autoencoder of strided convolutions, with an affine code between them and their mirror image.

    Each convolution (4 x 4, stride 2, padding 1) halves height and width, rounding down, and is followed by the
    activation; an affine map takes what is left to the code and another brings it back; transposed
    convolutions double height and width, to the very sizes they had on the way in, and a sigmoid ends it.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 128 where it sets no limit.
        channels: Channels out of each convolution of the encoder, from the image to the code.
        activation: What follows every layer but the code and the last.
        optimization: How to train.
    """

    bibtex = ("masci2011",)

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 512, log=True)] = None,
        channels: tuple[int, ...] = (16, 32),
        activation: Activation = "relu",
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        code_size = code_size_of(spec, code_size, otherwise=128)
        require_sizes(channels=channels)
        require_choice(ACTIVATIONS, activation=activation)
        image = inputs_of(type(self), spec, code_size=code_size, channels=channels)
        assert isinstance(image, Images)
        super().__init__(spec, optimization)
        self.code_size = code_size
        gain = gain_of(activation)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        size, height, width = image.channels, image.height, image.width
        for following in channels:
            odd = (height % 2, width % 2)
            shrink = nn.Conv2d(size, following, kernel_size=4, stride=2, padding=1)
            grow = nn.ConvTranspose2d(following, size, kernel_size=4, stride=2, padding=1, output_padding=odd)
            down += [initialized(shrink, gain), activation_of(activation)]
            up = [activation_of(activation), initialized(grow, gain if up else 1.0), *up]
            size, height, width = following, height // 2, width // 2
        flat = size * height * width
        to_code = initialized(nn.Linear(flat, code_size))
        from_code = initialized(nn.Linear(code_size, flat), gain if channels else 1.0)
        self.encoder = nn.Sequential(*down, nn.Flatten(), to_code)
        self.decoder = nn.Sequential(from_code, nn.Unflatten(1, (size, height, width)), *up, nn.Sigmoid())

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses what is no image, and images too small to be halved by every convolution."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and isinstance(spec.inputs, Images):
            depth = len(hyperparameters.get("channels", (16, 32)))
            if min(spec.inputs.height, spec.inputs.width) >> depth == 0:
                return f"{depth} convolutions halve {spec.inputs} to nothing; give fewer channels"
        return reason

    @property
    def state_size(self) -> int:
        """Numbers in the code."""
        return self.code_size

    def encode(self, inputs: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch code"]:
        """The code of each image."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch channel height width"]:
        """The image of each code, pixels in (0, 1)."""
        return self.decoder(code)
