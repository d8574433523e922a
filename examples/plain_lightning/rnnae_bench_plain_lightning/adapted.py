"""All that the suite asks of another's LightningModule."""

from rnnae_bench import TaskSpec, Values, Vectors
from rnnae_bench_plain_lightning.regressor import LSTMRegressor


class AdaptedLSTM(LSTMRegressor):
    """LSTM for regression, its prediction read off the last step; trained by Adam on the squared error.

    Args:
        spec: The task to serve.
        hidden_size: Numbers in the state h of a layer; the cell has as many again.
        num_layers: Layers, each reading the states of the one below.
        dropout: Share of the states zeroed between layers while training.
        learning_rate: Adam's step size at first; it shrinks by 5% at each evaluation.
    """

    own_loss = "mean squared error"

    def __init__(
        self,
        spec: TaskSpec,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__(spec.inputs.features, spec.outputs.features, hidden_size, num_layers, dropout, learning_rate)

    @classmethod
    def supports(cls, spec, **hyperparameters):
        is_regression = isinstance(spec.inputs, Vectors) and isinstance(spec.outputs, Values)
        if not is_regression or spec.predicts != "last step" or spec.variable_length:
            return f"it regresses on whole sequences of one length, and the task is {spec}"
        return None

    def forward(self, inputs, lengths=None):
        return super().forward(inputs)

    def training_step(self, batch, batch_idx):
        return super().training_step((batch.inputs, batch.targets), batch_idx)
