"""The linear autoencoder, which finds the principal components.

Sources: Bourlard & Kamp (1988), Auto-association by multilayer perceptrons and singular value decomposition, Biological
Cybernetics 59; Baldi & Hornik (1989), Neural networks and principal component analysis, Neural Networks 2(1); with a
penalty Kunin, Bloom, Goeva & Seed (2019), Loss landscapes of regularized linear autoencoders, ICML.
"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import TaskSpec
from rnnae_bench.errors import require_not_negative
from rnnae_bench.models.dense import initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, TiedDecoder
from rnnae_bench.training.loss_terms import Loss


class LinearAutoencoder(FlatAutoencoder):
    """Linear autoencoder (Bourlard & Kamp 1988, Baldi & Hornik 1989): z = W x + b, y = V z + c.

    Under a squared error its optimum is the projection onto as many principal components as the code has numbers, and
    there is no other minimum. With `l2` the loss of a row is |x - y|^2 + l2 (|W|^2 + |V|^2), squared Frobenius norms,
    divided by the numbers of a row; then V = W^T at the optimum, and the component of variance sigma^2 comes out
    1 - l2 / sigma^2 times as large, or not at all where that is below 0 (Kunin et al. 2019). With P numbers a row and k
    in the code it has 2 P k + P + k weights, with tied ones P k + P + k; the state is the code.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 32 where it sets no limit.
        tied: Take W^T for V.
        l2: Factor of the squared weights; 0 leaves them out.
        optimization: How to train.
    """

    bibtex = ("bourlard1988", "baldi1989", "kunin2019")

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(2, 256, log=True)] = None,
        tied: bool = False,
        l2: float = 0.0,
        optimization: Optimization = Optimization(learning_rate=0.03),  # noqa: B008 (frozen)
    ) -> None:
        require_not_negative(l2=l2)
        super().__init__(spec, code_size, "linear", optimization, otherwise=32)
        self.l2, self.tied = l2, tied
        self.encoder = nn.Sequential(nn.Flatten(), initialized(nn.Linear(self.numbers, self.code_size)))
        if tied:
            self.borrowed = TiedDecoder(self.encoder, nn.Identity())
            self.decoder = nn.Sequential(*self.ending())
        else:
            self.decoder = nn.Sequential(initialized(nn.Linear(self.code_size, self.numbers)), *self.ending())

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The code of each row."""
        return self.encoder(inputs)

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The row of each code."""
        return self.decoder(self.borrowed(code, self.encoder) if self.tied else code)

    def training_loss(self, batch: Batch) -> Loss:
        """The task's loss, and beside it the squared weights."""
        prediction = self(batch.inputs, batch.lengths)
        if not self.l2:
            return self.task.loss(prediction, batch)
        maps = [self.encoder[1], self.encoder[1] if self.tied else self.decoder[0]]
        squares = torch.stack([each.weight.square().sum() for each in maps if isinstance(each, nn.Linear)])
        return self.penalised(prediction, batch, l2=self.l2 * squares.sum())
