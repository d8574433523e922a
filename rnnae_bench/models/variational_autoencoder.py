"""The variational autoencoder, and the one with a weighted divergence.

Sources: Kingma & Welling (2014), Auto-encoding variational Bayes, ICLR; Higgins et al. (2017), beta-VAE, ICLR; a
learned variance of the decoder: Rybkin, Daniilidis & Levine (2021), Simple and effective VAE training with calibrated
decoders, ICML; the linear case: Lucas, Tucker, Grosse & Norouzi (2019), Don't blame the ELBO!, NeurIPS.
"""

import math
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rnnae_bench.contracts.batch import Batch
from rnnae_bench.contracts.optimization import Optimization
from rnnae_bench.contracts.search_space import Range
from rnnae_bench.contracts.spec import Images, TaskSpec
from rnnae_bench.errors import UserError, require_choice, require_not_negative, require_positive
from rnnae_bench.models.dense import ACTIVATIONS, Activation, dense_layers, initialized
from rnnae_bench.models.flat_autoencoder import FlatAutoencoder, Output, require_sizes
from rnnae_bench.training.loss_terms import Loss

Likelihood = Literal["gaussian", "bernoulli"]

_LEAST_LOG_VARIANCE = -10.0
"""Of the decoder: a learned variance that went to 0 would make the likelihood infinite."""


class VariationalAutoencoder(FlatAutoencoder):
    """Variational autoencoder (Kingma & Welling 2014); with beta other than 1 the beta-VAE (Higgins et al. 2017).

    q(z | x) is normal with mean m(x) and variances v(x), m and ln v affine in the encoder's last hidden layer; z = m +
    sqrt(v) e with standard normal e in training, and z = m at evaluation, so that the code is m. What is minimised, in
    nats a row and as two terms that are logged apart, is

        reconstruction = -ln p(x | z),    kl = beta/2 sum_j (m_j^2 + v_j - 1 - ln v_j),

    with p(x | z) normal around the decoder's output, of one variance for all numbers, or Bernoulli with the decoder's
    output for chances, which serves images alone. The task's own loss does not train it. Without hidden layers and
    with a linear output it is the linear VAE, whose optimum is probabilistic PCA. With k numbers in the code, P = n_0
    of a row and hidden layers of n_1 to n_L it has 2 k (n_L + 1) + n_L (k + 1) + sum_(i>0) (2 n_(i-1) n_i + n_(i-1) +
    n_i) weights, and one more where the variance is learned; the state is the code.

    Args:
        spec: The task to serve.
        code_size: Numbers in the code; None: as many as the task allows, or 16 where it sets no limit.
        hidden_sizes: Units of each layer between input and code.
        activation: What follows each hidden layer.
        beta: Weight of the divergence.
        likelihood: The distribution p(x | z).
        sigma: Standard deviation of the normal one; None learns it.
        output: What ends the decoder; None: a sigmoid for images, and nothing for other numbers.
        optimization: How to train.
    """

    bibtex = ("kingma2014", "higgins2017")

    log_variance: Tensor | None
    """Of the normal distribution p(x | z)."""

    def __init__(
        self,
        spec: TaskSpec,
        code_size: Annotated[int | None, Range(2, 64, log=True)] = None,
        hidden_sizes: tuple[int, ...] = (256,),
        activation: Activation = "relu",
        beta: Annotated[float, Range(0.1, 10.0, log=True)] = 1.0,
        likelihood: Likelihood = "gaussian",
        sigma: float | None = None,
        output: Output | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008 (frozen)
    ) -> None:
        require_sizes(hidden_sizes=hidden_sizes)
        require_choice(ACTIVATIONS, activation=activation)
        require_choice(("gaussian", "bernoulli"), likelihood=likelihood)
        require_not_negative(beta=beta)
        if sigma is not None:
            require_positive(sigma=sigma)
            if likelihood == "bernoulli":
                raise UserError(f"sigma is {sigma} with likelihood 'bernoulli', which has none; leave it out")
        if likelihood == "bernoulli":
            if output == "linear":
                raise UserError("output is 'linear' with likelihood 'bernoulli', whose chances need a sigmoid")
            output = "sigmoid"
        super().__init__(spec, code_size, output, optimization, otherwise=16, likelihood=likelihood)
        self.beta, self.likelihood = beta, likelihood
        sizes = (self.numbers, *hidden_sizes)
        self.encoder = nn.Sequential(nn.Flatten(), *dense_layers(sizes, activation))
        self.mean = initialized(nn.Linear(sizes[-1], self.code_size))
        self.log_variance_of_code = initialized(nn.Linear(sizes[-1], self.code_size))
        upwards = (self.code_size, *sizes[:0:-1])
        last = initialized(nn.Linear(upwards[-1], self.numbers))
        self.decoder = nn.Sequential(*dense_layers(upwards, activation), last)
        self.ended = nn.Sequential(*self.ending())
        if likelihood == "bernoulli":
            self.log_variance = None
        elif sigma is None:
            self.log_variance = nn.Parameter(torch.zeros(()))
        else:
            self.register_buffer("log_variance", torch.tensor(2 * math.log(sigma)))

    @classmethod
    def supports(cls, spec: TaskSpec, **hyperparameters: Any) -> str | None:
        """Refuses Bernoulli likelihoods of what is not between 0 and 1."""
        reason = super().supports(spec, **hyperparameters)
        if reason is None and hyperparameters.get("likelihood") == "bernoulli" and not isinstance(spec.inputs, Images):
            return f"its likelihood 'bernoulli' is of numbers in [0, 1], and the task's inputs are {spec.inputs}"
        return reason

    def posterior(self, inputs: Float[Tensor, "batch *input"]) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variances of q(z | x), each ``[batch code]``."""
        h = self.encoder(inputs)
        return self.mean(h), self.log_variance_of_code(h)

    def encode(self, inputs: Float[Tensor, "batch *input"]) -> Float[Tensor, "batch code"]:
        """The mean of each row's posterior."""
        return self.posterior(inputs)[0]

    def decode(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch *input"]:
        """The mean of p(x | z)."""
        return self.ended(self.decoder(code))

    def training_loss(self, batch: Batch) -> Loss:
        """The two terms, in nats a row."""
        mean, log_variance = (one.float() if one.dtype.itemsize < 4 else one for one in self.posterior(batch.inputs))
        code = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return {
            "reconstruction": self.negative_log_likelihood(code, batch.targets).mean(),
            "kl": self.beta * divergence(mean, log_variance).mean(),
        }

    def negative_log_likelihood(
        self, code: Float[Tensor, "batch code"], targets: Float[Tensor, "batch *input"]
    ) -> Float[Tensor, " batch"]:
        """-ln p(x | z) of each row, in nats."""
        numbers = self.decoder(code).to(code.dtype)
        if self.likelihood == "bernoulli":
            losses = nn.functional.binary_cross_entropy_with_logits(
                numbers, targets.flatten(1).to(code.dtype), reduction="none"
            )
            return losses.sum(1)
        assert self.log_variance is not None
        log_variance = self.log_variance.clamp(min=_LEAST_LOG_VARIANCE)
        squares = (self.ended(numbers) - targets).flatten(1).square().sum(1)
        return 0.5 * (squares * (-log_variance).exp() + self.numbers * (log_variance + math.log(2 * math.pi)))


def divergence(mean: Float[Tensor, "batch code"], log_variance: Float[Tensor, "batch code"]) -> Float[Tensor, " batch"]:
    """KL(q || standard normal) of independent normal numbers, in nats a row (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
