"""The autoencoder of dense layers.

An encoder f takes a row x to a code z, a decoder g takes the code to a row y: z = f(x), y = g(z). Fed a corrupted row
and trained to give back the clean one, they minimise E ||g(f(corrupted)) - clean||^2, the objective of the denoising
autoencoder (Vincent et al. 2008, Extracting and composing robust features with denoising autoencoders; the squared
error as in Vincent et al. 2010). Loss and corruption belong to the task.
"""

from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_choice
from rnnae_bench.models.dense import ACTIVATIONS, Activation, activation_of, dense_layers, initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, Output, TiedDecoder, require_sizes


class DenseAutoencoder(FlatAutoencoder):
    """Autoencoder of dense layers; the decoder mirrors the encoder's sizes.

    The encoder is h_0 = x, h_k = a(W_k h_(k-1) + b_k), and the code z is the last h; the decoder takes the same
    sizes backwards in the same way, but for its last layer, y = s(W' h' + b') with a sigmoid s for images. Without
    hidden layers and with tied weights, W' = W^T, this is the autoencoder of Vincent et al. (2008), by default with
    another activation. Inputs are images, vectors without time, or sequences of vectors that are all as long, which are
    read as one long vector. With layers of sizes n_0 (a row) to n_K (the code) it has sum_k (2 n_(k-1) n_k + n_(k-1) +
    n_k) weights, with tied ones sum_k (n_(k-1) n_k + n_(k-1) + n_k); the state is the code.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 256 where it sets no limit.
        hidden_sizes: Units of each layer between input and code; none by default.
        activation: The function a.
        output: The function s; None: a sigmoid for images, and nothing for other numbers.
        tied: Take the encoder's weights, transposed, for the decoder's.
        optimization: How to train.
    """

    bibtex = ("hinton2006", "vincent2008")

    later_options: ClassVar = ("output", "tied")

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(16, 512, log=True)] = None,
        hidden_sizes: tuple[int, ...] = (),
        activation: Activation = "relu",
        output: Output | None = None,
        tied: bool = False,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_sizes(hidden_sizes=hidden_sizes)
        require_choice(ACTIVATIONS, activation=activation)
        super().__init__(spec, code_size, output, optimization)
        self.tied = tied
        sizes = (self.numbers, *hidden_sizes, self.code_size)
        back = None if tied else initialized(nn.Linear(sizes[1], sizes[0]))
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(sizes, activation))
        if back is None:
            self.borrowed = TiedDecoder(self.encoder, activation_of(activation))
            self.decoder = nn.Sequential(*self.ending())
        else:
            self.decoder = nn.Sequential(*dense_layers(sizes[:0:-1], activation), back, *self.ending())

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each image, vector or sequence."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The image of each code, or its vector or sequence."""
        return self.decoder(self.borrowed(code, self.encoder) if self.tied else code)
